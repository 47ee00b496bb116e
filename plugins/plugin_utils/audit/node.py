# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One node's part of the document, judged alone by its facts. Pure."""

from ansible.errors import AnsibleFilterError
from ansible_collections.nodeward.cilium.plugins.module_utils import horizons as prediction
from ansible_collections.nodeward.cilium.plugins.module_utils.endpoints import known_name
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.attestation import (
    UNKNOWN,
    attestation_of,
    listed,
    uplinks_of,
)
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import (
    FAILED,
    HORIZONS,
    NO_FACTS,
    OTHER_VERSION,
    TO_COME,
    UNREACHABLE,
    lines_of,
)
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import commands, facts_shape, horizons
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.diagnosis import diagnosis
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.findings import findings

MOST_PATHS = 5


def not_judged(name, kind, message):
    """A node without facts: never a pass."""
    reason = "%s: %s" % (kind, " ".join(message.split()) or "no more is known")
    told = {
        UNREACHABLE: "it was not reached",
        FAILED: "its facts could not be gathered",
        NO_FACTS: "it has no facts",
        OTHER_VERSION: "its facts were gathered by another version of the collection",
    }
    return {
        "name": name,
        "state": "unknown",
        "summary": told[kind],
        "gathered": False,
        "gathered_at": None,
        "running_system": None,
        "reason": reason,
        "endpoints": None,
        "horizons": None,
        "paths": [],
        "uplinks": [],
        "findings": [],
        "gone": [],
        "attestation": {"state": UNKNOWN, "text": f"Nothing can be said of {name}: {told[kind]} ({reason})."},
        "counters": None,
        "cures": [],
    }


def judged(name, rp_filter, routes, gathered_at, today, before=None):
    """A node by its facts. ``before`` are the counters of the baseline; facts that nobody understands judge nothing."""
    try:
        found = findings(rp_filter, routes, before)
        others = facts_shape.other_version("rp_filter", rp_filter), facts_shape.other_version("cilium_routes", routes)
        if any(others):
            return not_judged(name, OTHER_VERSION, "; ".join("%s: %s" % other for other in others if other))
        # What does not have the shape of the facts is named by a finding, and judged no further.
        rp_filter, _lacking = facts_shape.sound_rp_filter(rp_filter)
        routes, _lacking = facts_shape.sound_routes(routes)
        diagnosed = diagnosis(rp_filter, routes, node=name)
        state, summary = _state(diagnosed, found)
        return {
            "name": name,
            "state": state,
            "summary": summary,
            "gathered": True,
            "gathered_at": gathered_at,
            "running_system": rp_filter["running_system"],
            "reason": None,
            # Of an image it is not known how many pods it will have.
            "endpoints": _endpoints(diagnosed, routes) if rp_filter["running_system"]["observed"] else None,
            "horizons": _horizons(diagnosed, rp_filter, routes),
            "paths": _paths(diagnosed, rp_filter, routes),
            "uplinks": uplinks_of(rp_filter),
            "findings": [_of_the_node(name, each) for each in found],
            "gone": [],
            "attestation": attestation_of(name, rp_filter, gathered_at or today, _hidden(found)),
            "counters": _counters(rp_filter["counters"]),
            "cures": [{key: cure[key] for key in ("title", "commands", "variables")} for cure in diagnosed["cures"]],
        }
    except AnsibleFilterError as error:
        return not_judged(name, NO_FACTS, str(error))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Facts of another version, or changed on their way: this node cannot be judged, and all others can.
        told = "what is there is not what the facts modules of this version return (%s: %s)"
        return not_judged(name, NO_FACTS, told % (type(error).__name__, error))


def _state(diagnosed, found):
    """How the node is, and that in a sentence: by its pods' packets, and by what else was found."""
    state, summary = diagnosed["state"], diagnosed["summary"]
    if diagnosed["state"] == "no_cilium":
        # Judged by what its first pod would meet.
        state = "ok"
        if any(diagnosed["next"][when]["dropped"] for when in HORIZONS):
            state, summary = "at_risk", summary + "; replies of its first pod will be dropped"
        elif any(horizons.is_unknown(diagnosed["next"][when]) for when in HORIZONS):
            state, summary = "at_risk", summary + "; whether replies of its first pod will be dropped is unknown"
    if state == "dropping":
        return state, summary
    cut_apart = [finding for finding in found if finding["id"] == "RPF026"]
    if cut_apart:
        return "dropping", _told(cut_apart)
    hidden = _hidden(found)
    if hidden:
        return "unknown", f"{_told(hidden)}; of the rest: {summary}"
    # A filter on Cilium's host interfaces is no matter of a pod's reply, and a horizon that is unknown is never ok.
    threats = [finding for finding in found if finding["severity"] == "high" or finding["id"] in TO_COME]
    if threats and state == "ok":
        return "at_risk", f"{_told(threats)}; of its pods: {summary}"
    return state, summary


def _hidden(found):
    """Findings of what was not seen, without which the rest cannot be relied on."""
    return [finding for finding in found if finding["id"] in ("RPF029", "RPF032")]


def _told(found):
    titles = list(dict.fromkeys(finding["title"] for finding in found))
    return f"{'; '.join(titles)}: {listed(sorted({finding['subject'] for finding in found}))}"


def _of_the_node(name, finding):
    own = {key: finding[key] for key in ("id", "severity", "subject", "expected", "observed", "evidence", "remedy")}
    mends = dict(own["remedy"], command=commands.for_node(own["remedy"]["command"], name))
    return dict(own, remedy=mends, waived=None, change=None)


def _endpoints(diagnosed, routes):
    """The verdicts on their replies, and how many drop packets: to the host, to the world or to both."""
    counts = {key: diagnosed["endpoints"][key] for key in ("total", "accepted", "dropped", "unknown")}
    dropping = sum("dropped" in (each["verdict"], each["leaves"]["verdict"]) for each in routes["endpoints"])
    return dict(counts, dropping=dropping)


def _counters(counters):
    """Those that packets alone raise."""
    return counters and {key: counters[key] for key in ("ip_reverse_path_filter", "boot_id")}


def _horizon(horizon):
    before = horizon["before"]
    if before:
        before = {"effective": before["effective"], "lines": lines_of(horizons.lines_of(before["sources"]))}
    return {
        "effective": horizon["effective"],
        "dropped": horizon["dropped"],
        "lines": lines_of(horizon["lines"]),
        "ends": horizon["ends"],
        "before": before,
        "unknown": [{key: place[key] for key in ("by", "path", "line")} for place in horizon["unknown"]],
    }


def _horizons(diagnosed, rp_filter, routes):
    return dict({when: _horizon(diagnosed["next"][when]) for when in HORIZONS}, now=_now(diagnosed, rp_filter, routes))


_NOW = {"effective": None, "dropped": None, "lines": [], "ends": None, "before": None, "unknown": []}


def _now(diagnosed, rp_filter, routes):
    """The worst that an endpoint's device meets."""
    seen = []
    for endpoint in routes["endpoints"]:
        device = rp_filter["devices"].get(endpoint["device"])
        verdicts = (endpoint["verdict"], endpoint["leaves"]["verdict"])
        seen.append(("dropped" in verdicts, device["effective"] if device else -1, endpoint["device"] or "", device))
    if not seen:
        return _horizon(_NOW)
    is_dropped, effective, name, device = max(seen, key=lambda entry: entry[:3])
    known = all(story["verdict"] != "unknown" for story in diagnosed["stories"])
    now = dict(_NOW, dropped=True if is_dropped else False if known else None)
    if device:
        ends = horizons.judged(rp_filter, name, "now", [1, 2])["ends"] if is_dropped else None
        now.update(effective=effective, lines=list(_lines_now(rp_filter, device)), ends=ends)
    return _horizon(now)


def _lines_now(rp_filter, device):
    """The lines that give the values of now."""
    for state in (device, rp_filter["all"]):
        line = prediction.line_giving(state["configured"], state["running"])
        if line and line["value"] == device["effective"]:
            yield line


def _paths(diagnosed, rp_filter, routes):
    """The ways of those that drop packets first, then of those not known; else of one that is well."""
    # A story is also told of whose packets to the world die.
    order = {"dropped": 0, "accepted": 1, "unknown": 2}
    stories = sorted(diagnosed["stories"], key=lambda story: order[story["verdict"]])[:MOST_PATHS]
    if not stories:
        for endpoint in routes["endpoints"]:
            if endpoint["address"]:
                alone = dict(routes, endpoints=[endpoint])
                stories = diagnosis(rp_filter, alone, address=endpoint["address"])["stories"]
                break
    return [_path(story) for story in stories]


def _path(story):
    taken = ("pod", "address", "device", "route_device", "symmetric", "verdict", "reason")
    return dict(
        {key: story[key] for key in taken},
        name=known_name(story),
        leaves={key: story["leaves"][key] for key in ("device", "verdict", "reason")},
        effective=story["filter"]["effective"],
        decided_by=story["filter"]["decided_by"],
        set_by=[{key: one[key] for key in ("key", "value", "path", "line", "text", "by")} for one in story["set_by"]],
        next={when: _horizon(story["next"][when]) for when in HORIZONS},
    )
