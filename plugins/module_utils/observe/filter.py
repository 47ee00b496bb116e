# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe the reverse-path filter of a node: what is running, what each loader would set, and whose line decides.

Changes nothing and judges nothing. The facts module shows what is gathered here; the writer plans on it.
"""

import errno
import os
import re
import stat
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import (
    devices,
    dropin,
    facts_version,
    horizons,
    sysctl_d,
    unit_run,
    values,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import (
    agent,
    files,
    masks,
    netfilter,
    udev,
    units,
    writers,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import agent_api as cilium_agent
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import CommandError
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable, printable_tree

SYSTEMD_SYSCTL = ("/usr/lib/systemd/systemd-sysctl", "/lib/systemd/systemd-sysctl")
PROCPS_SYSCTL = ("/usr/sbin/sysctl", "/sbin/sysctl", "/usr/bin/sysctl", "/bin/sysctl")
#: Far more lines than anybody writes, and a bound to what a hostile file makes of the facts.
MOST_LINES = 50
#: More pods than a node holds; reading each from /proc takes time.
MOST_MARKED = 1024
CONF = "/proc/sys/net/ipv4/conf"

#: A loader as it is installed. ``version`` is an int for systemd, a tuple for procps, None where it said none.
Loader = namedtuple("Loader", "path version")

#: The devices of a node: ``running`` name → own value (with all and default), ``kinds`` device → kind, ``links`` and
#: ``addresses`` as iproute gives them.
Devices = namedtuple("Devices", "running kinds links addresses")


def observe(
    iproute,
    run_command,
    exempt=devices.CILIUM_PATTERNS,
    uplink_devices=None,
    overlay=None,
    dropin_path=dropin.PATH,
    agent_socket=cilium_agent.SOCKET,
    agent_timeout=5,
    not_observed=None,
):
    """The facts ``rp_filter``, in the shape that the module's RETURN block describes.

    :arg not_observed: why the running system is left alone (see ``why_not_observed``); None if it is observed.
    """
    unread = []
    runs = not_observed is None
    tree = sysctl_d.read_tree("/", overlay)
    unread.extend(
        {
            "what": _place(problem),
            "why": problem["problem"],
            "decides": problem.get("hides", False),
            "needs_root": problem.get("denied", False) and os.geteuid() != 0,
        }
        for problem in tree.problems
    )
    systemd, procps = systemd_loader(run_command), procps_loader(run_command)
    unread.extend(_silent(loader) for loader in (systemd, procps) if loader and loader.version is None)
    reader = files.Reader("/")
    services, rules = units.Units(reader), udev.Rules(reader)
    unit = services.sysctl_unit(kernel_command_line(reader))
    resolve = Resolver(tree, systemd, procps, unit, reader, dropin_path, exempt)
    seen = None
    try:
        seen = see_devices(iproute, exempt, uplink_devices) if runs else None
    except CommandError as error:
        unread.append({"what": "devices", "why": str(error), "decides": True})
    altnames = {link["ifname"]: link.get("altnames") or [] for link in (seen.links if seen else ())}
    found, scripts = writers.find(
        reader,
        services,
        systemd.version if systemd else None,
        running_units(run_command) if runs else frozenset(),
        altnames,
        rules,
    )
    facts = {
        "schema_version": facts_version.RP_FILTER,
        "running_system": {"observed": runs, "why": not_observed},
        "all": {"running": None, "configured": resolve("all")},
        "default": {"running": None, "configured": resolve("default")},
        "devices": {},
        "patterns": {
            pattern: {
                "configured": resolve(devices.to_come(pattern), new=True),
                "of_some": of_some(resolve.systemd, pattern),
                "on_add": printable_tree(rules.on_add(devices.to_come(pattern), "veth")),
            }
            for pattern in exempt
        },
        "loaders": {
            "systemd_sysctl": _loader_facts(
                systemd, sysctl_d.SYSTEMD_GLOBS_SINCE, unit_state(run_command) if runs else ()
            ),
            "procps": _loader_facts(procps, sysctl_d.PROCPS_GLOBS_SINCE),
        },
        "agent": agent.presence(reader, agent_socket, agent_timeout, runs),
        "reload_on_add": rules.reload_on_add(),
        "dropin": read_dropin(dropin_path, unread),
        "lines": lines(resolve),
        "globs_without_dash": globs_without_dash(resolve.systemd, seen.kinds if seen else None),
        "repeated_lines": repeated_lines(resolve.systemd),
        "source_marks": {"all": None, "default": None, "devices": {}},
        "netfilter": netfilter.observe(run_command, unread) if runs else [],
        "other_writers": found,
        "scripts": scripts,
        "counters": counters(unread) if runs else dict(_NO_COUNTERS),
        "unread": unread,
    }
    if systemd:
        facts["loaders"]["systemd_sysctl"]["unit_file"] = resolve.unit_file
    unread.extend(dict(entry, what=printable(entry["what"])) for entry in reader.unread)
    if seen:
        _add_devices(facts, seen, rules, resolve)
    uplinks = [device for device, kind in seen.kinds.items() if kind == devices.UPLINK] if seen else []
    facts["other_writers"] += masks.writers(reader, tree, systemd.version if systemd else None, rules, exempt, uplinks)
    if seen or not runs:
        facts["horizons"] = horizons.summary(facts)
    for entry in unread:
        entry.setdefault("decides", False)
        entry.setdefault("needs_root", False)
    return facts


def _add_devices(facts, seen, rules, resolve):
    facts["source_marks"] = source_marks(seen.kinds, facts["unread"])
    for name in devices.RESERVED:
        facts[name]["running"] = seen.running.get(name)
    link_kinds = {link["ifname"]: link["kind"] for link in seen.links}
    for device, kind in seen.kinds.items():
        running = seen.running[device]
        found = facts["devices"][printable(device)] = {
            "kind": kind,
            "link_kind": link_kinds.get(device),
            "running": running,
            "effective": values.effective(seen.running.get("all", 0), running),
            "configured": resolve(device),
        }
        if kind == devices.UPLINK:
            found["on_add"] = printable_tree(rules.on_add(device, link_kinds.get(device)))


def kernel_command_line(reader):
    """The kernel's command line, which conditions of units ask for."""
    return (reader.text("/proc/cmdline") or "").strip()


def see_devices(iproute, exempt, uplink_devices):
    """Every device with its value and kind: three dumps, however many devices there are."""
    running = iproute.netconf()
    links, addresses = iproute.links(), iproute.addresses()
    if not uplink_devices:
        uplinks = devices.found_uplinks(links, addresses, iproute.routes(), exempt)
    else:
        uplinks = set(uplink_devices)
    kinds = {
        link["ifname"]: devices.kind(link["ifname"], link["kind"], exempt, link["ifname"] in uplinks)
        for link in links
        if link["ifname"] in running
    }
    # A device that went between the dumps is no device.
    running = {name: value for name, value in running.items() if name in kinds or name in devices.RESERVED}
    return Devices(running, kinds, links, addresses)


class Resolver:
    """What each loader that is installed would set for a name, and whose line decides.

    ``unit_file`` is how systemd-sysctl.service stands: {state, path, line, text}.
    """

    def __init__(self, tree, systemd, procps, unit, reader, dropin_path=None, exempt=()):
        self.systemd = sysctl_d.SystemdSysctl(tree, systemd.version) if systemd and systemd.version else None
        self.procps = sysctl_d.Procps(tree, procps.version) if procps and procps.version else None
        self.unit_file = {member: unit[member] for member in ("state", "path", "line", "text")}
        self._unit = None
        if self.systemd and not unit_run.is_plain(unit):
            known = (systemd.version, reader, procps.version if procps else None)
            self._unit = unit_run.UnitRun(unit, tree, *known)
            self._exempt = ["all"] + list(exempt)
            lines_ = [f"{sysctl_d.spell(sysctl_d.conf_key(name))} = 0\n" for name in self._exempt]
            self._hardened = unit_run.UnitRun(unit, tree.with_overlay({dropin_path: "".join(lines_)}), *known)
            if self._unit.unknown and unit["state"] in ("runs", "disabled"):
                self.unit_file.update(self._unit.unknown[0], state="unknown")
        for member in ("path", "text"):
            self.unit_file[member] = self.unit_file[member] and printable(self.unit_file[member])

    def __call__(self, name, new=False):
        """All winners. ``new``: as udev's run for a new device decides, instead of a run over all keys.

        ``unit`` is what the unit as a whole leaves; it is there only if that is more than a plain run.
        """
        key = sysctl_d.conf_key(name)
        winners = {
            "systemd_sysctl": decided(self.systemd.winner(key, prefix_run=new)) if self.systemd else None,
            "procps": decided(self.procps.winner(key)) if self.procps else None,
        }
        if self._unit:
            winners["unit"] = decided(self._unit.winner(key))
            if winners["unit"] and devices.matches(name, self._exempt):
                winners["unit"]["overrides"] = decided(self._hardened.winner(key)) == winners["unit"]
        elif new and self.systemd:
            whole = decided(self.systemd.winner(key))
            if whole != winners["systemd_sysctl"]:
                winners["unit"] = whole
        return winners


def decided(assignment):
    """An assignment as the facts show it; None where no line decides."""
    if assignment is None:
        return None
    return {
        "value": sysctl_d.kernel_integer(assignment.value),
        "path": assignment.path,
        "line": assignment.line,
        "key": printable(assignment.key),
    }


def systemd_loader(run_command):
    """systemd-sysctl as installed, or None. It asks the binary, so it works in a chroot too."""
    path = next((path for path in SYSTEMD_SYSCTL if os.path.exists(path)), None)
    if path is None:
        return None
    match = re.search(r"systemd (\d+)", _words(run_command, [path, "--version"]))
    return Loader(path, int(match.group(1)) if match else None)


def procps_loader(run_command):
    """procps' sysctl as installed, or None; another sysctl (busybox) has no version and is not predicted."""
    path = next((path for path in PROCPS_SYSCTL if os.path.exists(path)), None)
    if path is None:
        return None
    match = re.search(r"procps(?:-ng)?(?: version)? (\d+(?:\.\d+)*)", _words(run_command, [path, "--version"]))
    return Loader(path, tuple(int(part) for part in match.group(1).split(".")) if match else None)


def _silent(loader):
    """A loader of which nothing can be predicted."""
    if os.path.basename(os.path.realpath(loader.path)) == "busybox":
        return {"what": loader.path, "why": "is of busybox, whose 'sysctl --system' is not predicted"}
    return {"what": loader.path, "why": "does not tell its version, so what it would set is not known", "decides": True}


def unit_state(run_command):
    """What systemd says of systemd-sysctl.service since the last boot; empty where no systemd answers."""
    words = _words(run_command, ["systemctl", "show", "--property=ActiveState,Result", "systemd-sysctl.service"])
    state = dict(line.split("=", 1) for line in words.splitlines() if "=" in line)
    return {"unit": state["ActiveState"], "unit_result": state.get("Result")} if state.get("ActiveState") else {}


def running_units(run_command):
    """The names of the services that run now; none where no systemd answers."""
    argv = ["systemctl", "list-units", "--type=service", "--state=active", "--no-legend", "--plain", "--full"]
    return frozenset(row.split()[0] for row in _words(run_command, argv).splitlines() if row.strip())


def _words(run_command, argv):
    """What a program says; nothing where it cannot be run."""
    try:
        return run_command(argv)[1]
    except CommandError:
        return ""


def _loader_facts(loader, globs_since, unit=()):
    if loader is None:
        return None
    version = loader.version
    facts = {
        "path": loader.path,
        "version": ".".join(str(part) for part in version) if isinstance(version, tuple) else version,
        "globs": None if version is None else version >= globs_since,
    }
    facts.update(unit)
    return facts


def read_dropin(path, unread, root="/"):
    """Our drop-in as it stands: {path, present, format, intact, assignments}."""
    found = {"path": path, "present": None, "format": None, "intact": None, "assignments": []}
    try:
        text = _text(os.path.join(root, path.lstrip("/")))
    except OSError as error:
        why = error.strerror or str(error)
        unread.append({"what": printable(path), "why": why, "needs_root": files.root_helps(error)})
        return found
    found["present"] = text is not None
    if text is None:
        return found
    found["format"], found["intact"] = dropin.format_of(text), dropin.is_intact(text)
    for line in sysctl_d.parse(text, path)[0]:
        name = values.name_of(line.key)
        value = None if line.value is None else sysctl_d.kernel_integer(line.value)
        if name is not None and value is not None:
            name = printable(sysctl_d.canonical_glob(name))
            found["assignments"].append({"name": name, "value": values.normal(value), "line": line.line})
    return found


def _text(path):
    """The text of a regular file; None where there is none."""
    try:
        # Opening a FIFO would wait for a writer without O_NONBLOCK.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise OSError(errno.EINVAL, "is no regular file")
            return stream.read(sysctl_d.MAX_BYTES).decode("utf-8", "surrogateescape")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def globs_without_dash(systemd, kinds):
    """The lines of globs for rp_filter that no dash begins, each with the kinds of devices that it matches now.

    V(reserved) stands for all and default; null where the devices could not be seen.
    """
    found = []
    for assignment in systemd.globs_without_dash() if systemd else ():
        name = values.name_of(assignment.key)
        if name is None:
            continue
        matched = None
        if kinds is not None:
            matched = {kind for device, kind in kinds.items() if devices.matches(device, [name])}
            matched |= {"reserved" for device in devices.RESERVED if devices.matches(device, [name])}
        found.append(dict(decided(assignment), matches=None if matched is None else sorted(matched)))
    return found[:MOST_LINES]


def lines(resolve):
    """Every line for rp_filter that a loader reads, whether it decides or not: {path, line, key, value}."""
    found, seen = [], set()
    for loader in (resolve.systemd, resolve.procps):
        for entry in loader.files if loader else ():
            if entry.target in seen or not entry.text:
                continue
            seen.add(entry.target)  # the link 99-sysctl.conf shows /etc/sysctl.conf twice
            for line in sysctl_d.parse(entry.text, entry.path)[0]:
                if line.value is not None and values.name_of(line.key) is not None:
                    found.append(decided(line))
    return found[:MOST_LINES]


def of_some(systemd, pattern):
    """Lines that decide for some of a pattern's interfaces otherwise than for its next one, as lxc[0-7]* does.

    A line with value 0 at the place of the deciding one says that this does not reach them all.
    """
    if systemd is None:
        return []

    def winner(name):
        return decided(systemd.winner(sysctl_d.conf_key(name), prefix_run=True))

    usual = winner(devices.to_come(pattern))
    globs = [values.name_of(assignment.key) or "" for assignment in systemd.assignments()]
    names = {devices.to_come(glob) for glob in globs if set(glob) & set("*?[")}
    names.update(f"lxc{digit:x}nodeward" for digit in range(16))  # Cilium names them by a hexadecimal digest
    found = []
    # lxc_health, which is Cilium's own, is no pod's.
    for name in sorted(name for name in names if devices.matches(name, [pattern]) and not name.startswith("lxc_")):
        line = winner(name) or (dict(usual, value=0) if usual else None)
        if line and line["value"] != (usual["value"] if usual else 0) and line not in found:
            found.append(line)
    return found[:MOST_LINES]


def repeated_lines(systemd):
    """Lines for rp_filter that systemd-sysctl passes over, since an identical one stands earlier: that is ``first``."""
    return [
        dict(decided(line), first={"path": first.path, "line": first.line})
        for line, first in (systemd.repeated if systemd else ())
        if values.name_of(line.key) is not None
    ][:MOST_LINES]


def source_marks(kinds, unread, root=CONF):
    """Whether the check of a source heeds the packet's mark, and whether a local source is taken.

    Pods' devices are read only where the mark counts for all, or for those that were made lately.
    """
    found = {"all": None, "default": None, "devices": {}}
    try:
        for name in devices.RESERVED:
            found[name] = _source_marks_of(root, name)
    except (OSError, ValueError) as error:
        unread.append({"what": "src_valid_mark and accept_local", "why": str(error)})
        return found
    if not any(found[name]["src_valid_mark"] for name in devices.RESERVED):
        return found
    pods = sorted(
        device
        for device, kind in kinds.items()
        if kind == devices.CILIUM and not devices.matches(device, [devices.HOST_DEVICES])
    )
    if len(pods) > MOST_MARKED:
        unread.append({"what": "src_valid_mark of devices", "why": f"only the first {MOST_MARKED} were read"})
    for device in pods[:MOST_MARKED]:
        try:
            found["devices"][printable(device)] = _source_marks_of(root, device)
        except (OSError, ValueError):
            continue  # it is gone
    return found


def _source_marks_of(root, name):
    marks = {}
    for key in ("src_valid_mark", "accept_local"):
        with open(os.path.join(root, name, key)) as value:
            marks[key] = int(value.read())
    return marks


_NO_COUNTERS = {"ip_reverse_path_filter": None, "in_martian_src": None, "boot_id": None}


def counters(unread):
    """How many packets this network namespace dropped by the filter, how many sources it took for martian, since when.

    The kernel counts from boot, so a number means nothing without that boot's id. in_martian_src counts each question
    of `ip route get … from … iif` that the kernel refuses as well (measured): it says nothing of packets.
    """
    found = dict(_NO_COUNTERS)
    try:
        with open("/proc/sys/kernel/random/boot_id") as boot_id:
            found["boot_id"] = boot_id.read().strip()
    except OSError as error:
        unread.append({"what": "boot_id", "why": str(error)})
    try:
        with open("/proc/net/netstat") as netstat:
            rows = [line.split() for line in netstat]
        for names, numbers in zip(rows[::2], rows[1::2]):
            if "IPReversePathFilter" in names:
                found["ip_reverse_path_filter"] = int(numbers[names.index("IPReversePathFilter")])
        with open("/proc/net/stat/rt_cache") as rt_cache:  # one row a processor, in hexadecimal
            names = rt_cache.readline().split()
            column = names.index("in_martian_src")
            found["in_martian_src"] = sum(int(row.split()[column], 16) for row in rt_cache)
    except (OSError, ValueError, IndexError) as error:
        unread.append({"what": "counters", "why": str(error)})
    return found


def why_not_observed(observe_it="auto"):
    """Why the running system is neither read nor written, so that files alone count; None if it is.

    :arg observe_it: "auto", or "always" where the caller knows better.
    """
    if observe_it == "always":
        return None
    if in_chroot():
        return "this is a chroot: /proc/sys is the build host's"
    if not os.path.isdir("/run/systemd/system"):
        return "no systemd runs here"
    try:
        if os.statvfs("/proc/sys/net").f_flag & os.ST_RDONLY:
            return "/proc/sys/net is read-only"
    except OSError as error:
        return f"/proc/sys/net: {error.strerror}"
    return None


def in_chroot():
    """Whether / is not the root of the machine's first process: then /proc/sys is the build host's.

    None where it cannot be told (not root).
    """
    try:
        there, here = os.stat("/proc/1/root"), os.stat("/")
    except OSError as error:
        return None if error.errno in (errno.EACCES, errno.EPERM) else True
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)


def _place(problem):
    line = problem.get("line")
    return f"{problem['path']}:{line}" if line else problem["path"]
