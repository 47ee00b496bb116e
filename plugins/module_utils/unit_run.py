# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of systemd-sysctl.service as a whole sets: its commands in order, each with the files that it reads."""

from ansible_collections.nodeward.cilium.plugins.module_utils import sysctl_d

_WILD = frozenset("*?[")


def is_plain(unit):
    """Whether a run of the unit is one run of systemd-sysctl over its own files, without a credential."""
    plain = [
        each
        for each in unit["steps"]
        if not each.get("unknown") and each.get("loader") == "systemd_sysctl" and each["files"] is None
    ]
    return len(unit["steps"]) == len(plain) == 1 and not plain[0]["prefixes"] and unit["credential"] is None


class UnitRun:
    """The assignments that a run of the unit leaves.

    unit: as Units.sysctl_unit() describes it. unknown: the places, {path, line, text}, that make a run unpredictable.
    """

    def __init__(self, unit, tree, version, reader, procps_version=None):
        self.unknown = []
        self._steps = []
        self._loaders = []
        self._tree, self._version, self._procps_version = tree, version, procps_version
        self._reader = reader
        credential = unit["credential"] if version >= sysctl_d.SYSTEMD_CREDENTIAL_SINCE else None
        if unit["state"] == "unknown":
            self._note(unit)
        may_end = None
        for step in unit["steps"]:
            if may_end:
                self._note(may_end)  # whether the rest runs depends on a command that may fail
                may_end = None
            resolver, fails = self._resolver(step, credential)
            if resolver:
                self._steps.append(resolver)
            if fails and not step["optional"]:
                may_end = step

    def assignments(self):
        """Every assignment that a file gives, in order of application; globs as written."""
        return [assignment for loader in self._loaders for assignment in loader.assignments()]

    def winner(self, key):
        """The Assignment that stands for a key (slash form) after the run; None if no line sets it."""
        found = [resolve(key) for resolve in self._steps]
        found = [assignment for assignment in found if assignment]
        return found[-1] if found else None

    def _note(self, place):
        place = {name: place[name] for name in ("path", "line", "text")}
        if place not in self.unknown:
            self.unknown.append(place)

    def _resolver(self, step, credential):
        """(function from a key to its Assignment or None, whether the command may fail)."""
        if step.get("unknown"):
            self._note(step)
            return None, True
        if "names" in step:
            return _direct(step), not set(step["names"]) <= {"all", "default"}
        if any(_WILD & set(prefix) or "%" in prefix or "$" in prefix for prefix in step["prefixes"]):
            self._note(step)  # a wildcard in a prefix reaches other interfaces too
            return None, True
        named, missing = self._named(step)
        if step["loader"] == "procps":
            if self._procps_version is None:
                self._note(step)
                return None, True
            loader = sysctl_d.Procps(self._tree, self._procps_version, named)
            self._loaders.append(loader)
            return loader.winner, True
        extra = None
        if named is None and credential:
            if credential["unknown"]:
                self._note(credential)
            else:
                extra = sysctl_d.File(credential["path"], credential["path"], credential["text"])
        loader = sysctl_d.SystemdSysctl(self._tree, self._version, named, extra, step["prefixes"])
        self._loaders.append(loader)
        # 245 alone fails on a glob that matches nothing.
        fails = missing or loader.failures or (self._version == 245 and loader.globs_without_dash())
        if extra and credential["line"]:
            return _at_line(loader.winner, credential), bool(fails)
        return loader.winner, bool(fails)

    def _named(self, step):
        """(Files that a command names, None if it names none; whether one is missing)."""
        if step["files"] is None:
            return None, False
        found, missing = [], False
        for path in step["files"]:
            text = self._reader.text(path)
            if text is not None:
                found.append(sysctl_d.File(path, self._reader.target(path), text))
            elif self._reader.exists(path) and self._reader.target(path) != "/dev/null" or self._unreadable(path):
                self._note(step)  # it is a folder, a device, or cannot be read
            else:
                missing = self._reader.target(path) != "/dev/null"
        return found, missing

    def _unreadable(self, path):
        return any(entry["what"] == path for entry in self._reader.unread)


def _direct(step):
    """A write of the command line itself."""

    def winner(key):
        name = key.split("/")[-2]
        if not key.startswith("net/ipv4/conf/") or not key.endswith("/rp_filter"):
            return None
        if any(sysctl_d.glob_matches(glob, name) for glob in step["names"]):
            return sysctl_d.Assignment(key, step["value"], step["path"], step["line"])
        return None

    return winner


def _at_line(resolve, credential):
    """Assignments of a credential that stands in one line of a unit file have that line's number."""

    def winner(key):
        found = resolve(key)
        if found and found.path == credential["path"]:
            return found._replace(line=credential["line"])
        return found

    return winner
