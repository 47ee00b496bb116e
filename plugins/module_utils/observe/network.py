# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sets rp_filter when an interface is configured: networkd, NetworkManager, ifupdown, wicked, and their hooks."""

import fnmatch
import re
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import scripts

NETWORKD_SINCE = 255  # systemd 255 NEWS: IPv4ReversePathFilter=
_NETWORKD_SETS = {"no": 0, "strict": 1, "loose": 2}  # systemd.network(5)
#: What a unit matches: globs of names (None: not known), those that are excluded, whether further conditions narrow it,
#: and whether these can hold for an interface of Cilium.
_Match = namedtuple("_Match", "names inverted narrowed cilium")
#: Conditions on hardware.
_WIRELESS = ("WLANInterfaceType", "SSID", "BSSID")
_HARDWARE = ("MACAddress", "PermanentMACAddress", "Path", "Driver") + _WIRELESS
_CILIUM_KINDS = ("veth", "vxlan", "geneve", "ipip", "ip6tnl", "sit", "netkit", "dummy")

# systemd.network(5): strongest folder first.
NETWORKD_FOLDERS = (
    "/etc/systemd/network",
    "/run/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
    "/lib/systemd/network",
)
NETWORK_MANAGER_FOLDERS = (
    "/usr/lib/NetworkManager/conf.d",
    "/run/NetworkManager/conf.d",
    "/etc/NetworkManager/conf.d",
)
#: nm-settings-keyfile(5): profiles of connections; those of /etc need no suffix.
_CONNECTIONS_OF_ETC = "/etc/NetworkManager/system-connections"
CONNECTION_FOLDERS = (
    "/usr/lib/NetworkManager/system-connections",
    "/run/NetworkManager/system-connections",
    _CONNECTIONS_OF_ETC,
)
#: NetworkManager-dispatcher(8): for the actions up and pre-up; scripts of /etc mask those of /usr/lib.
DISPATCHER_FOLDERS = (
    ("/etc/NetworkManager/dispatcher.d", "/usr/lib/NetworkManager/dispatcher.d"),
    ("/etc/NetworkManager/dispatcher.d/pre-up.d", "/usr/lib/NetworkManager/dispatcher.d/pre-up.d"),
    ("/etc/NetworkManager/dispatcher.d/no-wait.d", "/usr/lib/NetworkManager/dispatcher.d/no-wait.d"),
)
DISPATCHER_UNITS = ("NetworkManager.service",)
#: networkd-dispatcher(8): the folders of the states that an interface passes through when it comes up.
NETWORKD_DISPATCHER_FOLDERS = tuple(
    f"{parent}/networkd-dispatcher/{state}.d"
    for parent in ("/etc", "/usr/lib")
    for state in ("configuring", "no-carrier", "carrier", "degraded", "configured", "routable")
)
IFUPDOWN_UNITS = ("networking.service", "ifupdown-wait-online.service", "ifup@.service")
IFUPDOWN_HOOKS = ("/etc/network/if-pre-up.d", "/etc/network/if-up.d")
DHCLIENT_HOOKS = ("/etc/dhcp/dhclient-enter-hooks.d", "/etc/dhcp/dhclient-exit-hooks.d")
DHCLIENT_FILES = ("/etc/dhcp/dhclient-enter-hooks", "/etc/dhcp/dhclient-exit-hooks")
PPP_HOOKS = ("/etc/ppp/ip-pre-up.d", "/etc/ppp/ip-up.d")
PPP_FILES = ("/etc/ppp/ip-pre-up", "/etc/ppp/ip-up", "/etc/ppp/ip-up.local")
SYSTEM_PROGRAMS = ("/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/")
WICKED_FOLDER = "/etc/sysconfig/network"
#: What the hook of the package vlan asks for: the option ip-rp-filter of a stanza.
_OF_OPTION = '-n "$IF_IP_RP_FILTER"'
#: It runs the hooks of ifupdown for the interfaces of NetworkManager.
_IFUPDOWN_BY_NETWORK_MANAGER = "/etc/NetworkManager/dispatcher.d/01-ifupdown"
MAX_SOURCED = 100  # files that /etc/network/interfaces names

_PROFILE_IS_FOR = re.compile(r"\s*interface-name\s*=\s*(\S+)")
_MENTION_IN_A_PROFILE = re.compile(r"rp[_-]filter|IPv4ReversePathFilter")
_RUN_PARTS = re.compile(r"[A-Za-z0-9_-]+\Z")  # run-parts(8) of Debian
_ALWAYS = ["boot", "interface"]
#: Of a client that is never started for an interface of Cilium, and runs its hooks again later.
_OF_CLIENT = ["boot", "periodic"]


def networkd(node, systemd_version=None, altnames=None):
    """Its units in their order: of those that match an interface only the first is applied to it.

    :arg altnames: the alternative names of each interface, by which a unit can match it as well.
    """
    if systemd_version is not None and systemd_version < NETWORKD_SINCE:
        return []
    units, dropins, found, earlier = {}, {}, [], []
    reader = node.reader
    for folder in NETWORKD_FOLDERS:
        for name in reader.names(folder):
            path = f"{folder}/{name}"
            # The same name in a weaker folder is masked.
            if name.endswith(".network"):
                units.setdefault(name, path)
            elif name.endswith(".network.d"):
                parts = dropins.setdefault(name[: -len(".d")], {})
                for part in reader.names(path):
                    if part.endswith(".conf"):
                        parts.setdefault(part, f"{path}/{part}")
    active = node.active("systemd-networkd.service")
    for name, unit in sorted(units.items()):
        if not reader.lines(unit):
            continue  # empty, or a link to /dev/null
        parts = dropins.get(name, {})
        rows = [
            (path,) + row for path in [unit] + [parts[part] for part in sorted(parts)]
            for row in scripts.sections(reader, path)
        ]  # fmt: skip
        match = _networkd_match(rows, altnames or {})
        reached = _reached(match, earlier, altnames)
        for path, section, number, line in rows:
            key, _equals, value = [part.strip() for part in line.partition("=")]
            if section != "Network" or key != "IPv4ReversePathFilter" or value not in _NETWORKD_SETS:
                continue  # networkd ignores any other value, yes and 1 as well (257, measured)
            known = {"value": value, "sets": _NETWORKD_SETS[value], "when": _ALWAYS, "active": active}
            for names, not_on, certain in reached:
                members = dict(known, names=names, narrowed=not certain, not_on=not_on, certain=certain)
                found.append(scripts.writer("networkd", path, number, line, unit="systemd-networkd.service", **members))
        earlier.append(match)
    return found


def _networkd_match(rows, altnames):
    conditions = {}
    for _path, section, _number, line in rows:
        if section != "Match" or "=" not in line:
            continue
        key, _equals, value = [part.strip() for part in line.partition("=")]
        # "!" inverts the whole list; an empty value takes back the earlier ones.
        words = ["!" + word for word in value[1:].split()] if value.startswith("!") else value.split()
        conditions[key] = conditions.get(key, []) + words if value else []
    conditions = {key: words for key, words in conditions.items() if words}
    words = conditions.pop("Name", [])
    if not words and (conditions.get("Type") == ["wlan"] or any(key in _WIRELESS for key in conditions)):
        words = ["wl*"]  # udev's and the kernel's names of wireless interfaces
    cilium = not any(_excludes_cilium(key, values) for key, values in conditions.items())
    if any(word.endswith("\\") for word in words) or (conditions and not words):
        return _Match(None, [], True, cilium)
    inverted = [word[1:] for word in words if word.startswith("!")]
    names = [word for word in words if not word.startswith("!")] or ["*"]
    by_another = sorted(
        name
        for name, others in altnames.items()
        if any(devices.matches(other, names) and not devices.matches(other, inverted) for other in others)
    )
    # One that its own name excludes and another of its names does not.
    contrary = any(devices.matches(name, inverted) for name in by_another)
    names += [name for name in by_another if not devices.matches(name, names)]
    return _Match(names, [] if contrary else inverted, contrary or bool(conditions), cilium)


def _excludes_cilium(key, values):
    """Whether a condition other than the name holds for no interface of Cilium: virtual ones, of type ether or none."""
    if key in _HARDWARE:
        return True
    kinds = {"Type": ("ether", "none"), "Kind": _CILIUM_KINDS}.get(key)
    if kinds is None:
        return False
    if any(value.startswith("!") for value in values):
        return "!*" in values
    return not any(devices.matches(kind, values) for kind in kinds)


def _reached(match, earlier, altnames):
    """[(names, not_on, certain)]: what a unit applies to, behind the units that come before it."""
    names, not_on, doubted = match.names, list(match.inverted), []
    for claim in earlier:
        if claim.narrowed or (claim.inverted and claim.names != ["*"]):
            doubted.append(claim)
        elif claim.inverted:
            names = _within(names, claim.inverted)
        else:
            not_on += claim.names
    if not match.cilium:
        not_on += devices.CILIUM_PATTERNS
    if names is None or match.narrowed or any(claim.names is None and claim.cilium for claim in doubted):
        return [(names, not_on, False)] if names != [] else []
    unsure = [glob for claim in doubted for glob in claim.names or () if any(_overlap(glob, name) for name in names)]
    if any(claim.names is None for claim in doubted):  # it is for none of Cilium's
        known = _within(names, devices.CILIUM_PATTERNS)
        reached = [(known, not_on + unsure, True), (names, not_on + list(devices.CILIUM_PATTERNS), False)]
    else:
        reached = [(names, not_on + unsure, True)]
    present = list(altnames or ()) + list(devices.CILIUM_PATTERNS)
    unsure = [glob for glob in unsure if altnames is None or any(_overlap(glob, name) for name in present)]
    reached.append(([name for glob in unsure for name in _within(names, [glob]) or [glob]], not_on, False))
    return [each for each in reached if not all(devices.matches(name, each[1]) for name in each[0])]


def _within(names, globs):
    """The part of the names that the globs match; None stands for any name."""
    if names is None:
        return list(globs)
    return [name for name in names if devices.matches(name, globs)] + [
        glob for glob in globs if devices.matches(glob, names) and glob not in names
    ]


def _overlap(one, other):
    """Whether two globs may match the same name: as far as there is no wildcard, one begins with the other."""
    first, second = [re.split(r"[*?\[]", glob, maxsplit=1)[0] for glob in (one, other)]
    if one == first or other == second:  # a name without wildcards
        return fnmatch.fnmatchcase(one, other) or fnmatch.fnmatchcase(other, one)
    return first.startswith(second) or second.startswith(first)


def network_manager(node):
    """What its configuration sets, and mentions in the profiles of its connections."""
    return _connectivity_checks(node) + _connections(node)


def _connectivity_checks(node):
    """With these on it makes a strict interface loose (NetworkManager, nm-device.c: rp_filter)."""
    paths = ["/etc/NetworkManager/NetworkManager.conf"]
    for folder in NETWORK_MANAGER_FOLDERS:
        paths += [f"{folder}/{name}" for name in node.reader.names(folder) if name.endswith(".conf")]
    known = {"unit": "NetworkManager.service", "when": _ALWAYS, "sets": 2, "certain": False}
    known["active"] = node.active("NetworkManager.service")
    return [
        scripts.writer("networkmanager", path, number, line, **known)
        for path in paths
        for section, number, line in scripts.sections(node.reader, path)
        if section == "connectivity" and re.match(r"\s*uri\s*=\s*\S", line)
    ]


def _connections(node):
    """A profile has no key for rp_filter (nm-settings-keyfile(5)); a mention may be one of a version to come."""
    known = {"unit": "NetworkManager.service", "when": _ALWAYS, "not_on": list(devices.RESERVED), "certain": False}
    known["active"] = node.active("NetworkManager.service")
    paths = [f"{folder}/{name}" for folder in CONNECTION_FOLDERS for name in node.reader.names(folder)
             if name.endswith(".nmconnection") or folder == _CONNECTIONS_OF_ETC]  # fmt: skip
    found = []
    for path in paths:
        rows = list(scripts.sections(node.reader, path))
        matches = [_PROFILE_IS_FOR.match(line) for section, _number, line in rows if section == "connection"]
        known["names"] = [match.group(1) for match in matches if match] or None
        found += [
            scripts.writer("networkmanager", path, number, line, **known)
            for _section, number, line in rows
            if _MENTION_IN_A_PROFILE.search(line)
        ]
    return found


def dispatchers(node):
    """Scripts that NetworkManager and networkd-dispatcher run when an interface comes up."""
    found = []
    active = node.active(*DISPATCHER_UNITS)
    for own, vendor in DISPATCHER_FOLDERS:
        chosen = {}
        for folder in (own, vendor):
            for name in node.reader.names(folder):
                chosen.setdefault(name, f"{folder}/{name}")
        event = scripts.Event(("$1", "$DEVICE_IFACE", "$DEVICE_IP_IFACE"))
        found += _hooks(node, "networkmanager-dispatcher", [chosen[name] for name in sorted(chosen)], event, active,
                        unit="NetworkManager-dispatcher.service")  # fmt: skip
    active = node.active("networkd-dispatcher.service")
    for folder in NETWORKD_DISPATCHER_FOLDERS:
        paths = [f"{folder}/{name}" for name in node.reader.names(folder)]
        event = scripts.Event(("$IFACE",))
        found += _hooks(node, "networkd-dispatcher", paths, event, active, unit="networkd-dispatcher.service")
    return found


def _hooks(node, by, paths, event, active, needs_mode=True, when=None, **known):
    """The writers in hooks; one that is not executable does not run where the daemon executes it."""
    found = []
    for path in paths:
        runs = active if not needs_mode or node.reader.is_executable(path) else False
        found += node.file(by, path, event, when=when or _ALWAYS, active=runs, **known)
    return found


def ifupdown(node):
    """interfaces(5): the up, pre-up and post-up lines of each iface stanza, then the hooks of all interfaces."""
    rows, sourced = [], []
    _interfaces_file(node, "/etc/network/interfaces", rows, sourced)
    at_boot, found, here = set(), [], None
    for _path, _number, line in rows:
        words = line.split()
        if words and (words[0] == "auto" or words[0].startswith("allow-")):
            at_boot.update(words[1:])
    active = node.active(*IFUPDOWN_UNITS)
    for path, number, line in rows:
        word, _space, rest = line.strip().partition(" ")
        if word == "iface":
            here = (rest.split() or [None])[0]
        elif word in ("auto", "mapping", "template", "source", "source-directory") or word.startswith("allow-"):
            here = None
        elif word in ("up", "pre-up", "post-up") and here:
            starts = any(fnmatch.fnmatchcase(here, name) for name in at_boot)
            event = scripts.Event(("$IFACE",), names=[here], certain=starts)
            when = _when_one_of([here])
            # Nothing brings up by itself what is in no auto or allow- line.
            known = {"unit": "networking.service", "when": when, "active": active if starts or len(when) > 1 else False}
            found += node.commands("ifupdown", path, rest, number, event, **known)
    named, filtered = _stanzas(node, rows)
    for folder in IFUPDOWN_HOOKS:
        for name in node.reader.names(folder):
            path = f"{folder}/{name}"
            of_option = _OF_OPTION in (node.script(path) or "") if _RUN_PARTS.match(name) else False
            if not _RUN_PARTS.match(name) or of_option and not filtered:
                continue
            event = scripts.Event(("$IFACE",), names=filtered if of_option else named)
            when = _when_one_of(event.names)
            found += _hooks(node, "ifupdown", [path], event, active, unit="networking.service", when=when)
    return found


def _when_one_of(names):
    """When a hook for these interfaces runs: with the next interface only if that may be one of them."""
    cilium = any(_overlap(name, pattern) for name in names for pattern in devices.CILIUM_PATTERNS)
    return _ALWAYS if cilium else ["boot"]


def _stanzas(node, rows):
    """(Names of the interfaces for which the hooks run, None if they may be others; those with ``ip-rp-filter``)."""
    named, filtered, known = [], [], not node.reader.is_executable(_IFUPDOWN_BY_NETWORK_MANAGER)
    for _path, _number, line in rows:
        words = line.split()
        known = known and words[0] != "mapping" and not (words[0].startswith(("auto", "allow-")) and "=" in line)
        if words[0] == "iface" and len(words) > 1 and words[1] not in named:
            named.append(words[1])
        elif words[0].replace("-", "_") == "ip_rp_filter":
            filtered += named[-1:]
    return (named if known and named else None), filtered


def _interfaces_file(node, path, rows, sourced):
    """Adds (path, number, line) of every logical line, with those of the files that it sources in their place."""
    if path in sourced or len(sourced) >= MAX_SOURCED:
        return
    sourced.append(path)
    for number, line in _logical_lines(node.reader.lines(path)):
        word, _space, rest = line.partition(" ")
        if word not in ("source", "source-directory"):
            rows.append((path, number, line))
            continue
        for written in rest.split():
            pattern = written if written.startswith("/") else "/etc/network/" + written
            folder, _slash, last = pattern.rstrip("/").rpartition("/")
            if word == "source":
                named = [(folder, name) for name in node.reader.names(folder) if fnmatch.fnmatchcase(name, last)]
            else:
                folder = pattern.rstrip("/")
                named = [(folder, name) for name in node.reader.names(folder) if _RUN_PARTS.match(name)]
            for parent, name in named:
                _interfaces_file(node, f"{parent}/{name}", rows, sourced)


def _logical_lines(rows):
    """(number, line) without comments, continued lines joined, with one space after the first word."""
    first, text = None, ""
    for number, row in rows:
        first, text = first or number, text + row.strip()
        if text.endswith("\\"):
            text = text[:-1] + " "
            continue
        if text and not text.startswith("#"):
            yield first, re.sub(r"\s+", " ", text, count=1)
        first, text = None, ""


def hooks_of_clients(node):
    """Hooks of dhclient-script(8), which sources them, and of pppd(8), which executes them."""
    found = []
    paths = [path for path in DHCLIENT_FILES if node.reader.exists(path)]
    for folder in DHCLIENT_HOOKS:
        paths += [f"{folder}/{name}" for name in node.reader.names(folder) if _RUN_PARTS.match(name)]
    event = scripts.Event(("$interface",))
    found += _hooks(node, "dhclient", paths, event, _installed(node, "dhclient"), needs_mode=False, when=_OF_CLIENT)
    paths = [path for path in PPP_FILES if node.reader.exists(path)]
    for folder in PPP_HOOKS:
        paths += [f"{folder}/{name}" for name in node.reader.names(folder) if _RUN_PARTS.match(name)]
    event = scripts.Event(("$1", "$PPP_IFACE", "$IFNAME"))
    return found + _hooks(node, "ppp", paths, event, _installed(node, "pppd"), when=_OF_CLIENT)


def _installed(node, program):
    """A program that no unit of its own starts: False if it is not installed, None if it may run."""
    return None if any(node.reader.exists(folder + program) for folder in SYSTEM_PROGRAMS) else False


def wicked(node):
    """ifsysctl(5). Not certain: the manual of 2014 applies every key, that of 2024 lists keys without rp_filter."""
    found = []
    known = {"unit": "wickedd.service", "when": _ALWAYS, "certain": False}
    known["active"] = node.active("wickedd.service", "wicked.service")
    for base in node.reader.names(WICKED_FOLDER):
        if base != "ifsysctl" and not base.startswith("ifsysctl-"):
            continue
        own = base[len("ifsysctl-") :] or None
        path = f"{WICKED_FOLDER}/{base}"
        for number, line in node.reader.lines(path):
            key, equals, value = [part.strip() for part in line.partition("=")]
            if not equals or key.startswith(("#", ";")):
                continue
            # Each file is applied to the interface of the event: $INTERFACE, and $SYSCTL_IF with its dots as slashes.
            name = scripts.name_of(re.sub(r"\$\{?(?:INTERFACE|SYSCTL_IF)\}?", "<", key))
            if name is None:
                continue
            names = [name] if "<" not in name else [own] if own else ["*"]
            not_on = ["all", "default"] if "<" in name and not own else []
            sets = sysctl_d.kernel_integer(value)
            members = dict(known, names=names, not_on=not_on, value=value, sets=sets)
            found.append(scripts.writer("wicked", path, number, line, **members))
    return found


def netplan(node):
    """netplan has no setting for rp_filter; a mention (a passthrough setting, a hook) may become one."""
    installed = any(node.reader.exists(path + "netplan") for path in ("/usr/sbin/", "/sbin/"))
    return [
        scripts.writer("netplan", path, number, line, when=_ALWAYS, certain=False, active=None if installed else False)
        for folder in ("/usr/lib/netplan", "/etc/netplan", "/run/netplan")
        for path in [f"{folder}/{name}" for name in node.reader.names(folder) if name.endswith(".yaml")]
        for number, line in node.reader.lines(path)
        if re.match(r"[^#]*(?:\brp_filter\b|IPv4ReversePathFilter)", line)
    ]
