# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends the fault on a node, for good: what overrides the drop-in first, then harden, or endpoint routes. Pure."""

import json

from ansible_collections.nodeward.cilium.plugins.module_utils import horizons, option_names, values
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable
from ansible_collections.nodeward.cilium.plugins.module_utils.write import conflicts
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import (
    attribution,
    between_nodes,
    commands,
    overriding,
)
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.horizons import is_unknown, place

MOST_RECREATED = 20  # commands


def remediations(node, rp_filter, document):
    """Each {title, commands, variables, of}, in the order in which they are to be done."""
    found = _of_overridden_lines(rp_filter, document)
    writers = overriding.writers(rp_filter)
    for conflict in writers:
        way_out = option_names.renamed(conflicts.remediation(conflict), {"udev": "rp_filter_udev"})
        found.append(_remediation(f"{conflicts.describe(conflict)}; {way_out}"))
    if overriding.has_no_loader(rp_filter):
        found.append(_remediation("install systemd: without systemd-sysctl nothing reads the drop-in at boot"))
    if not _is_of_writers_alone(document, rp_filter):
        found.append(_exempting(node, rp_filter))
    # With `all` on, endpoint routes cut nodes apart, and what another program writes to it no exemption ends.
    if _is_ended_by_routes(document) and not any(values.key("all") in conflict.overrides for conflict in writers):
        is_on = document["endpoint_routes"]["agent"]
        found.append(_recreating(document["stories"]) if is_on else _routing(rp_filter, document["stories"]))
    return list({each["title"]: each for each in found}.values())


def _remediation(title, commands_=(), variables=None, of=""):
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in (variables or {}).items()}
    return {"title": title, "commands": list(commands_), "variables": texts, "of": of}


def _of_overridden_lines(rp_filter, document):
    """For running values of overridden lines that a program may have written: it may write the kernel again."""
    between = document["between_nodes"] or {"interfaces": []}
    found = []
    for one in [one for each in document["stories"] + between["interfaces"] for one in each["set_by"]]:
        line = attribution.overridden_line(rp_filter, one["key"], one["value"])
        if line is None or (line["path"], line["line"]) != (one["path"], one["line"]):
            continue
        state = rp_filter["all"] if one["key"] == "all" else rp_filter["devices"][one["key"]]
        is_applied = horizons.line_giving(state["configured"], one["value"])
        if is_applied or not attribution.may_be_written_again(line, one["key"]):
            continue
        role, key, where = attribution.role_of(line), printable(line["key"]), printable(place(line))
        if role:
            title = "in %s, the variable of %s, set %s to 0; the role writes %s and the kernel on each run"
            title %= (role.variable, role.name, key, where)
        else:
            title = "if a role or another program writes %s (%s = %s), have it write 0; it may write the kernel as well"
            title %= (where, key, line["value"])
        found.append(_remediation(title))
    return found


def _is_of_writers_alone(document, rp_filter):
    """Whether the only threat is a writer past the loaders, against which no drop-in holds."""
    places = [(writer["path"], writer["line"]) for writer in horizons.past_loaders(rp_filter)]
    sources = [
        (source["path"], source["line"]) in places
        for horizon in document["next"].values()
        for source in (horizon["sources"] if horizon["dropped"] else []) + horizon["unknown"]
        if source["value"] or source in horizon["unknown"]
    ]
    return document["state"] == "at_risk" and bool(sources) and all(sources)


def _exempting(node, rp_filter):
    title = "exempt Cilium's devices from the filter, and keep it on all others"
    needed = overriding.harden_options(rp_filter)
    if "rp_filter_conflicts" in needed:
        named = ", ".join(printable(place(line)) for line in overriding.later_lines(rp_filter)[:3])
        title += f"; this disables {named}, which would override the drop-in"
    if "rp_filter_edited" in needed:
        title += "; this restores the lines of the drop-in, which was edited by hand"
    if overriding.is_overridden(rp_filter) or overriding.has_no_loader(rp_filter):
        title = f"after that, {title}"
    options = overriding.as_arguments(needed, "-e")
    return _remediation(
        title,
        [
            commands.playbook("harden", node, *options, "--check --diff"),
            commands.playbook("harden", node, *options),
        ],
        dict({"rp_filter_state": "present"}, **needed),
        "role nodeward.cilium.rp_filter",
    )


def _is_ended_by_routes(document):
    """Whether routes of their own end more for the pods than a fault between nodes, which they do not end."""
    between = document["between_nodes"]
    if not between or not (between["dropped"] or between_nodes.risks(between)):
        return True
    of_pods = any(horizon["dropped"] or is_unknown(horizon) for horizon in document["next"].values())
    return of_pods or any(story["filter_is_why"] for story in document["stories"])


def _recreating(stories):
    return _remediation(
        "recreate the pods that have no route of their own: the agent is configured for endpoint routes, and a pod "
        "gets its route when it is made",
        sorted({commands.recreate(story["pod"]) for story in stories} - {""})[:MOST_RECREATED],
    )


def _routing(rp_filter, stories):
    title = "give every pod a route by its own device; agents must be restarted, and then all pods recreated"
    every = rp_filter["all"]
    if every["running"] or any(line and line["value"] for line in every["configured"].values()):
        title = f"together with the exemption of Cilium's devices, {title}"
    recreate = sorted({commands.recreate(story["pod"]) for story in stories} - {""})[:1]
    enable = "ansible-playbook -i INVENTORY nodeward.cilium.harden -e endpoint_routes_state=enabled"
    return _remediation(
        title,
        [
            f"{enable} --check --diff",
            f"{enable} -e endpoint_routes_restart=rolling",
            *recreate,
        ],
        {"endpoint_routes_state": "enabled"},
        "role nodeward.cilium.endpoint_routes",
    )
