# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a finding and its evidence are made. Pure."""

from ansible_collections.nodeward.cilium.plugins.module_utils import horizons as prediction
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import horizons
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.catalogue import CATALOGUE, remedy


def make(rule_id, subject, observed, evidence, expected=None, severity=None):
    rule = CATALOGUE[rule_id]
    return {
        "id": rule_id,
        "severity": severity or rule.severity,
        "title": rule.title,
        "subject": subject,
        "expected": rule.expected if expected is None else str(expected),
        "observed": str(observed),
        "evidence": evidence,
        "why": rule.why,
        "remedy": remedy(rule),
        "reference": rule.reference,
    }


def evidence(text, path=None, line=None, value=None, counter=None):
    return {
        "path": path,
        "line": line,
        "text": text,
        "value": None if value is None else str(value),
        "counter": counter,
    }


def line_evidence(winner):
    """A line of a file as evidence."""
    text = f"{winner['path']}:{winner['line']} {winner['key']} = {winner['value']}"
    return evidence(text, winner["path"], winner["line"], winner["value"])


def running_evidence(text, value, configured):
    """A running value as evidence, with the line that gives it."""
    line = prediction.line_giving(configured, value)
    if not line:
        return evidence(text, value=value)
    return evidence(f"{text}; {line_evidence(line)['text']}", line["path"], line["line"], value)


def known(value):
    return "not known" if value is None else value


def ended(ends):
    """That the agent ends a state, as the rest of a sentence."""
    return f"; {horizons.duration(ends)}" if ends else ""
