# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who else sets rp_filter, besides the loaders: systemd-networkd, ufw, NetworkManager, tuned. Files under one root."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import errno
import os
import re
import stat

from ansible_collections.nodeward.cilium.plugins.module_utils import plan, sysctl_d

MAX_BYTES = 1 << 20
NETWORKD_SINCE = 255  # systemd 255 NEWS: IPv4ReversePathFilter=

_ASSIGNMENT = re.compile(r"^\s*-?(?P<key>net[./]ipv4[./]conf[./][^\s=]+[./]rp_filter)\s*=\s*(?P<value>[^\s#;]+)")
_NETWORKD = re.compile(r"^\s*IPv4ReversePathFilter\s*=\s*(?P<value>\S+)")
_NETWORKD_SETS = {"no": 0, "strict": 1, "loose": 2}  # systemd.network(5)
_SETTING = re.compile(r"^\s*[A-Za-z]\w*\s*=")
_SECTION = re.compile(r"^\s*\[(?P<name>[^\]]+)\]")

# systemd.network(5): strongest folder first.
NETWORKD_FOLDERS = (
    "/etc/systemd/network",
    "/run/systemd/network",
    "/usr/local/lib/systemd/network",
    "/usr/lib/systemd/network",
    "/lib/systemd/network",
)
TUNED_FOLDERS = ("/etc/tuned", "/etc/tuned/profiles", "/usr/lib/tuned", "/usr/lib/tuned/profiles")
NETWORK_MANAGER_FOLDERS = (
    "/usr/lib/NetworkManager/conf.d",
    "/run/NetworkManager/conf.d",
    "/etc/NetworkManager/conf.d",
)
DISPATCHER_FOLDERS = ("/etc/NetworkManager/dispatcher.d", "/usr/lib/NetworkManager/dispatcher.d")


def find(root="/", systemd_version=None):
    """(writers, unread): every line that sets the filter by another way than the loaders' files.

    A writer is a dict of ``by`` (networkd, ufw, networkmanager, tuned), ``path``, ``line``, ``text``; ``names`` (all,
    default, devices or globs) and ``value`` as written, and ``sets``, the number that this is, each where it is said;
    ``narrowed``, whether it is for some of these alone, and ``not_on``, the globs of devices that it is not for.
    """
    reader = _Reader(root)
    knows_it = systemd_version is None or systemd_version >= NETWORKD_SINCE
    writers = (_networkd(reader) if knows_it else []) + _ufw(reader) + _network_manager(reader) + _tuned(reader)
    return writers, reader.unread


def _networkd(reader):
    """Its units in their order: of those that match a device the first alone is applied to it."""
    units, dropins, found, claimed = {}, {}, [], []
    for folder in NETWORKD_FOLDERS:
        for name in reader.names(folder):
            path = "%s/%s" % (folder, name)
            # The same name in a weaker folder is masked.
            if name.endswith(".network"):
                units.setdefault(name, path)
            elif name.endswith(".network.d"):
                parts = dropins.setdefault(name[: -len(".d")], {})
                for part in reader.names(path):
                    if part.endswith(".conf"):
                        parts.setdefault(part, "%s/%s" % (path, part))
    for name, unit in sorted(units.items()):
        if not reader.lines(unit):
            continue  # empty, or a link to /dev/null
        parts = dropins.get(name, {})
        paths = [unit] + [parts[part] for part in sorted(parts)]
        names, narrowed = _networkd_match(reader, paths)
        for path in paths:
            for writer in _matching(reader, "networkd", path, _NETWORKD, "Network"):
                known = {"names": names, "narrowed": narrowed, "not_on": list(claimed)}
                found.append(dict(writer, sets=_NETWORKD_SETS.get(writer["value"]), **known))
        claimed += names if names and not narrowed else []
    return found


def _networkd_match(reader, paths):
    """(names, narrowed): the globs of devices that a unit is for, None where it names none; and whether that is all."""
    conditions = {}
    for line in [each for path in paths for each in _matching(reader, "networkd", path, _SETTING, "Match")]:
        key, _equals, value = [part.strip() for part in line["text"].partition("=")]
        # An empty value takes back what was said before.
        conditions[key] = conditions.get(key, []) + value.split() if value else []
    conditions = {key: words for key, words in conditions.items() if words}
    if not conditions:
        return ["*"], False
    names = conditions.pop("Name", [])
    if not names or any(name.startswith("!") or name.endswith("\\") for name in names):
        return None, True
    return names, bool(conditions)


def _ufw(reader):
    """ufw(8) applies a file of its own when it starts (IPT_SYSCTL in /etc/default/ufw)."""
    for _number, line in reader.lines("/etc/ufw/ufw.conf"):
        if re.match(r"^\s*ENABLED\s*=\s*[\"']?no\b", line, re.IGNORECASE):
            return []  # then it sets nothing
    path = "/etc/ufw/sysctl.conf"
    for _number, line in reader.lines("/etc/default/ufw"):
        named = re.match(r"^\s*IPT_SYSCTL\s*=\s*[\"']?([^\"'\s]+)", line)
        if named:
            path = named.group(1)
    return _matching(reader, "ufw", path, _ASSIGNMENT)


def _network_manager(reader):
    """With connectivity checks on it makes a strict device loose (NetworkManager, nm-device.c: rp_filter)."""
    paths = ["/etc/NetworkManager/NetworkManager.conf"]
    for folder in NETWORK_MANAGER_FOLDERS:
        paths += ["%s/%s" % (folder, name) for name in reader.names(folder) if name.endswith(".conf")]
    checks = re.compile(r"^\s*uri\s*=\s*(?P<text>\S+)")
    found = []
    for path in paths:
        found += [dict(each, sets=2) for each in _matching(reader, "networkmanager", path, checks, "connectivity")]
    for folder in DISPATCHER_FOLDERS:
        for name in reader.names(folder):
            found += _matching(reader, "networkmanager", "%s/%s" % (folder, name), re.compile(r"^[^#]*\brp_filter\b"))
    return found


def _tuned(reader):
    """The active profile of tuned(8), and what it includes."""
    pending = [word for _number, line in reader.lines("/etc/tuned/active_profile") for word in line.split()]
    found, seen = [], set()
    while pending:
        profile = pending.pop(0)
        if profile in seen or not re.match(r"^[A-Za-z0-9_.-]+\Z", profile) or profile in (".", ".."):
            continue
        seen.add(profile)
        for folder in TUNED_FOLDERS:
            path = "%s/%s/tuned.conf" % (folder, profile)
            rows = reader.lines(path)
            if not rows:
                continue
            found += _matching(reader, "tuned", path, _ASSIGNMENT, "sysctl")
            for _number, line in rows:
                included = re.match(r"^\s*include\s*=\s*(.+)", line)
                if included:
                    pending += re.split(r"[,\s]+", included.group(1).strip())
            break  # the strongest folder has the profile
    return found


def _matching(reader, by, path, expression, section=None):
    found, here = [], None
    for number, line in reader.lines(path):
        heading = _SECTION.match(line)
        if heading:
            here = heading.group("name")
        match = expression.match(line)
        if match and (section is None or section == here):
            said = match.groupdict()
            name = plan.name_of(said["key"]) if said.get("key") else None
            found.append(
                {
                    "by": by,
                    "path": path,
                    "line": number,
                    "text": line.strip()[:200],
                    "names": [name] if name else None,
                    "value": said.get("value"),
                    "sets": sysctl_d.kernel_integer(said["value"]) if name else None,
                    "narrowed": False,
                    "not_on": [],
                }
            )
    return found


class _Reader(object):
    """Small text files under one root; nothing but plain files is ever opened."""

    def __init__(self, root):
        self.root = root.rstrip("/")
        self.unread = []

    def names(self, folder):
        try:
            return sorted(os.listdir(self.root + folder))
        except (OSError, IOError) as error:
            self._note(folder, error)
            return []

    def lines(self, path):
        """(number, line) of every line; none where there is no such file."""
        try:
            handle = os.open(self.root + path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
            with os.fdopen(handle, "rb") as stream:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    return []
                text = stream.read(MAX_BYTES).decode("utf-8", "replace")
        except (OSError, IOError) as error:
            self._note(path, error)
            return []
        return list(enumerate(text.splitlines(), 1))

    def _note(self, path, error):
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            entry = {"what": path, "why": error.strerror}
            if entry not in self.unread:
                self.unread.append(entry)
