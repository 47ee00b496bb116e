# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd's unit files under one root: which file and which drop-ins make a unit, and what pulls it in at boot."""

import os
from collections import namedtuple

# systemd.unit(5), "Unit File Load Path": strongest folder first.
FOLDERS = (
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
)
VENDOR_FOLDERS = ("/usr/lib/systemd/system", "/lib/systemd/system")
PULLING_FOLDERS = (".wants", ".requires", ".upholds")
PULLING_SETTINGS = ("Wants", "Requires", "BindsTo", "Upholds")
#: What systemd starts at boot, mostly an alias.
BOOT_TARGET = "default.target"
#: A unit that starts a service → the section and the setting that name that service.
TRIGGERS = {".timer": ("Timer", "Unit"), ".path": ("Path", "Unit"), ".socket": ("Socket", "Service")}
MAX_TEXT = 200  # characters of a line as it is reported

#: ``line``: of the first line of a continued one. ``text``: the whole line, for a report.
Setting = namedtuple("Setting", "section key value path line text")


class Unit:
    """A unit with its drop-ins; ``settings`` in the order in which systemd reads them."""

    def __init__(self, name, path, masked, settings):
        self.name = name
        self.path = path
        self.masked = masked
        self.settings = settings

    def all(self, section, *keys):
        """The settings that stand. An empty value takes back what that key had before."""
        found = []
        for setting in self.settings:
            if setting.section == section and setting.key in keys:
                if setting.value:
                    found.append(setting)
                else:
                    found = [other for other in found if other.key != setting.key]
        return found

    def last(self, section, key):
        """The setting of a key that holds one value; None if there is none."""
        found = self.all(section, key)
        return found[-1] if found else None

    def words(self, section, *keys):
        return [word for setting in self.all(section, *keys) for word in setting.value.split()]


class UnitFiles:
    """Finds and parses the unit files of a Reader. Each is read once."""

    def __init__(self, reader):
        self.reader = reader
        self._units = {}
        self._found = {}
        #: Unit file name → path in the strongest folder.
        self.paths = {}
        #: Alias → name of the unit that it is a link to.
        self.aliases = {}
        #: Unit → the links in *.wants and *.requires that pull it in, and those that are masked.
        self.links, self.masked_links = {}, {}
        self._scan()

    def _scan(self):
        pulling = {}
        for folder in FOLDERS:
            names = self._found[folder] = self.reader.names(folder)
            for name in names:
                path = f"{folder}/{name}"
                if name.endswith(PULLING_FOLDERS):
                    for link in self.reader.names(path):
                        # The same name in a weaker folder is masked.
                        pulling.setdefault((name, link), f"{path}/{link}")
                elif "." in name and not name.endswith((".d", ".conf")):
                    self.paths.setdefault(name, path)
        for name, path in self.paths.items():
            target = self.reader.target(path)
            other = os.path.basename(target)
            if other != name and os.path.dirname(target) in FOLDERS and _type(other) == _type(name):
                self.aliases[name] = other
        for (_folder, name), path in sorted(pulling.items()):
            links = self.masked_links if self.reader.target(path) == "/dev/null" else self.links
            links.setdefault(self.canonical(name), []).append(path)

    def canonical(self, name):
        """The name of the unit that an alias stands for."""
        for _unused in range(10):
            if name not in self.aliases:
                break
            name = self.aliases[name]
        return name

    def services(self):
        """Every service that has a unit file, without aliases; instances for templates that are linked."""
        names = {name for name in self.paths if name.endswith(".service") and name not in self.aliases}
        names |= {name for name in self.links if name.endswith(".service") and _template(name) in self.paths}
        return sorted(names)

    def load(self, name):
        """The Unit of that name; None if there is no unit file."""
        name = self.canonical(name)
        if name not in self._units:
            self._units[name] = self._load(name)
        return self._units[name]

    def _load(self, name):
        path = self.paths.get(name) or self.paths.get(_template(name))
        if path is None:
            return None
        if self.reader.is_masked(path):
            return Unit(name, path, True, [])
        settings = self._parse(path)
        for dropin in self._dropins(name):
            settings += self._parse(dropin)
        return Unit(name, path, False, settings)

    def _dropins(self, name):
        folders = []
        for known in [name] + sorted(alias for alias in self.aliases if self.canonical(alias) == name):
            folders += [(folder, each + ".d") for folder in FOLDERS for each in _broader(known)]
        folders += [(folder, _type(name)[1:] + ".d") for folder in FOLDERS]
        files = {}
        for folder, each in folders:
            if each in self._found[folder]:
                path = f"{folder}/{each}"
                for part in self.reader.names(path):
                    if part.endswith(".conf"):
                        files.setdefault(part, f"{path}/{part}")
        return [files[part] for part in sorted(files, key=os.fsencode) if not self.reader.is_masked(files[part])]

    def _parse(self, path):
        settings, section = [], None
        for number, text in _logical_lines(self.reader.lines(path)):
            if text.startswith("["):
                section = text.strip("[]")
                continue
            key, equals, value = text.partition("=")
            if equals:
                setting = Setting(section, key.strip(), value.strip(), path, number, text[:MAX_TEXT])
                settings.append(setting)
        return settings

    # ---- what runs -------------------------------------------------------------------------------------------------

    def triggers(self, name):
        """The timers, paths and sockets that start a service."""
        return [each for each in sorted(self.paths) if _type(each) in TRIGGERS and self._triggers(each, name)]

    def _triggers(self, trigger, name):
        unit = self.load(trigger)
        if unit is None or unit.masked:
            return False
        named = unit.last(*TRIGGERS[_type(trigger)])
        default = trigger[: -len(_type(trigger))] + ".service"
        return self.canonical(named.value if named else default) == name

    def pulled_in(self, name, _above=()):
        """Whether the boot starts it: by a link, or by the name in another unit that the boot starts."""
        name = self.canonical(name)
        unit = self.load(name)
        if unit is None or unit.masked or name in _above:
            return False
        if self.links.get(name) or name == self.canonical(BOOT_TARGET):
            return True
        return any(self._starts(other) or self.pulled_in(other, _above + (name,)) for other in self._pulling(name))

    def _starts(self, other):
        """Whether it is a target, and the targets that the boot reaches are unknown."""
        return other.endswith(".target") and BOOT_TARGET not in self.paths

    def _pulling(self, name):
        """The units whose text pulls in a unit."""
        if not hasattr(self, "_texts"):
            self._texts = {}
            for other in self.paths:
                unit = self.load(other) if other not in self.aliases else None
                for word in unit.words("Unit", *PULLING_SETTINGS) if unit else ():
                    self._texts.setdefault(self.canonical(word), []).append(other)
        return self._texts.get(name, [])

    def active(self, name):
        """Whether it will run: at boot, or by a timer, a path or a socket that the boot starts."""
        name = self.canonical(name)
        unit = self.load(name)
        if unit is None or unit.masked:
            return False
        return self.pulled_in(name) or any(self.pulled_in(trigger) for trigger in self.triggers(name))


def _logical_lines(lines):
    """(number, text) of settings and sections: comments left out, continued lines joined (systemd.syntax(7))."""
    start, joined = None, ""
    for number, row in lines:
        stripped = row.lstrip()
        if stripped[:1] in ("#", ";"):  # also between the parts of a continued line
            continue
        if start is None:
            start, joined = number, ""
        # An escaped backslash at the end continues nothing.
        if (len(row) - len(row.rstrip("\\"))) % 2:
            joined += row[:-1] + " "
            continue
        joined = (joined + row).strip()
        if joined:
            yield start, joined
        start = None
    if start is not None and joined.strip():
        yield start, joined.strip()


def _type(name):
    return os.path.splitext(name)[1]


def _template(name):
    """foo@.service for foo@eth0.service; the name itself if it is no instance."""
    stem, suffix = os.path.splitext(name)
    return stem.partition("@")[0] + "@" + suffix if "@" in stem else name


def _broader(name):
    """The names whose drop-ins a unit takes: its own, its template's, and those of each prefix up to a dash."""
    names = [name] + ([_template(name)] if _template(name) != name else [])
    stem, suffix = os.path.splitext(_template(name))
    stem = stem.rstrip("@").rstrip("-")
    while "-" in stem:
        stem = stem.rpartition("-")[0]
        if stem:
            names.append(stem + "-" + suffix)
    return names
