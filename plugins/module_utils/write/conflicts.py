# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What overrides the drop-in: lines that a loader reads, and every other writer; and how a line is disabled. Pure."""

import os
import re
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, dropin, horizons, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable
from ansible_collections.nodeward.cilium.plugins.module_utils.write import pins

#: What stands before a line that was disabled. Undated, so that a second run writes the same.
MARK = "# disabled by nodeward.cilium.rp_filter: "

#: ``path`` is where the loader finds the file, ``target`` the file itself (99-sysctl.conf is a link to
#: /etc/sysctl.conf). ``overrides`` lists the planned keys that it overrides, ``wanted`` is their planned value. For a
#: line of sysctl.d ``key``, ``value`` and ``loaders`` say what it sets and who reads it. For another writer ``by`` says
#: what runs it, ``unit`` its unit, ``text`` its line; ``value`` is None if it cannot be predicted.
Conflict = namedtuple("Conflict", "path target line key value loaders overrides wanted by unit text certain")
Conflict.__new__.__defaults__ = (None, None, None, True)


_RUN = re.compile(r"\bRUN(\{\w+\})?\s*\+?=")

SYSTEMD, PROCPS = "systemd-sysctl", "sysctl --system"
#: A start of the unit, where its files make more of it than a plain run of systemd-sysctl.
UNIT = "systemd-sysctl.service"

#: These write the keys of interfaces only, never `all` or `default`.
_INTERFACES_ONLY = ("networkd", "networkmanager")
#: These run for an interface: `*` in their names is any interface, and `all` and `default` only if the line has it too.
_FOR_AN_INTERFACE = ("dhclient", "ifupdown", "netplan", "networkd-dispatcher", "networkmanager-dispatcher", "ppp") + (
    "udev",
    "wicked",
)

_REMEDIES = {
    "networkd": "name in [Match] Name= the interfaces that it is for, or exclude Cilium's by an earlier .network file "
    "with [Match] Name=lxc* cilium_* and [Link] Unmanaged=yes",
    "tuned": "remove the line from the profile, or set reapply_sysctl=1 in /etc/tuned/tuned-main.conf",
    "udev": 'add KERNEL!="lxc*|cilium_*" to the rule',
}


def find(planned, dropin_path, tree, loaders, kinds, writers=(), given_all=None):
    """(conflicts, notes): what decides a planned key otherwise, lines in the order of files, then the other writers.

    The notes are what is worth a warning but no refusal, as sentences.

    :arg dropin_path: the path of the drop-in, whose text ``tree`` already holds.
    :arg loaders: name → resolver.
    :arg writers: the other writers, as the fact ``other_writers`` holds them.
    :arg given_all: loader → what it sets `all` to without the drop-in; none for one that has no line for it.
    """
    by_lines, harmless = _lines(planned, dropin_path, tree, loaders, kinds, given_all or {})
    by_writers, harmless_writers = of_writers(planned.items, dropin_path, kinds, writers)
    notes = [
        "%s: this counts for later interfaces alone that are not Cilium's%s"
        % (
            describe(conflict),
            ", which are less protected by it, as without the drop-in"
            if values.is_stronger(conflict.wanted, conflict.value)
            else ", and is not weaker",
        )
        for conflict in harmless
    ]
    notes += [f"{describe(conflict)}: {why}" for conflict, why in harmless_writers]
    # A program that loads such a file ("sysctl -p", tuned) writes what that line says.
    said = {(place, conflict.line) for conflict in by_lines + harmless for place in (conflict.path, conflict.target)}
    return by_lines + [each for each in by_writers if (each.path, each.line) not in said], notes


def _lines(planned, dropin_path, tree, loaders, kinds, given_all):
    """(conflicts, harmless): the lines of sysctl.d that decide a planned key otherwise."""
    found = {}
    for loader, resolver in loaders.items():
        assignments = resolver.assignments()
        all_before = [given_all.get(loader, values.OFF), planned.records.get("all", values.OFF)]
        for item in planned.items:
            if not item.line:
                continue
            for name, new in _names(item, assignments, kinds):
                if loader == UNIT and new:
                    continue  # udev runs the program, not the unit
                winner = resolver.winner(sysctl_d.conf_key(name), **({"prefix_run": True} if new else {}))
                # Cilium's own file agrees with the drop-in, and so does any other line with the same value.
                if winner is None or winner.path == dropin_path or values.normal(_number(winner)) == item.to:
                    continue
                harmless = _is_harmless(item, _number(winner), all_before)
                by, overrides = found.setdefault((winner, item.to, harmless), (set(), set()))
                by.add(loader)
                overrides.add(values.key(item.name))
    conflicts, notes_ = [], []
    for (winner, wanted, harmless), (by, overrides) in sorted(
        found.items(), key=lambda entry: (entry[0][0].path, entry[0][0].line)
    ):
        conflict = Conflict(
            winner.path,
            tree.target(winner.path) or winner.path,
            winner.line,
            winner.key,
            _number(winner),
            sorted(by - {UNIT}),
            sorted(overrides),
            wanted,
        )
        if by == {UNIT}:
            text = f"{sysctl_d.spell(winner.key)} = {winner.value}"
            conflict = conflict._replace(by="unit", unit=UNIT, text=text)
        (notes_ if harmless else conflicts).append(conflict)
    return conflicts, notes_


def _is_harmless(item, value, all_before=None):
    """Whether a value of `default` is not weaker than planned, or as weak without the drop-in.

    It reaches no interface that the drop-in is for.

    :arg all_before: the values of `all` without the drop-in; None if a weaker value is never harmless.
    """
    if item.name != "default" or value is None:
        return False
    value = values.normal(value)
    if not values.is_stronger(item.to, value):
        return True
    return all_before is not None and not any(
        values.is_stronger(values.effective(every, value), value) for every in all_before
    )


def of_writers(planned, dropin_path, kinds, writers):
    """(conflicts, [(conflict, why it is none)]) of the other writers, in their order."""
    conflicts, harmless = [], []
    # What stands at the path of the drop-in goes.
    writers = [each for each in writers if each["path"] != dropin_path or not horizons.is_reapplied_line(each)]
    for number, writer in enumerate(writers, 1):
        at_boot = writer["when"] == ["boot"]
        by_udev = writer["by"] == "udev"
        if writer["runs"] or (writer.get("before_loader") and (at_boot or by_udev)):
            continue  # the files of sysctl.d have the last word
        gives_way = devices.RESERVED if _is_before(writer, dropin_path) else ()
        for wanted in (values.OFF, values.STRICT, values.LOOSE):
            items = [
                item
                for item in planned
                if item.line
                and item.to == wanted
                and item.name not in gives_way
                and not horizons.is_replaced(writer, writers[number:], item.name)
                and _differs(writer, item)
                and _writes(writer, item, kinds)
            ]
            notes_ = [item for item in items if _is_harmless(item, writer["sets"])]
            if notes_:
                harmless.append((_conflict(writer, notes_, wanted), "this counts for later interfaces alone"))
            items = [item for item in items if item not in notes_]
            if not items:
                continue
            if horizons.loosens(writer):
                # It never touches an interface that is not strict (nm-device.c).
                if wanted == values.STRICT:
                    why = "NetworkManager makes a strict interface loose while connectivity checks are on"
                    harmless.append((_conflict(writer, items, wanted), why))
            elif writer["active"] is False:
                why = "it does not run now, but the drop-in will not last once it does"
                harmless.append((_conflict(writer, items, wanted), why))
            else:
                conflicts.append(_conflict(writer, items, wanted))
    return conflicts, harmless


def _is_before(writer, dropin_path):
    """Whether tuned applies the drop-in after this line, but for a key with a dash (tuned, plugin_sysctl.py)."""
    if not horizons.is_reapplied_line(writer):
        return bool(writer.get("reapplied"))
    is_main = writer["path"] == sysctl_d.MAIN_FILE
    return not is_main and os.path.basename(writer["path"]) < os.path.basename(dropin_path)


def _conflict(writer, items, wanted):
    return Conflict(
        writer["path"],
        writer["path"],
        writer["line"],
        None,
        None if writer["sets"] is None else values.normal(writer["sets"]),
        [],
        sorted(values.key(item.name) for item in items),
        wanted,
        writer["by"],
        writer["unit"],
        writer["text"],
        writer["certain"],
    )


def _differs(writer, item):
    """Whether the writer can give the key another value than planned."""
    if writer["sets"] is None:
        # A certain text that stands for no number is refused by whoever reads it.
        return writer["value"] is None or not writer["certain"]
    return values.normal(writer["sets"]) != item.to


def _writes(writer, item, kinds):
    """Whether the writer can write the key of the item."""
    names, not_on = writer["names"], writer["not_on"]
    if item.name in devices.RESERVED:
        if writer["by"] in _INTERFACES_ONLY:
            return False
        if item.name in not_on or "*" in not_on:
            return False
        if names is None or item.name in names:
            return True
        return "*" in names and (writer["by"] not in _FOR_AN_INTERFACE or "*" in writer["text"])
    if item.part != dropin.EXEMPT:
        return (names is None or devices.matches(item.name, names)) and not devices.matches(item.name, not_on)
    candidates = {devices.to_come(item.name)} | {device for device, kind in kinds.items() if kind == devices.CILIUM}
    candidates.update(devices.to_come(name) for name in names or ())
    return any(
        devices.matches(name, [item.name])
        and kinds.get(name) in (None, devices.CILIUM)
        and (names is None or devices.matches(name, names))
        and not devices.matches(name, not_on)
        for name in candidates
    )


def _names(item, assignments, kinds):
    """The names at which an item is tried, each with whether udev's run for a new device is meant."""
    if item.part != dropin.EXEMPT:
        return [(item.name, False)]
    pattern = item.name
    names = {devices.to_come(pattern)}
    names.update(device for device, kind in kinds.items() if kind == devices.CILIUM)
    for assignment in assignments:
        name = values.name_of(assignment.key)
        if name and name not in devices.RESERVED:
            names.add(devices.to_come(name))
    matching = sorted(
        name for name in names if devices.matches(name, [pattern]) and kinds.get(name) in (None, "cilium")
    )
    # lxcbr0 has a line of its own; as a name that no device bears it would stand for any lxc….
    return [(name, new) for name in matching for new in (False, True)]


def _number(assignment):
    return sysctl_d.kernel_integer(assignment.value)


def lost(places, loaders, names, exempt):
    """What is lost if the lines at these places go: name → the strongest DecidingLine among those that decide it.

    ``*`` stands for the interfaces to come that no exempt pattern matches: by a glob, or by ``all`` and ``default``.

    :arg places: pairs of path and line.
    :arg loaders: resolvers of the tree as it stands.
    """
    found = {}

    def lose(name, value, assignment):
        if (assignment.path, assignment.line) not in places:
            return
        if name not in found or values.is_stronger(value, found[name].value):
            found[name] = pins.DecidingLine(value, assignment.path, assignment.line)

    for loader in loaders:
        decided = [(name, loader.winner(sysctl_d.conf_key(name))) for name in set(names) | set(devices.RESERVED)]
        decided += [("*", assignment) for assignment in loader.assignments() if reaches_later(assignment, exempt)]
        by_all = dict(decided)["all"]
        for name, assignment in decided:
            number = None if assignment is None else _number(assignment)
            if number is None:
                continue
            value = values.normal(number)
            is_there = name != "*" and name not in devices.RESERVED
            if by_all is not None and is_there and isinstance(loader, sysctl_d.Procps):
                # What 'sysctl --system' gives, it gives together: all = 2 makes a strict interface loose. At boot the
                # agent takes all away, and the interface's own value stays.
                value = values.effective(values.normal(_number(by_all)), value)
            lose(name, value, assignment)
        together = [assignment for name, assignment in decided if name in devices.RESERVED and assignment is not None]
        for assignment in together:
            lose("*", max(values.normal(_number(each)) for each in together), assignment)
    return found


def reaches_later(assignment, exempt):
    """Whether a line is a glob that can match interfaces to come other than the exempt ones."""
    if not set(assignment.key) & set("*?["):
        return False
    parts = sysctl_d.normalise(assignment.key).split("/")
    if len(parts) != 5:
        return True
    return not devices.matches(devices.to_come(sysctl_d.canonical_glob(parts[3])), exempt)


def disable(text, numbers):
    """The text with these lines (counted from 1) commented out. A line that is so already stays as it is.

    A line that was disabled before and has been added again is dropped: a baseline that adds what it misses, night
    after night, would otherwise make the file grow.
    """
    rows = text.split("\n")
    disabled = {_meaning(row[len(MARK) :]) for row in rows if row.startswith(MARK)}
    for number in sorted(set(numbers), reverse=True):
        if rows[number - 1].startswith(MARK):
            continue
        if _meaning(rows[number - 1]) in disabled:
            del rows[number - 1]
        else:
            rows[number - 1] = MARK + rows[number - 1]
    return "\n".join(rows)


def disabled_lines(before, after):
    """The numbers of the lines of a text that ``disable`` commented out or dropped."""
    left = after.split("\n")
    numbers = []
    for number, row in enumerate(before.split("\n"), 1):
        if left and left[0] == row:
            left.pop(0)
            continue
        numbers.append(number)
        if left and left[0] == MARK + row:
            left.pop(0)
    return numbers


def _meaning(row):
    """What a line assigns, however it is spelled."""
    key, _separator, value = row.partition("=")
    return sysctl_d.normalise(key.strip().lstrip("-").strip()), value.strip()


def restore(text):
    """The text with every line that we disabled back in force."""
    return "\n".join(row[len(MARK) :] if row.startswith(MARK) else row for row in text.split("\n"))


def describe(conflict):
    """One line: where, what, by whom it is applied, and which planned key it overrides."""
    where = _where(conflict)
    if conflict.target != conflict.path:
        where += f" (-> {printable(conflict.target)})"
    overridden = f"{', '.join(conflict.overrides)} = {conflict.wanted}"
    if conflict.by is None:
        said = "%s '%s = %d' overrides %s under %s"
        loaders = " and ".join(conflict.loaders)
        return said % (where, printable(conflict.key), conflict.value, overridden, loaders)
    runs = conflict.by if conflict.unit in (None, conflict.by) else f"{conflict.by}, {conflict.unit}"
    if conflict.value is None:
        sets = f"may override {overridden} with a value that cannot be predicted"
    else:
        sets = "%s %s with %d" % ("overrides" if conflict.certain else "may override", overridden, conflict.value)
    return f"{where} '{printable(conflict.text)}' ({printable(runs)}) {sets}"


def _where(conflict):
    """Its place; a credential that cannot be read has no line."""
    return printable(conflict.path) + (f":{conflict.line}" if conflict.line else "")


def ends_by_our_rule(conflict):
    """Whether the collection's rule of udev ends it: that clears every RUN but one of an earlier rule that is final."""
    return conflict.by == "udev" and bool(_RUN.search(conflict.text))


def remediation(conflict):
    """What to change, and where, so that a writer other than a line of sysctl.d does not override the drop-in."""
    where = _where(conflict)
    if ends_by_our_rule(conflict):
        return f"at {where}, {_REMEDIES['udev']}, or set udev=always"
    if conflict.by in _REMEDIES and not _is_reapplied(conflict):
        return f"at {where}, {_REMEDIES[conflict.by]}"
    if _is_reapplied(conflict):
        return f"remove the line at {where}, which tuned applies at its start"
    # Without systemd-sysctl.service nothing would read the drop-in at boot.
    disabled = f" or disable {printable(conflict.unit)}" if conflict.unit not in (None, UNIT) else ""
    return f"remove the write at {where},{disabled} or make it leave Cilium's interfaces and 'all' alone"


def _is_reapplied(conflict):
    """Whether it is a line of sysctl.d, or of /etc/sysctl.conf, that tuned applies at its start."""
    return conflict.by == "tuned" and horizons.is_reapplied_path(conflict.path)


def as_dict(conflict):
    """The conflict as the module returns it."""
    fields = dict(conflict._asdict())
    shown = ("path", "target", "key", "unit", "text")
    return dict(fields, **{name: fields[name] and printable(fields[name]) for name in shown})
