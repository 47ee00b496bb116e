# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Assignments that beat the drop-in, under either loader, and how one is commented out and back in. Pure."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, plan, sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.iproute import printable

#: What stands before a line that was disabled. Undated, so that a second run writes the same.
MARK = "# disabled by nodeward.cilium.rp_filter: "

#: ``path`` is where the loader finds the file, ``target`` the file itself (99-sysctl.conf is a link to
#: /etc/sysctl.conf). ``beats`` lists the planned keys that it beats, ``wanted`` is what they should get.
Conflict = namedtuple("Conflict", "path target line key value loaders beats wanted")

SYSTEMD, PROCPS = "systemd-sysctl", "sysctl --system"


def find(planned, dropin, tree, loaders, kinds):
    """Every assignment that decides a planned key otherwise, in the order of files and lines.

    :arg dropin: the path of our file, whose text ``tree`` already holds.
    :arg loaders: name → resolver.
    """
    found = {}
    for loader, resolver in loaders.items():
        assignments = resolver.assignments()
        for item in planned.items:
            if not item.line:
                continue
            for name, new in _names(item, assignments, kinds):
                winner = resolver.winner(sysctl_d.conf_key(name), **({"prefix_run": True} if new else {}))
                # Cilium's own file agrees with ours, and so does whoever says the same.
                if winner is None or winner.path == dropin or plan.normal(_number(winner)) == item.to:
                    continue
                by, beats = found.setdefault((winner, item.to), (set(), set()))
                by.add(loader)
                beats.add(plan.key(item.name))
    return [
        Conflict(
            winner.path,
            tree.target(winner.path) or winner.path,
            winner.line,
            winner.key,
            _number(winner),
            sorted(by),
            sorted(beats),
            wanted,
        )
        for (winner, wanted), (by, beats) in sorted(
            found.items(), key=lambda entry: (entry[0][0].path, entry[0][0].line)
        )
    ]


def _names(item, assignments, kinds):
    """The names at which an item is tried, each with whether udev's run for a new device is meant."""
    if item.part != plan.EXEMPT:
        return [(item.name, False)]
    pattern = item.name
    names = {devices.to_come(pattern)}
    names.update(device for device, kind in kinds.items() if kind == devices.CILIUM)
    for assignment in assignments:
        name = plan.name_of(assignment.key)
        if name and name not in devices.RESERVED:
            names.add(devices.to_come(name))
    matching = sorted(
        name for name in names if devices.matches(name, [pattern]) and kinds.get(name) in (None, "cilium")
    )
    # lxcbr0 has a line of its own; as a name that no device bears it would stand for any lxc….
    return [(name, new) for name in matching for new in (False, True)]


def _number(assignment):
    return sysctl_d.kernel_integer(assignment.value)


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


def _meaning(row):
    """What a line assigns, however it is spelled."""
    key, _separator, value = row.partition("=")
    return sysctl_d.normalise(key.strip().lstrip("-").strip()), value.strip()


def restore(text):
    """The text with every line that we disabled back in force."""
    return "\n".join(row[len(MARK) :] if row.startswith(MARK) else row for row in text.split("\n"))


def describe(conflict):
    """One line: where, what, by which loader, against what."""
    where = "%s:%d" % (printable(conflict.path), conflict.line)
    if conflict.target != conflict.path:
        where += " (-> %s)" % printable(conflict.target)
    return "%s '%s = %d' beats %s = %d under %s" % (
        where,
        printable(conflict.key),
        conflict.value,
        ", ".join(conflict.beats),
        conflict.wanted,
        " and ".join(conflict.loaders),
    )


def as_dict(conflict):
    """The conflict as the module returns it."""
    fields = dict(conflict._asdict())
    return dict(fields, **{name: printable(fields[name]) for name in ("path", "target", "key")})
