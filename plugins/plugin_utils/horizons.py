# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pod's device meets at the next pod, the next boot and the next `sysctl --system`, from the facts. Pure."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import fnmatch


def to_come(rp_filter, device, dropped_at):
    """What a pod meets that is made anew (next pod, next boot), and what this one meets (sysctl --system)."""
    new_device = line_for_new(rp_filter, device)
    every, present = rp_filter["all"], rp_filter["devices"].get(device)
    has_procps = rp_filter["loaders"]["procps"] is not None
    procps_device = (present or pattern_of(rp_filter, device))["configured"]["procps"]
    return {
        "pod": horizon(every["running"], None, 0, new_device, dropped_at),
        # No line decides: the kernel boots with 0, and Cilium makes its devices with 0.
        "boot": horizon(0, every["configured"]["systemd_sysctl"], 0, new_device, dropped_at),
        "sysctl_system": horizon(
            every["running"],
            every["configured"]["procps"] if has_procps else None,
            present["running"] if present else new_device["value"] if new_device else 0,
            procps_device if has_procps else None,
            dropped_at,
        ),
    }


def pattern_of(rp_filter, device):
    """What is configured for devices to come, of the sort of this one."""
    patterns = rp_filter["patterns"]
    for name in sorted(patterns):
        if device and fnmatch.fnmatchcase(device, name):
            return patterns[name]
    nothing = {"configured": {"systemd_sysctl": None, "procps": None}}
    return patterns.get("lxc*") or next((patterns[name] for name in sorted(patterns)), nothing)


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


def uplink_to_come(rp_filter, device):
    """What an uplink is filtered with after the next boot and the next `sysctl --system`: {value, lines} for each.

    ``value`` is None where no loader sets it and another program may.
    """
    every, default = rp_filter["all"], rp_filter["default"]["configured"]["systemd_sysctl"]
    # At boot a device begins with `default`, and without any line with 0.
    own = device["configured"]["systemd_sysctl"] or default
    at_boot = _of_lines((0, own), (0, every["configured"]["systemd_sysctl"]))
    if not at_boot["value"] and rp_filter["other_writers"]:
        at_boot["value"] = None
    return {
        "boot": at_boot,
        "sysctl_system": _of_lines(
            (device["running"], device["configured"]["procps"]), (every["running"] or 0, every["configured"]["procps"])
        ),
    }


def _of_lines(*values):
    """The larger of values, each replaced by its line where there is one, with the lines that give it."""
    values = [(line["value"] if line else running, line) for running, line in values]
    largest = max(value for value, _line in values)
    return {"value": largest, "lines": [line for value, line in values if line and value == largest]}
