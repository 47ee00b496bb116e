# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every uplink gets, and every other interface that an exempt pattern hits: its pin. Pure."""

from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, dropin
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable
from ansible_collections.nodeward.cilium.plugins.module_utils.values import (
    LOOSE,
    MODES,
    OFF,
    STRICT,
    WORDS,
    effective,
    in_words,
    is_stronger,
    strength,
    stronger,
)

KEEP = "keep"


class PlanError(dropin.DropinError):
    """The options do not go together with what is there. Nothing was changed."""


#: The line of a file that decides a key: its value, and where it stands.
DecidingLine = namedtuple("DecidingLine", "value path line")

#: What the plan is made from. ``running`` (name → value, with all and default) is empty where running values are
#: neither read nor written. ``given`` and ``given_after`` return the DecidingLine of the sysctl.d tree for a name:
#: without the drop-in and Cilium's own file, and without the drop-in alone; None if no line decides. ``kinds`` is
#: device → kind. ``loosened_by`` names the mode of Cilium that sets uplinks loose itself, if one is on. ``disabled``
#: returns the strongest DecidingLine for a name (an interface or ``all``) that this run disables; for ``*`` what an
#: interface to come loses.
#: ``first`` says that no drop-in of ours stood when the run began. ``agent`` says that an agent was seen on the node.
Observed = namedtuple("Observed", "running kinds given given_after standing loosened_by disabled first agent")
Observed.__new__.__defaults__ = ({}.get, False, False)

#: ``uplinks``: a mode for all, or device → mode. ``uplink_devices``: None where uplinks are found. ``allow_absent``:
#: whether these may name an interface that does not exist and has no pin.
Options = namedtuple("Options", "exempt uplinks uplink_devices allow_absent")
Options.__new__.__defaults__ = (False,)

#: What an uplink gets in the drop-in: the value and why; ``warning`` tells what the user has to know of it. ``value``
#: is None if it is left as it runs, without a line.
Pin = namedtuple("Pin", "value why warning")
Pin.__new__.__defaults__ = (None,)


def place(line):
    """Where a deciding line stands, as ``path:line``."""
    return f"{printable(line.path)}:{line.line}"


def value_of(line):
    return OFF if line is None else line.value


def through_all(lines, own):
    """(value, line): the most that one of these lines for `all` makes of an own value; (OFF, None) if none is on."""
    found = [(effective(line.value, own), line) for line in lines if value_of(line) != OFF]
    return max(found, key=lambda each: strength(each[0]), default=(OFF, None))


def mode_of(options, device):
    """The mode that the options ask for this device."""
    if isinstance(options.uplinks, dict):
        return options.uplinks.get(device, KEEP)
    return options.uplinks


def find(options, seen, warnings):
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
                f"{_naming_option(options, device)}: '{device}' is one of Cilium's devices, which are exempt; name "
                "the devices by which packets enter the node"
            )
        is_guarded_only = device in guarded and device not in uplinks | listed
        mode = KEEP if is_guarded_only and not isinstance(options.uplinks, dict) else mode_of(options, device)
        pin = _pin(device, mode, seen, device in guarded)
        if seen.running and device not in seen.running:
            _check_absent(device, pin, options, seen)
        if pin is None:
            warnings.append(
                f"uplink {device}: running values are not read here, so there is none to keep and no line is "
                "written for it; 'default' covers it"
            )
            continue
        if not devices.writable_in_a_file(device):
            warnings.append(
                f"uplink {printable(device)}: such a name cannot stand in a sysctl.d file, so its value is "
                "kept now and by no line; rename the device"
            )
            continue
        if pin.warning:
            warnings.append(pin.warning)
        if pin.value is None:
            continue
        pins[device] = pin
        if seen.running and device not in seen.running and device in listed:
            warnings.append(f"uplink {device} does not exist now; its line stands in the drop-in for when it comes")
        if pin.value == OFF and mode == KEEP and not is_guarded_only and not pin.warning:
            warnings.append(
                f"uplink {device} is unprotected: {_cause_of_off(device, seen)}, so keep leaves it off. Set uplinks "
                "to loose or strict to protect it"
            )
    return pins


def _check_absent(device, pin, options, seen):
    """Refuse an interface that does not exist, unless it is pinned already or the options allow it."""
    if pin is not None and (options.allow_absent or device in seen.standing.pins):
        return
    missing = "" if pin is not None else ", so there is no value to keep"
    found = printable(", ".join(sorted(set(seen.running) - set(devices.RESERVED)))) or "none"
    way_out = "Correct its name or take it out"
    if pin is None:
        way_out = "Take it out, or say strict, loose or off for it"
    if not options.allow_absent:
        way_out += (
            " and set allow_absent_uplinks=true" if pin is None else ", or set allow_absent_uplinks=true to pin it now"
        )
    raise PlanError(
        f"{_naming_option(options, device)}: device '{device}' does not exist{missing}; found {found}. {way_out}"
    )


def _cause_of_off(device, seen):
    """Why `keep` finds nothing that protects an uplink."""
    line, default = seen.given(device), seen.given("default")
    if line is not None and line.value == OFF:
        return f"{place(line)} sets it to 0"
    if seen.standing.pins.get(device) == OFF:
        return f"its pin in the drop-in ({seen.standing.places[device]}) is 0"
    if default is not None and default.value != OFF:
        return (
            f"no line in sysctl.d sets its filter; default = {default.value} ({place(default)}) counts for later "
            "interfaces only"
        )
    return "no line in sysctl.d sets its filter"


def _pin(device, mode, seen, guarded):
    """The Pin of a device, None if there is no value to keep."""
    if mode != KEEP:
        why = f"uplinks is {mode}"
        if device in seen.running and is_stronger(MODES[mode], _running(device, seen)):
            why += f", which makes it stricter: it runs {in_words(_running(device, seen))}"
        return Pin(MODES[mode], why)
    pinned = seen.standing.pins.get(device)
    if device not in seen.running:
        return None if pinned is None else _kept_absent(device, pinned, seen)
    remembered = seen.standing.ours and pinned is not None
    if is_loosened(device, seen):
        if remembered and pinned == STRICT:
            return Pin(pinned, "pinned in the drop-in")
        return Pin(LOOSE, f"{seen.loosened_by} sets it loose")
    return _kept(device, pinned, remembered, guarded, seen)


def _kept_absent(device, pinned, seen):
    """What `keep` gives an absent uplink: the strongest of its pin, and of what it would have through other lines."""
    disabled, running_all = seen.disabled(device), seen.running.get("all", OFF)
    by_all, all_line = through_all((seen.given("all"), seen.disabled("all")), pinned)
    kept = Pin(pinned, "pinned in the drop-in")
    sources = [
        (effective(running_all, pinned), f"all runs {in_words(running_all)}"),
        (by_all, all_line and f"all = {all_line.value} ({place(all_line)})"),
        (value_of(disabled), disabled and f"{place(disabled)}, which this run takes away,"),
    ]
    for value, source in sources:
        if is_stronger(value, kept.value):
            said = f"uplink {device}: its pin {in_words(pinned)} becomes {in_words(value)}, which {source} gives it"
            kept = Pin(value, said, said)
    return kept


def is_loosened(device, seen):
    return bool(seen.loosened_by) and seen.running.get(device) == LOOSE


def _running(device, seen):
    return effective(seen.running["all"], seen.running[device])


def _kept(device, pinned, remembered, guarded, seen):
    """What `keep` gives a device that exists: the strongest of what runs, of its pin, and of what `all` gives it.

    Its own line in sysctl.d is not among these: whoever set the running value below it did so on purpose.
    """
    own, now = seen.running[device], _running(device, seen)
    by_all, all_line = through_all((seen.given("all"), seen.disabled("all")), own)
    value = stronger(now, by_all, OFF if pinned is None else pinned)
    what = "not Cilium's, but an exempt pattern matches it" if guarded else "uplink"
    disabled = seen.disabled(device)
    if disabled is not None and is_stronger(disabled.value, value):
        raise PlanError(
            f"uplink {printable(device)}: {place(disabled)} sets it {in_words(disabled.value)} at the next "
            f"boot, and this run would take that line away; it runs {in_words(now)}. Set uplinks for it to "
            f"{WORDS[disabled.value]} or to {WORDS[value]}, or remove that line by hand"
        )
    if is_stronger(value, now):
        if value == pinned:
            source = f"its pin in the drop-in ({seen.standing.places[device]})"
        else:
            source = f"what all = {all_line.value} ({place(all_line)}) gives it"
        return Pin(
            value,
            f"{what}: restores {source}, {WORDS[value]}",
            f"uplink {device} becomes stricter: it runs {in_words(now)}, and {in_words(value)} restores {source}",
        )
    kept = Pin(value, f"{what}: keeps its effective value, {WORDS[value]}")
    line = seen.given(device)
    if line is None or not is_stronger(line.value, own) or not is_stronger(line.value, value):
        return kept
    found = f"uplink {device} runs {in_words(now)}, below the {in_words(line.value)} that {place(line)} sets"
    is_decided = effective(value_of(seen.given("all")), line.value) == line.value
    if own == value and is_decided and not remembered and not guarded:
        return Pin(
            None,
            None,
            f"{found}. It was lowered at run time, so it is left as it runs, without a pin; that line counts again at "
            f"the next boot. Set uplinks to {WORDS[line.value]} for it to apply that value now, or to {WORDS[value]} "
            "to keep what runs",
        )
    return kept._replace(
        warning=(
            f"{found}. The drop-in pins it {in_words(value)}, as it runs. Set uplinks to {WORDS[line.value]} for it "
            "to apply that line's value"
        )
    )


def _naming_option(options, device):
    if isinstance(options.uplinks, dict) and device in options.uplinks:
        return "uplinks"
    return "uplink_devices"
