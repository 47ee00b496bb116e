# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uplinks, and what an auditor is handed about spoof protection. Pure."""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import lines_of
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import horizons
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.findings import takes_packets

NAMED = 5  # names in a sentence; the rest is a number
_MODES = {0: "off (0)", 1: "strict (1)", 2: "loose (2)"}
#: The states of spoof protection: strict is met, loose is partially met, off is not met.
MET, PARTIALLY_MET, NOT_MET, UNKNOWN = PROTECTIONS = ("met", "partially_met", "not_met", "unknown")
# Read in: the benchmarks' audit steps; the check texts of V-257962 and V-281345, and of V-230549 in its later releases
# (the first one took 1 alone).
_REQUIREMENT = [
    "The requirement: net.ipv4.conf.all.rp_filter = 1, by the CIS Benchmarks for Linux (Ensure reverse path filtering",
    "is enabled) and by DISA's STIGs of RHEL 9 (RHEL-09-253035) and RHEL 10 (RHEL-10-800130). DISA's STIG of RHEL 8",
    "(RHEL-08-040285) takes 1 or 2.",
    "Its intent: the kernel checks the source address of every packet that enters the node.",
]
_LETTER = [
    "The letter is also met: all is on, and the kernel uses the larger of all and the interface's own value. With",
    "Cilium that works only where its pods have routes by their own interfaces, and cuts nodes apart even then.",
]
_NOT_TO_THE_LETTER = [
    "Why not to the letter: the kernel uses the larger of all and the interface's own value, so all = 1 filters the",
    "interfaces of Cilium too, by which the replies of pods arrive, and drops these.",
]
_VERDICTS = {
    MET: "The intent is MET: each interface by which packets enter is strict (1):",
    PARTIALLY_MET: "The intent is PARTIALLY MET: each interface by which packets enter is filtered, some loosely (2):",
    NOT_MET: "The intent is NOT met:",
    UNKNOWN: "It could NOT be seen whether the intent is met:",
}
_LOOSE = [
    "What loose (2) does not stop: where a default route leads to all else, a spoofed source of any address that this",
    "route covers, a pod's and another node's among them. Where a control asks for 1, loose does not satisfy it.",
]
_UPLINK = "  uplink %s: %s now, %s after a boot%s, %s after a restart of systemd-sysctl, %s after sysctl --system"
_MODES_TOLD = [
    "What the modes do: strict (1) drops a packet whose source the node would answer by another interface, such as one",
    "with a pod's address. Loose (2) drops only a source that the node could not answer at all; where a default route",
    "leads to all else, there is none. An uplink with that route takes foreign sources in either mode.",
]


def uplinks_of(rp_filter):
    return [
        _uplink(name, device, horizons.uplink_to_come(rp_filter, name))
        for name, device in sorted(rp_filter["devices"].items())
        if device["kind"] == "uplink"
    ]


def _uplink(name, device, to_come):
    return {
        "device": name,
        "effective": device["effective"],
        "boot": to_come["boot"]["value"],
        "restart": to_come["restart"]["value"],
        "sysctl_system": to_come["sysctl_system"]["value"],
        "lines": lines_of(to_come["boot"]["lines"]),
    }


def attestation_of(name, rp_filter, moment, hidden):
    """Whether every uplink is filtered, now and later, and Cilium's devices alone are exempt, as a text."""
    uplinks = uplinks_of(rp_filter)
    exempt, bare, loose = _exempt(rp_filter)
    every, system = rp_filter["all"], rp_filter["running_system"]
    weakest = {each["device"]: _weakest(_later(each) + [each["effective"]]) for each in uplinks}
    state = _protection(weakest, bare, loose, hidden or every["running"] is None)
    text = [f"Reverse-path filter of {name}, as of {moment}", ""] + _REQUIREMENT
    text += _LETTER if every["running"] else _NOT_TO_THE_LETTER
    if system["observed"]:
        text.append(f"Here all is {_mode(every['running'])}{_by(every['configured']['systemd_sysctl'])}.")
    text += ["", _VERDICTS[state]]
    for each in uplinks:
        boot, restart, system_ = (
            "not known, since another program may set it," if value is None else _mode(value) for value in _later(each)
        )
        lines = "".join(f" ({line['path']}:{line['line']})" for line in each["lines"])
        told = (each["device"], _mode(each["effective"]), boot, lines, restart, system_)
        text.append(_UPLINK % told + _MARKS.get(weakest[each["device"]], ""))
    text += [f"  not read: {each['subject']} ({each['evidence']['text']})" for each in hidden[:NAMED]]
    if not system["observed"]:
        text.append(f"  not a running system ({system['why']}): its interfaces are not known")
    elif not uplinks:
        text.append("  no uplink is known: no interface has a global IPv4 address or a default route")
    text += [f"  other interface {device}: off (0) now{_MARKS[0]}, and not of Cilium" for device in bare]
    text += [f"  other interface {device}: loose (2) now{_MARKS[2]}" for device in loose]
    text += ["", "Exempt, as interfaces of Cilium: %s." % (listed(exempt) or "none")]
    for pattern, known in sorted(rp_filter["patterns"].items()):
        line = known["configured"]["systemd_sysctl"]
        if line and line["value"] == 0:
            text.append(f"  {pattern} by {line['path']}:{line['line']}")
    text += _MODES_TOLD + (_LOOSE if state == PARTIALLY_MET else [])
    return {"state": state, "text": "\n".join(text)}


_MARKS = {0: "  <-- NOT protected", 2: "  <-- protected in part"}


def _weakest(values):
    """Of an interface's values off, else None if one is not known, else loose before strict."""
    if 0 in values:
        return 0
    return None if None in values else min((min(value, 2) for value in values), key=(2, 1).index)


def _protection(weakest, bare, loose, hidden):
    """The state of spoof protection, by the weakest value of each uplink, and by interfaces that are neither."""
    values = list(weakest.values())
    if 0 in values or bare:
        return NOT_MET
    if not values or hidden or None in values:
        return UNKNOWN
    return PARTIALLY_MET if 2 in values or loose else MET


def _later(uplink):
    """Its values at the horizons that an uplink has."""
    return [uplink[when] for when in ("boot", "restart", "sysctl_system")]


def _exempt(rp_filter):
    """(Cilium's interfaces that are not filtered, others of no uplink that are not, and those that are loose)."""
    found = {"cilium": [], 0: [], 2: []}
    for name, device in sorted(rp_filter["devices"].items()):
        effective = min(device["effective"], 2)
        if device["kind"] == "cilium" and not effective:
            found["cilium"].append(name)
        elif device["kind"] == "other" and effective in found and takes_packets(name, device):
            found[effective].append(name)
    return found["cilium"], found[0], found[2]


def listed(names):
    """cilium_host first; a node has a hundred devices of pods, whose names are gone with them."""
    named = sorted(names, key=lambda name: (name.startswith("lxc"), name))
    rest = len(named) - 2 * NAMED
    return ", ".join(named[: 2 * NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _mode(value):
    return "not known" if value is None else _MODES.get(value, f"{value}")


def _by(line):
    return f" ({line['path']}:{line['line']})" if line else ""
