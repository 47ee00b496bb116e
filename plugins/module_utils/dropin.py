# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The format of the drop-in: its header, its lines, how it is composed and parsed. Pure.

The lines are read by the parser of ``sysctl_d``, so that what counts here is what counts for systemd-sysctl.
"""

import hashlib
import re
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.text import one_line, printable

#: Where it is written, unless an option says otherwise.
PATH = "/etc/sysctl.d/99-override_cilium_rp_filter.conf"
#: The version of the format that is written. Every older one is read; a newer one is refused.
FORMAT = 1
_HEADER = "# nodeward.cilium.rp_filter, format "
#: A file without this line is not managed by this collection.
HEADER = f"{_HEADER}{FORMAT}"
#: A value from before the first creation.
RECORD = "# before: "
#: By this an audit detects a change by hand.
DIGEST = "# digest of the lines: sha256:"
#: What the lines say, as ``name=value``: it names the lines that were edited, and restores them.
WRITTEN = "# written: "
_OWN_ROWS = (RECORD, DIGEST, WRITTEN)
#: What stands above the header unless an option says otherwise.
COMMENTS = "#\n# Ansible managed\n#"

#: Groups of assignments, in the order of the file.
DEFAULT, EXEMPT, PIN, ALL = "default", "exempt", "pin", "all"

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

# The ends of lines to systemd-sysctl; not those of str.splitlines(), which knows eight more.
_ENDS = re.compile("[\n\r\0]")


class DropinError(Exception):
    """The drop-in, or a text for it, cannot be used. Nothing was changed."""


#: What a drop-in says. ``ours`` is False for a file that is not managed by this collection. ``pins`` (interface →
#: value) and ``default`` are what its lines set, ``records`` the values from before the first creation. ``places``
#: says where each pin stands (``path:line``). ``edits`` are the Edits since it was written, None if it is unchanged.
#: ``others`` are the lines that are neither a pin nor default.
Standing = namedtuple("Standing", "ours pins default records places written edits others path")
Standing.__new__.__defaults__ = (None, None, (), "the drop-in")

#: A line that was changed by hand. ``line`` is None if it was removed, ``was`` is the value as written, None if it was
#: added; ``value`` is None if it is not an assignment of a number.
Edit = namedtuple("Edit", "line text name value was")


def format_of(text):
    """The version of the format of a text, None if it is not managed by this collection."""
    found = [re.match(r"(\d{1,9})(?!\d)", row[len(_HEADER) :]) for row in _rows(text) if row.startswith(_HEADER)]
    return max([int(number.group(1)) for number in found if number], default=None)


def parse(text, path="the drop-in"):
    """The Standing of a text; ``None`` (no file) gives an empty one. Refuses a newer format than this version knows."""
    if text is None:
        return Standing(True, {}, None, {}, {}, path=path)
    version = format_of(text)
    if version is not None and version > FORMAT:
        raise DropinError(
            f"'{printable(path)}' has format {version}, and this version of the collection knows formats up to "
            f"{FORMAT}, so it would lose what is recorded there. Update the collection on the controller"
        )
    ours = version is not None
    pins, places, others, default = {}, {}, [], None
    for line in sysctl_d.parse(text, path)[0]:
        name, value = _assigned(line)
        if value is None:  # a later line of the same key takes the place of an earlier one, whatever it says
            pins.pop(name, None)
            default = None if name == "default" else default
        if name == "default" and value is not None:
            default = value
        elif value is not None and name not in (None, "all") and _is_pin(name):
            pins[name] = value
            places[name] = f"{printable(path)}:{line.line}"
        else:
            others.append(line)
    records = _records(text) if ours else {}
    written = _written(text) if ours else None
    edits = _edits(text, path, written) if ours and is_intact(text) is False else None
    return Standing(ours, pins, default, records, places, written, edits, tuple(others), path)


def _rows(text):
    return [row.strip(" \t") for row in _ENDS.split(text)]


def _assigned(line):
    """(name, value) of a line; None for what is not a key of rp_filter, or not a number."""
    number = None if line.value is None else sysctl_d.kernel_integer(line.value)
    return values.name_of(line.key), None if number is None else values.normal(number)


def _is_pin(name):
    return not devices.device_error(name) and devices.writable_in_a_file(name)


def _records(text):
    records = {}
    for row in _rows(text):
        if row.startswith(RECORD):
            key, _separator, value = row[len(RECORD) :].partition("=")
            name, number = values.name_of(key), sysctl_d.kernel_integer(value.strip())
            if name is not None and number is not None:
                records[name] = values.normal(number)
    return records


def _written(text):
    rows = [row[len(WRITTEN) :] for row in _rows(text) if row.startswith(WRITTEN)]
    if len(rows) != 1:
        return None
    pairs = [pair.rpartition("=") for pair in rows[0].split(" ")]
    if not all(name and value in ("0", "1", "2") for name, _separator, value in pairs):
        return None
    return {sysctl_d.canonical_glob(name): int(value) for name, _separator, value in pairs}


def is_intact(text):
    """Whether the lines are as they were written; None if its header has no digest that says so."""
    said = [row for row in _rows(text) if row.startswith(DIGEST)]
    if any(row != DIGEST + digest(assignment_rows(text)) for row in said):
        return False
    written = _written(text)
    if written is not None:
        assigned = [_assigned(line) for line in sysctl_d.parse(text, "")[0]]
        found = {sysctl_d.canonical_glob(name): value for name, value in assigned if name is not None}
        if any(found.get(name) != value for name, value in written.items()):
            return False
    return True if said else None


def _edits(text, path, written):
    """The lines that are not as they were written; none if the header does not tell."""
    if written is None:
        return ()
    edits, found = [], set()
    rows = text.split("\n")
    lines, problems = sysctl_d.parse(text, path)
    for line in lines:
        name, value = _assigned(line)
        name = name and sysctl_d.canonical_glob(name)
        was = written.get(name)
        if name is None or value is None or value != was or name in found:
            edits.append(Edit(line.line, rows[line.line - 1].strip(), name, value, was))
        found.add(name)
    edits += [Edit(problem["line"], rows[problem["line"] - 1].strip(), None, None, None) for problem in problems]
    edits.sort(key=lambda edit: edit.line)
    return tuple(edits + [Edit(None, None, name, None, written[name]) for name in sorted(set(written) - found)])


def describe_edit(edit):
    """One edit in words: the line, what it says, and what was written."""
    if edit.line is None:
        return f"the line '{printable(values.key(edit.name))} = {edit.was}' was removed"
    was = "was added" if edit.was is None else f"was written as {edit.was}"
    return f"line {edit.line}, '{printable(edit.text)}', {was}"


def restored(standing):
    """The Standing with the pins and ``default`` as they were written, if the header tells."""
    if standing.written is None:
        return standing._replace(edits=None)
    pins = {name: value for name, value in standing.written.items() if name not in devices.RESERVED and _is_pin(name)}
    places = {name: standing.places.get(name, printable(standing.path)) for name in pins}
    return standing._replace(pins=pins, places=places, default=standing.written.get("default"), edits=None)


def assignment_rows(text):
    """The rows of a drop-in that are no comment."""
    return [row for row in _rows(text) if row and row[0] not in "#;"]


def digest(rows):
    """What stands behind DIGEST for these rows."""
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()


def line(item):
    """An assignment as it stands in the file."""
    # A glob or a pinned interface may match nothing at boot: '-' keeps the unit from failing.
    dash = "" if item.name in devices.RESERVED else "-"
    name = item.name
    if item.part == EXEMPT and name[0] not in "*?[":
        name = f"[{name[0]}]{name[1:]}"
    return f"{dash}{values.key(name)} = {item.to}"


def header(plan):
    """The rows by which a drop-in is known as ours, its lines are checked, and a rollback is made."""
    items = [item for item in plan.items if item.line]
    return [
        HEADER,
        DIGEST + digest([line(item) for item in items]),
        WRITTEN + " ".join(f"{item.name}={item.to}" for item in items),
    ] + [f"{RECORD}{values.key(name)}={value}" for name, value in sorted(plan.records.items())]


def check_comments(comments):
    """Refuse comments for the top of the drop-in that would be read as anything else."""
    for number, row in enumerate(_ENDS.split(comments), 1):
        if row.strip() and not row.startswith("#") or format_of(row) is not None or row.startswith(_OWN_ROWS):
            raise DropinError(
                f"header: line {number}: found '{one_line(row[:60])}'; expected a comment, which begins with # and is "
                "not one that this collection writes itself"
            )


def compose(plan, comments=COMMENTS):
    """The complete text of the drop-in."""
    text = comments.rstrip("\n").split("\n") + header(plan)
    text.append("# The reverse-path filter is off for the devices of Cilium, and stays on where it protects.")
    for part in (DEFAULT, EXEMPT, PIN, ALL):
        items = [item for item in plan.items if item.line and item.part == part]
        if items:
            plain = ", ".join(item.name for item in items)
            text += [""] + ["# " + comment.format(plain=plain) for comment in GROUP_COMMENTS[part]]
            text += [line(item) for item in items]
    return "\n".join(text) + "\n"
