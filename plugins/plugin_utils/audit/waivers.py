# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings that are accepted for a time. Pure."""

import datetime
import fnmatch

from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.document import all_of
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import DATE, AuditError
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.catalogue import CATALOGUE


class Waivers:
    """What is accepted, by whom it was asked for: checked data, and how often each was met."""

    FIELDS = ("id", "hosts", "justification", "expires")

    def __init__(self, given, today):
        """``given`` as in the option audit_waivers, ``today`` as 2026-11-24."""
        if not isinstance(given, (list, tuple)):
            raise AuditError(f"audit_waivers: expected a list of waivers, found {given!r:.80}")
        self.entries = [self._entry(number, waiver, today) for number, waiver in enumerate(given, 1)]

    def _entry(self, number, waiver, today):
        where = f"audit_waivers: waiver {number}"
        if not isinstance(waiver, dict):
            raise AuditError(f"{where}: expected a dictionary with {all_of(self.FIELDS)}, found {waiver!r:.80}")
        unknown = sorted(str(key) for key in set(waiver) - set(self.FIELDS))
        if unknown:
            raise AuditError(f"{where}: no field is called {all_of(unknown)}; there are {all_of(self.FIELDS)}")
        for field in self.FIELDS[:3]:
            if not isinstance(waiver.get(field), str) or not waiver[field].strip():
                raise AuditError(f"{where}: {field}: expected text, found {waiver.get(field)!r:.80}")
        if waiver["id"] not in CATALOGUE:
            raise AuditError(
                f"{where}: id: there is no finding '{waiver['id']!s:.40}'; there are {min(CATALOGUE)} to "
                f"{max(CATALOGUE)} (docs/findings.md)"
            )
        expires = self._expiry(where, waiver.get("expires"))
        return {
            "id": str(waiver["id"]),
            "hosts": str(waiver["hosts"]),
            "justification": str(waiver["justification"]),
            "expires": expires,
            "expired": expires is not None and expires < today,
            "matched": 0,
        }

    @staticmethod
    def _expiry(where, value):
        if value is None:
            return None
        # YAML makes a date of 2026-12-31 without quotes.
        text = value.isoformat() if isinstance(value, datetime.date) else value
        try:
            if not isinstance(text, str) or not DATE.match(text):
                raise ValueError
            datetime.date(*(int(part) for part in text.split("-")))
        except ValueError:
            raise AuditError(
                f"{where}: expires: expected the last day on which it holds, such as 2026-12-31, found {value!r:.80}"
            ) from None
        return str(text)

    def of(self, host, rule_id):
        """The waiver in force for a finding, as the document has it; all that name it count it."""
        found = None
        for entry in self.entries:
            if entry["id"] == rule_id and fnmatch.fnmatchcase(host, entry["hosts"]):
                entry["matched"] += 1
                if not entry["expired"] and found is None:
                    found = {"justification": entry["justification"], "expires": entry["expires"]}
        return found
