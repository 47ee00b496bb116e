# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of the audit's document, and its moments. Pure."""

import datetime
import re

from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.catalogue import SEVERITIES

SCHEMA = "nodeward.cilium/audit"
SCHEMA_VERSION = 2
STATES = ("ok", "at_risk", "dropping", "unknown")
FAIL_ON = SEVERITIES + ("none",)
HORIZONS = ("pod", "boot", "restart", "sysctl_system")
TO_COME = ("RPF002", "RPF003", "RPF004", "RPF034")
UNREACHABLE, FAILED, NO_FACTS, OTHER_VERSION = "unreachable", "failed", "no facts", "other version"

# ASCII: digits of other scripts are digits to Python, and sort after all dates.
DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
MOMENT = "%Y-%m-%dT%H:%M:%SZ"
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


class AuditError(ValueError):
    """An option or a file that cannot be worked with; the message is for people."""


def moment(text):
    """A time as the document has it; None where it is none."""
    try:
        then = datetime.datetime.strptime(text, MOMENT).replace(tzinfo=datetime.timezone.utc)
    except (TypeError, ValueError):
        return None
    return then if TIME.fullmatch(text) else None


def lines_of(lines):
    return [{key: line[key] for key in ("path", "line", "key", "value")} for line in lines]
