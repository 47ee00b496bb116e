# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writers in the shape of the fact ``other_writers``, and those that a command or a script of this node makes."""

import os
import re
import stat

from ansible_collections.nodeward.cilium.plugins.module_utils import sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import commands
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable

MAX_FILES = 2000
MAX_FILE_BYTES = 256 << 10
MAX_BYTES = 16 << 20
MAX_TEXT = 200  # characters of a line as it is reported
#: A command, the script that it runs, and a script that this script runs.
MAX_CALLS = 2

_SECTION = re.compile(r"^\s*\[(?P<name>[^\]]+)\]")


def writer(by, path, line, text, **known):
    """A writer with every member; ``known`` are those that differ from one of which only the place is known."""
    found = {
        "by": by,
        "path": printable(path),
        "line": line,
        "text": printable(text.strip()[:MAX_TEXT]),
        "unit": None,
        "when": [],
        "names": None,
        "value": None,
        "sets": None,
        "certain": True,
        "narrowed": False,
        "not_on": [],
        "runs": None,
        "active": None,
    }
    found.update(known)
    found["when"] = sorted(found["when"])
    if found["names"] is not None:
        found["names"] = [printable(name) for name in found["names"]]
    if found["value"] is not None:
        found["value"] = printable(found["value"])
    return found


def name_of(key):
    """The interface, glob, ``all`` or ``default`` of a key of rp_filter; None for any other key."""
    return values.name_of(key.strip().lstrip("-"))


def sections(reader, path):
    """(section, number, line) of every line of an INI file that is neither a comment nor a heading."""
    here = None
    for number, line in reader.lines(path):
        heading = _SECTION.match(line)
        if heading:
            here = heading.group("name").strip()
        elif line.strip() and not line.lstrip().startswith(("#", ";")):
            yield here, number, line


class Event:
    """What a text is run for: how it spells the interface of the event, and which interfaces these can be."""

    def __init__(self, spellings=(), names=None, certain=False):
        self.spellings = tuple(spellings)
        # An event is about an interface, never about all or default.
        self.names, self.not_on = (names, []) if names else (["*"], ["all", "default"])
        # In a dotted key a name with a dot is another key.
        self.certain = certain and not any("." in name for name in self.names)


#: A text that runs for no interface.
NO_EVENT = Event()


class Node:
    """The files of a node, its units, and the units that run now."""

    def __init__(self, reader, units=None, running=frozenset()):
        self.reader = reader
        self._units = units
        self._running = running
        self._read = {}
        self._bytes = 0

    def active(self, *names):
        """Whether one of these units will run: True, False, or None if this cannot be told."""
        if any(name in self._running for name in names):
            return True
        if self._units is None:
            return None
        states = [self._units.active(name) for name in names]
        return True if True in states else None if None in states else False

    def script(self, path):
        """The text of a script; None if there is none or it is binary, or at the bounds (noted in ``unread``)."""
        if path not in self._read:
            self._read[path] = self._script(path)
        return self._read[path]

    def _script(self, path):
        size = self._size(path)
        if size is None or self._is_binary(path):
            return None
        if size > MAX_FILE_BYTES:
            return self.left_out(path, f"is larger than {MAX_FILE_BYTES >> 10} KiB and was not searched for rp_filter")
        if len(self._read) >= MAX_FILES or self._bytes + size > MAX_BYTES:
            limits = f"{MAX_FILES} files or {MAX_BYTES >> 20} MiB"
            return self.left_out("scripts", f"more than {limits}: not all were searched for rp_filter")
        self._bytes += size
        return self.reader.text(path)

    def left_out(self, what, why):
        entry = {"what": printable(what), "why": why}
        if entry not in self.reader.unread:
            self.reader.unread.append(entry)

    def _size(self, path):
        try:
            state = os.stat(self.reader.root + self.reader.target(path))
        except (OSError, ValueError):
            return None
        return state.st_size if stat.S_ISREG(state.st_mode) else None

    def _is_binary(self, path):
        """By its first bytes: a program of some MiB is not read as a whole."""
        try:
            handle = os.open(self.reader.root + self.reader.target(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return False  # then reading it notes the error
        with os.fdopen(handle, "rb") as stream:
            return b"\0" in stream.read(4096)

    def commands(self, by, path, text, first=1, event=NO_EVENT, calls=MAX_CALLS, **known):
        """The writers in a text that begins on line ``first`` of a file, and in the scripts that it calls."""
        rows, found = text.split("\n"), []
        for write in commands.writes(text, event.spellings):
            at = min(max(write.line or 1, 1), len(rows))
            place = (by, path, first + at - 1, rows[at - 1])
            if write.file:
                found += self._sysctl_file(write.file, place, write.certain, known)
                continue
            members = dict(known, names=write.names, value=write.value, sets=write.sets, certain=write.certain)
            members["runs"] = write.runs
            if write.prefixes:
                # A part of a loader's run: any key may be written.
                members.update(names=None, value=None, sets=None, runs=None, certain=False)
            if members["names"] and commands.INTERFACE in write.names:
                others = [name for name in write.names if name != commands.INTERFACE]
                members["names"] = others + event.names
                members["not_on"] = [name for name in event.not_on if name not in others]
                members["certain"] = write.certain and event.certain
            found.append(writer(*place, **members))
        if calls:
            for program in commands.programs(text, event.spellings):
                found += self._called(by, program, path, event, calls, known)
        return found

    def file(self, by, path, event=NO_EVENT, **known):
        """The writers in a script."""
        text = self.script(path)
        return self.commands(by, path, text, event=event, calls=MAX_CALLS - 1, **known) if text else []

    def _called(self, by, program, caller, event, calls, known):
        text = self.script(program) if program != caller else None
        if not text:
            return []
        # Its arguments are not followed, and whether the caller reaches the call is not known.
        found = self.commands(by, program, text, event=Event(names=event.names), calls=calls - 1, **known)
        return [dict(each, certain=False) for each in found]

    def _sysctl_file(self, path, place, certain, known):
        """``sysctl -p FILE``: the lines of that file are written."""
        text = self.reader.text(path)
        if text is None:
            return []
        found = []
        for line in sysctl_d.parse(text, path)[0]:
            name = name_of(line.key)
            if name is not None and line.value is not None:
                members = dict(known, names=[name], value=line.value, sets=sysctl_d.kernel_integer(line.value))
                # Neither loader applies a glob to a key that the file names as well.
                members["certain"] = certain and not re.search(r"[*?\[{]", name)
                row = text.split("\n")[line.line - 1]
                found.append(writer(place[0], path, line.line, row, **members))
        return found
