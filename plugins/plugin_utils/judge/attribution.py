# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which line or program gave a running value. Pure."""

import fnmatch
import os
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, horizons, values
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.horizons import place

_NAMED = 3
#: Files of a distribution: no role or program of the node writes them.
_DISTRIBUTION = ("/usr/lib/", "/lib/")
#: A role that writes a file and the kernel on each run; ``variable`` decides what it writes.
Role = namedtuple("Role", "files name variable")
_ROLES = (Role("*dev-sec*", "the role os_hardening of dev-sec", "sysctl_overwrite"),)


def set_by(rp_filter, name, device):
    """Each value that filters the interface, with the line that set it if one does."""
    found = []
    if device and device["running"]:
        found.append(_attributed(rp_filter, name, device["running"], device["configured"]))
    if rp_filter["all"]["running"]:
        found.append(_attributed(rp_filter, "all", rp_filter["all"]["running"], rp_filter["all"]["configured"]))
    return found


def _attributed(rp_filter, name, value, configured):
    source, by = _source(rp_filter, name, value, configured)
    return {
        "key": name,
        "value": value,
        "path": source["path"] if source else None,
        "line": source["line"] if source else None,
        "text": source["text"] if source else None,
        "by": by,
    }


def _source(rp_filter, name, value, configured):
    """(the place or None, who applied it), of the first of all that could have given the value."""
    for find in (_of_a_loader, _of_another_writer, _of_default, _of_an_overridden_line):
        found = find(rp_filter, name, value, configured)
        if found:
            return found
    by = "no line of a loader and no known writer; whoever wrote it may write it again"
    suspects = _suspects(rp_filter, name)
    return None, by + (f"; found on this node: {', '.join(suspects[:_NAMED])}" if suspects else "")


def _of_a_loader(rp_filter, name, value, configured):
    is_device = name not in devices.RESERVED
    # udev's run for a new interface reads the files of systemd-sysctl, not what the unit adds.
    whole = "unit" if "unit" in configured else "systemd_sysctl"
    for loader in ("systemd_sysctl", "unit") if is_device else (whole,):
        line = configured.get(loader)
        if line and line["value"] == value:
            rule = rp_filter["reload_on_add"]
            reloads = is_device and rule and _reloads(rp_filter, name)
            if reloads and loader == "systemd_sysctl":
                return _line(line), f"systemd-sysctl, which udev runs for every new device ({place(rule)})"
            unit = (rp_filter["loaders"]["systemd_sysctl"] or {}).get("unit_file") or {}
            at_boot = "" if unit.get("state") == "disabled" else "at boot and "
            return _line(line), f"systemd-sysctl, {at_boot}whenever its unit restarts"
    line = configured["procps"]
    if line and line["value"] == value:
        return _line(line), "procps, when someone called 'sysctl --system'"
    return None


def _reloads(rp_filter, name):
    """Whether udev runs systemd-sysctl for an interface of this name; rules may leave out some patterns."""
    pattern = horizons.pattern_name(rp_filter, name)
    return pattern is not None and horizons.reloads(rp_filter, pattern)


def _line(line):
    return {"path": line["path"], "line": line["line"], "text": f"{line['key']} = {line['value']}"}


def _of_another_writer(rp_filter, name, value, _configured):
    if name not in devices.RESERVED:
        for step in horizons.pattern_of(rp_filter, name).get("on_add") or ():
            if step["sets"] == value and not step.get("runs"):
                return step, "a rule of udev, which runs for every new interface, past both loaders"
    for writer in rp_filter["other_writers"]:
        is_sure = horizons.sets_key(writer, name) and writer.get("certain", True) and not horizons.loosens(writer)
        if is_sure and writer["sets"] == value and writer.get("active") is not False:
            return writer, f"{_runner(writer)}, past both loaders"
    return None


def _runner(writer):
    unit = writer.get("unit")
    return f"{writer['by']} ({unit})" if unit and unit != writer["by"] else writer["by"]


def _of_default(rp_filter, name, value, configured):
    default = rp_filter["default"]
    if name in devices.RESERVED or any(configured.values()) or default["running"] != value:
        return None
    by = "the value of 'default', with which a device begins"
    for loader in ("systemd_sysctl", "unit", "procps"):
        line = default["configured"].get(loader)
        if line and line["value"] == value:
            return _line(line), by
    return None, by


def _of_an_overridden_line(rp_filter, name, value, configured):
    line = overridden_line(rp_filter, name, value)
    if line is None:
        return None
    winner = configured.get("unit") or configured["systemd_sysctl"] or configured["procps"]
    when = f"before {place(winner)} overrode this line" if winner else "though none applies this line now"
    if not may_be_written_again(line, name):
        return _line(line), f"a loader (probably systemd-sysctl), {when}"
    role = role_of(line)
    again = f"{role.name}, which will write it again on its next run" if role else "the program that wrote this line"
    return _line(line), f"a loader, {when}, or {again}"


def overridden_line(rp_filter, name, value):
    """The line that has this value for a key, though no loader applies it (any more)."""
    for line in rp_filter.get("lines") or ():
        meant = values.name_of(line["key"])
        if meant and line["value"] == value and (meant == name or _stands_for(meant, name)):
            return line
    return None


def may_be_written_again(line, name):
    """Whether a program may have written an overridden line, and the kernel as well, as Ansible's module sysctl does.

    Not if a glob matches the interface, nor if the file is a distribution's.
    """
    return values.name_of(line["key"]) == name and not line["path"].startswith(_DISTRIBUTION)


def role_of(line):
    """The known role that writes the file of a line; None if there is none."""
    file_name = os.path.basename(line["path"])
    return next((role for role in _ROLES if fnmatch.fnmatchcase(file_name, role.files)), None)


def _stands_for(glob, name):
    return name not in devices.RESERVED and glob not in devices.RESERVED and devices.matches(name, [glob])


def _suspects(rp_filter, name):
    """Writers whose writes are unknown or that do not run now, and scripts that mention rp_filter."""
    writers = [
        f"{place(writer)} ({_runner(writer)})"
        for writer in horizons.past_loaders(rp_filter)
        if horizons.may_write(writer, name) or writer.get("runs") or writer["names"] is None
    ]
    return writers + [f"{place(script)} (a script)" for script in rp_filter.get("scripts") or ()]
