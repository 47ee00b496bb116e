# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in, a diagnosis out: which reply is dropped, the deciding line, the horizons, the remediation. Pure."""

import ipaddress
import re

from ansible.errors import AnsibleFilterError
from ansible_collections.nodeward.cilium.plugins.module_utils import devices
from ansible_collections.nodeward.cilium.plugins.module_utils import horizons as prediction
from ansible_collections.nodeward.cilium.plugins.module_utils.endpoints import is_health
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import (
    attribution,
    between_nodes,
    facts_shape,
    horizons,
    remediation,
    source_marks,
)

SCHEMA = 2
DROPPED = "dropped"
ACCEPTED = "accepted"
UNKNOWN = "unknown"


def diagnosis(rp_filter, routes, node="this node", pod="", address="", later=None, probes=None, probing=False):
    """The document that RETURN describes."""
    _check(rp_filter, "devices", "rp_filter_facts")
    _check(routes, "endpoints", "route_facts")
    _check_wanted(pod, address)
    others = [facts_shape.other_version("rp_filter", rp_filter), facts_shape.other_version("cilium_routes", routes)]
    if any(others):
        return dict(
            _not_judged(node, [other for other in others if other]),
            not_probed="the facts were not judged" if probing else None,
        )
    rp_filter, lacking = facts_shape.sound_rp_filter(rp_filter)
    routes, more = facts_shape.sound_routes(routes)
    lacking += more
    endpoints = routes["endpoints"]
    wanted = [endpoint for endpoint in endpoints if _is_wanted(endpoint, pod, address)]
    asked = bool(pod or address)
    # A source may not know all endpoints, and those that it knows may have IPv6 alone.
    may_have_ipv4 = horizons.applies(routes) or routes.get("ipv4") is not False
    suspects = _suspects(rp_filter, endpoints) if may_have_ipv4 and not asked else []
    dropping = [endpoint for endpoint in wanted if _is_dropping(endpoint)]
    counts = dict.fromkeys((ACCEPTED, DROPPED, UNKNOWN), 0)
    for endpoint in endpoints:
        if endpoint["verdict"] != UNKNOWN or not horizons.has_ipv6_alone(endpoint):
            counts[endpoint["verdict"]] += 1
    told = [e for e in wanted if asked or _is_dropping(e) or e["verdict"] == UNKNOWN and _is_of_interest(e, rp_filter)]
    anew = horizons.dropped_at_anew(routes)
    stories = [_story(endpoint, rp_filter, anew) for endpoint in told + suspects]
    dropped_at = horizons.dropped_at_of(wanted) if asked else horizons.dropped_at_next(routes, wanted)
    to_come = horizons.to_come(rp_filter, None, dropped_at, anew)
    # These runs meet the devices that are there, of which one may have a line of its own.
    for when, loaders in (("restart", ("unit", "systemd_sysctl")), ("sysctl_system", ("procps",))):
        present = [
            horizons.to_come(rp_filter, each["device"], horizons.dropped_at(each))[when]
            for each in _one_of_each_sort(rp_filter, wanted, loaders)
        ]
        by_a_line = [each for each in present if each["dropped"] and each["lines"]]
        to_come[when] = next(iter(by_a_line), to_come[when])
    risks = [when for when, horizon in to_come.items() if horizon["dropped"] or horizons.is_unknown(horizon)]
    between = None if asked else between_nodes.judged(rp_filter, routes)
    state = _state(rp_filter, routes, wanted, asked, dropping, stories, risks, between, lacking)
    document = {
        "schema": SCHEMA,
        "node": node,
        "state": state,
        "summary": "",
        "running_system": rp_filter["running_system"],
        "endpoints": dict(counts, total=len(endpoints)),
        "stories": stories,
        "next": to_come,
        "between_nodes": between,
        "reload_on_add": rp_filter["reload_on_add"],
        "endpoint_routes": routes["endpoint_routes"],
        "cures": [],
        "watch": _watch(rp_filter, later, routes) if later else None,
        "probes": list(probes or []),
        "not_probed": _why_not_probed(state, stories) if probing and not probes else None,
        "notes": _notes(rp_filter, routes),
        "warnings": _warnings(rp_filter, routes),
        "unseen": [
            {key: entry[key] for key in ("what", "why", "needs_root")}
            for entry in routes["unread"] + rp_filter["unread"]
        ]
        + [{"what": path, "why": f"found {instead}", "needs_root": False} for path, _times, instead in lacking],
    }
    if state in ("dropping", "at_risk", UNKNOWN) and (_filter_is_why(stories) or between and between["dropped"]):
        document["cures"] = remediation.remediations(node, rp_filter, document)
    document["summary"] = _summary(document, routes, pod or address, len(dropping), risks)
    return document


def _not_judged(node, others):
    """Of facts of another version nothing can be said."""
    none = {"effective": None, "dropped": None, "lines": [], "sources": [], "ends": None, "before": None, "unknown": []}
    return {
        "schema": SCHEMA,
        "node": node,
        "state": UNKNOWN,
        "summary": "unknown: the facts were %s" % "; ".join("%s (%s)" % other for other in others),
        "running_system": None,
        "endpoints": dict.fromkeys((ACCEPTED, DROPPED, UNKNOWN, "total"), 0),
        "stories": [],
        "next": {when: dict(none) for when in horizons.TO_COME},
        "between_nodes": None,
        "reload_on_add": None,
        "endpoint_routes": None,
        "cures": [],
        "watch": None,
        "probes": [],
        "not_probed": None,
        "notes": [],
        "warnings": [],
        "unseen": [],
    }


# ---- who is meant ----------------------------------------------------------------------------------------------------


def _check(facts, member, module):
    if not isinstance(facts, dict) or member not in facts:
        raise AnsibleFilterError(
            f"diagnosis: expected the facts of nodeward.cilium.{module}, found {facts!r:.80}; gather them first"
        )


def _check_wanted(pod, address):
    if pod and address:
        raise AnsibleFilterError(f"pod and address: give one of them, found both '{pod}' and '{address}'")
    if pod and not re.match(r"[^/\s]+/[^/\s]+\Z", pod):
        raise AnsibleFilterError(f"pod: '{pod}' is no pod; write namespace/name, such as kube-system/coredns-1")
    if address:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise AnsibleFilterError(f"address: '{address}' is no IP address") from None


def _is_wanted(endpoint, pod, address):
    if pod:
        return endpoint["pod"] == pod
    if address:
        return str(ipaddress.ip_address(address)) in (endpoint["address"], endpoint["ipv6"])
    return True


def _one_of_each_sort(rp_filter, endpoints, loaders):
    """Of a hundred endpoints those that differ in what is set for their devices, and in what that does to them."""
    sorts = {}
    for endpoint in endpoints:
        device = rp_filter["devices"].get(endpoint["device"])
        if device:
            line = next((device["configured"][name] for name in loaders if device["configured"].get(name)), None)
            place = (line["path"], line["line"]) if line else None
            sorts.setdefault((device["running"], place, tuple(endpoint["dropped_at"] or ())), endpoint)
    return sorts.values()


def _is_of_interest(endpoint, rp_filter):
    """Whether its reply may be dropped: with an IPv4 address, or with none yet and where it would be."""
    device = rp_filter["devices"].get(endpoint["device"])
    return bool(endpoint["address"] or not endpoint["ipv6"] and device and device["effective"])


def _is_dropping(endpoint):
    return DROPPED in (endpoint["verdict"], endpoint["leaves"]["verdict"])


def _suspects(rp_filter, endpoints):
    """Cilium's filtered devices behind which no source knows a pod: all that can be seen without root."""
    known = {endpoint["device"] for endpoint in endpoints}
    return [
        {
            "address": None,
            "ipv6": None,
            "pod": None,
            "is_health": name == devices.HEALTH_DEVICE,
            "device": name,
            "peer": {"namespace": None},
            "route_device": None,
            "symmetric": None,
            "verdict": UNKNOWN,
            "reason": "the filter is on, and no source tells the address of the pod behind it",
            "leaves": {"device": None, "verdict": UNKNOWN, "reason": "its address is not known"},
            # Without a route of its own it would be in none of the tables that everybody may read.
            "dropped_at": [1, 2],
        }
        for name, device in sorted(rp_filter["devices"].items())
        if device["kind"] == devices.CILIUM
        and device["effective"]
        and name not in known
        and not devices.matches(name, [devices.HOST_DEVICES])
    ]


# ---- one chain -------------------------------------------------------------------------------------------------------


def _story(endpoint, rp_filter, anew):
    device = rp_filter["devices"].get(endpoint["device"])
    every = rp_filter["all"]["running"]
    effective = device["effective"] if device else None
    if endpoint["verdict"] == UNKNOWN and endpoint["address"]:
        filter_is_why = None
    else:
        # At 0, and for a local or martian source, it is something else.
        filter_is_why = bool(effective) and endpoint["dropped_at"] is not None
    return {
        "address": endpoint["address"],
        "ipv6": endpoint["ipv6"],
        "pod": endpoint["pod"],
        "is_health": is_health(endpoint),
        "namespace": endpoint["peer"]["namespace"],
        "device": endpoint["device"],
        "route_device": endpoint["route_device"],
        "symmetric": endpoint["symmetric"],
        "verdict": endpoint["verdict"],
        "reason": endpoint["reason"],
        "leaves": endpoint["leaves"],
        "filter": {
            "effective": effective,
            "own": device["running"] if device else None,
            "all": every,
            "decided_by": _decided_by(every, device["running"]) if device else None,
        },
        "filter_is_why": filter_is_why,
        "set_by": attribution.set_by(rp_filter, endpoint["device"], device),
        "next": horizons.to_come(rp_filter, endpoint["device"], horizons.dropped_at(endpoint), anew),
    }


def _decided_by(every, own):
    """Whose value the kernel uses: the larger of both."""
    if every == own:
        return "both"
    return "own" if every is None or own > every else "all"


# ---- the whole -------------------------------------------------------------------------------------------------------


def _state(rp_filter, routes, wanted, asked, dropping, stories, risks, between, lacking):
    if not rp_filter["running_system"]["observed"]:
        if asked:
            return "elsewhere"
        return UNKNOWN if lacking else "at_risk" if risks else "ok"
    has_cilium = any(device["kind"] == "cilium" for device in rp_filter["devices"].values())
    if not has_cilium and not routes["endpoints"]:
        # With the devices unread nothing can be said.
        return UNKNOWN if not rp_filter["devices"] else "no_cilium"
    if asked and not wanted:
        return "elsewhere"
    if dropping or between and between["dropped"]:
        return "dropping"
    # A pod without IPv4 is no matter of the filter; everything else that is not known is.
    if any(story["verdict"] == UNKNOWN and (story["address"] or not story["ipv6"]) for story in stories):
        return UNKNOWN
    if not wanted and routes["source"] is None or lacking:
        return UNKNOWN
    return "at_risk" if risks or between_nodes.risks(between) else "ok"


_WHEN = {
    "pod": "the next pod",
    "boot": "the next boot",
    "restart": "the next restart of systemd-sysctl",
    "sysctl_system": "the next 'sysctl --system'",
}


def _summary(document, routes, wanted, dropping, risks):
    state, total = document["state"], document["endpoints"]["total"]
    between = document["between_nodes"]
    if not document["running_system"]["observed"]:
        return _summary_of_files(document, wanted, risks)
    if state == "no_cilium":
        return "there is no Cilium on this node: none of its devices, and no agent"
    if state == "elsewhere":
        if "/" in wanted and routes["source"] in ("netns", "routes", None):
            return f"no agent answers, so nothing tells the names of pods; give the address instead of {wanted}"
        return f"{wanted} is not on this node, which has {_count(total, 'endpoint')}"
    if state == "dropping":
        if wanted:
            return f"the kernel drops packets of {wanted}"
        clauses = []
        if dropping or not between:
            clauses.append(f"the kernel drops packets of {dropping} of {_count(total, 'endpoint')}")
        if between and between["dropped"]:
            names = _listed([each["device"] for each in between["interfaces"]])
            clauses.append(f"packets from other nodes are dropped on {names} (endpoint routes are on)")
        return "; ".join(clauses)
    if state == UNKNOWN:
        unclear = len([story for story in document["stories"] if story["verdict"] == UNKNOWN])
        if not unclear and not routes["endpoints"]:
            return "Cilium is here, but nothing tells of its endpoints"
        if not unclear:
            return f"the facts are incomplete: {_listed([each['what'] for each in document['unseen']][-3:])}"
        return f"whether the kernel drops packets of {_count(unclear, 'pod')} is unknown"
    if state == "at_risk":
        now = _accepted(document, wanted) + " now" if total else "Cilium is here and has no endpoint yet"
        threats = [_threats(document["next"], risks, "its replies" if wanted else "replies")] if risks else []
        if between_nodes.risks(between):
            threats.append(_threats(between["next"], between_nodes.risks(between), "traffic between nodes"))
        return f"{now}, but {'; '.join(threats)}"
    if not total:
        return "Cilium is here and has no endpoint yet"
    accepted = _accepted(document, wanted)
    if _has_no_ipv4(document, wanted):
        return "ok: %s" % (accepted if wanted else accepted + ", so rp_filter does not apply")
    return f"ok: {accepted} now, after {_listed(_WHEN.values())}"


def _summary_of_files(document, wanted, risks):
    judged = f"judged by its files alone ({document['running_system']['why']})"
    if wanted:
        return f"{judged}: it has no pods, and so no {wanted}"
    if document["state"] == UNKNOWN:
        return f"{judged}: the facts are incomplete"
    if risks:
        return f"{judged}: {_threats(document['next'], risks, 'replies')}"
    return f"{judged}: once booted, no file filters pods' interfaces"


def _threats(to_come, risks, whom):
    """What drops replies for good, what for a while, and what cannot be predicted, as clauses of a sentence."""
    clauses = []
    lasting = [when for when in risks if horizons.drops_for_long(to_come[when])]
    if lasting:
        clauses.append(f"{_listed(_WHEN[when] for when in lasting)} will drop {whom}")
    passing = [when for when in risks if to_come[when]["dropped"] and when not in lasting]
    if passing:
        told = (_listed(_WHEN[when] for when in passing), whom, horizons.duration(to_come[passing[0]]["ends"]))
        clauses.append("%s will drop %s %s" % told)
    unknown = [when for when in risks if not to_come[when]["dropped"]]
    if unknown:
        places = [horizons.place(place) for when in unknown for place in to_come[when]["unknown"]]
        told = (_listed(_WHEN[when] for when in unknown), _listed(list(dict.fromkeys(places))[:3]))
        clauses.append("what comes with %s is unknown: %s may write the filter" % told)
    return "; ".join(clauses)


def _listed(words):
    return " and ".join(", ".join(words).rsplit(", ", 1))


def _has_no_ipv4(document, wanted):
    """Of a node of which no reply is dropped: whether the endpoint that was asked for, or each, has no IPv4 address."""
    if wanted:
        return all(map(horizons.has_ipv6_alone, document["stories"]))
    return not document["endpoints"][ACCEPTED]


def _accepted(document, wanted):
    """Whose replies are accepted, as a clause."""
    if _has_no_ipv4(document, wanted):
        if wanted:
            return f"rp_filter does not apply to {wanted} (it has no IPv4 address)"
        return "no endpoint has an IPv4 address"
    return "the kernel accepts the reply of %s" % (wanted or _everyone(document["endpoints"]))


def _everyone(counts):
    if counts[ACCEPTED] == counts["total"]:
        return f"all {counts['total']} endpoints" if counts["total"] != 1 else "its one endpoint"
    return f"{counts[ACCEPTED]} of {_count(counts['total'], 'endpoint')} (no other has an IPv4 address)"


def _count(number, noun):
    return "%d %s" % (number, noun if number == 1 else noun + "s")


def _filter_is_why(stories):
    # At risk: no story, and the filter is what threatens.
    return not stories or any(story["filter_is_why"] for story in stories)


def _watch(before, later, routes):
    """How many packets the filter dropped, and by which interfaces of dropping pods packets came in meanwhile."""
    after = {endpoint["device"]: endpoint for endpoint in later["cilium_routes"]["endpoints"]}
    devices = []
    for endpoint in routes["endpoints"]:
        now = after.get(endpoint["device"])
        if not _is_dropping(endpoint) or not now or None in (endpoint["received"], now["received"]):
            continue
        if now["received"] > endpoint["received"]:
            devices.append({"device": endpoint["device"], "received": now["received"] - endpoint["received"]})
    counters = before["counters"]["ip_reverse_path_filter"], later["rp_filter"]["counters"]["ip_reverse_path_filter"]
    return {
        "seconds": later["seconds"],
        "dropped": None if None in counters else counters[1] - counters[0],
        "devices": devices,
    }


def _why_not_probed(state, stories):
    if state == "no_cilium":
        return "there is no Cilium on this node"
    if stories and all(map(horizons.has_ipv6_alone, stories)):
        return "rp_filter does not apply to the pods above, which have no IPv4 address"
    if stories:
        return "the addresses of the pods above are not known"
    return "no pod's packets are dropped; name one with diagnose_pod or diagnose_address to probe it"


def _warnings(rp_filter, routes):
    _marked, text = source_marks.heeding_mark(rp_filter, routes)
    if not text:
        return []
    return [
        f"packets of Cilium's L7 proxy are dropped for their mark, whatever the filter: {text}. Set accept_local=1 on "
        "the interfaces of pods (RPF025)"
    ]


def _notes(rp_filter, routes):
    notes = [routes["endpoint_routes"]["disagreement"]] if routes["endpoint_routes"]["disagreement"] else []
    for rule in rp_filter["netfilter"][:3]:
        notes.append(
            f"a rule of netfilter drops the same packets whatever the filter says: {rule['family']} {rule['table']} "
            f"{rule['chain']}: {rule['rule']}"
        )
    for writer in prediction.past_loaders(rp_filter)[:3]:
        by = writer.get("unit") or writer["by"]
        told = f"{by} sets the filter too, past both loaders: {horizons.place(writer)}"
        notes.append(told + (" (it does not run now)" if writer.get("active") is False else ""))
    for script in (rp_filter.get("scripts") or [])[:3]:
        notes.append(f"a script mentions rp_filter, and when it runs is unknown: {horizons.place(script)}")
    remark = horizons.without_agent(rp_filter)
    if remark:
        notes.append(remark)
    if rp_filter["reload_on_add"] is None:
        notes.append(
            "no rule of udev runs systemd-sysctl for a new device, which so keeps the value that it is made with"
        )
    unit = rp_filter["loaders"]["systemd_sysctl"] or {}
    if unit.get("unit") == "failed":
        notes.append(f"systemd-sysctl.service has failed ({unit.get('unit_result')})")
    return notes
