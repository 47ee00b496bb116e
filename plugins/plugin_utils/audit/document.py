# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit's document: facts of hosts in, one document out, of which every format is rendered. Pure.

roles/audit/files/audit.schema.json describes the document. A node is judged alone (judged, not_judged), so that
thousands can be judged one after the other; waivers and baseline are laid on each node after that (annotated), and the
head is made last (head), of the sums that were kept meanwhile (Sums).
"""

import datetime
import fnmatch
import json
import re

from ansible.errors import AnsibleFilterError
from ansible_collections.nodeward.cilium.plugins.module_utils import horizons as prediction
from ansible_collections.nodeward.cilium.plugins.module_utils.endpoints import known_name
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import schema as audit_schema
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import commands, facts_shape, horizons
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.catalogue import (
    CATALOGUE,
    SEVERITIES,
    remedy,
    section,
)
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.diagnosis import diagnosis
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.findings import findings, takes_packets

SCHEMA = "nodeward.cilium/audit"
SCHEMA_VERSION = 2
STATES = ("ok", "at_risk", "dropping", "unknown")
FAIL_ON = SEVERITIES + ("none",)
HORIZONS = ("pod", "boot", "restart", "sysctl_system")
_TO_COME = ("RPF002", "RPF003", "RPF004", "RPF034")
UNREACHABLE, FAILED, NO_FACTS, OTHER_VERSION = "unreachable", "failed", "no facts", "other version"
MOST_PATHS = 5
_NAMED = 5  # names in a sentence; the rest is a number
_MODES = {0: "off (0)", 1: "strict (1)", 2: "loose (2)"}
#: The states of spoof protection: strict is met, loose is partially met, off is not met.
MET, PARTIALLY_MET, NOT_MET, UNKNOWN = PROTECTIONS = ("met", "partially_met", "not_met", "unknown")
# Read in: the benchmarks' audit steps; the check texts of V-257962 and V-281345, and of V-230549 in its later releases
# (the first one took 1 alone).
_REQUIREMENT = [
    "The requirement: net.ipv4.conf.all.rp_filter = 1, by the CIS Benchmarks for Linux (Ensure reverse path filtering",
    "is enabled) and by DISA's STIGs of RHEL 9 (RHEL-09-253035) and RHEL 10 (RHEL-10-800130). DISA's STIG of RHEL 8",
    "(RHEL-08-040285) takes 1 or 2.",
    "Its intent: the kernel checks the source address of every packet that enters the node.",
]
_LETTER = [
    "The letter is also met: all is on, and the kernel uses the larger of all and the interface's own value. With",
    "Cilium that works only where its pods have routes by their own interfaces, and cuts nodes apart even then.",
]
_NOT_TO_THE_LETTER = [
    "Why not to the letter: the kernel uses the larger of all and the interface's own value, so all = 1 filters the",
    "interfaces of Cilium too, by which the replies of pods arrive, and drops these.",
]
_VERDICTS = {
    MET: "The intent is MET: each interface by which packets enter is strict (1):",
    PARTIALLY_MET: "The intent is PARTIALLY MET: each interface by which packets enter is filtered, some loosely (2):",
    NOT_MET: "The intent is NOT met:",
    UNKNOWN: "It could NOT be seen whether the intent is met:",
}
_LOOSE = [
    "What loose (2) does not stop: where a default route leads to all else, a spoofed source of any address that this",
    "route covers, a pod's and another node's among them. Where a control asks for 1, loose does not satisfy it.",
]
_UPLINK = "  uplink %s: %s now, %s after a boot%s, %s after a restart of systemd-sysctl, %s after sysctl --system"
_MODES_TOLD = [
    "What the modes do: strict (1) drops a packet whose source the node would answer by another interface, such as one",
    "with a pod's address. Loose (2) drops only a source that the node could not answer at all; where a default route",
    "leads to all else, there is none. An uplink with that route takes foreign sources in either mode.",
]
# ASCII: digits of other scripts are digits to Python, and sort after all dates.
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
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


# ---- one node --------------------------------------------------------------------------------------------------------


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
            "uplinks": _uplinks(rp_filter),
            "findings": [_of_the_node(name, each) for each in found],
            "gone": [],
            "attestation": _attestation(name, rp_filter, gathered_at or today, _hidden(found)),
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
    threats = [finding for finding in found if finding["severity"] == "high" or finding["id"] in _TO_COME]
    if threats and state == "ok":
        return "at_risk", f"{_told(threats)}; of its pods: {summary}"
    return state, summary


def _hidden(found):
    """Findings of what was not seen, without which the rest cannot be relied on."""
    return [finding for finding in found if finding["id"] in ("RPF029", "RPF032")]


def _told(found):
    titles = list(dict.fromkeys(finding["title"] for finding in found))
    return f"{'; '.join(titles)}: {_names(sorted({finding['subject'] for finding in found}))}"


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
        before = {"effective": before["effective"], "lines": _lines(horizons.lines_of(before["sources"]))}
    return {
        "effective": horizon["effective"],
        "dropped": horizon["dropped"],
        "lines": _lines(horizon["lines"]),
        "ends": horizon["ends"],
        "before": before,
        "unknown": [{key: place[key] for key in ("by", "path", "line")} for place in horizon["unknown"]],
    }


def _lines(lines):
    return [{key: line[key] for key in ("path", "line", "key", "value")} for line in lines]


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


# ---- uplinks, and what an auditor is handed --------------------------------------------------------------------------


def _uplinks(rp_filter):
    return [
        _uplink(name, device, horizons.uplink_to_come(rp_filter, name))
        for name, device in sorted(rp_filter["devices"].items())
        if device["kind"] == "uplink"
    ]


def _uplink(name, device, to_come):
    return {
        "device": name,
        "effective": device["effective"],
        "boot": to_come["boot"]["value"],
        "restart": to_come["restart"]["value"],
        "sysctl_system": to_come["sysctl_system"]["value"],
        "lines": _lines(to_come["boot"]["lines"]),
    }


def _attestation(name, rp_filter, moment, hidden):
    """Whether every uplink is filtered, now and later, and Cilium's devices alone are exempt, as a text."""
    uplinks = _uplinks(rp_filter)
    exempt, bare, loose = _exempt(rp_filter)
    every, system = rp_filter["all"], rp_filter["running_system"]
    weakest = {each["device"]: _weakest(_later(each) + [each["effective"]]) for each in uplinks}
    state = _protection(weakest, bare, loose, hidden or every["running"] is None)
    text = [f"Reverse-path filter of {name}, as of {moment}", ""] + _REQUIREMENT
    text += _LETTER if every["running"] else _NOT_TO_THE_LETTER
    if system["observed"]:
        text.append(f"Here all is {_mode(every['running'])}{_by(every['configured']['systemd_sysctl'])}.")
    text += ["", _VERDICTS[state]]
    for each in uplinks:
        boot, restart, system_ = (
            "not known, since another program may set it," if value is None else _mode(value) for value in _later(each)
        )
        lines = "".join(f" ({line['path']}:{line['line']})" for line in each["lines"])
        told = (each["device"], _mode(each["effective"]), boot, lines, restart, system_)
        text.append(_UPLINK % told + _MARKS.get(weakest[each["device"]], ""))
    text += [f"  not read: {each['subject']} ({each['evidence']['text']})" for each in hidden[:_NAMED]]
    if not system["observed"]:
        text.append(f"  not a running system ({system['why']}): its interfaces are not known")
    elif not uplinks:
        text.append("  no uplink is known: no interface has a global IPv4 address or a default route")
    text += [f"  other interface {device}: off (0) now{_MARKS[0]}, and not of Cilium" for device in bare]
    text += [f"  other interface {device}: loose (2) now{_MARKS[2]}" for device in loose]
    text += ["", "Exempt, as interfaces of Cilium: %s." % (_names(exempt) or "none")]
    for pattern, known in sorted(rp_filter["patterns"].items()):
        line = known["configured"]["systemd_sysctl"]
        if line and line["value"] == 0:
            text.append(f"  {pattern} by {line['path']}:{line['line']}")
    text += _MODES_TOLD + (_LOOSE if state == PARTIALLY_MET else [])
    return {"state": state, "text": "\n".join(text)}


_MARKS = {0: "  <-- NOT protected", 2: "  <-- protected in part"}


def _weakest(values):
    """Of an interface's values off, else None if one is not known, else loose before strict."""
    if 0 in values:
        return 0
    return None if None in values else min((min(value, 2) for value in values), key=(2, 1).index)


def _protection(weakest, bare, loose, hidden):
    """The state of spoof protection, by the weakest value of each uplink, and by interfaces that are neither."""
    values = list(weakest.values())
    if 0 in values or bare:
        return NOT_MET
    if not values or hidden or None in values:
        return UNKNOWN
    return PARTIALLY_MET if 2 in values or loose else MET


def _later(uplink):
    """Its values at the horizons that an uplink has."""
    return [uplink[when] for when in ("boot", "restart", "sysctl_system")]


def _exempt(rp_filter):
    """(Cilium's interfaces that are not filtered, others of no uplink that are not, and those that are loose)."""
    found = {"cilium": [], 0: [], 2: []}
    for name, device in sorted(rp_filter["devices"].items()):
        effective = min(device["effective"], 2)
        if device["kind"] == "cilium" and not effective:
            found["cilium"].append(name)
        elif device["kind"] == "other" and effective in found and takes_packets(name, device):
            found[effective].append(name)
    return found["cilium"], found[0], found[2]


def _names(names):
    """cilium_host first; a node has a hundred devices of pods, whose names are gone with them."""
    named = sorted(names, key=lambda name: (name.startswith("lxc"), name))
    rest = len(named) - 2 * _NAMED
    return ", ".join(named[: 2 * _NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _mode(value):
    return "not known" if value is None else _MODES.get(value, f"{value}")


def _by(line):
    return f" ({line['path']}:{line['line']})" if line else ""


# ---- waivers ---------------------------------------------------------------------------------------------------------


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
            raise AuditError(f"{where}: expected a dictionary with {_all(self.FIELDS)}, found {waiver!r:.80}")
        unknown = sorted(str(key) for key in set(waiver) - set(self.FIELDS))
        if unknown:
            raise AuditError(f"{where}: no field is called {_all(unknown)}; there are {_all(self.FIELDS)}")
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
            if not isinstance(text, str) or not _DATE.match(text):
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


# ---- an earlier document ---------------------------------------------------------------------------------------------


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


# ---- the whole -------------------------------------------------------------------------------------------------------


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
            named = ", ".join(self.unknown[:_NAMED]) + (f" and {count - _NAMED} more" if count > _NAMED else "")
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


def _all(words):
    return ", ".join(words)
