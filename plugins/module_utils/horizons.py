# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Predict what the kernel filters with at five horizons, once every writer has written. Pure: facts in, states out.

Horizons: ``now``; ``interface``, the next interface; ``boot``, the next boot; ``restart``, a restart of
systemd-sysctl.service on the running node; ``sysctl_system``, a ``sysctl --system``.

A key is followed through the writes of a horizon in their order. Each write replaces the value, or, if it is not known
whether or what it writes, adds to the values that are possible. So what is known of an interface stays known where it
does not depend on the unknown: with ``all`` unknown, an own value of 2 filters all the same.
"""

import fnmatch
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, sysctl_d

NOW, INTERFACE, BOOT, RESTART, SYSCTL_SYSTEM = HORIZONS = ("now", "interface", "boot", "restart", "sysctl_system")
ANY = frozenset((0, 1, 2))
AGENT = "agent"
_AGENT_SOURCE = {"by": AGENT, "path": None, "line": None, "key": None, "value": 0}
_LOADER_NAMES = {"systemd_sysctl": "systemd-sysctl", "unit": "systemd-sysctl", "procps": "sysctl --system"}
#: In ``runs``: systemd-sysctl over all its files, and a start of its unit.
SYSTEMD_RUNS = ("systemd_sysctl", "unit")
#: tuned, plugin_sysctl.py: what reapply_sysctl applies again, and then /etc/sysctl.conf.
REAPPLIED_FOLDERS = ("/run/sysctl.d/", "/etc/sysctl.d/")
_WILD = frozenset("*?[{")
#: Below /run, and there again at each boot.
_MADE_AT_BOOT = ("/run/systemd/generator", "/run/credentials/@system/")
_NONE = {"systemd_sysctl": None, "procps": None, "unit": None}

#: What a key may have: ``values`` that are possible, ``source`` of the last write that is certain (None: as the kernel
#: or Cilium made it, or as it runs), ``unknown`` the sources of writes that are not certain.
Standing = namedtuple("Standing", "values source unknown")


def predict(facts, subject):
    """{horizon: state} of ``all``, ``default``, an interface, or a pattern that stands for the next one like it."""
    return {horizon: at(facts, subject, horizon) for horizon in HORIZONS}


def at(facts, subject, horizon):
    """The state of a subject at a horizon, as the fact ``horizons`` shows it.

    ``value`` is its own, ``effective`` the larger of it and ``all``; None if more than one is possible (``possible``
    then lists the effective ones). ``sources`` decide the effective value. ``ends`` says that the agent sets it to 0
    by itself, after how many ``seconds`` (None: at its next start). ``before`` is what stands at boot until the agent
    has started. ``unknown`` names the places that make it unknown.
    """
    own = _own(facts, subject, horizon)
    if subject in devices.RESERVED:
        return _state(facts, subject, own, own, [own], horizon)
    every = _own(facts, "all", horizon)
    return _state(facts, subject, own, _larger(every, own), [own, every], horizon)


def _state(facts, subject, own, effective, parts, horizon):
    before = None
    if horizon == BOOT and has_agent(facts):
        early = _boot(facts, "all", until_agent=True)
        if subject not in devices.RESERVED and facts["devices"].get(subject, {}).get("kind") == devices.UPLINK:
            early = _larger(early, _boot(facts, subject))
        if early.values != effective.values:
            before = {"effective": _single(early.values), "sources": _sources([early], early)}
    return {
        "value": _single(own.values),
        "effective": _single(effective.values),
        "possible": sorted(effective.values),
        "sources": _sources(parts, effective),
        "ends": _ends(facts, subject, parts),
        "before": before,
        "unknown": _places([place for part in parts for place in part.unknown]) if len(effective.values) > 1 else [],
    }


def _single(values):
    return next(iter(values)) if len(values) == 1 else None


def _larger(every, own):
    values = frozenset(max(one, other) for one in every.values for other in own.values)
    return Standing(values, None, every.unknown + own.unknown)


def _sources(parts, effective):
    """The sources of the values that are as large as the effective one, and of any other that filters."""
    largest = max(effective.values)
    found = []
    for part in parts:
        value = max(part.values)
        if part.source and len(part.values) > len(effective.values) == 1:
            value = part.source["value"] or 0  # the larger one is another's
        if part.source and (value == largest or value) and part.source not in found:
            found.append(part.source)
    return found


def _places(places):
    found = []
    for place in places:
        if place not in found:
            found.append(place)
    return found


def _ends(facts, subject, parts):
    """What the agent does about a state that filters: its reconciler sets `all` and its own interfaces to 0.

    ``value`` stands after that; None if the interface's own value is unknown.
    """
    if not has_agent(facts):
        return None
    if subject == "all":
        ended = parts
    elif subject == "default":
        return None
    elif is_hosts(facts, subject):
        ended = parts
    else:
        ended = parts[1:]  # of a pod's interface and an uplink only what they have through `all`
    rest = parts[0].values if len(ended) < len(parts) else frozenset((0,))
    if max(max(part.values) for part in ended) <= min(rest):
        return None
    return {"by": AGENT, "value": _single(rest), "seconds": facts["agent"].get("reconciles_after")}


def is_observed(facts):
    """Whether the facts are of a running system; of an image only what its files make of the next boot is known."""
    return (facts.get("running_system") or {}).get("observed", True)


def reloads(facts, pattern):
    """Whether udev runs systemd-sysctl for the next interface of a pattern, by its rules for that name."""
    return any(step.get("runs") in SYSTEMD_RUNS for step in _on_add(facts, facts["patterns"][pattern]))


def has_agent(facts):
    """Whether an agent counts as a writer: it was seen on this node."""
    return bool((facts.get("agent") or {}).get("seen"))


def is_hosts(facts, subject):
    """Whether it is one of Cilium's host interfaces, or the pattern of them: the agent keeps these at 0."""
    if subject in facts["patterns"]:
        return fnmatch.fnmatchcase(devices.HOST_DEVICE, subject)
    return fnmatch.fnmatchcase(subject, devices.HOST_DEVICES)


# ---- one key through a horizon ---------------------------------------------------------------------------------------


def _own(facts, subject, horizon):
    if horizon == NOW:
        return _now(facts, subject)
    if horizon == INTERFACE:
        if subject in facts["patterns"]:
            return _interface(facts, subject)
        standing = _by_next_interface(_now(facts, subject), facts, subject)
        is_reserved = subject in devices.RESERVED
        return _periodic(standing, facts, [subject], facts[subject]["configured"]) if is_reserved else standing
    if horizon == BOOT:
        return _lasting(_boot(facts, subject))
    start = _interface(facts, subject) if subject in facts["patterns"] else _now(facts, subject)
    return _rerun(facts, subject, horizon, start)


def _now(facts, subject):
    if not is_observed(facts):
        return _boot(facts, subject)  # of an image, the first that runs
    if subject in facts["patterns"]:
        present = [name for name in sorted(facts["devices"]) if _stands_for(facts, subject, name)]
        subject = max(present, key=lambda name: facts["devices"][name]["running"]) if present else subject
    known = facts[subject] if subject in devices.RESERVED else facts["devices"].get(subject)
    if known is None:
        return Standing(frozenset((0,)), None, [])  # as Cilium will make it
    running = known["running"]
    if running is None:
        return Standing(ANY, None, [])  # it could not be read
    return Standing(frozenset((running,)), line_giving(known["configured"], running), [])


def _stands_for(facts, pattern, name):
    return facts["devices"][name]["kind"] == devices.CILIUM and fnmatch.fnmatchcase(name, pattern)


def line_giving(configured, value):
    """The source of a running value: the line of a loader that gives it; None if there is none."""
    for loader in ("unit", "systemd_sysctl", "procps"):
        line = configured.get(loader)
        if line and line["value"] == value:
            return _line(line, loader)
    return None


def _interface(facts, pattern, name=None):
    """What the next interface of this pattern has: Cilium sets 0, udev's rules run, then whoever configures links.

    ``name``: of a present interface that is made again.
    """
    standing = Standing(frozenset((0,)), None, [])
    state = facts["patterns"][pattern]
    configured = facts["devices"][name]["configured"] if name else state["configured"]
    for step in _on_add(facts, state):
        standing = _step(standing, step, configured, devices.to_come(pattern))
    standing = _of_some(standing, facts, pattern, configured) if name is None else standing
    name = name or devices.to_come(pattern)
    standing = _write_all(standing, facts, [name], INTERFACE, configured)
    if is_hosts(facts, pattern) and has_agent(facts):
        # At its start it waits for udev's run (measured, Cilium 1.20). networkd and the others come before or after it.
        standing = _perhaps(_agent(standing), _writers(facts, [name], INTERFACE), configured, name)
    return _periodic(standing, facts, [name], configured)


def _of_some(standing, facts, pattern, configured):
    """What is written for some of a pattern's interfaces alone, as for lxc[0-7]*: the next one may be one of them."""
    name = devices.to_come(pattern)
    if any(step.get("runs") in SYSTEMD_RUNS for step in _on_add(facts, facts["patterns"][pattern])):
        for line in facts["patterns"][pattern].get("of_some") or ():
            standing = _maybe(standing, (line["value"],), _line(line, "systemd_sysctl"))
    for writer in facts["other_writers"]:
        some = [devices.to_come(each) for each in writer["names"] or () if frozenset(each) & _WILD]
        some = [each for each in some if devices.matches(each, [pattern]) and may_write(writer, each)]
        runs = INTERFACE in events(writer) and writer.get("active") is not False and not writer.get("before_loader")
        if some and runs and not may_write(writer, name):
            standing = _written(standing, dict(writer, certain=False), writer["by"], configured)
    return standing


def _by_next_interface(standing, facts, subject):
    """What the coming of a pod's interface makes of `all` or `default`: rules and hooks may write these as well."""
    if subject not in devices.RESERVED:
        return standing
    configured = facts[subject]["configured"]
    for pattern in sorted(facts["patterns"]):
        for step in facts["patterns"][pattern].get("on_add") or ():
            if subject in (step["names"] or [subject]):
                standing = _step(standing, step, configured, subject)
    return _write_all(standing, facts, [subject], INTERFACE, configured)


def _on_add(facts, state):
    """udev's steps for a new interface; facts of an older version say only whether it runs systemd-sysctl."""
    if state.get("on_add") is not None:
        return state["on_add"]
    rule = facts["reload_on_add"]
    return [{"runs": "systemd_sysctl"}] if rule and not rule.get("cleared_by") else []


def _step(standing, step, configured, name):
    """A step of udev's rules; facts of an older version have only the one that runs systemd-sysctl."""
    names = step.get("names")
    if names is not None and not devices.matches(name, names):
        return standing
    if names is None and not step.get("runs"):
        step = dict(step, certain=False)
    return _written(standing, step, "udev", configured)


def _boot(facts, subject, until_agent=False):
    """What stands after a boot: the kernel's 0, the unit, udev, the network's configurators, units, then the agent."""
    if subject in facts["patterns"]:
        return _interface_by_boot(facts, subject)
    known = facts[subject] if subject in devices.RESERVED else facts["devices"].get(subject)
    if known is None:
        return Standing(frozenset((0,)), None, [])
    if known.get("kind") == devices.CILIUM:
        # It is made again by then, one of the host with the same name.
        pattern = pattern_name(facts, subject)
        same = subject if fnmatch.fnmatchcase(subject, devices.HOST_DEVICES) else None
        return _interface_by_boot(facts, pattern, same) if pattern else Standing(ANY, None, [])
    configured = known["configured"]
    begins = standing = Standing(frozenset((0,)), None, [])
    if subject not in devices.RESERVED:
        # An interface begins with `default`; whether it exists before another writer sets that is unknown.
        begins = _unit(standing, facts, facts["default"]["configured"], boots=True)
        of_default = _writers(facts, ["default"], BOOT)
        standing = _perhaps(begins, of_default, facts["default"]["configured"])
    for writer in _writers(facts, [subject], BOOT, early=True):
        standing = _written(standing, writer, writer["by"], configured, subject)
    standing = _unit(standing, facts, configured, boots=True)
    if subject not in devices.RESERVED:
        for step in _on_add(facts, known) if known.get("on_add") is not None else [{"runs": "systemd_sysctl"}]:
            standing = _step(standing, step, configured, subject)
    standing = _write_all(standing, facts, [subject], BOOT, configured)
    if subject not in devices.RESERVED and standing.values == begins.values:
        # A value that is there already is not written (systemd 250), and `default` reaches what was never written.
        standing = _perhaps(standing, of_default, facts["default"]["configured"])
    if until_agent:
        return _periodic(standing, facts, [subject], configured)
    if subject == "all" and has_agent(facts):
        # Without a reconciler, a unit that starts after the agent has the last word, and the order is unknown.
        keeps = facts["agent"].get("reconciles_after")
        late = [each for each in _writers(facts, ["all"], BOOT) if each.get("late") or not keeps]
        standing = _perhaps(_agent(standing), late, configured)
    standing = _by_next_interface(standing, facts, subject)  # pods come
    return _periodic(standing, facts, [subject], configured)


def _interface_by_boot(facts, pattern, name=None):
    """The next interface after a boot: what runs at boot may still run, or run late, when pods have interfaces."""
    standing = _interface(facts, pattern, name)
    if is_hosts(facts, pattern) and has_agent(facts) and facts["agent"].get("reconciles_after"):
        return standing
    configured = facts["devices"][name]["configured"] if name else facts["patterns"][pattern]["configured"]
    name = name or devices.to_come(pattern)
    late = [each for each in _writers(facts, [name], BOOT) if INTERFACE not in events(each)]
    late += [each for each in _writers(facts, [name], BOOT, early=True) if not each["certain"]]  # behind a mask in /run
    return _perhaps(standing, late, configured, name)


def _lasting(standing):
    """At boot a file below /run is gone, unless whoever wrote it writes it again: then no value is sure."""
    path = standing.source and standing.source["path"] or ""
    is_gone = path.startswith("/run/") and not path.startswith(_MADE_AT_BOOT)
    return Standing(ANY, None, standing.unknown + [standing.source]) if is_gone else standing


def _rerun(facts, subject, horizon, standing):
    """A loader run on the running node."""
    if subject in facts["patterns"]:
        configured = facts["patterns"][subject]["configured"]
    else:
        known = facts[subject] if subject in devices.RESERVED else facts["devices"].get(subject)
        configured = known["configured"] if known else pattern_of(facts, subject)["configured"]
    if horizon == RESTART:
        standing = _unit(standing, facts, configured, boots=False)
        name = devices.to_come(subject) if subject in facts["patterns"] else subject
        for writer in _writers(facts, [name], RESTART):
            standing = _written(standing, dict(writer, certain=False), writer["by"], configured, name)
        return standing
    if facts["loaders"]["procps"] is None:
        return standing
    return _loader(standing, configured, "procps")


def _unit(standing, facts, configured, boots):
    """A start of systemd-sysctl.service, as its unit files have it."""
    unit = (facts["loaders"]["systemd_sysctl"] or {}).get("unit_file") or {}
    state = unit.get("state", "runs")
    if boots and state == "masked" and (unit.get("path") or "").startswith("/run/"):
        return _maybe(_loader(standing, configured, "unit"), standing.values, _place("unit", unit))
    if state in ("masked", "skipped") or boots and state == "disabled":
        return standing
    if state == "unknown":
        return _maybe(_loader(standing, configured, "unit"), ANY, _place("unit", unit))
    return _loader(standing, configured, "unit")


def _loader(standing, configured, loader):
    line = configured.get(loader)
    if loader == "unit" and "unit" not in configured:
        line, loader = configured["systemd_sysctl"], "systemd_sysctl"  # the unit is a plain run of it
    return Standing(frozenset((line["value"],)), _line(line, loader), []) if line else standing


def _line(line, loader):
    return dict({member: line[member] for member in ("path", "line", "key", "value")}, by=_LOADER_NAMES[loader])


def _agent(standing):
    return Standing(frozenset((0,)), dict(_AGENT_SOURCE), [])


def _write_all(standing, facts, names, event, configured):
    """The other writers of an event. If two of them disagree on a key, the last one is unknown."""
    writers = _writers(facts, names, event)
    before = standing
    certain = []
    for writer in writers:
        standing = _written(standing, writer, writer["by"], configured, names[0])
        if _is_certain(writer, names[0]):
            certain.append(standing)
    values = frozenset(value for each in certain for value in each.values)
    if len(values) > 1 and before is not standing:
        sources = [each.source for each in certain if each.source]
        return Standing(values | standing.values, standing.source, standing.unknown + sources)
    return standing


def _periodic(standing, facts, names, configured):
    """What cron and timers write comes at a time that is not known."""
    return _perhaps(standing, _writers(facts, names, "periodic"), configured, names[0])


def _perhaps(standing, writers, configured, name=None):
    """Writers whose order is unknown: before or after."""
    for writer in writers:
        standing = _written(standing, dict(writer, certain=False), writer["by"], configured, name)
    return standing


def _writers(facts, names, event, early=False):
    """Those that may write one of these keys at an event; ``early``: a unit that starts before the loader does."""
    return [
        writer
        for number, writer in enumerate(facts["other_writers"], 1)
        if (writer["by"] != "udev" or events(writer) == [BOOT])  # of an interface the steps are known
        and writer.get("active") is not False
        and event in events(writer)
        and (event != BOOT or bool(writer.get("before_loader")) == early)
        and any(may_write(writer, name) for name in names)
        and not is_replaced(writer, facts["other_writers"][number:], names[0])
    ]


def _is_certain(writer, name):
    return writer.get("certain", True) and not writer["narrowed"] and sets_key(writer, name) and not loosens(writer)


def _written(standing, writer, by, configured, name=None):
    """A write of something else than a loader."""
    if writer.get("runs"):
        after = _loader(standing, configured, writer["runs"])
        if writer.get("certain", True):
            return after
        return standing if after is standing else _maybe(standing, after.values, _place(by, writer))
    if writer.get("by") == "networkmanager" and loosens(writer):
        return _maybe(standing, (2,), _place(by, writer)) if 1 in standing.values else standing
    if writer["sets"] is None and writer["value"] is not None and writer.get("certain"):
        return standing  # the kernel, or whoever reads it, refuses a text that stands for no number
    values = ANY if writer["sets"] is None else (writer["sets"],)
    certain = writer.get("certain", True) and writer["sets"] is not None and not writer.get("narrowed")
    # udev's steps, which have no name here, are of this very interface.
    if certain and (name is None or sets_key(writer, name)):
        return Standing(frozenset(values), _place(by, writer), [])
    if writer["sets"] is not None and standing.values == frozenset(values):
        return standing  # whether it writes or not, the value is the same
    return _maybe(standing, values, _place(by, writer))


def _maybe(standing, values, place):
    return Standing(standing.values | frozenset(values), standing.source, standing.unknown + [place])


def _place(by, writer):
    """A writer as a source, with the fields of a line."""
    names = writer.get("names") or ["DEVICE"]
    key = "IPv4ReversePathFilter" if by == "networkd" else sysctl_d.spell(sysctl_d.conf_key(names[0]))
    return {
        "by": writer.get("unit") or by,
        "path": writer.get("path"),
        "line": writer.get("line"),
        "key": key,
        "value": writer.get("sets"),
    }


# ---- writers ---------------------------------------------------------------------------------------------------------


def events(writer):
    """When it writes; facts of an older version do not say."""
    return writer.get("when") or (["boot", "interface"] if writer["by"] == "networkd" else ["boot"])


def may_write(writer, name):
    """Whether it may write this key."""
    if writer["by"] == "networkd" and name in devices.RESERVED:
        return False  # it knows interfaces alone
    if writer["names"] is None or devices.matches(name, writer["names"]):
        return not devices.matches(name, writer["not_on"])
    return False


def sets_key(writer, name):
    """Whether it writes this key for sure, if it runs."""
    return bool(writer["names"]) and not writer["narrowed"] and may_write(writer, name)


def loosens(writer):
    """NetworkManager's connectivity checks make a strict interface loose, and leave any other as it is."""
    return writer["by"] == "networkmanager" and writer["sets"] == 2


def is_reapplied_line(writer):
    """Whether it is a line of sysctl.d that tuned applies after those of its profile."""
    return bool(writer.get("reapplied")) and is_reapplied_path(writer["path"])


def is_reapplied_path(path):
    return path.startswith(REAPPLIED_FOLDERS) or path == sysctl_d.MAIN_FILE


def is_replaced(writer, later, name):
    """Whether tuned applies another line for this key after this one: it goes through its lines in their order.

    :arg later: the writers after this one.
    """
    return bool(writer.get("reapplied")) and any(
        is_reapplied_line(each) and each.get("certain", True) and sets_key(each, name) for each in later
    )


def past_loaders(facts):
    """The other writers without the lines of sysctl.d by which tuned sets what systemd-sysctl sets as well."""
    return [
        writer
        for number, writer in enumerate(facts["other_writers"], 1)
        if not is_reapplied_line(writer) or _differs_from_loader(facts, writer, facts["other_writers"][number:])
    ]


def _differs_from_loader(facts, writer, later):
    (name,) = writer["names"]
    known = facts[name] if name in devices.RESERVED else facts["devices"].get(name)
    if known is None or is_replaced(writer, later, name):
        return False
    line = known["configured"]["systemd_sysctl"]
    return line is None or line["value"] != writer["sets"]


# ---- patterns --------------------------------------------------------------------------------------------------------


def pattern_of(facts, device):
    """The facts of the pattern that stands for the next interface like this one."""
    name = pattern_name(facts, device)
    return facts["patterns"][name] if name else {"configured": dict(_NONE)}


def pattern_name(facts, device):
    """The pattern that matches this interface; else that of pods' interfaces; None if there is no pattern."""
    patterns = sorted(facts["patterns"])
    matching = [name for name in patterns if device and fnmatch.fnmatchcase(device, name)]
    return next(iter(matching + [name for name in patterns if name == devices.CILIUM_PATTERNS[0]] + patterns), None)


def summary(facts):
    """The fact ``horizons``: of ``all``, ``default``, each pattern and each uplink."""
    uplinks = [name for name, device in facts["devices"].items() if device["kind"] == devices.UPLINK]
    return {subject: predict(facts, subject) for subject in ["all", "default"] + list(facts["patterns"]) + uplinks}
