# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to write so that Cilium's devices are exempt and nobody else loses protection. Pure.

Observations and options in, ordered assignments out. Two orders matter. In the file a later ``default`` would undo
the exempt globs, so it comes first. On the running kernel no device may be weaker, at any step, than it was before or
than it is planned to be; and writing ``default`` reaches every device that nobody wrote before, so each device is
written first, even where its value is right already, and ``all`` last.
"""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import hashlib
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, iproute, sysctl_d

OFF, STRICT, LOOSE = 0, 1, 2
MODES = {"off": OFF, "strict": STRICT, "loose": LOOSE}
KEEP = "keep"
WORDS = {OFF: "off", STRICT: "strict", LOOSE: "loose"}

# Strict drops all that loose drops and more; the kernel's max() is not that order.
_STRENGTH = {OFF: 0, LOOSE: 1, STRICT: 2}

#: Groups of assignments, in the order of the file.
DEFAULT, EXEMPT, PIN, KEPT, ALL = "default", "exempt", "pin", "kept", "all"

#: The first line that is ours. A drop-in without it was written by somebody else.
FORMAT = 1
HEADER = "# nodeward.cilium.rp_filter, format %d" % FORMAT
RECORD = "# before: "
#: By this an audit sees a change by hand.
DIGEST = "# digest of the lines: sha256:"

GROUP_COMMENTS = {
    DEFAULT: ['Devices to come: what "all" and "default" gave them together, since "all" is off below.'],
    EXEMPT: [
        "Cilium's devices: a pod's reply arrives on another device than the host's route to the pod names.",
        "The first letter stands in brackets because systemd-sysctl keeps a repeated identical line at its first",
        "place, which would disarm Cilium's own file. Plainly: {plain}",
    ],
    PIN: ["Every other device that a packet can enter by keeps its protection, whatever the globs say."],
    ALL: ['The kernel filters with the larger of "all" and the device\'s own value, so "all" has to be off.'],
}


class PlanError(Exception):
    """The options do not go together with what is there. Nothing was changed."""


#: The line of a file that decides a key: its value, and where it stands.
DecidingLine = namedtuple("DecidingLine", "value path line")

#: What the plan is made from. ``running`` (name → value, with all and default) is empty where running values are
#: neither read nor written. ``given`` and ``given_after`` return the DecidingLine of the sysctl.d tree for a name:
#: without the drop-in and Cilium's own file, and without the drop-in alone; None if no line decides. ``kinds`` is
#: device → kind. ``loosened_by`` names the mode of Cilium that sets uplinks loose itself, if one is on.
Observed = namedtuple("Observed", "running kinds given given_after standing loosened_by")

#: What the drop-in that stands there says. ``pins`` and ``default`` are remembered; ``records`` are the values from
#: before the first creation; ``ours`` is False for a file not managed by this collection; ``places`` says where each
#: pin stands (``path:line``).
Standing = namedtuple("Standing", "ours pins default records places")

#: ``uplinks``: a mode for all, or device → mode. ``uplink_devices``: None where uplinks are found.
Options = namedtuple("Options", "exempt uplinks uplink_devices")

#: One planned assignment. ``name`` is a device, a pattern, ``all`` or ``default``; ``before`` the running value, None
#: where there is none; ``line`` whether it stands in the drop-in (else it is for the running kernel alone).
Item = namedtuple("Item", "name before to why part line")

Plan = namedtuple("Plan", "items writes records warnings")

#: What an uplink gets in the drop-in: the value and why; ``warning`` tells what the user has to know of it. ``value``
#: is None if it is left as it runs, without a line.
Pin = namedtuple("Pin", "value why warning")
Pin.__new__.__defaults__ = (None,)

#: The loopback interface. It is not Cilium's and not an uplink, but harden gives it what it had through ``all``.
LOOPBACK = "lo"


def stronger(*values):
    """The value that drops most."""
    return max(values, key=lambda value: _STRENGTH[value])


def strength(value):
    """How much a value drops, to compare by: off < loose < strict."""
    return _STRENGTH[value]


def is_stronger(value, other):
    """Whether a value drops more than another."""
    return _STRENGTH[value] > _STRENGTH[other]


def in_words(value):
    """A value as people read it."""
    return "%s (%d)" % (WORDS[value], value)


def effective(all_value, own):
    """The value that the kernel filters a device with (kernel doc, ip-sysctl: the larger of the two)."""
    return max(all_value, own)


def place(line):
    """Where a deciding line stands, as ``path:line``."""
    return "%s:%d" % (iproute.printable(line.path), line.line)


def _value(line):
    return OFF if line is None else line.value


def normal(value):
    """The kernel reads 1 as strict, any other positive number as loose, the rest as off."""
    value = int(value)
    if value == STRICT:
        return STRICT
    return LOOSE if value > 0 else OFF


def key(name):
    """How the key of a device, a pattern, ``all`` or ``default`` is written in a sysctl.d file."""
    return sysctl_d.spell(sysctl_d.conf_key(name))


def as_dict(item):
    """The item as the module returns it."""
    name = iproute.printable(item.name)
    return {
        "key": key(name),
        "name": name,
        "from": item.before,
        "to": item.to,
        "why": item.why,
        "part": item.part,
        "line": item.line,
        "text": line(item) if item.line else None,
    }


def mode_of(options, device):
    """The mode that the options ask for this device."""
    if isinstance(options.uplinks, dict):
        return options.uplinks.get(device, KEEP)
    return options.uplinks


def check_options(options):
    """Refuse options that cannot be right, whatever the node looks like."""
    for pattern in options.exempt:
        error = devices.pattern_error(pattern)
        if error:
            raise PlanError("exempt: '%s' %s" % (pattern, error))
    missing = [pattern for pattern in devices.CILIUM_PATTERNS if pattern not in options.exempt]
    if missing:
        raise PlanError(
            "exempt: %s is missing; with one of Cilium's kinds of devices exempt and the other filtered, "
            "traffic between pods or nodes dies. Write %s and your own patterns behind them"
            % (" and ".join("'%s'" % pattern for pattern in missing), ", ".join(devices.CILIUM_PATTERNS))
        )
    mapping = options.uplinks if isinstance(options.uplinks, dict) else {"*": options.uplinks}
    for device, mode in mapping.items():
        if mode not in [KEEP] + sorted(MODES):  # a list, since what was given may be of any type
            where = "" if mapping is not options.uplinks else " for device %s" % device
            hint = " (YAML reads off as false: write it in quotes)" if mode is False else ""
            raise PlanError(
                "uplinks: found '%s'%s%s; expected keep, strict, loose or off, or a mapping of devices to "
                "one of these" % (mode, where, hint)
            )
        if not isinstance(device, str):
            raise PlanError("uplinks: '%s' is no device name; write it in quotes" % device)
    named = [("uplink_devices", device) for device in options.uplink_devices or ()]
    if mapping is options.uplinks:
        named += [("uplinks", device) for device in sorted(mapping)]
    for option, device in named:
        error = devices.device_error(device)
        if error:
            raise PlanError("%s: '%s' %s" % (option, device, error))


def standing(text, path="the drop-in"):
    """What the drop-in with this text holds. ``None`` (no file) gives an empty one."""
    if text is None:
        return Standing(True, {}, None, {}, {})
    lines = text.splitlines()
    ours = any(line.startswith(HEADER) for line in lines)
    records, pins, default, places = {}, {}, None, {}
    for number, line in enumerate(lines, 1):
        if ours and line.startswith(RECORD):
            name, value = _assignment(line[len(RECORD) :])
            if name is not None:
                records[name] = value
        elif line.strip() and line.strip()[0] not in "#;":
            name, value = _assignment(line.strip().lstrip("-"))
            if name == "default":
                default = value
            elif name not in (None, "all") and not devices.device_error(name) and not set(name) & set("*?["):
                pins[name] = value
                places[name] = "%s:%d" % (iproute.printable(path), number)
    return Standing(ours, pins, default, records, places)


def assignment_rows(text):
    """The rows of a drop-in that are no comment."""
    rows = [row.strip() for row in text.splitlines()]
    return [row for row in rows if row and row[0] not in "#;"]


def digest(rows):
    """What stands behind DIGEST for these rows."""
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()


def name_of(written):
    """The device, pattern, ``all`` or ``default`` of a key as written; None for any other key."""
    path = sysctl_d.normalise(written.strip()).split("/")
    if len(path) != 5 or path[:3] != ["net", "ipv4", "conf"] or path[4] != "rp_filter":
        return None
    return path[3]


def _assignment(text):
    """(name, value) of ``net.ipv4.conf.<name>.rp_filter = <value>``, (None, None) for anything else."""
    written, separator, value = text.partition("=")
    name, number = name_of(written), sysctl_d.kernel_integer(value.strip())
    if not separator or name is None or number is None:
        return None, None
    return name, normal(number)


def present(options, seen):
    """The plan that exempts Cilium's devices and keeps, or sets, the filter on all others."""
    check_options(options)
    warnings = []
    running_all = seen.running.get("all", OFF)
    default = _kept_default(seen)
    pins = _pins(options, seen, warnings)
    if (
        not seen.running
        and not isinstance(options.uplinks, dict)
        and options.uplinks in MODES
        and not options.uplink_devices
    ):
        warnings.append(
            "uplinks is %s, but running values are not read here, so uplinks cannot be found: only those that the "
            "drop-in pins already get a line. Name the others in uplink_devices, or run again on the booted node"
            % options.uplinks
        )

    own = {}  # what each device that is there shall have as its own value
    kept = []
    for device, value in sorted(seen.running.items()):
        if device in devices.RESERVED:
            continue
        if seen.kinds.get(device) == devices.CILIUM:
            own[device] = OFF
        elif device in pins:
            own[device] = pins[device].value
            if _is_loosened(device, seen) and pins[device].value == STRICT and mode_of(options, device) == KEEP:
                own[device] = value
                warnings.append(
                    "uplink %s: %s sets it loose (2) against the pin strict (1) in the drop-in; the "
                    "running value is left unchanged. Set uplinks to loose for it to end the difference"
                    % (device, seen.loosened_by)
                )
        else:
            own[device] = effective(running_all, value)
            if own[device] != value:
                kept.append(device)

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
    for device, pin in sorted(pins.items()):
        items.append(Item(device, seen.running.get(device), pin.value, pin.why, PIN, True))
    for device in kept:
        items.append(
            Item(
                device,
                seen.running[device],
                own[device],
                "relied on all, which goes off; not in the file, since it may not be there tomorrow",
                KEPT,
                False,
            )
        )
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
    return Plan(items, writes, _records(seen, pins), warnings)


def _kept_default(seen):
    """``default`` keeps what a device to come got from all and default together."""
    if seen.standing.ours and seen.standing.default is not None:
        return seen.standing.default
    # Somebody else's file at our path is no memory, but what it gives is not to be lost either.
    theirs = seen.standing.default or OFF
    if not seen.running:
        return stronger(theirs, _value(seen.given("all")), _value(seen.given("default")))
    given = effective(_value(seen.given("all")), _value(seen.given("default")))
    return stronger(theirs, given, effective(seen.running["all"], seen.running["default"]))


def _pins(options, seen, warnings):
    """device → Pin, for every uplink and for every other device that an exempt glob would hit."""
    uplinks = {device for device, kind in seen.kinds.items() if kind == devices.UPLINK}
    listed = set(options.uplink_devices or ())
    if isinstance(options.uplinks, dict):
        listed |= set(options.uplinks)
    guarded = {
        device
        for device, kind in seen.kinds.items()
        if kind != devices.CILIUM and devices.matches(device, options.exempt)
    }
    remembered = set()
    for device in seen.standing.pins:
        exempt = devices.matches(device, options.exempt)
        if seen.kinds.get(device) == devices.CILIUM or (exempt and not seen.standing.ours):
            continue
        # An uplink that is gone, or without its address, keeps its pin; only an option takes it away.
        if options.uplink_devices is None or device in listed or exempt:
            remembered.add(device)

    pins = {}
    for device in sorted(uplinks | listed | guarded | remembered):
        if seen.kinds.get(device) == devices.CILIUM:
            raise PlanError(
                "%s: '%s' is one of Cilium's devices, which are exempt; name the devices by which packets "
                "enter the node" % (_naming_option(options, device), device)
            )
        is_guarded_only = device in guarded and device not in uplinks | listed
        mode = KEEP if is_guarded_only and not isinstance(options.uplinks, dict) else mode_of(options, device)
        pin = _pin(device, mode, seen, device in guarded)
        if pin is None:
            if seen.running:
                raise PlanError(
                    "%s: device '%s' does not exist, so there is no value to keep; found %s. Take it out, "
                    "or say strict, loose or off for it"
                    % (
                        _naming_option(options, device),
                        device,
                        iproute.printable(", ".join(sorted(set(seen.running) - set(devices.RESERVED)))) or "none",
                    )
                )
            warnings.append(
                "uplink %s: running values are not read here, so there is none to keep and no line is "
                "written for it; 'default' covers it" % device
            )
            continue
        if not devices.writable_in_a_file(device):
            warnings.append(
                "uplink %s: such a name cannot stand in a sysctl.d file, so its value is kept now and by "
                "no line; rename the device" % iproute.printable(device)
            )
            continue
        if pin.warning:
            warnings.append(pin.warning)
        if pin.value is None:
            continue
        pins[device] = pin
        if seen.running and device not in seen.running and device in listed:
            warnings.append("uplink %s does not exist now; its line stands in the drop-in for when it comes" % device)
        if pin.value == OFF and mode == KEEP and not is_guarded_only and not pin.warning:
            warnings.append(
                "uplink %s is unprotected: %s, so keep leaves it off. Set uplinks to loose or strict to protect it"
                % (device, _cause_of_off(device, seen))
            )
    return pins


def _cause_of_off(device, seen):
    """Why `keep` finds nothing that protects an uplink."""
    line, default = seen.given(device), seen.given("default")
    if line is not None and line.value == OFF:
        return "%s sets it to 0" % place(line)
    if seen.standing.pins.get(device) == OFF:
        return "its pin in the drop-in (%s) is 0" % seen.standing.places[device]
    if default is not None and default.value != OFF:
        return "no line in sysctl.d sets its filter; default = %d (%s) counts for later interfaces only" % (
            default.value,
            place(default),
        )
    return "no line in sysctl.d sets its filter"


def _pin(device, mode, seen, guarded):
    """The Pin of a device, None if there is no value to keep."""
    if mode != KEEP:
        why = "uplinks is %s" % mode
        if device in seen.running and is_stronger(MODES[mode], _running(device, seen)):
            why += ", which makes it stricter: it runs %s" % in_words(_running(device, seen))
        return Pin(MODES[mode], why)
    pinned = seen.standing.pins.get(device)
    if device not in seen.running:
        return None if pinned is None else Pin(pinned, "pinned in the drop-in")
    remembered = seen.standing.ours and pinned is not None
    if _is_loosened(device, seen):
        if remembered and pinned == STRICT:
            return Pin(pinned, "pinned in the drop-in")
        return Pin(LOOSE, "%s sets it loose" % seen.loosened_by)
    return _kept(device, pinned, remembered, guarded, seen)


def _is_loosened(device, seen):
    return bool(seen.loosened_by) and seen.running.get(device) == LOOSE


def _running(device, seen):
    return effective(seen.running["all"], seen.running[device])


def _kept(device, pinned, remembered, guarded, seen):
    """What `keep` gives a device that exists: the strongest of what runs, of its pin, and of what `all` gives it.

    Its own line in sysctl.d is not among these: whoever set the running value below it did so on purpose.
    """
    own, now, by_all = seen.running[device], _running(device, seen), seen.given("all")
    # Only where `all` is on in the tree: an own value alone is nothing that `all` gives.
    through_all = effective(by_all.value, own) if _value(by_all) != OFF else OFF
    value = stronger(now, through_all, OFF if pinned is None else pinned)
    what = "not Cilium's, but an exempt pattern matches it" if guarded else "uplink"
    if is_stronger(value, now):
        if value == pinned:
            source = "its pin in the drop-in (%s)" % seen.standing.places[device]
        else:
            source = "what all = %d (%s) gives it" % (by_all.value, place(by_all))
        return Pin(
            value,
            "%s: restores %s, %s" % (what, source, WORDS[value]),
            "uplink %s becomes stricter: it runs %s, and %s restores %s"
            % (device, in_words(now), in_words(value), source),
        )
    kept = Pin(value, "%s: keeps its effective value, %s" % (what, WORDS[value]))
    line = seen.given(device)
    if line is None or not is_stronger(line.value, own) or not is_stronger(line.value, value):
        return kept
    found = "uplink %s runs %s, below the %s that %s sets" % (device, in_words(now), in_words(line.value), place(line))
    if own == value and effective(_value(by_all), line.value) == line.value and not remembered and not guarded:
        return Pin(
            None,
            None,
            "%s. It was lowered at run time, so it is left as it runs, without a pin; that line counts again at the "
            "next boot. Set uplinks to %s for it to apply that value now, or to %s to keep what runs"
            % (found, WORDS[line.value], WORDS[value]),
        )
    return kept._replace(
        warning="%s. The drop-in pins it %s, as it runs. Set uplinks to %s for it to apply that line's value"
        % (found, in_words(value), WORDS[line.value])
    )


def _naming_option(options, device):
    if isinstance(options.uplinks, dict) and device in options.uplinks:
        return "uplinks"
    return "uplink_devices"


def _records(seen, pins):
    """Values from before the first creation; a header that stands is never updated."""
    if seen.standing.ours and (seen.standing.records or seen.standing.default is not None):
        return dict(seen.standing.records)
    recorded = set(devices.RESERVED) | set(pins) | {LOOPBACK}
    return {name: value for name, value in seen.running.items() if name in recorded}


def absent(seen, exists):
    """The plan that removes the drop-in: what a line decides, else what was recorded, else left unchanged.

    Cilium's host interfaces keep what they run with, which is what the agent gives them; lo gets its recorded value.

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
        if decided is not None:
            target[name], reasons[name] = decided.value, "decided by %s" % place(decided)
        elif name in seen.standing.records:
            target[name], reasons[name] = seen.standing.records[name], "recorded before the drop-in was first created"
        else:
            left.append(name)
    named = ["%s=%d" % (key(name), seen.running[name]) for name in left if name not in cilium]
    if len(left) > len(named):
        named.append("pod interfaces (%d)" % (len(left) - len(named)))
    if left:
        warnings.append("left unchanged, since no line decides it and no value was recorded: %s" % ", ".join(named))

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


def changes(plan, running):
    """The writes that change a value, as (name, before, to); the others only detach a device from ``default``."""
    return [(name, running[name], value) for name, value in plan.writes if running[name] != value]


def compose(plan):
    """The complete text of the drop-in."""
    text = [
        "#",
        "# Ansible managed",
        "#",
        HEADER,
        DIGEST + digest([line(item) for item in plan.items if item.line]),
        "# The reverse-path filter is off for the devices of Cilium, and stays on where it protects.",
    ]
    text += ["%s%s=%d" % (RECORD, key(name), value) for name, value in sorted(plan.records.items())]
    for part in (DEFAULT, EXEMPT, PIN, ALL):
        items = [item for item in plan.items if item.line and item.part == part]
        if items:
            plain = ", ".join(item.name for item in items)
            text += [""] + ["# " + line.format(plain=plain) for line in GROUP_COMMENTS[part]]
            text += [line(item) for item in items]
    return "\n".join(text) + "\n"


def line(item):
    """An assignment as it stands in the file."""
    # A glob or a pinned device may match nothing at boot: '-' keeps the unit from failing.
    dash = "" if item.name in devices.RESERVED else "-"
    name = item.name
    if item.part == EXEMPT and name[0] not in "*?[":
        name = "[%s]%s" % (name[0], name[1:])
    return "%s%s = %d" % (dash, key(name), item.to)


def check_content(text, plan):
    """Refuse a text for the drop-in that lacks or contradicts a planned assignment, naming the line."""
    planned = {sysctl_d.canonical_glob(item.name): item for item in plan.items if item.line}
    rows = text.split("\n")
    lines, problems = sysctl_d.parse(text, "content")
    for problem in problems:
        raise PlanError("content: line %d: %s" % (problem["line"], problem["problem"]))
    found = {}
    for entry in lines:
        name = name_of(entry.key)
        if name is None and not set(entry.key) & set("*?["):
            continue
        where = "content: line %d, '%s'," % (entry.line, rows[entry.line - 1].strip())
        if name is None:
            raise PlanError("%s is a pattern over other keys, which may be a planned one; take it out" % where)
        name = sysctl_d.canonical_glob(name)
        number = None if entry.value is None else sysctl_d.kernel_integer(entry.value)
        value = None if number is None else normal(number)
        item = planned.get(name)
        if item is None:
            hit = [other for other in sorted(set(planned) - set(devices.RESERVED)) if devices.matches(name, [other])]
            if not hit:
                raise PlanError("%s is not in the plan; take it out, or name it in uplinks or exempt" % where)
            if planned[hit[0]].to != value:
                raise PlanError("%s contradicts the planned '%s'; take it out" % (where, line(planned[hit[0]])))
        elif value != item.to:
            raise PlanError("%s contradicts the planned '%s'; write that" % (where, line(item)))
        elif name in found:
            # The loaders do not agree which of two identical lines counts.
            raise PlanError("%s stands in line %d already; take one of them out" % (where, found[name]))
        else:
            found[name] = entry.line
    for name, item in planned.items():
        if name not in found:
            raise PlanError(
                "content: the planned '%s' is missing, after line %d; render the whole plan" % (line(item), len(rows))
            )
    first_exempt = min(
        [found[sysctl_d.canonical_glob(item.name)] for item in plan.items if item.line and item.part == EXEMPT]
    )
    if found["default"] > first_exempt:
        raise PlanError(
            "content: line %d, '%s', stands after the exempt globs and would undo them; write default "
            "first" % (found["default"], rows[found["default"] - 1].strip())
        )
    if not any(row.startswith(HEADER) for row in rows):
        raise PlanError("content: the line '%s' is missing; without it the drop-in is not known as ours" % HEADER)
    for name, value in sorted(plan.records.items()):
        record = "%s%s=%d" % (RECORD, key(name), value)
        if record not in rows:
            raise PlanError("content: the line '%s' is missing; rollback needs it" % record)
    right = DIGEST + digest(assignment_rows(text))
    for number, row in enumerate(rows, 1):
        if row.startswith(DIGEST) and row.strip() != right:
            raise PlanError(
                "content: line %d, '%s', is not the digest of the lines; write '%s', or leave it out"
                % (number, row.strip(), right)
            )
