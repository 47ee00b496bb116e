# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit's document in, what the terminal shows out. Pure."""

import heapq
from collections import Counter

from ansible_collections.nodeward.cilium.plugins.module_utils.text import one_line

MARK = ">>"
MOST_NODES, MOST_FINDINGS = 20, 5
_ORDER = ("dropping", "unknown", "at_risk", "ok")
_SEVERITIES = ("high", "medium", "low")


def summary(document):
    """The answer first, then the nodes that are not ok, the worst first, and the verdict last."""
    totals = document["totals"]
    lines = [
        "%d %s: %d ok, %d at risk, %d dropping, %d unknown"
        % (
            totals["nodes"],
            "node" if totals["nodes"] == 1 else "nodes",
            totals["ok"],
            totals["at_risk"],
            totals["dropping"],
            totals["unknown"],
        )
    ]
    shown = heapq.nsmallest(MOST_NODES, (node for node in document["nodes"] if _worth(node)), key=_rank)
    for node in shown:
        lines += _node(node, document["rules"])
    rest = sum(_worth(node) for node in document["nodes"]) - len(shown)
    if rest:
        lines.append(f"   and {rest} more with findings")
    lines.append(
        "Spoof protection, the intent of all.rp_filter = 1: met on %(met)d (strict), partially met on "
        "%(partially_met)d (loose), not met on %(not_met)d, not known of %(unknown)d" % totals["spoof_protection"]
    )
    systems = ((node["name"], node["running_system"]) for node in document["nodes"])
    by_files = [(name, system["why"]) for name, system in systems if system and not system["observed"]]
    for name, why in by_files[:MOST_NODES]:
        lines.append(f"{one_line(name)}: judged by its files alone: {one_line(why)}")
    if len(by_files) > MOST_NODES:
        lines.append(f"   and {len(by_files) - MOST_NODES} more judged by their files alone")
    found = ", ".join(f"{totals['findings'][severity]} {severity}" for severity in _SEVERITIES)
    lines.append(f"Findings: {found}; {totals['waived']} waived")
    lines += [
        f"Waiver of {each['id']} for {one_line(each['hosts'])} {_idle(each)}"
        for each in document["waivers"]
        if each["expired"] or not each["matched"]
    ]
    lines += _compared(document["baseline"])
    fail_on = document["options"]["fail_on"]
    if document["verdict"]["passed"]:
        lines.append(f"PASSED (audit_fail_on: {fail_on})")
    else:
        lines.append(f"{MARK} FAILED (audit_fail_on: {fail_on})")
        lines += ["   " + one_line(reason) for reason in document["verdict"]["reasons"]]
    return lines


def _worth(node):
    return node["state"] != "ok" or any(not finding["waived"] for finding in node["findings"])


def _rank(node):
    return _ORDER.index(node["state"]), node["name"]


def _node(node, rules):
    mark = MARK if node["state"] in ("dropping", "unknown") else "  "
    yield (
        f"{mark} {one_line(node['name'])}: {node['state'].replace('_', ' ')}: "
        f"{one_line(node['reason'] or node['summary'])}"
    )
    counting = sorted(
        (finding for finding in node["findings"] if not finding["waived"]),
        key=lambda finding: _SEVERITIES.index(finding["severity"]),
    )
    for finding in counting[:MOST_FINDINGS]:
        evidence = finding["evidence"]
        where = f" ({one_line(evidence['path'])}:{evidence['line']})" if evidence["line"] else ""
        yield "     %-6s %s %s: %s%s%s" % (
            finding["severity"],
            finding["id"],
            one_line(finding["subject"]),
            one_line(rules[finding["id"]]["title"]),
            where,
            " [new]" if finding["change"] == "new" else "",
        )
    if len(counting) > MOST_FINDINGS:
        yield f"     and {len(counting) - MOST_FINDINGS} more"


def _idle(waiver):
    """Why it covers nothing; a pattern with a typo, for one, matches nothing."""
    return f"expired on {waiver['expires']}: it covers nothing" if waiver["expired"] else "matches nothing"


def _compared(baseline):
    if not baseline:
        return
    yield (
        f"Since {baseline['generated']}: {baseline['new']} new, {baseline['gone']} gone, {baseline['unchanged']} "
        "unchanged"
    )
    for field, told in (("not_compared", "not compared"), ("missing", "not in this audit")):
        names = baseline[field]
        if names:
            more = f" and {len(names) - MOST_NODES} more" if len(names) > MOST_NODES else ""
            yield f"   {told}: {', '.join(one_line(name) for name in names[:MOST_NODES])}{more}"


def outline(document):
    """A line for each node and kind of finding: what --diff compares."""
    yield f"passed: {document['verdict']['passed']}"
    for node in document["nodes"]:
        found = Counter((each["id"], each["waived"] is not None) for each in node["findings"])
        told = [
            "%s%s%s" % (rule_id, f" x{count}" if count > 1 else "", " (waived)" if waived else "")
            for (rule_id, waived), count in sorted(found.items())
        ]
        yield "%s: %s%s" % (one_line(node["name"]), node["state"], ": " + ", ".join(told) if told else "")
