# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An earlier document, read node by node, and what changed since. Pure."""

import json
import re

from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import schema as audit_schema
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import (
    SCHEMA,
    SCHEMA_VERSION,
    AuditError,
    moment,
)


def parsed(text, name):
    """(head, nodes) of a document in any layout: the head as a dictionary, the nodes one after the other.

    Of a fleet the whole would need a gigabyte, so it is gone through twice, and no node is kept.
    """
    read = {}
    try:
        for key, value in _members(text):
            if key in read:
                # Which of them counts is another for each reader.
                raise ValueError(f"{key!s:.40} stands there twice")
            read[key] = sum(1 for _node in value) if key == "nodes" else value
    except (ValueError, RecursionError) as error:
        raise AuditError(f"{name}: is no JSON: {error}") from None
    check_head(read, name)
    if "nodes" not in read:
        raise AuditError(f"{name}: has no nodes; expected a document that the audit wrote")
    read.pop("nodes")
    _fits(name, "", audit_schema.head(), read)
    nodes = next(value for key, value in _members(text) if key == "nodes")
    return read, _checked(nodes, read["rules"], name)


def _checked(nodes, known_rules, name):
    for number, node in enumerate(nodes):
        told = f"node '{node['name']!s:.80}': " if isinstance(node, dict) and "name" in node else f"nodes[{number}]: "
        _fits(name, told, audit_schema.node(), node)
        if node["gathered_at"] is not None and not moment(node["gathered_at"]):
            raise AuditError(f"{name}: {told}gathered_at: expected a time in UTC, found {node['gathered_at']!r}")
        for rule_id in {each["id"] for each in node["findings"] + node["gone"]}.difference(known_rules):
            raise AuditError(f"{name}: {told}has the finding {rule_id}, which is none of its rules")
        yield node


def _fits(name, told, check, value):
    try:
        check(value)
    except audit_schema.Unfit as error:
        raise AuditError(
            f"{name}: {told}{error}. It was changed, or another version of nodeward.cilium wrote it: make a new one"
        ) from None


def check_head(head, name):
    """Stop where it is not a document of this version."""
    if head.get("schema") != SCHEMA:
        raise AuditError(
            f"{name}: expected an audit's document, whose first member is schema: {SCHEMA}; found "
            f"{head.get('schema')!r:.80}"
        )
    if head.get("schema_version") != SCHEMA_VERSION:
        raise AuditError(
            f"{name}: is of schema_version {head.get('schema_version')!r:.40}, and this version of nodeward.cilium "
            f"reads {SCHEMA_VERSION}; make a new one of the facts"
        )
    if not moment(head.get("generated")):
        raise AuditError(f"{name}: generated: expected a time in UTC, found {head.get('generated')!r:.80}")


_SPACE = re.compile(r"[ \t\r\n]*")


def _members(text):
    """Key and value of an object's members in turn; the value of `nodes` is an iterator."""
    read = json.JSONDecoder(object_pairs_hook=_once).raw_decode
    at = _skip(text, _expect(text, 0, "{"))
    more = text[at : at + 1] != "}"
    while more:
        key, at = read(text, _expect(text, at, '"') - 1)
        at = _skip(text, _expect(text, at, ":"))
        if key == "nodes":
            end = []
            yield key, _elements(text, at, read, end)
            at = end[0]
        else:
            value, at = read(text, at)
            yield key, value
        more, at = _goes_on(text, at)
    at = _skip(text, _expect(text, at, "}"))
    if at != len(text):
        raise ValueError(f"expected the end at character {at}")


def _once(pairs):
    """An object of a document, in which nothing stands twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _value in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!s:.40} stands there twice")
    return made


def _elements(text, at, read, end):
    at = _skip(text, _expect(text, at, "["))
    more = text[at : at + 1] != "]"
    while more:
        value, at = read(text, at)
        yield value
        more, at = _goes_on(text, at)
    end.append(_expect(text, at, "]"))


def _goes_on(text, at):
    """Whether a comma says that there is more, and where that begins."""
    at = _skip(text, at)
    return (True, _skip(text, at + 1)) if text[at : at + 1] == "," else (False, at)


def _skip(text, at):
    return _SPACE.match(text, at).end()


def _expect(text, at, character):
    at = _skip(text, at)
    if text[at : at + 1] != character:
        raise ValueError(f"expected {character} at character {at}")
    return at + 1


class Baseline:
    """What an earlier document found: of each node the keys of its findings, and its counters."""

    def __init__(self, generated, nodes):
        self.generated = generated
        self.nodes = nodes
        self.sums = {"new": 0, "gone": 0, "unchanged": 0}
        self.not_compared = []

    @classmethod
    def read(cls, text, name="audit_baseline"):
        head, nodes = parsed(text, name)
        kept = {
            node["name"]: {
                "findings": {(each["id"], each["subject"]): each["severity"] for each in node["findings"]},
                "counters": node["counters"],
                "is_known": node["state"] != "unknown",
            }
            for node in nodes
        }
        return cls(head["generated"], kept)

    def counters(self, host):
        return (self.nodes.get(host) or {}).get("counters")

    def compare(self, node):
        """Mark a node's findings as new or unchanged, and name those that are gone."""
        earlier = self.nodes.get(node["name"])
        if earlier and not (earlier["is_known"] and node["state"] != "unknown"):
            # What could not be seen is neither gone nor new.
            self.not_compared.append(node["name"])
            return
        before, now = earlier["findings"] if earlier else {}, set()
        for finding in node["findings"]:
            key = finding["id"], finding["subject"]
            now.add(key)
            finding["change"] = "unchanged" if key in before else "new"
            self.sums[finding["change"]] += 1
        node["gone"] = [
            {"id": rule_id, "severity": before[rule_id, subject], "subject": subject}
            for rule_id, subject in sorted(set(before) - now)
        ]
        self.sums["gone"] += len(node["gone"])

    def as_member(self, names):
        missing = sorted(name for name in self.nodes if name not in names)
        return dict(self.sums, generated=self.generated, not_compared=self.not_compared, missing=missing)
