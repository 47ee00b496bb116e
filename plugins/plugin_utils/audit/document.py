# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit's document: facts of hosts in, one document out, of which every format is rendered. Pure.

roles/audit/files/audit.schema.json describes the document. A node is judged alone (judged, not_judged), so that
thousands can be judged one after the other; waivers and baseline are laid on each node after that (annotated), and the
head is made last (head), of the sums that were kept meanwhile (Sums).
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.attestation import NAMED, PROTECTIONS
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import (
    SCHEMA,
    SCHEMA_VERSION,
    STATES,
    AuditError,
)
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.catalogue import (
    CATALOGUE,
    SEVERITIES,
    remedy,
    section,
)


class Sums:
    """What is counted over all nodes."""

    def __init__(self):
        self.names = set()
        self.states = dict.fromkeys(STATES, 0)
        self.findings = dict.fromkeys(SEVERITIES, 0)
        self.nodes_with = dict.fromkeys(SEVERITIES, 0)  # the severity or a worse one
        self.unknown = []
        self.waived = 0
        self.spoof_protection = dict.fromkeys(PROTECTIONS, 0)

    def add(self, node):
        self.names.add(node["name"])
        self.states[node["state"]] += 1
        if node["state"] == "unknown":
            self.unknown.append(node["name"])
        self.spoof_protection[node["attestation"]["state"]] += 1
        found = set()
        for finding in node["findings"]:
            if finding["waived"]:
                self.waived += 1
            else:
                self.findings[finding["severity"]] += 1
                found.add(finding["severity"])
        for number, severity in enumerate(SEVERITIES):
            self.nodes_with[severity] += bool(found.intersection(SEVERITIES[: number + 1]))

    def totals(self):
        return dict(
            self.states,
            nodes=len(self.names),
            findings=dict(self.findings),
            waived=self.waived,
            spoof_protection=dict(self.spoof_protection),
        )

    def verdict(self, fail_on):
        """Whether it passed, and why not. Nodes that could not be judged fail it whatever the severity."""
        reasons = []
        if not self.names:
            reasons.append("no node was audited")
        if self.unknown:
            count = len(self.unknown)
            named = ", ".join(self.unknown[:NAMED]) + (f" and {count - NAMED} more" if count > NAMED else "")
            reasons.append(f"{_counted(count, 'node')} could not be judged: {named}")
        if fail_on != "none":
            worse = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
            found = sum(self.findings[severity] for severity in worse)
            if found:
                which = fail_on if fail_on == SEVERITIES[0] else f"{fail_on} or worse"
                nodes = _counted(self.nodes_with[fail_on], "node")
                reasons.append(f"{_counted(found, 'finding')} of severity {which} on {nodes}")
        return {"passed": not reasons, "reasons": reasons}


def annotated(nodes, waivers, baseline, sums):
    """Each node with today's waivers and the comparison, counted. What an earlier audit said of both is forgotten."""
    for node in nodes:
        if node["name"] in sums.names:
            raise AuditError(f"node '{node['name']!s:.80}' stands twice in the document")
        node["gone"] = []
        for finding in node["findings"]:
            finding["change"] = None
            finding["waived"] = waivers.of(node["name"], finding["id"])
        if baseline:
            baseline.compare(node)
        sums.add(node)
        yield node


def head(sums, waivers, baseline, fail_on, source, generated, collection, saved_rules=None):
    """All of the document but its nodes, which are to be added as `nodes`. A saved one may know rules that are gone."""
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "collection": collection,
        "generated": generated,
        "source": source,
        "options": {"fail_on": fail_on},
        "verdict": sums.verdict(fail_on),
        "totals": sums.totals(),
        "rules": dict(saved_rules or {}, **rules()),
        "waivers": waivers.entries,
        "baseline": baseline.as_member(sums.names) if baseline else None,
    }


def rules():
    """The catalogue as the document has it."""
    return {
        rule_id: {
            "severity": rule.severity,
            "title": rule.title,
            "holds": rule.holds,
            "why": rule.why,
            "remedy": remedy(rule),
            "reference": rule.reference,
            "section": section(rule_id),
        }
        for rule_id, rule in sorted(CATALOGUE.items())
    }


def _counted(count, noun):
    return "%d %s%s" % (count, noun, "" if count == 1 else "s")


def all_of(words):
    return ", ".join(words)
