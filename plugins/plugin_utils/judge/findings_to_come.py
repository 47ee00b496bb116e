# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings of what comes: the horizons, the uplinks then, and who else writes the filter. Pure."""

import fnmatch

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, values
from ansible_collections.nodeward.cilium.plugins.module_utils import horizons as prediction
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import finding, horizons
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.catalogue import DIAGNOSE, HARDEN

_FILTERING = [1, 2]
_RULE_OF = {"pod": "RPF002", "boot": "RPF003", "restart": "RPF034", "sysctl_system": "RPF004"}
#: A run of a loader on the running node, and the configured line that decides an interface there.
_LOADER_RUNS = {"restart": ("unit", "systemd_sysctl"), "sysctl_system": ("procps",)}
_LOADERS = ("systemd-sysctl", "sysctl --system")
_WHEN = {
    "pod": "for the next interface",
    "boot": "after a boot",
    "restart": "after a restart of systemd-sysctl",
    "sysctl_system": "after sysctl --system",
}


def dropped_at(routes):
    """Device → at which values a reply is dropped, for the devices of which that is known of every endpoint."""
    found = {}
    for endpoint in routes["endpoints"] if routes else ():
        known = horizons.dropped_at(endpoint)
        known = _FILTERING if known is None else known
        found.setdefault(endpoint["device"], set()).update(known)
    return found


def filtering(routes):
    """The values at which a packet is dropped unless its route back leaves by the same interface."""
    return _FILTERING if not routes or horizons.applies(routes) else []


def has_endpoint_routes(routes):
    """Whether a filter on the host's own device drops packets from other nodes."""
    state = routes and horizons.applies(routes) and routes["endpoint_routes"]
    return bool(state and (state["agent"] or state["with_route"]))


def by_host_alone(routes):
    """Whether the host is known to reach all its pods by its own device: then a filter there drops nothing."""
    state = routes and horizons.applies(routes) and routes["endpoint_routes"]
    if not state or state["agent"] or state["with_route"]:
        return False
    return state["agent"] is False or state["without_route"] > 0


def is_hosts(name):
    return fnmatch.fnmatchcase(name, devices.HOST_DEVICES)


def of_horizons(facts, routes):
    filters = filters_to_come(routes)
    yield from _of_named_devices(facts, routes, filters["restart"])
    for pattern in facts["patterns"]:
        # A filter on the host's own devices cuts nodes apart, whatever routes the pods have.
        of_pods = not prediction.is_hosts(facts, pattern)
        if not of_pods and by_host_alone(routes):
            yield from _of_host_devices_to_come(facts, pattern)
            continue
        for when, rule_id in _RULE_OF.items():
            dropped_at = filters[when] if of_pods else filtering(routes)
            horizon = horizons.judged(facts, pattern, horizons.TO_COME[when], dropped_at)
            yield from _of_a_horizon(facts, rule_id, when, pattern, horizon)


def _of_a_horizon(facts, rule_id, when, subject, horizon):
    """A horizon at which replies are dropped, or at which that is unknown."""
    if horizons.is_unknown(horizon):
        for source in horizon["unknown"]:
            yield _not_predicted(rule_id, subject, source)
    if not horizon["dropped"]:
        return
    deciding = [source for source in horizon["sources"] if source["value"]] or [None]
    for source in deciding[:1] if when == "pod" else deciding:
        if source is None:
            every = facts["all"]
            text = f"all is {finding.known(every['running'])}"
            evidence = finding.running_evidence(text, horizon["effective"], every["configured"])
        else:
            evidence = _of_source(source)
        if when != "pod" and (source is None or _heeds_agent(subject, source)):
            evidence["text"] += _remark(facts)
        value = source["value"] if source and when != "pod" else horizon["effective"]
        observed, severity = value, None
        if horizon["ends"]:
            # The agent ends it by itself.
            observed, severity = f"{value} {horizons.duration(horizon['ends'])}", "medium"
        found = finding.make(rule_id, subject, observed, evidence, severity=severity)
        if source and source["by"] not in _LOADERS:
            # The drop-in does not hold against it.
            found["remedy"] = {"variable": "", "command": DIAGNOSE}
        yield found


def _of_source(source):
    """The source of a predicted value as evidence."""
    if source["path"] and source["line"] and source["by"] in _LOADERS:
        return finding.line_evidence(source)
    text = f"{source['by']} sets {source['key']} = {finding.known(source['value'])}"
    if source["path"]:
        text = f"{horizons.place(source)}: {text}"
    return finding.evidence(text, source["path"], source["line"], source["value"])


def _heeds_agent(subject, source):
    """Whether an agent would set this to 0: `all`, and Cilium's host interfaces."""
    return values.name_of(source["key"] or "") == "all" or is_hosts(devices.to_come(subject))


def _remark(facts):
    remark = horizons.without_agent(facts)
    return f"; {remark}" if remark else ""


def _not_predicted(rule_id, subject, source):
    """A writer of which it is unknown whether or what it writes."""
    text = f"{horizons.place(source)} may write it ({source['by']}), and what it writes cannot be predicted"
    evidence = finding.evidence(text, source["path"], source["line"])
    found = finding.make(rule_id, subject, "unknown", evidence, severity="medium")
    found["remedy"] = {"variable": "", "command": DIAGNOSE}
    return found


def _of_named_devices(facts, routes, filters):
    """Lines for devices of Cilium that are there, other than the line for all of their sort."""
    at_values = dropped_at(routes)
    named = {}
    for name, device in facts["devices"].items():
        if device["kind"] != devices.CILIUM:
            continue
        of_the_sort = prediction.pattern_of(facts, name)["configured"]
        own = {}
        for when, loaders in _LOADER_RUNS.items():
            loader = next((loader for loader in loaders if loader in device["configured"]), loaders[-1])
            line = device["configured"][loader]
            if line and line["value"] > 0 and line != of_the_sort.get(loader):
                own[when] = line
        if not own:
            continue
        if is_hosts(name):
            if by_host_alone(routes):
                yield from _of_host_devices_to_come(facts, name)
                continue
            if "restart" in own:
                own["boot"] = own["restart"]  # it has the same name after a boot
            drops = filtering(routes)
        else:
            drops = at_values.get(name, filters)
        for when, line in own.items():
            horizon = horizons.judged(facts, name, horizons.TO_COME[when], drops)
            if not _gives(horizon, line) or min(line["value"], 2) not in drops:
                continue
            key = (when, prediction.pattern_name(facts, name), line["path"], line["line"], line["key"])
            named.setdefault(key, (line, horizon["ends"] if when != "boot" else None, []))[2].append(name)
    for (when, pattern, *_place_of_it), (line, ends, names) in named.items():
        # Facts that lack their patterns name none.
        subject = names[0] if len(names) == 1 or pattern is None else pattern
        observed = f"{line['value']} {horizons.duration(ends)}" if ends else line["value"]
        found = finding.make(_RULE_OF[when], subject, observed, finding.line_evidence(line))
        found["remedy"]["command"] = HARDEN + " --extra-vars rp_filter_conflicts=disable"
        yield found


def _gives(horizon, line):
    """Whether this line decides at a horizon."""
    place = (line["path"], line["line"])
    return any((source["path"], source["line"]) == place for source in horizon["sources"])


def _of_host_devices_to_come(facts, name):
    """Values of a host interface that drop nothing while the host reaches all pods by such an interface."""
    observed, evidence = [], None
    for when in ("boot", "restart", "sysctl_system"):
        state = prediction.at(facts, name, horizons.TO_COME[when])
        sources = [source for source in state["sources"] if source["value"] and source["path"]]
        sources = [source for source in sources if values.name_of(source["key"] or "") != "all"]
        if state["value"] and sources:
            observed.append(f"{state['value']} {_WHEN[when]}")
            evidence = evidence or _of_source(sources[0])
    if observed:
        yield finding.make("RPF031", name, ", ".join(observed), evidence)


def of_uplinks(facts):
    for name, device in facts["devices"].items():
        if device["kind"] != "uplink" or not device["effective"]:
            continue
        lost = {when: known for when, known in horizons.uplink_to_come(facts, name).items() if known["value"] == 0}
        if "now" in lost and (lost["now"]["seconds"] is None or _is_written_periodically(facts, ("all", name))):
            del lost["now"]
        if "now" in lost:
            # The agent takes it away without a run of a loader as well.
            lost = {when: known for when, known in lost.items() if when == "now" or known["seconds"] is None}
        if not lost:
            continue
        sources = [source for known in lost.values() for source in known["sources"]]
        lines = [line for line in horizons.lines_of(sources) if line["value"] == 0]
        if lines:
            evidence = finding.line_evidence(lines[0])
        elif "now" in lost or any(source["by"] == prediction.AGENT for source in sources):
            seconds = facts["agent"].get("reconciles_after")
            again = f", and within {horizons.in_words(seconds)} if another value stands there" if seconds else ""
            text = f"the agent sets all to 0 at its start{again}; {name} has no value of its own then"
            evidence = finding.evidence(text, value=0)
        else:
            evidence = finding.evidence("no line gives it a value then", value=0)
        times = [_time(when, known["seconds"]) for when, known in lost.items()]
        yield finding.make("RPF030", name, "0 " + ", ".join(times), evidence)


def _is_written_periodically(facts, names):
    """Whether another program may write one of these keys again and again, also after the agent."""
    return any(
        "periodic" in prediction.events(writer)
        and writer.get("active") is not False
        and any(prediction.may_write(writer, name) for name in names)
        for writer in facts["other_writers"]
    )


def _time(when, seconds):
    """When an uplink has lost its protection, in words."""
    words = [f"within {horizons.in_words(seconds)}"] if seconds is not None else []
    return " ".join(words + [_WHEN[when]] if when in _WHEN else words)


def filters_to_come(routes):
    """When → the values at which a pod's replies are dropped then."""
    known = anew = None
    if routes and routes["endpoint_routes"]:
        known = horizons.dropped_at_next(routes, routes["endpoints"])
        anew = horizons.dropped_at_anew(routes)
    known = filtering(routes) if known is None else known
    return {when: anew if anew is not None and when in horizons.ANEW else known for when in _RULE_OF}


def of_other_writers(facts, routes):
    if facts["reload_on_add"] is None:
        yield finding.make("RPF013", "udev", "none", finding.evidence("no rule in udev's folders calls systemd-sysctl"))
    decisive, possible = _places_of_writers(facts, routes)
    for writer in prediction.past_loaders(facts):
        place = (writer["path"], writer["line"])
        text = f"{writer['path']}:{writer['line']} {writer['text']}"
        severity = None
        if writer.get("active") is False:
            text += " (it does not run now)"
        elif place in decisive or _filters_now(writer, facts, routes):
            severity = "high"
        elif place in possible or _takes_protection(writer, facts):
            severity = "medium"
        evidence = finding.evidence(text, writer["path"], writer["line"], writer["value"])
        yield finding.make("RPF009", writer["by"], writer["value"] or "a line", evidence, severity=severity)


def _places_of_writers(facts, routes):
    """(decisive, possible): places that decide a drop which lasts, and places that may."""
    filters = filters_to_come(routes)
    decisive, possible = set(), set()
    for pattern in facts["patterns"]:
        of_pods = not prediction.is_hosts(facts, pattern)
        if not of_pods and by_host_alone(routes):
            continue
        for when in _RULE_OF:
            dropped_at = filters[when] if of_pods else filtering(routes)
            horizon = horizons.judged(facts, pattern, horizons.TO_COME[when], dropped_at)
            possible.update((source["path"], source["line"]) for source in horizon["unknown"])
            if when in ("pod", "boot") and horizons.drops_for_long(horizon):
                decisive.update((source["path"], source["line"]) for source in horizon["sources"] if source["value"])
    return decisive, possible


def _filters_now(writer, facts, routes):
    """Whether replies are dropped now, for longer than until the agent's next turn, by the value that it writes."""
    at_values = dropped_at(routes)
    for name, device in facts["devices"].items():
        if device["kind"] != devices.CILIUM or is_hosts(name) or not device["effective"]:
            continue
        drops = min(device["effective"], 2) in at_values.get(name, filtering(routes))
        for key, state in ((name, device), ("all", facts["all"])):
            is_the_value = state["running"] == device["effective"] == writer["sets"]
            if drops and is_the_value and prediction.sets_key(writer, key) and not prediction.loosens(writer):
                has_line = prediction.line_giving(state["configured"], state["running"])
                return not has_line and not prediction.at(facts, name, prediction.NOW)["ends"]
    return False


def _takes_protection(writer, facts):
    """Whether it leaves an uplink without protection after a boot, or may do so."""
    for name, device in facts["devices"].items():
        if writer["sets"] or device["kind"] != devices.UPLINK:
            continue
        at_boot = horizons.uplink_to_come(facts, name)["boot"]
        place = (writer["path"], writer["line"])
        if not at_boot["value"] and place in [(source["path"], source["line"]) for source in at_boot["sources"]]:
            return True
    return False
