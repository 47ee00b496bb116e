# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in, findings out. Pure: touches no node, and returns the same for the same facts."""

import fnmatch
import json
import os.path
import re
import shlex

from ansible.errors import AnsibleFilterError
from ansible_collections.nodeward.cilium.plugins.module_utils import devices, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils import dropin as dropin_format
from ansible_collections.nodeward.cilium.plugins.module_utils import horizons as prediction
from ansible_collections.nodeward.cilium.plugins.module_utils.endpoints import name_of
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import (
    facts_shape,
    finding,
    horizons,
    overriding,
    source_marks,
)
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import findings_to_come as coming
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.catalogue import DIAGNOSE, HARDEN

_FILTERING = [1, 2]
_NAMED = 5  # devices in a text; the rest is a number
_MOST_NAMES = 20  # in a command
_TEMPLATE = re.compile(r"\{[{%#]")
# Not in_martian_src: our own questions to the kernel raise it as packets do.
_COUNTERS = ("ip_reverse_path_filter",)
_LOADER_NAMES = {"systemd_sysctl": "systemd-sysctl", "procps": "sysctl --system"}


def findings(rp_filter, routes=None, before=None):
    """What is wrong, by id and subject."""
    if not isinstance(rp_filter, dict) or "devices" not in rp_filter:
        raise AnsibleFilterError(
            f"findings: expected the fact rp_filter, with its devices; found {rp_filter!r:.80}. Gather it with "
            "nodeward.cilium.rp_filter_facts"
        )
    if routes is not None and not isinstance(routes, dict):
        raise AnsibleFilterError(
            f"findings: routes: expected the fact cilium_routes; found {routes!r:.80}. Gather it with "
            "nodeward.cilium.route_facts"
        )
    _check_before(before)
    outdated = list(_of_the_version("rp_filter", rp_filter))
    outdated += _of_the_version("cilium_routes", routes) if routes else []
    if outdated:
        return outdated
    facts, lacking = facts_shape.sound_rp_filter(rp_filter)
    known = None
    if routes:
        known, more = facts_shape.sound_routes(routes)
        lacking += more
    found = []
    for judge in (_of_devices, coming.of_horizons, _of_modes, coming.of_other_writers):
        found.extend(judge(facts, known))
    for judge in (coming.of_uplinks, _of_other_devices, _of_the_dropin, _of_lines, _of_loaders):
        found.extend(judge(facts))
    found.extend(_of_netfilter(facts, known))
    found.extend(_of_endpoints(known, facts["devices"]) if known else ())
    found.extend(_of_counters(facts["counters"], before))
    for entry in facts["unread"] + (known["unread"] if known and _has_cilium(facts, known) else []):
        rule_id = "RPF032" if entry.get("decides") else "RPF012"
        unread = finding.make(rule_id, entry["what"], "not read", finding.evidence(entry["why"]))
        if not entry["needs_root"]:
            unread["remedy"] = {"variable": "", "command": ""}
        found.append(unread)
    for path, times, instead in lacking:
        found.append(finding.make("RPF029", path, "lacking", finding.evidence(f"found {instead}", counter=times)))
    return sorted(_with_options(found, facts), key=_order)


def _with_options(found, facts):
    """The findings, with commands that harden does not refuse on this node."""
    options = overriding.harden_options(facts)
    is_refused = overriding.is_overridden(facts) or overriding.has_no_loader(facts)
    for each in found:
        command, variable = each["remedy"]["command"], each["remedy"]["variable"]
        if command == HARDEN and is_refused:
            # No option of harden ends that; diagnose names what to change first.
            command, variable = DIAGNOSE, ""
        elif command.startswith(HARDEN):
            lacking = {name: value for name, value in options.items() if name not in command}
            command = " ".join([command, *overriding.as_arguments(lacking, "--extra-vars")])
            variable = variable if variable in options else min(lacking, default=variable)
        yield dict(each, remedy={"variable": variable, "command": command})


def _of_the_version(name, facts):
    other = facts_shape.other_version(name, facts)
    if other:
        yield finding.make("RPF029", name, f"{other[0]}: unknown", finding.evidence(other[1]))


def _check_before(before):
    if before is None:
        return
    if not isinstance(before, dict):
        raise AnsibleFilterError(f"findings: before: expected the counters of earlier facts; found {before!r:.80}")
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


# ---- what is there now -----------------------------------------------------------------------------------------------


def _of_devices(facts, routes):
    every = facts["all"]
    everywhere = every["running"] or 0
    dropped_at = coming.dropped_at(routes)
    between_nodes, by_host_alone = coming.has_endpoint_routes(routes), coming.by_host_alone(routes)
    filters_one = False
    for name, device in facts["devices"].items():
        own, effective = device["running"], device["effective"]
        if device["kind"] == "cilium" and effective > 0:
            hosts = coming.is_hosts(name)
            if min(effective, 2) not in dropped_at.get(name, coming.filtering(routes)):
                continue
            text = f"its own value is {own}, all is {finding.known(every['running'])}"
            if own < everywhere:
                text += finding.ended(prediction.at(facts, name, prediction.NOW)["ends"])
            evidence = finding.running_evidence(text, effective, (device if own >= everywhere else every)["configured"])
            if not (hosts and (between_nodes or by_host_alone)):
                filters_one = True
                yield finding.make("RPF001", name, effective, evidence)
            elif own > 0:
                yield finding.make("RPF026" if between_nodes else "RPF031", name, effective, evidence)
        elif device["kind"] == "uplink" and effective == 0:
            yield from _of_a_bare_uplink(name, facts)
    if everywhere > 0:
        evidence = finding.running_evidence(
            f"net.ipv4.conf.all.rp_filter is {everywhere}", everywhere, every["configured"]
        )
        if filters_one:
            yield finding.make("RPF005", "all", everywhere, evidence)
        if between_nodes:
            yield finding.make("RPF026", "all", everywhere, evidence)


def _of_a_bare_uplink(name, facts):
    text = f"its own value is 0, all is {finding.known(facts['all']['running'])}"
    line = facts["devices"][name]["configured"]["systemd_sysctl"]
    evidence = finding.evidence(text, value=0)
    if line and line["value"] > 0:
        # Something lowered it at run time.
        evidence = finding.evidence(f"{text}; {horizons.place(line)} gives it {line['value']}", value=0)
    yield _with_loose(finding.make("RPF007", name, 0, evidence), [name])
    line = facts["all"]["configured"]["systemd_sysctl"]
    pinned = {each["name"] for each in (facts["dropin"] or {}).get("assignments", ())}
    if line and line["value"] == 0 and _is_ciliums(line["path"]) and name not in pinned:
        yield _with_loose(finding.make("RPF027", name, 0, finding.line_evidence(line)), [name])


def _has_cilium(facts, routes):
    """Where the devices could not be read, it may be there."""
    kinds = {device["kind"] for device in facts["devices"].values()}
    return bool(devices.CILIUM in kinds or not kinds or routes["endpoints"])


def _is_ciliums(path):
    return fnmatch.fnmatchcase(os.path.basename(path), devices.CILIUM_FILES)


def _of_endpoints(routes, known_devices):
    for endpoint in routes["endpoints"]:
        subject = name_of(endpoint)
        if endpoint["verdict"] == "dropped":
            found = finding.make("RPF006", subject, "dropped", finding.evidence(endpoint["reason"]))
        elif endpoint["leaves"]["verdict"] == "dropped":
            evidence = finding.evidence(endpoint["leaves"]["reason"])
            found = finding.make("RPF006", subject, "dropped on the way to the world", evidence)
        else:
            continue
        device = known_devices.get(endpoint["device"])
        if not (device and device["effective"] and endpoint["dropped_at"] is not None):
            # At 0, and with a local or martian source, it is not the filter.
            found["remedy"] = {"variable": "", "command": DIAGNOSE}
        yield found
    state = routes["endpoint_routes"]
    if state and state["agent"] is True and state["without_route"]:
        text = f"{state['without_route']} of {state['with_route'] + state['without_route']} endpoints have no route"
        yield finding.make("RPF022", "endpoint routes", text, finding.evidence(text, counter=state["without_route"]))
    if state and state["agent"] is False and state["with_route"]:
        text = f"{state['with_route']} of {state['with_route'] + state['without_route']} endpoints have a route"
        yield finding.make("RPF023", "endpoint routes", text, finding.evidence(text, counter=state["with_route"]))


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
        growth, since = (now, "since the reboot") if rebooted or now < then else (now - then, f"since {then}")
        if growth > 0:
            text = f"{name} is {now}, {growth} more {since}"
            yield finding.make("RPF021", name, f"{growth} more", finding.evidence(text, value=now, counter=growth))


# ---- whose line ------------------------------------------------------------------------------------------------------


def _of_the_dropin(facts):
    dropin = facts["dropin"]
    if not dropin or dropin["present"] is None:
        return
    path = dropin["path"]
    if not dropin["present"]:
        yield finding.make("RPF016", path, "no file", finding.evidence(f"{path} is not there", path))
    elif dropin["format"] is None:
        text = f"{path} has no header of nodeward.cilium.rp_filter"
        found = finding.make("RPF017", path, "not managed by this collection", finding.evidence(text, path))
        # harden takes its place and keeps the file; only its own lines can be restored.
        yield dict(found, remedy={"variable": "rp_filter_dropin_path", "command": HARDEN})
    elif dropin["intact"] is False:
        yield finding.make(
            "RPF017", path, "other lines", finding.evidence(f"the digest in {path} does not fit its lines", path)
        )
    elif dropin["intact"] is None or dropin["format"] != dropin_format.FORMAT:
        text = "format %d%s" % (dropin["format"], ", without a digest" if dropin["intact"] is None else "")
        evidence = finding.evidence(f"{path} is of {text}", path, value=dropin["format"])
        found = finding.make("RPF018", path, text, evidence, expected=f"format {dropin_format.FORMAT}, with a digest")
        if dropin["format"] > dropin_format.FORMAT:  # this version of the collection refuses to write it
            found = dict(found, remedy={"variable": None, "command": ""})
        yield found
    if dropin["present"] and dropin["format"] is not None:
        yield from _of_what_beats(dropin, facts)


def _of_what_beats(dropin, facts):
    beaten = {}
    for assigned in dropin["assignments"]:
        name = assigned["name"]
        for configured in _deciders(name, facts):
            for loader in ("systemd_sysctl", "procps"):
                line = configured[loader]
                if line and line["path"] != dropin["path"] and values.normal(line["value"]) != assigned["value"]:
                    place = (line["path"], line["line"], line["key"], line["value"])
                    beaten.setdefault((name, assigned["value"]) + place, (line, set()))[1].add(_LOADER_NAMES[loader])
    for (name, value), (line, loaders) in ((key[:2], entry) for key, entry in beaten.items()):
        exempts = name == "all" or name in facts["patterns"]
        observed = f"{line['value']} under {' and '.join(sorted(loaders))}"
        yield finding.make(
            "RPF014" if exempts else "RPF015", name, observed, finding.line_evidence(line), expected=value
        )


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
                found = finding.make("RPF019", line["key"], "no dash", finding.line_evidence(line))
                # /etc/sysctl.d/99-sysctl.conf is a link of Debian's.
                command = f"sed --in-place --follow-symlinks '{line['line']}s/^/-/' {shlex.quote(line['path'])}"
                yield dict(found, remedy={"variable": "", "command": command})
    for line in facts["repeated_lines"]:
        name = values.name_of(line["key"])
        name = name and sysctl_d.canonical_glob(name)
        winner = facts["patterns"][name]["configured"]["systemd_sysctl"] if name in facts["patterns"] else None
        if winner and winner["value"] > 0 and _is_ciliums(line["path"]) and line["first"]["path"] != line["path"]:
            text = (
                f"{line['first']['path']}:{line['first']['line']} has the line of {line['path']}:{line['line']} "
                f"already, and {winner['path']}:{winner['line']} beats it there"
            )
            evidence = finding.evidence(text, line["first"]["path"], line["first"]["line"], line["value"])
            yield finding.make("RPF028", name, winner["value"], evidence, expected=line["value"])


# ---- what else -------------------------------------------------------------------------------------------------------


def _of_modes(facts, routes):
    if not routes:
        return
    options = routes["agent_options"] or {"devices": None}
    mode = _mode_that_needs_loose(routes)
    for name, device in facts["devices"].items() if mode else ():
        is_used = not options["devices"] or name in options["devices"]
        if is_used and device["kind"] == "uplink" and device["effective"] == 1:
            yield _with_loose(finding.make("RPF020", name, 1, finding.evidence(f"{mode} is on", value=1)), [name])
    marked, text = source_marks.heeding_mark(facts, routes)
    if marked:
        evidence = finding.evidence(text, value=1, counter=len(marked))
        yield finding.make("RPF025", "src_valid_mark", 1, evidence)


def _mode_that_needs_loose(routes):
    options = routes["agent_options"]
    if not options:
        return routes["loosens_uplinks"]
    if options["load_balancer_mode"] in ("dsr", "hybrid") and len(options["devices"] or ()) > 1:
        return f"direct server return over {len(options['devices'])} devices"
    if options["ipam"] == "eni":
        return "Cilium's ENI mode"
    return "Cilium's egress gateway" if options["egress_gateway"] else routes["loosens_uplinks"]


def _of_other_devices(facts):
    bare = sorted(
        name
        for name, device in facts["devices"].items()
        if device["kind"] == "other" and device["effective"] == 0 and takes_packets(name, device)
    )
    if bare:
        text = f"{_some(bare)} ({len(bare)} in all)"
        found = finding.make(
            "RPF033", "other devices", f"{len(bare)} at 0", finding.evidence(text, value=0, counter=len(bare))
        )
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
    command = f"{HARDEN} --extra-vars {shlex.quote(json.dumps(given, sort_keys=True))}"
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
        where = f"{rule['family']} {rule['table']} {rule['chain']}"
        yield finding.make("RPF008", where, "a rule", finding.evidence(rule["rule"]))


def _is_for(rule, name):
    is_meant = rule["only_on"] is None or devices.matches(name, rule["only_on"])
    return is_meant and not devices.matches(name, rule["not_on"])


def _of_loaders(facts):
    for name, loader in facts["loaders"].items():
        if not loader:
            continue
        if loader["globs"] is False and not _harmless_without_globs(name, facts):
            text = f"{_LOADER_NAMES[name]} is of version {loader['version']}"
            yield finding.make("RPF011", name, "none", finding.evidence(text, value=loader["version"]))
        result = loader["unit_result"] or "success"
        evidence = finding.evidence(f"systemd says {loader['unit']}, and as its result {result}", value=result)
        if result == "start-limit-hit":
            yield finding.make("RPF024", "systemd-sysctl.service", result, evidence)
        elif loader["unit"] == "failed" or result != "success":
            yield finding.make("RPF010", "systemd-sysctl.service", result, evidence)


def _harmless_without_globs(name, facts):
    """Whether nothing hangs on this loader's globs: what filters Cilium's devices by a glob, it passes over as well."""
    if name == "procps":
        return bool(facts["dropin"] and facts["dropin"]["present"])
    return bool(facts["reload_on_add"]) and not any(prediction.reloads(facts, pattern) for pattern in facts["patterns"])
