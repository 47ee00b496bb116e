# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to write so that Cilium's devices are exempt and nobody else loses protection. Pure.

Observations and options in, ordered assignments out. Two orders matter. In the file a later ``default`` would undo
the exempt globs, so it comes first. On the running kernel no device may be weaker, at any step, than it was before or
than it is planned to be; and writing ``default`` reaches every device that nobody wrote before, so each device is
written first, even where its value is right already, and ``all`` last.
"""

from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, dropin, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.dropin import ALL, DEFAULT, EXEMPT, PIN
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable
from ansible_collections.nodeward.cilium.plugins.module_utils.values import (
    MODES,
    OFF,
    STRICT,
    effective,
    in_words,
    is_stronger,
    key,
    stronger,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.write import pins
from ansible_collections.nodeward.cilium.plugins.module_utils.write.pins import (
    KEEP,
    PlanError,
    is_loosened,
    mode_of,
    place,
    through_all,
    value_of,
)

#: What is done with a drop-in that was edited by hand.
EDITED_FAIL, EDITED_RESTORE, EDITED_ADOPT = "fail", "restore", "adopt"

#: The group of values for the running kernel alone; the others are groups of the drop-in.
KEPT = "kept"


# What a plan is made from.
Observed, Options, DecidingLine = pins.Observed, pins.Options, pins.DecidingLine

#: One planned assignment. ``name`` is a device, a pattern, ``all`` or ``default``; ``before`` the running value, None
#: where there is none; ``line`` whether it stands in the drop-in (else it is for the running kernel alone).
Item = namedtuple("Item", "name before to why part line")

Plan = namedtuple("Plan", "items writes records warnings")

#: The loopback interface. It is not Cilium's and not an uplink, but harden gives it what it had through ``all``.
LOOPBACK = "lo"


def as_dict(item):
    """The item as the module returns it."""
    name = printable(item.name)
    return {
        "key": key(name),
        "name": name,
        "from": item.before,
        "to": item.to,
        "why": item.why,
        "part": item.part,
        "line": item.line,
        "text": dropin.line(item) if item.line else None,
    }


def check_options(options):
    """Refuse options that cannot be right, whatever the node looks like."""
    for pattern in options.exempt:
        error = devices.pattern_error(pattern)
        if error:
            raise PlanError(f"exempt: '{pattern}' {error}")
    missing = [pattern for pattern in devices.CILIUM_PATTERNS if pattern not in options.exempt]
    if missing:
        raise PlanError(
            "exempt: %s is missing; with one of Cilium's kinds of devices exempt and the other filtered, "
            "traffic between pods or nodes dies. Write %s and your own patterns behind them"
            % (" and ".join(f"'{pattern}'" for pattern in missing), ", ".join(devices.CILIUM_PATTERNS))
        )
    mapping = options.uplinks if isinstance(options.uplinks, dict) else {"*": options.uplinks}
    for device, mode in mapping.items():
        if mode not in [KEEP] + sorted(MODES):  # a list, since what was given may be of any type
            where = "" if mapping is not options.uplinks else f" for device {device}"
            hint = " (YAML reads off as false: write it in quotes)" if mode is False else ""
            raise PlanError(
                f"uplinks: found '{mode}'{where}{hint}; expected keep, strict, loose or off, or a mapping of devices "
                "to one of these"
            )
        if not isinstance(device, str):
            raise PlanError(f"uplinks: '{device}' is no device name; write it in quotes")
    named = [("uplink_devices", device) for device in options.uplink_devices or ()]
    if mapping is options.uplinks:
        named += [("uplinks", device) for device in sorted(mapping)]
    for option, device in named:
        error = devices.device_error(device)
        if error:
            raise PlanError(f"{option}: '{device}' {error}")


def settle(standing, edited, exempt):
    """(Standing to plan on, warnings): refuse a drop-in that was edited by hand, or restore or adopt its lines."""
    if standing.edits is None:
        return standing, []
    described = [dropin.describe_edit(edit) for edit in standing.edits[:10]]
    if len(standing.edits) > 10:
        described.append(f"and {len(standing.edits) - 10} more")
    found = "the drop-in '%s' was edited by hand: %s" % (
        printable(standing.path),
        "; ".join(described) or "its digest does not match, and its header does not list its lines",
    )
    if edited == EDITED_RESTORE:
        if standing.written is None:
            found += ". So no line can be restored; each pin is the strongest of its line, of what runs and of the tree"
        return dropin.restored(standing), [f"{found}. Its lines are restored (edited=restore)"]
    if edited == EDITED_ADOPT:
        known = ["all"] + [sysctl_d.canonical_glob(pattern) for pattern in exempt]
        for line in standing.others:
            number = None if line.value is None else sysctl_d.kernel_integer(line.value)
            name = values.name_of(line.key)
            is_known = name is not None and sysctl_d.canonical_glob(name) in known
            if not is_known or number is None or values.normal(number) != OFF:
                raise PlanError(
                    f"{found}. Line {line.line} cannot be adopted: expected pins, default, and 0 for all and for the "
                    "patterns in exempt. Move that line to another file, or set edited=restore"
                )
        return standing._replace(edits=None), [
            f"{found}. Its lines are adopted (edited=adopt), except where one is weaker than what runs or than what "
            "other lines give: to weaken an uplink, name it in uplinks"
        ]
    raise PlanError(
        f"{found}. Expected the lines as they were written. Set edited=restore to write these again, or edited=adopt "
        "to take the edited lines for its pins"
    )


def present(options, seen):
    """The plan that exempts Cilium's devices and keeps, or sets, the filter on all others."""
    check_options(options)
    warnings = []
    running_all = seen.running.get("all", OFF)
    default = _kept_default(seen)
    pinned = pins.find(options, seen, warnings)
    if (
        not seen.running
        and not isinstance(options.uplinks, dict)
        and options.uplinks in MODES
        and not options.uplink_devices
    ):
        warnings.append(
            f"uplinks is {options.uplinks}, but running values are not read here, so uplinks cannot be found: only "
            "those that the drop-in pins already get a line. Name the others in uplink_devices, or run again on the "
            "booted node"
        )

    own = {}  # what each device that is there shall have as its own value
    kept, restored = [], {}  # names; name → the line for `all` whose value it gets
    for device, value in sorted(seen.running.items()):
        if device in devices.RESERVED:
            continue
        if seen.kinds.get(device) == devices.CILIUM:
            own[device] = OFF
        elif device in pinned:
            own[device] = pinned[device].value
            if is_loosened(device, seen) and pinned[device].value == STRICT and mode_of(options, device) == KEEP:
                own[device] = value
                warnings.append(
                    f"uplink {device}: {seen.loosened_by} sets it loose (2) against the pin strict (1) in the "
                    "drop-in; the running value is left unchanged. Set uplinks to loose for it to end the difference"
                )
        else:
            own[device] = effective(running_all, value)
            # Later runs leave it as it runs: whoever lowered it after `all` was off did so on purpose.
            lines = [seen.given("all") if seen.first else None, seen.disabled("all")]
            by_all, all_line = through_all(lines, value)
            if is_stronger(by_all, own[device]):
                own[device] = by_all
                restored[device] = all_line
            if own[device] != value:
                kept.append(device)
    if restored:
        warnings.append(
            "interfaces other than uplinks become stricter (%d), since a line for all (%s) gives more than runs: %s"
            % (
                len(restored),
                " and ".join(sorted({place(line) for line in restored.values()})),
                printable(", ".join(list(restored)[:10])) + (", …" if len(restored) > 10 else ""),
            )
        )

    items = [
        Item(
            "default",
            seen.running.get("default"),
            default,
            "devices to come keep what all and default gave them together",
            DEFAULT,
            True,
        )
    ]
    for pattern in options.exempt:
        items.append(Item(pattern, None, OFF, "Cilium's devices to come, and at the next boot", EXEMPT, True))
    for device, value in sorted(own.items()):
        if seen.kinds.get(device) == devices.CILIUM and seen.running[device] != OFF:
            items.append(Item(device, seen.running[device], value, "Cilium's device, filtered now", EXEMPT, False))
    for device, pin in sorted(pinned.items()):
        items.append(Item(device, seen.running.get(device), pin.value, pin.why, PIN, True))
    for device in kept:
        why = "relied on all, which goes off"
        if device in restored:
            line = restored[device]
            why = f"restores what all = {line.value} ({place(line)}) gives it"
        why += "; not in the file, since it may not be there tomorrow"
        items.append(Item(device, seen.running[device], own[device], why, KEPT, False))
    items.append(
        Item("all", seen.running.get("all"), OFF, "the kernel takes the larger of all and the device", ALL, True)
    )

    writes = []
    if seen.running:
        detach = seen.running["default"] != default
        exempt_first = sorted(own, key=lambda device: (seen.kinds.get(device) != devices.CILIUM, device))
        device_writes = [
            (device, own[device]) for device in exempt_first if detach or own[device] != seen.running[device]
        ]
        writes = device_writes[:]
        if detach:
            writes.append(("default", default))
        if running_all != OFF:
            writes.append(("all", OFF))
    return Plan(items, writes, _records(seen, pinned), warnings)


def _kept_default(seen):
    """What interfaces to come have without the drop-in, by the running values or by the tree, and by the drop-in."""
    # A file at our path that is not managed by this collection holds no records, but what it gives is not to be lost.
    found = [seen.standing.default or OFF, value_of(seen.disabled("*"))]
    if not seen.running:
        return stronger(value_of(seen.given("all")), value_of(seen.given("default")), *found)
    found.append(effective(value_of(seen.given("all")), value_of(seen.given("default"))))
    return stronger(effective(seen.running["all"], seen.running["default"]), *found)


def _records(seen, pinned):
    """Values from before the first creation; a header that stands is never updated."""
    if seen.standing.ours and (seen.standing.records or seen.standing.default is not None):
        return dict(seen.standing.records)
    recorded = set(devices.RESERVED) | set(pinned) | {LOOPBACK}
    return {name: value for name, value in seen.running.items() if name in recorded}


def absent(seen, exists):
    """The plan that removes the drop-in: what a line decides, else what was recorded, else left unchanged.

    Cilium's host interfaces keep what they run with, which is what the agent gives them; so does `all` if it was off
    before. lo gets its recorded value.

    :arg exists: whether there is a drop-in at all; without one there is nothing to take back.
    """
    if not exists or not seen.running:
        return Plan([], [], {}, [])
    warnings = []
    target, reasons = {}, {}
    cilium = {
        device
        for device, kind in seen.kinds.items()
        if kind == devices.CILIUM and not devices.matches(device, [devices.HOST_DEVICES])
    }
    ours = set(seen.standing.pins) | set(devices.RESERVED) | cilium
    if LOOPBACK in seen.standing.records:
        ours.add(LOOPBACK)
    left = []
    for name in sorted(ours & set(seen.running)):
        decided = None if name == LOOPBACK else seen.given_after(name)
        if name == ALL and _agent_keeps_all(seen, decided):
            warnings.append(
                f"all stays {in_words(seen.running[ALL])}, as the agent keeps it. The next restart of systemd-sysctl "
                f"sets it to {in_words(decided.value)}, as {place(decided)} says"
            )
        elif decided is not None:
            target[name], reasons[name] = decided.value, f"decided by {place(decided)}"
        elif name in seen.standing.records:
            target[name], reasons[name] = seen.standing.records[name], "recorded before the drop-in was first created"
        else:
            left.append(name)
    named = [f"{key(name)}={seen.running[name]}" for name in left if name not in cilium]
    if len(left) > len(named):
        named.append(f"{len(left) - len(named)} interface(s) of pods")
    if left:
        warnings.append(f"left unchanged, since no line decides it and no value was recorded: {', '.join(named)}")

    def part(name):
        if name in devices.RESERVED:
            return {"all": ALL, "default": DEFAULT}[name]
        return EXEMPT if seen.kinds.get(name) == devices.CILIUM else PIN

    removal = [PIN, EXEMPT, DEFAULT]
    # The other way round; but a filter that goes off goes last, that nothing is bare in between.
    removal.insert(len(removal) if target.get("all") == OFF else 0, ALL)
    order = sorted(target, key=lambda name: (removal.index(part(name)), name))
    items = [
        Item(name, seen.running[name], target[name], reasons[name], part(name), False)
        for name in order
        if target[name] != seen.running[name]
    ]
    default = target.get("default", seen.running["default"])
    detach = default != seen.running["default"]
    writes = []
    for name in order:
        if name not in devices.RESERVED and (target[name] != seen.running[name] or detach):
            writes.append((name, target[name]))
    if detach:
        untouched = sorted(set(seen.running) - set(target) - set(devices.RESERVED))
        writes += [(name, seen.running[name]) for name in untouched]
        writes.append(("default", default))
    if target.get("all", seen.running["all"]) != seen.running["all"]:
        writes.insert(len(writes) if target["all"] == OFF else 0, ("all", target["all"]))
    return Plan(items, writes, {}, warnings)


def _agent_keeps_all(seen, decided):
    """Whether a line turns `all` on that was off before harden, on a node whose agent turns it off."""
    return seen.agent and value_of(decided) != OFF and seen.standing.records.get(ALL, OFF) == OFF


def changes(plan, running):
    """The writes that change a value, as (name, before, to); the others only detach a device from ``default``."""
    return [(name, running[name], value) for name, value in plan.writes if running[name] != value]
