# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in, findings out. Pure: touches no node, and says the same of the same facts."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
name: findings
short_description: What is wrong on a node, each with its evidence and remedy
version_added: 0.1.0
description:
  - Judges the facts of M(nodeward.cilium.rp_filter_facts) and, where given, of M(nodeward.cilium.route_facts).
  - Pure. It touches no node, and works as well on facts that were kept.
  - V(RPF001), A device of Cilium is filtered now.
  - V(RPF002), The next device of Cilium will be filtered.
  - V(RPF003), The next boot will filter Cilium's devices.
  - V(RPF004), The next sysctl --system will filter Cilium's devices.
  - V(RPF005), all filters Cilium's devices.
  - V(RPF006), The kernel drops what an endpoint sends.
  - V(RPF007), An uplink has no protection.
  - V(RPF008), A netfilter rule checks the reverse path.
  - V(RPF009), Something besides the loaders sets the filter.
  - V(RPF010), systemd-sysctl.service failed.
  - V(RPF011), A loader knows no globs.
  - V(RPF012), Something could not be read.
  - V(RPF013), udev does not run systemd-sysctl for new devices.
  - V(RPF014), Another line beats the drop-in's exemption.
  - V(RPF015), Another line beats what the drop-in keeps on a device.
  - V(RPF016), The drop-in is missing.
  - V(RPF017), The drop-in was changed by hand.
  - V(RPF018), The drop-in is of an older version.
  - V(RPF019), A glob without a dash fails the unit at boot.
  - V(RPF020), An uplink is strict where Cilium's mode needs it loose.
  - V(RPF021), More packets were dropped since the last look.
  - V(RPF022), Endpoint routes are configured but not in effect for every pod.
  - V(RPF023), Endpoint routes are in effect though not configured.
  - V(RPF024), systemd-sysctl.service hit its start limit.
  - V(RPF025), src_valid_mark is on beside Cilium's L7 proxy.
  - V(RPF026), Traffic between nodes is dropped with endpoint routes on.
  - V(RPF027), Cilium's own file took an uplink's protection away.
  - V(RPF028), An identical earlier line disarms Cilium's own file.
  - V(RPF029), The facts are incomplete.
  - V(RPF030), An uplink will lose its protection.
  - V(RPF031), A host device of Cilium is filtered, or will be.
  - V(RPF032), What may decide the filter could not be read.
  - V(RPF033), A device that is not Cilium's is not filtered.
positional: _input
options:
  _input:
    description: The fact C(rp_filter).
    type: dict
    required: true
  routes:
    description: The fact C(cilium_routes).
    type: dict
  before:
    description:
      - The C(counters) of an earlier fact C(rp_filter) of the same node, to tell by how much they grew.
    type: dict
notes:
  - What each finding means, how it is detected and what mends it stands in C(docs/findings.md) of the collection.
"""

EXAMPLES = r"""
- name: Gather the filter
  nodeward.cilium.rp_filter_facts:

- name: Gather pods and routes
  nodeward.cilium.route_facts:

- name: Name what is wrong
  ansible.builtin.debug:
    msg: "{{ ansible_facts['rp_filter'] | nodeward.cilium.findings(ansible_facts['cilium_routes']) }}"
"""

RETURN = r"""
_value:
  description: The findings, by id and subject; none where all is well.
  type: list
  elements: dict
  contains:
    id:
      description: Stable over versions.
      type: str
      sample: RPF003
    severity:
      description: V(high) where pods are cut off now or will be, V(medium) where protection is lost, V(low) else.
      type: str
      sample: high
    title:
      description: What is wrong, for any node.
      type: str
    subject:
      description: The device, pattern, endpoint, loader or file that is meant.
      type: str
      sample: lxc3c160d6c7aa0
    expected:
      description: What should be, for this subject.
      type: str
      sample: '0'
    observed:
      description: What is.
      type: str
      sample: '2'
    evidence:
      description: Where that can be seen.
      type: dict
      contains:
        path:
          description: The file whose line is the evidence; null where it is no file.
          type: str
          sample: /usr/lib/sysctl.d/50-default.conf
        line:
          description: The line in that file, counted from 1; null where the whole file is meant.
          type: int
          sample: 26
        text:
          description: The evidence in words, readable alone.
          type: str
          sample: /usr/lib/sysctl.d/50-default.conf:26 net.ipv4.conf.*.rp_filter = 2
        value:
          description: The value that was found; null where there is none.
          type: str
          sample: '2'
        counter:
          description: The counter or number that was found; null where there is none.
          type: int
          sample:
    why:
      description: Why it matters.
      type: str
    remedy:
      description: The C(variable) of the role, and the C(command), that mend it.
      type: dict
    reference:
      description: Where that is documented.
      type: str
"""

import fnmatch
import json
import os.path
import re
import shlex

from ansible.errors import AnsibleFilterError
from ansible_collections.nodeward.cilium.plugins.module_utils import devices, plan, sysctl_d
from ansible_collections.nodeward.cilium.plugins.plugin_utils import facts_shape, horizons
from ansible_collections.nodeward.cilium.plugins.plugin_utils.catalogue import CATALOGUE, DIAGNOSE, HARDEN, remedy

_FILTERING = [1, 2]
_NAMED = 5  # devices in a text; the rest is a number
_MOST_NAMES = 20  # in a command
_TEMPLATE = re.compile(r"\{[{%#]")
_COUNTERS = ("ip_reverse_path_filter", "in_martian_src")
_LOADERS = (("systemd_sysctl", "RPF003"), ("procps", "RPF004"))
_LOADER_NAMES = {"systemd_sysctl": "systemd-sysctl", "procps": "sysctl --system"}
_LOSES = {"systemd_sysctl": "boot", "procps": "sysctl_system"}


def findings(rp_filter, routes=None, before=None):
    """What is wrong, by id and subject."""
    if not isinstance(rp_filter, dict) or "devices" not in rp_filter:
        raise AnsibleFilterError(
            "findings: expected the fact rp_filter, with its devices; found %.80r. Gather it with "
            "nodeward.cilium.rp_filter_facts" % (rp_filter,)
        )
    if routes is not None and not isinstance(routes, dict):
        raise AnsibleFilterError(
            "findings: routes: expected the fact cilium_routes; found %.80r. Gather it with "
            "nodeward.cilium.route_facts" % (routes,)
        )
    _check_before(before)
    facts, lacking = facts_shape.sound_rp_filter(rp_filter)
    known = None
    if routes:
        known, more = facts_shape.sound_routes(routes)
        lacking += more
    found = []
    for judge in (_of_devices, _of_times_to_come, _of_modes):
        found.extend(judge(facts, known))
    for judge in (_of_uplinks_to_come, _of_other_devices, _of_the_dropin, _of_lines, _of_other_writers, _of_loaders):
        found.extend(judge(facts))
    found.extend(_of_netfilter(facts, known))
    found.extend(_of_endpoints(known, facts["devices"]) if known else ())
    found.extend(_of_counters(facts["counters"], before))
    for entry in facts["unread"] + (known["unread"] if known and _has_cilium(facts, known) else []):
        rule_id = "RPF032" if entry.get("decides") else "RPF012"
        unread = _finding(rule_id, entry["what"], "not read", _evidence(entry["why"]))
        if not facts_shape.needs_root(entry):
            unread["remedy"] = {"variable": "", "command": ""}
        found.append(unread)
    for path, times, instead in lacking:
        found.append(_finding("RPF029", path, "lacking", _evidence("found %s" % instead, counter=times)))
    return sorted(found, key=_order)


def _check_before(before):
    if before is None:
        return
    if not isinstance(before, dict):
        raise AnsibleFilterError("findings: before: expected the counters of earlier facts; found %.80r" % (before,))
    for name, kind in [(name, int) for name in _COUNTERS] + [("boot_id", str)]:
        if not isinstance(before.get(name), (kind, type(None))):
            raise AnsibleFilterError(
                "findings: before: %s: expected %s, as in the counters of earlier facts; found %.80r"
                % (name, "a number" if kind is int else "the id of a boot", before[name])
            )


def _order(finding):
    evidence = finding["evidence"]
    return (
        finding["id"],
        finding["subject"],
        finding["observed"],
        evidence["text"],
        evidence["path"] or "",
        evidence["line"] or 0,
    )


def _finding(rule_id, subject, observed, evidence, expected=None, severity=None):
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


def _evidence(text, path=None, line=None, value=None, counter=None):
    return {
        "path": path,
        "line": line,
        "text": text,
        "value": None if value is None else str(value),
        "counter": counter,
    }


def _place(winner):
    """A line of a file as evidence."""
    text = "%s:%d %s = %s" % (winner["path"], winner["line"], winner["key"], winner["value"])
    return _evidence(text, winner["path"], winner["line"], winner["value"])


def _line_giving(configured, value):
    """The line that gives a running value, where a loader reads one that does."""
    for loader in ("systemd_sysctl", "procps"):
        line = configured[loader]
        if line and line["value"] == value:
            return line
    return None


def _running(text, value, configured):
    """A running value as evidence, with the line that gives it."""
    line = _line_giving(configured, value)
    if not line:
        return _evidence(text, value=value)
    return _evidence("%s; %s" % (text, _place(line)["text"]), line["path"], line["line"], value)


# ---- what is there now -----------------------------------------------------------------------------------------------


def _of_devices(facts, routes):
    every = facts["all"]
    everywhere = every["running"] or 0
    dropped_at = _dropped_at(routes)
    between_nodes, by_host_alone = _has_endpoint_routes(routes), _by_host_alone(routes)
    filters_one = False
    for name, device in facts["devices"].items():
        own, effective = device["running"], device["effective"]
        if device["kind"] == "cilium" and effective > 0:
            hosts = _is_hosts(name)
            if min(effective, 2) not in dropped_at.get(name, _FILTERING):
                continue
            text = "its own value is %s, all is %s" % (own, every["running"])
            evidence = _running(text, effective, (device if own >= everywhere else every)["configured"])
            if not (hosts and (between_nodes or by_host_alone)):
                filters_one = True
                yield _finding("RPF001", name, effective, evidence)
            elif own > 0:
                yield _finding("RPF026" if between_nodes else "RPF031", name, effective, evidence)
        elif device["kind"] == "uplink" and effective == 0:
            yield from _of_a_bare_uplink(name, facts)
    if everywhere > 0:
        evidence = _running("net.ipv4.conf.all.rp_filter is %d" % everywhere, everywhere, every["configured"])
        if filters_one:
            yield _finding("RPF005", "all", everywhere, evidence)
        if between_nodes:
            yield _finding("RPF026", "all", everywhere, evidence)


def _of_a_bare_uplink(name, facts):
    text = "its own value is 0, all is %s" % facts["all"]["running"]
    yield _with_loose(_finding("RPF007", name, 0, _evidence(text, value=0)), [name])
    line = facts["all"]["configured"]["systemd_sysctl"]
    pinned = {each["name"] for each in (facts["dropin"] or {}).get("assignments", ())}
    if line and line["value"] == 0 and _is_ciliums(line["path"]) and name not in pinned:
        yield _with_loose(_finding("RPF027", name, 0, _place(line)), [name])


def _dropped_at(routes):
    """Device → at which values a reply is dropped, for the devices of which that is known of every endpoint."""
    values = {}
    for endpoint in routes["endpoints"] if routes else ():
        known = _FILTERING if endpoint["dropped_at"] is None else endpoint["dropped_at"]
        values.setdefault(endpoint["device"], set()).update(known)
    return values


def _has_endpoint_routes(routes):
    state = routes and routes["endpoint_routes"]
    return bool(state and (state["agent"] or state["with_route"]))


def _by_host_alone(routes):
    """Whether the host is known to reach all its pods by its own device: then a filter there drops nothing."""
    state = routes and routes["endpoint_routes"]
    if not state or state["agent"] or state["with_route"]:
        return False
    return state["agent"] is False or state["without_route"] > 0


def _has_cilium(facts, routes):
    """Where the devices could not be read, it may be there."""
    kinds = {device["kind"] for device in facts["devices"].values()}
    return bool(devices.CILIUM in kinds or not kinds or routes["endpoints"])


def _is_hosts(name):
    return fnmatch.fnmatchcase(name, devices.HOST_DEVICES)


def _is_ciliums(path):
    return fnmatch.fnmatchcase(os.path.basename(path), devices.CILIUM_FILES)


def _of_endpoints(routes, known_devices):
    for endpoint in routes["endpoints"]:
        subject = endpoint["pod"] or endpoint["address"] or endpoint["device"] or "an endpoint"
        if endpoint["verdict"] == "dropped":
            found = _finding("RPF006", subject, "dropped", _evidence(endpoint["reason"]))
        elif endpoint["leaves"]["verdict"] == "dropped":
            evidence = _evidence(endpoint["leaves"]["reason"])
            found = _finding("RPF006", subject, "dropped on the way to the world", evidence)
        else:
            continue
        device = known_devices.get(endpoint["device"])
        if not (device and device["effective"] and endpoint["dropped_at"] is not None):
            # At 0, and with a local or martian source, it is not the filter.
            found["remedy"] = {"variable": "", "command": DIAGNOSE}
        yield found
    state = routes["endpoint_routes"]
    if state and state["agent"] is True and state["without_route"]:
        text = "%d of %d endpoints have no route" % (
            state["without_route"],
            state["with_route"] + state["without_route"],
        )
        yield _finding("RPF022", "endpoint routes", text, _evidence(text, counter=state["without_route"]))
    if state and state["agent"] is False and state["with_route"]:
        text = "%d of %d endpoints have a route" % (state["with_route"], state["with_route"] + state["without_route"])
        yield _finding("RPF023", "endpoint routes", text, _evidence(text, counter=state["with_route"]))


def _of_counters(counters, before):
    if not counters or before is None:
        return
    ids = counters["boot_id"], before.get("boot_id")
    rebooted = None not in ids and ids[0] != ids[1]
    for name in _COUNTERS:
        now, then = counters[name], before.get(name)
        if now is None or then is None:
            continue
        # It only ever grows, so a smaller number began anew.
        growth, since = (now, "since the reboot") if rebooted or now < then else (now - then, "since %d" % then)
        if growth > 0:
            text = "%s is %d, %d more %s" % (name, now, growth, since)
            yield _finding("RPF021", name, "%d more" % growth, _evidence(text, value=now, counter=growth))


# ---- what comes next -------------------------------------------------------------------------------------------------


def _of_times_to_come(facts, routes):
    every = facts["all"]
    filters = _filters_to_come(facts, routes)
    yield from _of_named_devices(facts, routes, filters)
    for pattern, state in facts["patterns"].items():
        # A filter on the host's own devices cuts nodes apart, whatever routes the pods have.
        of_pods = not fnmatch.fnmatchcase(devices.HOST_DEVICE, pattern)
        if not of_pods and _by_host_alone(routes):
            yield from _of_host_devices_to_come(pattern, state["configured"])
            continue
        line = state["configured"]["systemd_sysctl"] if horizons.loads_new_devices(facts) else None
        next_one = horizons.horizon(every["running"], None, 0, line, filters)
        if next_one["effective"] > 0 and (next_one["dropped"] or not of_pods):
            if line and line["value"] > 0:
                evidence = _place(line)
            else:
                evidence = _running("all is %d" % every["running"], every["running"], every["configured"])
            yield _finding("RPF002", pattern, next_one["effective"], evidence)
        for loader, rule_id in _LOADERS:
            # A device to come, as a run over all devices sees it once it is there.
            lines = [state["configured"][loader], every["configured"][loader]]
            lines = [decided for decided in lines if decided and decided["value"] > 0]
            effective = max([decided["value"] for decided in lines] or [0])
            if of_pods and min(effective, 2) not in filters:
                continue
            for decided in lines:
                yield _finding(rule_id, pattern, decided["value"], _place(decided))


def _of_named_devices(facts, routes, filters):
    """Lines for devices of Cilium that are there, other than the line for all of their sort."""
    dropped_at = _dropped_at(routes)
    named = {}
    for name, device in facts["devices"].items():
        if device["kind"] != devices.CILIUM:
            continue
        of_the_sort = horizons.pattern_of(facts, name)["configured"]
        own = {
            loader: line
            for loader, line in device["configured"].items()
            if line and line["value"] > 0 and line != of_the_sort[loader]
        }
        if _is_hosts(name):
            if _by_host_alone(routes):
                yield from _of_host_devices_to_come(name, own)
                continue
        else:
            drops = dropped_at.get(name, filters)
            own = {loader: line for loader, line in own.items() if min(line["value"], 2) in drops}
        for loader, rule_id in _LOADERS:
            if loader in own:
                line = own[loader]
                key = (rule_id, horizons.pattern_name(facts, name), line["path"], line["line"], line["key"])
                named.setdefault(key, (line, []))[1].append(name)
    for (rule_id, pattern, *_place_of_it), (line, names) in named.items():
        # Facts that lack their patterns name none.
        subject = names[0] if len(names) == 1 or pattern is None else pattern
        found = _finding(rule_id, subject, line["value"], _place(line))
        found["remedy"]["command"] = HARDEN + " --extra-vars rp_filter_conflicts=disable"
        if rule_id == "RPF003" and not _is_hosts(names[0]):
            # A boot brings pods other devices.
            found.update(severity="medium", observed="%s when systemd-sysctl.service restarts" % line["value"])
        yield found


def _of_host_devices_to_come(name, configured):
    lines = [(_LOADER_NAMES[loader], configured.get(loader)) for loader, _rule_id in _LOADERS]
    lines = [(loader, line) for loader, line in lines if line and line["value"] > 0]
    if lines:
        observed = ", ".join("%s under %s" % (line["value"], loader) for loader, line in lines)
        yield _finding("RPF031", name, observed, _place(lines[0][1]))


def _of_uplinks_to_come(facts):
    for name, device in facts["devices"].items():
        if device["kind"] != "uplink" or not device["effective"]:
            continue
        to_come = horizons.uplink_to_come(facts, name)
        lost = {loader: to_come[when] for loader, when in _LOSES.items() if to_come[when]["value"] == 0}
        if lost:
            lines = [line for each in lost.values() for line in each["lines"]]
            evidence = _place(lines[0]) if lines else _evidence("no line of a loader sets it", value=0)
            when = " and ".join(_LOADER_NAMES[loader] for loader in lost)
            yield _finding("RPF030", name, "0 under %s" % when, evidence)


def _filters_to_come(facts, routes):
    """At which values a pod to come is cut off."""
    if routes and routes["endpoint_routes"]:
        if routes["endpoints"]:
            known = horizons.dropped_at_of(routes["endpoints"])
        else:
            known = horizons.dropped_at_first(routes["endpoint_routes"])
        return _FILTERING if known is None else known
    return _FILTERING


# ---- whose line ------------------------------------------------------------------------------------------------------


def _of_the_dropin(facts):
    dropin = facts["dropin"]
    if not dropin or dropin["present"] is None:
        return
    path = dropin["path"]
    if not dropin["present"]:
        yield _finding("RPF016", path, "no file", _evidence("%s is not there" % path, path))
    elif dropin["format"] is None:
        text = "%s has no header of nodeward.cilium.rp_filter" % path
        yield _finding("RPF017", path, "somebody else's file", _evidence(text, path))
    elif dropin["intact"] is False:
        yield _finding("RPF017", path, "other lines", _evidence("the digest in %s does not fit its lines" % path, path))
    elif dropin["intact"] is None or dropin["format"] != plan.FORMAT:
        text = "format %d%s" % (dropin["format"], ", without a digest" if dropin["intact"] is None else "")
        evidence = _evidence("%s is of %s" % (path, text), path, value=dropin["format"])
        yield _finding("RPF018", path, text, evidence, expected="format %d, with a digest" % plan.FORMAT)
    if dropin["present"] and dropin["format"] is not None:
        yield from _of_what_beats(dropin, facts)


def _of_what_beats(dropin, facts):
    beaten = {}
    for assigned in dropin["assignments"]:
        name = assigned["name"]
        for configured in _deciders(name, facts):
            for loader in ("systemd_sysctl", "procps"):
                line = configured[loader]
                if line and line["path"] != dropin["path"] and plan.normal(line["value"]) != assigned["value"]:
                    place = (line["path"], line["line"], line["key"], line["value"])
                    beaten.setdefault((name, assigned["value"]) + place, (line, set()))[1].add(_LOADER_NAMES[loader])
    for (name, value), (line, loaders) in ((key[:2], entry) for key, entry in beaten.items()):
        exempts = name == "all" or name in facts["patterns"]
        observed = "%s under %s" % (line["value"], " and ".join(sorted(loaders)))
        yield _finding("RPF014" if exempts else "RPF015", name, observed, _place(line), expected=value)


def _deciders(name, facts):
    """What is configured for a name of the drop-in, and for the present devices that it stands for."""
    if name in devices.RESERVED:
        yield facts[name]["configured"]
    elif name in facts["patterns"]:
        yield facts["patterns"][name]["configured"]
        for device, state in facts["devices"].items():
            if state["kind"] == "cilium" and fnmatch.fnmatchcase(device, name):
                yield state["configured"]
    elif name in facts["devices"]:
        yield facts["devices"][name]["configured"]


def _of_lines(facts):
    loader = facts["loaders"]["systemd_sysctl"] or {}
    if loader.get("version") == 245:
        for line in facts["globs_without_dash"]:
            if line["matches"] is not None and set(line["matches"]) <= {"cilium"}:
                found = _finding("RPF019", line["key"], "no dash", _place(line))
                # /etc/sysctl.d/99-sysctl.conf is a link of Debian's.
                command = "sed --in-place --follow-symlinks '%ds/^/-/' %s" % (line["line"], shlex.quote(line["path"]))
                yield dict(found, remedy={"variable": "", "command": command})
    for line in facts["repeated_lines"]:
        name = plan.name_of(line["key"])
        name = name and sysctl_d.canonical_glob(name)
        winner = facts["patterns"][name]["configured"]["systemd_sysctl"] if name in facts["patterns"] else None
        if winner and winner["value"] > 0 and _is_ciliums(line["path"]) and line["first"]["path"] != line["path"]:
            text = "%s:%d has the line of %s:%d already, and %s:%d beats it there" % (
                line["first"]["path"],
                line["first"]["line"],
                line["path"],
                line["line"],
                winner["path"],
                winner["line"],
            )
            evidence = _evidence(text, line["first"]["path"], line["first"]["line"], line["value"])
            yield _finding("RPF028", name, winner["value"], evidence, expected=line["value"])


# ---- what else -------------------------------------------------------------------------------------------------------


def _of_modes(facts, routes):
    if not routes:
        return
    options = routes["agent_options"] or {"devices": None, "l7_proxy": None}
    mode = _mode_that_needs_loose(routes)
    for name, device in facts["devices"].items() if mode else ():
        is_used = not options["devices"] or name in options["devices"]
        if is_used and device["kind"] == "uplink" and device["effective"] == 1:
            yield _with_loose(_finding("RPF020", name, 1, _evidence("%s is on" % mode, value=1)), [name])
    marks = facts["source_marks"]
    if options["l7_proxy"] and marks and marks["all"] and marks["default"]:
        yield from _of_marked_devices(marks)


def _mode_that_needs_loose(routes):
    options = routes["agent_options"]
    if not options:
        return routes["loosens_uplinks"]
    if options["load_balancer_mode"] in ("dsr", "hybrid") and len(options["devices"] or ()) > 1:
        return "direct server return over %d devices" % len(options["devices"])
    if options["ipam"] == "eni":
        return "Cilium's ENI mode"
    return "Cilium's egress gateway" if options["egress_gateway"] else routes["loosens_uplinks"]


def _of_marked_devices(marks):
    every = marks["all"]
    if every["accept_local"]:
        return
    # The kernel heeds each of both where it is on for all or for the device.
    marked = sorted(
        name
        for name, own in [("default", marks["default"])] + list(marks["devices"].items())
        if (every["src_valid_mark"] or own["src_valid_mark"]) and not own["accept_local"]
    )
    if marked:
        text = "src_valid_mark without accept_local on %s (%d in all)" % (_some(marked), len(marked))
        yield _finding("RPF025", "src_valid_mark", 1, _evidence(text, value=1, counter=len(marked)))


def _of_other_devices(facts):
    bare = sorted(
        name
        for name, device in facts["devices"].items()
        if device["kind"] == "other" and device["effective"] == 0 and takes_packets(name, device)
    )
    if bare:
        text = "%s (%d in all)" % (_some(bare), len(bare))
        found = _finding("RPF033", "other devices", "%d at 0" % len(bare), _evidence(text, value=0, counter=len(bare)))
        uplinks = sorted(name for name, device in facts["devices"].items() if device["kind"] == devices.UPLINK)
        yield _with_loose(found, bare, uplinks + bare)


def _with_loose(finding, names, uplinks=None):
    """The finding, with a command that filters these devices and leaves the mode of all others."""
    # Ansible would evaluate a template among the variables, and nobody copies hundreds of names.
    if len(uplinks or names) > _MOST_NAMES or any(_TEMPLATE.search(name) for name in names + (uplinks or [])):
        return finding
    given = {"rp_filter_uplinks": dict.fromkeys(names, "loose")}
    if uplinks:
        given["rp_filter_uplink_devices"] = uplinks
    command = "%s --extra-vars %s" % (HARDEN, shlex.quote(json.dumps(given, sort_keys=True)))
    return dict(finding, remedy=dict(finding["remedy"], command=command))


def takes_packets(name, device):
    """Whether packets from elsewhere can come in by a device."""
    return name != "lo" and device["link_kind"] != "dummy"


def _some(names):
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _of_netfilter(facts, routes):
    names = {name for name, device in facts["devices"].items() if device["kind"] == "cilium"}
    names.update(devices.to_come(pattern) for pattern in facts["patterns"])
    has_no_ipv6 = bool(routes and routes["endpoints"]) and not any(each["ipv6"] for each in routes["endpoints"])
    for rule in facts["netfilter"]:
        if rule["ipv6_only"] and has_no_ipv6 or not any(_is_for(rule, name) for name in names):
            continue
        where = "%s %s %s" % (rule["family"], rule["table"], rule["chain"])
        yield _finding("RPF008", where, "a rule", _evidence(rule["rule"]))


def _is_for(rule, name):
    is_meant = rule["only_on"] is None or devices.matches(name, rule["only_on"])
    return is_meant and not devices.matches(name, rule["not_on"])


def _of_other_writers(facts):
    if facts["reload_on_add"] is None:
        yield _finding("RPF013", "udev", "none", _evidence("no rule in udev's folders calls systemd-sysctl"))
    for writer in facts["other_writers"]:
        text = "%s:%d %s" % (writer["path"], writer["line"], writer["text"])
        evidence = _evidence(text, writer["path"], writer["line"], writer["value"])
        filters = _filters_pods(writer, facts)
        severity = "high" if filters else "medium" if filters is None or _takes_protection(writer, facts) else None
        yield _finding("RPF009", writer["by"], writer["value"] or "a line", evidence, severity=severity)


def _filters_pods(writer, facts):
    """True, False, or None where it may be."""
    names = {devices.to_come(pattern) for pattern in facts["patterns"]}
    names.update(name for name, device in facts["devices"].items() if device["kind"] == devices.CILIUM)
    if not writer["sets"] or writer["by"] == "networkmanager":
        return False
    if horizons.sets_all(writer) or any(horizons.sets_device(writer, name) for name in names):
        return True
    return None if any(horizons.may_set(writer, name) for name in names) else False


def _takes_protection(writer, facts):
    """Whether an uplink may be bare once it has run."""
    return not writer["sets"] and any(
        device["kind"] == devices.UPLINK
        and horizons.may_set(writer, name)
        and horizons.uplink_to_come(facts, name)["boot"]["value"] is None
        for name, device in facts["devices"].items()
    )


def _of_loaders(facts):
    for name, loader in facts["loaders"].items():
        if not loader:
            continue
        if loader["globs"] is False and not _harmless_without_globs(name, facts):
            text = "%s is of version %s" % (_LOADER_NAMES[name], loader["version"])
            yield _finding("RPF011", name, "none", _evidence(text, value=loader["version"]))
        result = loader["unit_result"] or "success"
        evidence = _evidence("systemd says %s, and as its result %s" % (loader["unit"], result), value=result)
        if result == "start-limit-hit":
            yield _finding("RPF024", "systemd-sysctl.service", result, evidence)
        elif loader["unit"] == "failed" or result != "success":
            yield _finding("RPF010", "systemd-sysctl.service", result, evidence)


def _harmless_without_globs(name, facts):
    """Whether nothing hangs on this loader's globs: what filters Cilium's devices by a glob, it passes over as well."""
    if name == "procps":
        return bool(facts["dropin"] and facts["dropin"]["present"])
    return bool(facts["reload_on_add"] and facts["reload_on_add"]["cleared_by"])


class FilterModule(object):
    """The filter, by its name."""

    def filters(self):
        return {"findings": findings}
