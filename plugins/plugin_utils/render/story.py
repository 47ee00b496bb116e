# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A diagnosis as text for the terminal. Pure."""

import re
import textwrap

from ansible_collections.nodeward.cilium.plugins.module_utils.endpoints import known_name
from ansible_collections.nodeward.cilium.plugins.module_utils.text import one_line
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import horizons

WIDTH = 110
MODES = {0: "off (0)", 1: "strict (1)", 2: "loose (2)"}
MOST_ENDPOINTS = 20  # of one story; the JSON names all
CULPRIT = ">> "
HORIZONS = (
    ("pod", "next pod"),
    ("boot", "next boot"),
    ("restart", "restart of systemd-sysctl"),
    ("sysctl_system", "sysctl --system"),
)


def story(diagnosis):
    """The lines; the first one says it all."""
    lines = [f"{diagnosis['node']}: {diagnosis['summary']}"]
    for chain, stories in _grouped(diagnosis["stories"]):
        lines += [""] + _endpoints(stories) + [""] + _aligned(chain, stories)
    if diagnosis["state"] == "at_risk" and not diagnosis["stories"]:
        lines += [""] + _aligned(_horizons(diagnosis["next"], "drops replies"), [])
    lines += _between_nodes(diagnosis["between_nodes"])
    lines += _measured(diagnosis)
    for number, cure in enumerate(diagnosis["cures"], 1):
        lines += ["", f"   Cure {number}: {cure['title']}"]
        lines += ["     $ " + command for command in cure["commands"]]
        lines += [f"     {name}: {_yaml(value)}   ({cure['of']})" for name, value in cure["variables"].items()]
    notes = _notes(diagnosis)
    if notes:
        lines += [""] + ["   Note: " + note for note in notes]
    if diagnosis["warnings"]:
        lines += [""] + ["   Warning: " + warning for warning in diagnosis["warnings"]]
    return [one_line(line) for line in lines + _unseen(diagnosis)]


def _notes(diagnosis):
    """The notes that matter for the state: of one that is ok only that the prediction is made without an agent."""
    if diagnosis["state"] in ("no_cilium", "elsewhere"):
        return []
    is_ok = diagnosis["state"] == "ok"
    return [note for note in diagnosis["notes"] if not is_ok or note == horizons.WITHOUT_AGENT]


def _yaml(value):
    """A variable's value as an inventory has it; a mapping stands there as JSON, which is YAML."""
    return value if value.startswith("{") else f'"{value}"'


def _grouped(stories):
    """Pairs of (chain, stories that have it), in their order; %s in a chain stands for the device."""
    groups = []
    for each in stories:
        chain = _chain(each)
        for known, members in groups:
            if known == chain:
                members.append(each)
                break
        else:
            groups.append((chain, [each]))
    return groups


def _endpoints(stories):
    rows = [
        (_name(each), each["address"] or each["ipv6"] or "address unknown", each["device"] or "device unknown")
        for each in stories[:MOST_ENDPOINTS]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["   " + "   ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    if len(stories) > MOST_ENDPOINTS:
        lines.append(f"   and {len(stories) - MOST_ENDPOINTS} more")
    return lines


def _name(each):
    """Its name; its address and its interface stand beside it."""
    return known_name(each) or (f"pod in {each['namespace']}" if each["namespace"] else "pod of unknown name")


def _chain(each):
    """Rows of (label, text): from the pod's device to what comes next, with {device} for its name."""
    if horizons.has_ipv6_alone(each):
        return [("verdict", "rp_filter does not apply: it has no IPv4 address")]
    rows = []
    if each["address"] and each["device"]:
        if each["route_device"] is None:
            rows.append(("route", "the host has no route to it"))
        elif each["symmetric"]:
            rows.append(("route", "the host reaches it by {device}, and its reply arrives there"))
        else:
            rows.append(("route", f"the host reaches it by {each['route_device']}; its reply arrives on {{device}}"))
    values = each["filter"]
    if values["effective"] is not None:
        why = {
            "own": f"its own value (all is {values['all']})",
            "all": f"because of all (its own is {values['own']})",
            "both": "its own value and all",
        }[values["decided_by"]]
        rows.append(("filter", f"{MODES.get(values['effective'], values['effective'])} on {{device}}: {why}"))
    rows.append(("verdict", f"{each['verdict']}: {each['reason']}"))
    leaves = each["leaves"]
    if leaves["verdict"] == each["verdict"] == "dropped":
        rows.append(("to the world", "dropped as well"))
    elif leaves["verdict"] == "accepted":
        # With BPF host routing the kernel names no device: the packet leaves before its check.
        told = f"leaves by {leaves['device']}" if leaves["device"] else f"accepted: {leaves['reason']}"
        rows.append(("to the world", told))
    elif each["address"]:
        rows.append(("to the world", f"{leaves['verdict']}: {leaves['reason']}"))
    if each["filter_is_why"] is False and "dropped" in (each["verdict"], leaves["verdict"]):
        rows.append(("cause", "the filter is not why; look at the routes, rules and addresses above"))
        return _anonymous(rows, each)
    rows += _culprits(each)
    return _anonymous(rows + _horizons(each["next"], "drops replies"), each)


def _between_nodes(between):
    """The filtered host interfaces, and what comes, if that drops packets from other nodes at any time."""
    if not between or not between["dropped"] and not any(state["dropped"] for state in between["next"].values()):
        return []
    rows = []
    for each in between["interfaces"]:
        rows.append(("filter", f"{MODES.get(each['effective'], each['effective'])} on {each['device']}"))
        rows += _culprits(each)
    rows += _horizons(between["next"], "drops packets")
    return ["", "   Packets from other nodes, with endpoint routes:", ""] + _aligned(rows, [])


def _culprits(each):
    for culprit in each["set_by"]:
        if culprit["path"]:
            yield CULPRIT + "set by", "%(path)s:%(line)d   %(text)s" % culprit
            yield "", "by " + culprit["by"]
        else:
            yield CULPRIT + "set by", "%(key)s has %(value)s by %(by)s" % culprit


def _anonymous(rows, each):
    if not each["device"]:
        return rows
    # The whole name: lxc1 is no part of lxc12.
    name = re.compile(rf"(?<![\w.-]){re.escape(each['device'])}(?![\w.-])")
    return [(label, name.sub("{device}", text)) for label, text in rows]


def _horizons(to_come, dropping):
    return [(label, _horizon(to_come[when], when, dropping)) for when, label in HORIZONS]


def _horizon(horizon, when, dropping):
    """A predicted state and its source: "drops replies: loose (2) by FILE:LINE"."""
    mode = MODES.get(horizon["effective"], horizon["effective"])
    unknown = ", ".join(horizons.place(place) for place in horizon["unknown"])
    if horizon["effective"] is None:
        told = f"{unknown} may write it" if unknown else "the running value could not be read"
        what = {True: dropping, False: "ok with any of these values", None: "unknown"}[horizon["dropped"]]
        return f"{what}: {told}"
    what = {True: dropping, False: "ok", None: "value"}[horizon["dropped"]]
    if horizon["dropped"] and horizon["ends"]:
        what += " " + horizons.duration(horizon["ends"])
    told = f"{what}: {mode} {_why(horizon, when)}"
    before = horizon["before"]
    if before and before["effective"]:
        places = ", ".join(horizons.place(source) for source in before["sources"] if source["value"])
        told += f"; until the agent has started {MODES.get(before['effective'], before['effective'])}"
        told += f" by {places}" if places else ""
    return told


def _why(horizon, when):
    sources = [source for source in horizon["sources"] if source["by"] != "agent"]
    if sources:
        return "by " + ", ".join(horizons.place(source) for source in sources)
    if horizon["sources"]:
        return "as the agent sets it"
    if when in ("pod", "boot") and not horizon["effective"]:
        return "as Cilium sets it; no line says otherwise"
    return "as it is now; this sets neither it nor all" if when not in ("pod", "boot") else "as it is now"


def _aligned(chain, stories):
    device = stories[0]["device"] if len(stories) == 1 else "its device"
    width = max(len(label.replace(CULPRIT, "")) for label, _text in chain)
    lines = []
    for label, text in chain:
        mark = CULPRIT if label.startswith(CULPRIT) else "   "
        head = mark + label.replace(CULPRIT, "").ljust(width) + "  "
        lines += textwrap.wrap(
            text.replace("{device}", device or "?"),
            WIDTH,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            # A path or a command is no longer one when it is broken.
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _measured(diagnosis):
    lines = []
    watch = diagnosis["watch"]
    if watch:
        if watch["dropped"] is None:
            told = "the drop counter could not be read"
        elif not watch["dropped"]:
            told = "no packet died"
        else:
            told = f"{watch['dropped']} packets died by the filter"
            devices = ["%(device)s (%(received)d came in)" % device for device in watch["devices"]]
            if devices and watch["dropped"] > sum(device["received"] for device in watch["devices"]):
                told += f", some of them on {', '.join(devices)}"
            elif len(devices) == 1:
                told += f", on {devices[0]}"
            elif devices:
                told += f", on some of: {', '.join(devices)}"
            else:
                told += "; on which device cannot be told: none of the pods whose packets are dropped sent any"
        lines.append(f"   In {watch['seconds']:g} s {told}.")
    for probe in diagnosis["probes"]:
        connected = "connected" if probe["answered"] else "no connection"
        lines.append(f"   Probe of {probe['address']} port {probe['port']}: {connected}; {_counted(probe)}.")
    if diagnosis["not_probed"]:
        lines.append(f"   No probe: {diagnosis['not_probed']}.")
    return [""] + lines if lines else []


def _counted(probe):
    before, after = probe["before"], probe["after"]
    if None in (before, after):
        return "the drop counter could not be read"
    if before != after:
        return f"the drop counter went from {before} to {after}"
    told = f"the drop counter stayed at {before}: no packet died by the filter meanwhile"
    # A refusal is a reply, and it passed; whoever waits for a port to open cannot tell it from silence.
    return told if probe["answered"] else told + " (the port may have refused)"


def _unseen(diagnosis):
    """What root could have seen is always said; what is just not there only where the answer suffers from it."""
    entries = [e for e in diagnosis["unseen"] if e["needs_root"] or diagnosis["state"] == "unknown"]
    if not entries:
        return []
    return ["", "   Not seen:"] + ["     %(what)s: %(why)s" % entry for entry in entries]
