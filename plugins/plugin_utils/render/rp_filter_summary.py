# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role rp_filter did on a node, as data and as one or two lines. Pure."""

from ansible_collections.nodeward.cilium.plugins.module_utils.endpoints import name_of
from ansible_collections.nodeward.cilium.plugins.module_utils.text import one_line

MARK = ">> "
_SHOWN = 8


def summary(result, node, state, conflicts, check_mode):
    """The public result of the role.

    result: of the module rp_filter; node: its name; state and conflicts: the options of that name.
    """
    values, files = _changes(result.get("diff") or [])
    found = {
        "changed": bool(result["changed"]),
        "state": state,
        "applied": result["applied"],
        "files": files,
        "running_values": values,
        "exempt_interfaces": result["exempt_interfaces"],
        "uplinks": result["uplinks"],
        "accepted_again": _endpoints(result["healed"]),
        "dropped": _endpoints(result["unhealed"]),
        "cilium_signs": result["cilium_signs"],
        "pending": _pending(result, state, conflicts),
    }
    return dict(found, lines=[one_line(line) for line in _lines(found, node, check_mode)])


def _changes(diff):
    """(running values that change, paths of files that change)."""
    values, files = {}, []
    for each in diff:
        if each["after_header"] == each["before_header"] == "running values":
            values = {name: int(value) for name, _is, value in (row.split() for row in each["after"].splitlines())}
        else:
            files.append(each["before_header"] if each["before_header"] != "/dev/null" else each["after_header"])
    return values, files


def _endpoints(endpoints):
    kept = ("pod", "address", "device", "reason")
    return [dict({key: each.get(key) for key in kept}, name=name_of(each)) for each in endpoints]


def _pending(result, state, conflicts):
    told = []
    if result["not_applied"]:
        told.append(f"running values are not set ({result['not_applied']}); the next boot sets them")
    if result["unhealed"]:
        still = "still dropped" if state == "present" else "dropped"
        told.append(f"the replies of {_named(_endpoints(result['unhealed']))} are {still}")
    if state == "present" and conflicts == "report" and result["conflicts"]:
        told.append(
            "the drop-in is overridden by %s"
            % _listed(f"{each['path']}:{each['line']}" for each in result["conflicts"])
        )
    if state == "present" and not result["not_applied"] and not result["cilium_signs"]:
        told.append("no sign of Cilium on this node; expected unless it is yet to be installed")
    return told


def _lines(found, node, check_mode):
    parts = []
    if found["changed"]:
        changed = [_count(len(found["running_values"]), "running value")] if found["running_values"] else []
        parts.append("%s: %s" % ("would change" if check_mode else "changed", _listed(changed + found["files"])))
    else:
        parts.append("no change")
    if found["applied"] and found["state"] == "present":
        names = found["exempt_interfaces"]
        parts.append("%s exempt%s" % (_count(len(names), "interface"), f" ({_listed(names)})" if names else ""))
    uplinks = _listed("%s %s" % pair for pair in sorted(found["uplinks"].items()))
    if found["applied"]:
        parts.append(f"uplinks: {uplinks}" if uplinks else "no uplinks")
    if found["accepted_again"]:
        parts.append(f"accepted again: {_named(found['accepted_again'])}")
    lines = [f"{node}: {'; '.join(parts)}"]
    if found["pending"]:
        lines.append(f"{MARK}{node}: pending: {'; '.join(found['pending'])}")
    return lines


def _named(endpoints):
    names = _listed(each["name"] for each in endpoints)
    return f"{_count(len(endpoints), 'endpoint')} ({names})"


def _listed(names):
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _count(number, noun):
    return "%d %s%s" % (number, noun, "" if number == 1 else "s")
