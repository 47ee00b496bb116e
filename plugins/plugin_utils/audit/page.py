# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit's document as one HTML page that needs nothing but a browser. Pure.

The page holds a compact form of the document (see compact()) and one script that shows it. What must be read where no
script runs (the answer, the totals, the nodes that are not ok) stands in it as plain HTML as well.
"""

import base64
import hashlib
import html
import json
import re
from collections import Counter
from pathlib import Path

from ansible_collections.nodeward.cilium.plugins.module_utils.text import visible

PARTS = Path(__file__).resolve().parents[3] / "roles" / "audit" / "files" / "page"

# What the page leaves out of a document, all of it stated where it is shown. Of one rule on one node:
IN_FULL = 20  # findings with all that is known of them: those that count first, new ones before old ones;
BY_NAME = 200  # after those, findings by their subject alone. The rest is a number.
MOST_LINES = 10  # lines of files in the list of those that are behind most findings
MOST_PLAIN = 200  # nodes in the list for a browser without scripts

STATES = ("dropping", "at_risk", "unknown", "ok")
WORDS = {"dropping": "dropping", "at_risk": "at risk", "unknown": "unknown", "ok": "ok"}
SEVERITIES = ("high", "medium", "low")
CHANGES = (None, "new", "unchanged")
HORIZONS = ("now", "pod", "boot", "restart", "sysctl_system")
SOURCES = {
    "run": "from facts gathered by this run",
    "cache": "from facts kept from earlier runs",
    "document": "from a saved document",
}
FAILS_ON = {"high": "severity high", "none": "no severity"}


def page(document):
    """The page as text. The document's nodes may be anything with a length that can be gone through."""
    held, unwell = compact(document)
    style, script = _part("page.css"), _part("page.js")
    totals, verdict = document["totals"], document["verdict"]
    parts = {
        "policy": policy(style, script),
        "style": style,
        "script": script,
        "title": escaped(title(totals, verdict)),
        "collection": escaped(document["collection"]),
        "outcome": "passed" if verdict["passed"] else "failed",
        "answer": escaped(answer(totals)),
        "verdict": "Passed" if verdict["passed"] else "Failed",
        "reasons": "".join(f"<li>{escaped(reason)}</li>" for reason in verdict["reasons"]),
        "about": about(document, held["oldest"]),
        "shares": shares(totals),
        "figures": "".join(
            f'<li class="figure {state}"><b>{number(totals[state])}</b> <span>{WORDS[state]}</span></li>'
            for state in STATES
        ),
        "plain": plain(unwell, totals),
        "document": embedded(held),
    }
    # In one go, so that a host cannot be called like a part and get its contents.
    return re.sub(r"<!--([a-z]+)-->", lambda match: parts[match.group(1)], _part("page.html"))


def _part(name):
    # Line ends as a browser sees them: the policy's hashes are of these.
    return (PARTS / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def policy(style, script):
    """Nothing is allowed but this very style, this very script and pictures that the page itself holds."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {hash_of(script)}",
            f"style-src {hash_of(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def hash_of(text):
    return "'sha256-%s'" % base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


# --- text that others chose ---


def escaped(text):
    return html.escape(visible(str(text)))


def embedded(value):
    """JSON in ASCII that nothing can close: neither a script element nor a comment begins or ends in it."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def number(value):
    return f"{value:,}"


# --- what is read without a script ---


def title(totals, verdict):
    return "%s: %s" % ("Passed" if verdict["passed"] else "Failed", answer(totals))


def answer(totals):
    """One sentence: how many nodes, and how they are."""
    nodes = totals["nodes"]
    if not nodes:
        return "No node was audited."
    if totals["ok"] == nodes:
        return "The node is ok." if nodes == 1 else f"All {number(nodes)} nodes are ok."
    says = {
        "dropping": ("drops pods' packets now", "drop pods' packets now"),
        "at_risk": ("is at risk", "are at risk"),
        "unknown": ("could not be judged", "could not be judged"),
    }
    told = [(totals[state], says[state]) for state in says if totals[state]]
    parts = [f"{number(count)} {words[count != 1]}" for count, words in told]
    parts[0] = f"{number(told[0][0])} of {number(nodes)} nodes {told[0][1][told[0][0] != 1]}"
    if nodes == 1:
        return f"The node {told[0][1][0]}."
    if len(parts) == 1:
        return parts[0] + "."
    return f"{', '.join(parts[:-1])} and {parts[-1]}."


def about(document, oldest=None):
    """When, of what, by which rule, against what: what qualifies the answer."""
    source = SOURCES[document["source"]]
    if document["source"] != "run" and oldest:
        source += f", the oldest facts of {escaped(moment(oldest))}"
    made = document["generated"]
    fail_on = document["options"]["fail_on"]
    says = [
        f'Made <time datetime="{escaped(made)}">{escaped(moment(made))}</time>, {source}',
        "Fails on %s" % FAILS_ON.get(fail_on, f"severity {escaped(fail_on)} or worse"),
    ]
    told = protection(document["totals"]["spoof_protection"])
    if told:
        says.append("Spoof protection " + told)
    waived = document["totals"]["waived"]
    if waived:
        says.append(f"{counted(waived, 'finding')} waived")
    expired = sum(waiver["expired"] for waiver in document["waivers"])
    if expired:
        says.append(
            "<strong>%s expired</strong>, so what %s covered counts again"
            % (counted(expired, "waiver"), "it" if expired == 1 else "they")
        )
    baseline = document["baseline"]
    if baseline:
        says.append(
            "Since %s: <strong>%s new</strong>, %s gone, %s unchanged"
            % (
                (escaped(moment(baseline["generated"])),)
                + tuple(number(baseline[each]) for each in ("new", "gone", "unchanged"))
            )
        )
    return "".join(f"<li>{each}</li>" for each in says)


def protection(totals):
    """On how many nodes the uplinks are filtered; where not, that is what one looks for."""
    words = (
        ("met", "met on %s"),
        ("partially_met", "partially met on %s"),
        ("not_met", "<strong>not met on %s</strong>"),
        ("unknown", "not known of %s"),
    )
    told = [(word, totals[key]) for key, word in words if totals[key]]
    return ", ".join(
        word % (number(count) if place else counted(count, "node")) for place, (word, count) in enumerate(told)
    )


def moment(stamp):
    """2026-11-24T10:00:00Z as people read it."""
    return stamp.replace("T", " ").replace(":00Z", " UTC").replace("Z", " UTC")


def counted(count, noun):
    return "%s %s%s" % (number(count), noun, "" if count == 1 else "s")


def shares(totals):
    """The shares of the states as one line; the figures below it say the same in words."""
    drawn, left = [], 0.0
    for state in STATES:
        share = 1000.0 * totals[state] / totals["nodes"] if totals["nodes"] else 0
        if share:
            # A gap to the next, and a single node among thousands is still to be seen.
            width = max(share - (4 if left + share < 999.9 else 0), 4)
            drawn.append(f'<rect class="{state}" x="{min(left, 996):.1f}" width="{width:.1f}" height="8"/>')
        left += share
    return "".join(drawn)


def plain(unwell, totals):
    """The nodes that are not ok, for a browser without scripts."""
    total = totals["nodes"] - totals["ok"]
    if not total:
        return "<p>No node is at risk, dropping or unknown.</p>" if totals["nodes"] else "<p>There are no nodes.</p>"
    shown = [node for state in STATES for node in unwell.get(state, ())][:MOST_PLAIN]
    rows = "".join(
        '<tr><th scope="row"><bdi>%s</bdi></th><td>%s</td><td><bdi>%s</bdi></td><td>%s</td></tr>'
        % (escaped(name), WORDS[state], escaped(told), escaped(", ".join(ids)) or "none")
        for name, state, told, ids in shown
    )
    rest = total - len(shown)
    more = f"<p>{counted(rest, 'node')} more, all in audit.json.</p>" if rest else ""
    return (
        '<table><thead><tr><th scope="col">Node</th><th scope="col">State</th><th scope="col">What is wrong</th>'
        f'<th scope="col">Findings</th></tr></thead><tbody>{rows}</tbody></table>{more}'
    )


# --- the compact form ---


class Pool:
    """Values that many nodes share, each held once and known by its number."""

    def __init__(self):
        self.values, self._numbers = [], {}

    def add(self, value):
        key = json.dumps(value, sort_keys=True)
        if key not in self._numbers:
            self._numbers[key] = len(self.values)
            self.values.append(value)
        return self._numbers[key]


def compact(document):
    """What the page holds, and the nodes that are not ok by state: (name, state, what is wrong, ids)."""
    pool, ids = Pool(), sorted(document["rules"])
    lines, texts, unwell, nodes, behind = Counter(), {}, {}, [], []
    worst = {}
    for node in document["nodes"]:
        nodes.append(compact_node(node, ids, pool))
        behind.append(_lines_behind(node["findings"]))
        lines.update(behind[-1].keys())
        for place, severity in behind[-1].items():
            worst[place] = min(severity, worst.get(place, severity))
        for line in (line for name in HORIZONS for line in (node["horizons"] or {}).get(name, {"lines": ()})["lines"]):
            texts.setdefault(_place(line), f"{line['key']} = {line['value']}")
        if node["state"] != "ok" and len(unwell.setdefault(node["state"], [])) < MOST_PLAIN:
            found = sorted({each["id"] for each in node["findings"] if not each["waived"]})
            unwell[node["state"]].append((node["name"], node["state"], node["reason"] or node["summary"], found))
    most = sorted(lines, key=lambda place: (worst[place], -lines[place], place))
    told = {place: number for number, place in enumerate(most[:MOST_LINES])}
    for node, places in zip(nodes, behind):
        numbers = sorted(told[place] for place in places if place in told)
        if numbers:
            node["lines"] = numbers
    held = {key: document[key] for key in ("generated", "source", "totals", "waivers", "baseline")}
    held.update(
        ids=ids,
        rules=[document["rules"][each] for each in ids],
        pool=pool.values,
        # Path, line, what stands there where that is known, how many nodes, and the worst that it is behind.
        lines=[[*place, texts.get(place), lines[place], worst[place]] for place in told],
        more_lines=max(len(most) - MOST_LINES, 0),
        limits={"full": IN_FULL, "named": BY_NAME},
        oldest=min((node["gathered_at"] for node in nodes if "gathered_at" in node), default=None),
        nodes=nodes,
    )
    return held, unwell


def _place(line):
    return (line["path"], line["line"]) if line["path"] and line["line"] is not None else None


def _lines_behind(findings):
    """The lines behind findings that count, each with the worst severity."""
    behind = {}
    for each in findings:
        place = None if each["waived"] else _place(each["evidence"])
        if place:
            severity = SEVERITIES.index(each["severity"])
            behind[place] = min(severity, behind.get(place, severity))
    return behind


def compact_node(node, ids, pool):
    """A node with what it shares by number, without what is empty, and with its findings cut by the stated rule."""
    full, cut, counts = cut_findings(node["findings"])
    held = {
        "name": node["name"],
        "state": STATES.index(node["state"]),
        "summary": node["summary"],
        "gathered_at": node["gathered_at"],
        "reason": node["reason"],
        "endpoints": node["endpoints"]
        and [node["endpoints"][key] for key in ("total", "accepted", "dropped", "unknown", "dropping")],
        "horizons": None if node["horizons"] is None else pool.add(node["horizons"]),
        "paths": [_path(each, pool) for each in node["paths"]],
        "uplinks": pool.add(node["uplinks"]),
        # Of each rule: its severity here, and how many count, count and are new, are waived, are waived and new.
        "counts": [[ids.index(each), SEVERITIES.index(severity)] + sums for (each, severity), sums in counts.items()],
        "findings": [_finding(each, ids, pool) for each in full],
        "cut": [[ids.index(each), names, unnamed] for each, (names, unnamed) in cut.items()],
        "gone": [[each["id"], each["severity"], each["subject"]] for each in node["gone"]],
        "attestation": [node["attestation"]["state"], node["attestation"]["text"]],
        # Of a tree of files that does not run, why it counts as one.
        "by_files": (node["running_system"] or {}).get("why"),
        "counters": node["counters"],
        "cures": [pool.add(each) for each in node["cures"]],
    }
    return {key: value for key, value in held.items() if value not in (None, [])}


def cut_findings(findings):
    """Those shown in full, what is left out of each rule (names, and how many without one), the numbers of all."""
    ordered = sorted(
        findings,
        key=lambda each: (
            SEVERITIES.index(each["severity"]),
            each["id"],
            each["waived"] is not None,
            each["change"] != "new",
        ),
    )
    full, cut, counts, seen = [], {}, {}, Counter()
    for each in ordered:
        sums = counts.setdefault((each["id"], each["severity"]), [0, 0, 0, 0])
        sums[2 * (each["waived"] is not None) + (each["change"] == "new")] += 1
        seen[each["id"]] += 1
        if seen[each["id"]] <= IN_FULL:
            full.append(each)
            continue
        names, unnamed = cut.get(each["id"], ([], 0))
        if len(names) < BY_NAME:
            names.append(each["subject"])
        else:
            unnamed += 1
        cut[each["id"]] = (names, unnamed)
    return full, cut, counts


def _finding(each, ids, pool):
    return [
        ids.index(each["id"]),
        SEVERITIES.index(each["severity"]),
        each["subject"],
        each["expected"],
        each["observed"],
        pool.add(each["evidence"]),
        pool.add(each["remedy"]),
        each["waived"] and pool.add(each["waived"]),
        CHANGES.index(each["change"]),
    ]


def _path(each, pool):
    told = [
        each[key]
        for key in (
            "name",
            "address",
            "device",
            "route_device",
            "symmetric",
            "verdict",
            "reason",
            "effective",
            "decided_by",
        )
    ]
    set_by = [[one["key"], pool.add({**one, "key": None})] for one in each["set_by"]]
    leaves = [each["leaves"][key] for key in ("device", "verdict", "reason")]
    return told + [set_by, pool.add(each["next"]), leaves]
