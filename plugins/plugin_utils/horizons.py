# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pod's device meets at the next pod, the next boot and the next `sysctl --system`, from the facts. Pure."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import fnmatch
import itertools

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, sysctl_d

_ANY = [0, 1, 2]
_WEAKEST_FIRST = (0, 2, 1)


def to_come(rp_filter, device, dropped_at):
    """What a pod meets that is made anew (next pod, next boot), and what this one meets (sysctl --system)."""
    new_device = line_for_new(rp_filter, device)
    every, present = rp_filter["all"], rp_filter["devices"].get(device)
    has_procps = rp_filter["loaders"]["procps"] is not None
    procps_device = (present or pattern_of(rp_filter, device))["configured"]["procps"]
    on_new, on_all = past_the_loaders(rp_filter, device)
    own_line = _largest([new_device] + [_as_line(writer) for writer in on_new])
    all_line = _largest([every["configured"]["systemd_sysctl"]] + [_as_line(writer) for writer in on_all])
    return {
        "pod": horizon(every["running"], None, 0, own_line, dropped_at),
        # No line decides: the kernel boots with 0, and Cilium makes its devices with 0.
        "boot": horizon(0, all_line, 0, own_line, dropped_at),
        "sysctl_system": horizon(
            every["running"],
            every["configured"]["procps"] if has_procps else None,
            present["running"] if present else new_device["value"] if new_device else 0,
            procps_device if has_procps else None,
            dropped_at,
        ),
    }


def past_the_loaders(rp_filter, device=None):
    """Other programs that set a pod's device that comes, and those that set `all`."""
    writers = rp_filter["other_writers"]
    # networkd sees each new device; the others ran when it was not there yet, and `all` stays as they leave it.
    name = device or devices.to_come(pattern_name(rp_filter, None) or devices.CILIUM_PATTERNS[0])
    on_new = [writer for writer in writers if writer["by"] == "networkd" and sets_device(writer, name)]
    return on_new, [writer for writer in writers if sets_all(writer)]


def sets_all(writer):
    """Whether another program than the loaders sets `all`. networkd knows devices alone."""
    return writer["by"] != "networkd" and _names(writer, "all")


def _sets_default(writer):
    """Whether it writes `default`, which reaches each device that nobody wrote before."""
    return writer["by"] != "networkd" and _names(writer, "default")


def sets_device(writer, name):
    """Whether it sets the device for sure."""
    return _names(writer, name) and not writer["narrowed"] and not devices.matches(name, writer["not_on"])


def may_set(writer, name):
    """Whether it may set what the device is filtered with."""
    if writer["names"] is None or _names(writer, name):
        return not devices.matches(name, writer["not_on"])
    return sets_all(writer)


def _names(writer, name):
    return bool(writer["names"]) and devices.matches(name, writer["names"])


def _as_line(writer):
    """What another program sets, as if it were a loader's line; None where that is not known."""
    if writer["sets"] is None:
        return None
    names = writer["names"] or ["DEVICE"]
    key = "IPv4ReversePathFilter" if writer["by"] == "networkd" else sysctl_d.spell(sysctl_d.conf_key(names[0]))
    return {"value": writer["sets"], "path": writer["path"], "line": writer["line"], "key": key}


def _largest(lines):
    """Of lines that are applied in an order that is not known, the one that filters most; None where there is none."""
    return max((line for line in lines if line), key=lambda line: line["value"], default=None)


def pattern_of(rp_filter, device):
    """What is configured for devices to come, of the sort of this one."""
    name = pattern_name(rp_filter, device)
    return rp_filter["patterns"][name] if name else {"configured": {"systemd_sysctl": None, "procps": None}}


def pattern_name(rp_filter, device):
    """The pattern of Cilium's devices that stands for this one; None where there is none."""
    patterns = sorted(rp_filter["patterns"])
    matching = [name for name in patterns if device and fnmatch.fnmatchcase(device, name)]
    return next(iter(matching + [name for name in patterns if name == devices.CILIUM_PATTERNS[0]] + patterns), None)


def loads_new_devices(rp_filter):
    """Whether udev runs systemd-sysctl for Cilium's new devices; where not, nobody touches what Cilium wrote."""
    rule = rp_filter["reload_on_add"]
    return bool(rule and not rule.get("cleared_by"))


def line_for_new(rp_filter, device):
    """The line that decides for a device to come."""
    return pattern_of(rp_filter, device)["configured"]["systemd_sysctl"] if loads_new_devices(rp_filter) else None


def horizon(every, every_line, own, own_line, dropped_at):
    """What the kernel filters with then, by running values and the lines that replace them, and whether that drops."""
    every = every_line["value"] if every_line else every or 0
    own = own_line["value"] if own_line else own
    effective = max(every, own)
    return {
        "effective": effective,
        "dropped": None if dropped_at is None else min(effective, 2) in dropped_at,
        "lines": [
            line for line, value in ((own_line, own), (every_line, every)) if line and (value == effective or value)
        ],
    }


def dropped_at_of(endpoints):
    """At which values a pod to come is cut off, judged by those that are there."""
    known = [endpoint["dropped_at"] for endpoint in endpoints if endpoint["dropped_at"] is not None]
    return sorted({value for values in known for value in values}) if known else None


def dropped_at_first(endpoint_routes):
    """At which values the first pod is cut off: Cilium's devices have no address, so all hangs on its own route."""
    # What the agent is configured for holds for a pod to come, whatever those that were there have.
    has_route = endpoint_routes["agent"] if endpoint_routes["agent"] is not None else endpoint_routes["in_effect"]
    return [] if has_route else [1, 2]


def uplink_to_come(rp_filter, name):
    """What an uplink is filtered with after the next boot and the next `sysctl --system`: {value, lines} for each.

    Where other programs set it too, ``value`` is the weakest of what it may be, and None where that may be none.
    """
    every, device = rp_filter["all"], rp_filter["devices"][name]
    # At boot a device begins with `default`, and without any line with 0.
    own = device["configured"]["systemd_sysctl"] or rp_filter["default"]["configured"]["systemd_sysctl"]
    at_boot = _of_lines((0, own), (0, every["configured"]["systemd_sysctl"]))
    writers = [
        writer
        for writer in rp_filter["other_writers"]
        if may_set(writer, name) or not device["configured"]["systemd_sysctl"] and _sets_default(writer)
    ]
    if writers:
        possible = _possible(name, every["configured"]["systemd_sysctl"], own, writers)
        matter = [writer for writer in writers if not _loosens(writer) or 1 in possible]
        at_boot["lines"] += [line for line in (_as_line(writer) for writer in matter) if line]
        at_boot["value"] = min(possible, key=_strength) if possible == {0} or 0 not in possible else None
    return {
        "boot": at_boot,
        "sysctl_system": _of_lines(
            (device["running"], device["configured"]["procps"]), (every["running"] or 0, every["configured"]["procps"])
        ),
    }


def _possible(name, every, own, writers):
    """What an uplink may be filtered with once all have run, in an order that is not known."""
    of_all, of_own = [_value(every)], [_value(own)]
    for writer in writers:
        if _loosens(writer):
            continue
        sets = _ANY if writer["sets"] is None else [writer["sets"]]
        if sets_all(writer):
            of_all += sets
        if not sets_all(writer) or _names(writer, name):
            of_own += sets
    possible = {max(values) for values in itertools.product(of_all, of_own)}
    return possible | {2} if 1 in possible and any(_loosens(writer) for writer in writers) else possible


def _loosens(writer):
    """NetworkManager's connectivity checks make a strict device loose, and leave any other as it is."""
    return writer["by"] == "networkmanager" and writer["sets"] == 2


def _strength(value):
    return _WEAKEST_FIRST.index(min(max(value, 0), 2))


def _value(line):
    return line["value"] if line else 0


def _of_lines(*values):
    """The larger of values, each replaced by its line where there is one, with the lines that give it."""
    values = [(line["value"] if line else running, line) for running, line in values]
    largest = max(value for value, _line in values)
    return {"value": largest, "lines": [line for value, line in values if line and value == largest]}
