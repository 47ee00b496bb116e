# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What udev's rules write to rp_filter when an interface is added. Nothing is run."""

import os
import re

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, horizons, sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import commands, scripts, udev_event, udev_rules
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable

# udev(7): the folders of rules, strongest first; /lib is the same as /usr/lib where they are merged.
UDEV_FOLDERS = (
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
)
#: The collection's own optional rule.
UDEV_RULE = "/etc/udev/rules.d/99-zz-override_cilium_rp_filter.rules"
#: Where udev finds a program that is named without a folder: one of these, the one with its own rules.
PROGRAM_FOLDERS = ("/usr/lib/udev", "/lib/udev")
_OWN_RULES = "rules.d/50-udev-default.rules"

MAX_STEPS = 200
MAX_CANDIDATES = 100
_PATH = re.compile(r"(?<![\w./@%+-])/[\w./@%+-]+")
_NO_SCRIPTS = ("/proc/", "/sys/", "/dev/", "/run/systemd/")
#: systemd.unit(5), strongest first.
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_ACTING = ("SYSCTL", "RUN", "PROGRAM", "IMPORT")
_SHELLS = ("sh", "bash", "dash", "ash", "ksh", "zsh")


class Rules:
    """The rules of a node.

    :arg overlay: path → text of rules files as they will be, None for one that will be gone.
    """

    def __init__(self, reader, overlay=None):
        self._reader = reader
        self._node = scripts.Node(reader)
        self._files = udev_rules.read(reader, UDEV_FOLDERS, overlay or {})

    def on_add(self, name, link_kind=None):
        """What may write rp_filter of an interface, ``all`` or ``default`` when that interface is added, in order.

        ``names`` are the keys, None if any may be meant; ``runs``: "systemd_sysctl" or "procps", whose files then give
        the values. ``sets`` is None if the value is not known. ``certain``: False if it may or may not write.

        :arg link_kind: as the kernel has it (``veth``, ``bridge``, …), None for a plain interface.
        """
        event = self._event(name, link_kind)
        steps = []
        for action in event.actions:
            steps += [step for step in self._steps(action, name) if _reaches(step, name)]
        return steps[:MAX_STEPS]

    def reload_on_add(self):
        """The rule that runs systemd-sysctl for a new pod interface: {path, line, cleared_by}; None if none does.

        ``cleared_by`` is the {path, line} of the rule that takes the run away, None if it stands.
        """
        name = devices.to_come(devices.CILIUM_PATTERNS[0])
        event = self._event(name, "veth")
        for action in event.run_list:
            if self._runs_loader(action, name):
                return dict(_place(action), cleared_by=None)
        for action, by in event.cleared:
            if self._runs_loader(action, name):
                return dict(_place(action), cleared_by=_place(by))
        return None

    def writers(self):
        """The rules that write rp_filter, other than a run of systemd-sysctl for the interface of the event alone."""
        events = self._candidates()
        found = []
        for path, lines in self._files:
            for line in lines:
                for token in line.tokens:
                    if token.key in _ACTING or (token.key, token.attribute) == ("ENV", "SYSTEMD_WANTS"):
                        found += self._writers_of(token, line, path, events)
        return found

    # one event

    def _event(self, name, link_kind):
        event = udev_event.Event(name, link_kind)
        for path, lines in self._files:
            event.file(path, lines)
        return event

    def _candidates(self):
        """[(glob, its events)] of interfaces that the rules may treat alike: of a plain one, and of each kind named.

        "*" stands for those that no rule names.
        """
        globs, kinds, found = ["*"] + list(devices.CILIUM_PATTERNS), [None], []
        for glob in globs:
            event = self._event(devices.to_come(glob), None)
            found.append((glob, [event]))
            for key, asked in event.asked:
                known = globs if key == "KERNEL" else kinds
                # Those that a bracket leaves out may be treated otherwise, as lxc[!0-9]* if a rule names lxc[0-9]*.
                for each in (asked, _without(asked)) if key == "KERNEL" else (asked,):
                    if (
                        each not in known
                        and len(known) < MAX_CANDIDATES
                        and (key == "KERNEL" or each in udev_event.DEVTYPES)
                    ):
                        known.append(each)
        for glob, events in found:
            events += [self._event(devices.to_come(glob), kind) for kind in kinds[1:]]
        return found

    # what an action writes

    def _runs_loader(self, action, name):
        return any(
            step["runs"] in horizons.SYSTEMD_RUNS and (step["names"] is None or name in step["names"])
            for step in self._steps(action, name)
        )

    def _steps(self, action, name):
        token = action.token
        if token.operator in ("==", "!=") and token.key in ("SYSCTL", "ENV"):
            return []
        if token.key == "SYSCTL":
            return _of_sysctl_key(action)
        if token.key == "ENV":
            return [step for unit in action.value.split() for step in self._of_unit(action, unit, name)]
        if token.key == "RUN" and token.attribute == "builtin":
            return []
        command = self._located(action.value)
        certain = action.certain and not udev_event.is_broken(token.value)
        return [] if command is None else self._of_command(action, command, name, certain)

    def _of_command(self, action, command, name, certain):
        if _runs_shell(command):
            spellings = ("$INTERFACE",)  # udev gives programs the device's properties
        else:
            spellings = ()
            command = re.sub(r"\$(?!UDEV_UNKNOWN)", "?", command)  # no variable is replaced
        steps, files = [], []
        for write in commands.writes(command, interface=spellings, shell_text=False):
            names = write.names and [name if each == commands.INTERFACE else each for each in write.names]
            if write.file:
                files.append(write.file)
                steps += self._of_file(action, write, certain and write.certain)
                continue
            steps.append(_step(action, names, write.value, write.sets, certain and write.certain, write.runs))
        for program in _PATH.findall(command):
            if program not in files and not program.startswith(_NO_SCRIPTS):
                steps += self._of_script(action, program, command)
        return steps

    def _located(self, command):
        """The command with the folder of its program; None if udev does not find it."""
        program = re.match(r"[ \t]*([^ \t]*)", command)
        if not program.group(1) or program.group(1)[0] in "/\"'":
            return command
        own = [folder for folder in PROGRAM_FOLDERS if self._reader.exists(f"{folder}/{_OWN_RULES}")]
        for folder in own or PROGRAM_FOLDERS:
            if self._reader.exists(f"{folder}/{program.group(1)}"):
                return "%s/%s" % (folder, command.lstrip(" \t"))
        return None

    def _of_file(self, action, write, certain):
        """The lines of a file of sysctl.d that the program is told to read."""
        steps = []
        for line in sysctl_d.parse(self._reader.text(write.file) or "", write.file)[0]:
            key = scripts.name_of(line.key)
            if key is not None and line.value is not None:
                sets = sysctl_d.kernel_integer(line.value)
                step = _step(action, [key], line.value, sets, certain)
                row = self._reader.text(write.file).split("\n")[line.line - 1]
                steps.append(dict(step, path=printable(write.file), line=line.line, text=_text(row)))
        return steps

    def _of_script(self, action, path, command, calls=scripts.MAX_CALLS):
        """A script that writes, or calls one: with its arguments and variables, what it writes is not known."""
        text = self._node.script(path)
        if not text or not (text.startswith("#!") or command.startswith(path) or calls < scripts.MAX_CALLS):
            return []
        writes = commands.writes(text, interface=(), shell_text=True)
        if not writes:
            called = commands.programs(text) if calls > 1 else []
            found = [self._of_script(action, each, command, calls - 1) for each in called if each != path]
            return next(iter([steps for steps in found if steps]), [])
        number = writes[0].line or 1
        step = _step(action, None, None, None, False)
        return [dict(step, path=printable(path), line=number, text=_text(text.split("\n")[number - 1]))]

    def _of_unit(self, action, unit, name):
        """What the commands of a unit write that systemd.device(5) starts for the interface, after the other actions.

        Not measured: in a container systemd starts no unit for a device.
        """
        unit = unit if "." in unit.rsplit("@", 1)[-1] else unit + ".service"
        template, instance = re.match(r"([^@]*@)(.*)(\.\w+)\Z", unit), ""
        if template:
            instance, unit = template.group(2), template.group(1) + template.group(3)
        paths = [path for path in (f"{folder}/{unit}" for folder in UNIT_FOLDERS) if self._reader.exists(path)][:1]
        for folder in UNIT_FOLDERS:
            paths += [f"{folder}/{unit}.d/{each}" for each in self._reader.names(f"{folder}/{unit}.d")]
        steps = []
        for path in paths:
            for number, row in self._reader.lines(path):
                command = re.match(r"\s*Exec(?:Start|StartPre|StartPost)\s*=\s*[-@:+!|]*(.*)", row)
                command = command and re.sub(r"%[iI]", lambda _match: instance, command.group(1))
                for step in self._of_command(action, command, name, False) if command else ():
                    if step["path"] == printable(action.path):
                        step.update(path=printable(path), line=number, text=_text(row))
                    steps.append(step)
        return steps

    # writers

    def _writers_of(self, token, line, path, events):
        """The writers that one token of a rule makes."""
        hits, certain, overridden = {}, {}, {}
        # A rule for bridges alone is met by no plain interface.
        for kind in range(len(events[0][1])):
            for glob, of_kinds in events:
                actions = of_kinds[kind].actions
                for number, action in enumerate(actions):
                    if action.token is token:
                        hits[glob] = self._steps(action, of_kinds[kind].name)
                        certain[glob] = action.certain
                        overridden[glob] = self._loads(actions[number + 1 :], of_kinds[kind].name)
            if hits:
                break
        if not hits:
            met = any(id(token) in event.met for _glob, of_kinds in events for event in of_kinds)
            return [] if met else self._of_other_event(token, line, path)
        glob = next(iter([glob for glob, _events in events if glob in hits]))
        name = devices.to_come(glob)
        names = ["*"] if "*" in hits else [each for each, _events in events if each in hits]
        missed = [each for each, _events in events if each not in hits]
        not_on = [each for each in missed if devices.matches(devices.to_come(each), names)]
        if "*" in hits:
            not_on += list(devices.RESERVED)
        found = []
        for step in hits[glob]:
            if step["runs"] == "systemd_sysctl" and step["names"] == [name]:
                continue
            of_interface = step["names"] and name in step["names"]
            known = {
                "names": names + [each for each in step["names"] if each != name] if of_interface else step["names"],
                "not_on": not_on if of_interface else [],
                "certain": bool(step["certain"] and all(certain.values())),
                "when": ["boot", "interface"],
            }
            # The vendor's rule leaves lo out, which no line of the drop-in is for.
            if step["names"] == [name] and all(overridden[each] for each in overridden if each != "lo"):
                known["before_loader"] = True
            found.append(_writer(step, **known))
        return found

    def _loads(self, actions, name):
        """Whether one of these runs systemd-sysctl for the interface, for sure."""
        return any(
            step["runs"] == "systemd_sysctl" and step["certain"] and (step["names"] is None or name in step["names"])
            for action in actions
            for step in self._steps(action, name)
        )

    def _of_other_event(self, token, line, path):
        """A rule for another subsystem (a module that is loaded) or action (a renamed interface)."""
        name = devices.to_come("*")
        of_net = not _excludes(line, "SUBSYSTEM", "net")
        renamed = of_net and _excludes(line, "ACTION", "add") and _excludes(line, "ACTION", "remove")
        event = udev_event.Event(name, None)
        event.imported.append("*")
        found = []
        for step in self._steps(event.acting(path, token, False), name):
            if step["names"] and name in step["names"]:
                if renamed:
                    names = {"names": ["*"], "not_on": list(devices.RESERVED)}
                    found.append(_writer(step, certain=False, when=["interface"], **names))
            else:
                found.append(_writer(step, certain=False, when=["interface"] if renamed else ["boot"]))
        return found


def _excludes(line, key, subject):
    return any(each.key == key and udev_event.matches(each, subject) is False for each in line.tokens)


def _without(glob):
    """The glob with its first bracket turned round: what the bracket leaves out. A glob without one is unchanged."""
    return re.sub(r"\[([!^]?)(?=[^\]])", lambda found: "[" if found.group(1) else "[!", glob, count=1)


def _of_sysctl_key(action):
    """SYSCTL{key}="value"."""
    name = scripts.name_of(action.key)
    if name is None or re.search(r"[*?\[]", name) or action.key.startswith(("-", "/proc/")):
        return []  # no such file
    if udev_event.UNKNOWN in name + action.value:
        return [_step(action, None if udev_event.UNKNOWN in name else [name], None, None, False)]
    sets = sysctl_d.kernel_integer(action.value)
    return [] if sets is None else [_step(action, [name], action.value, sets, action.certain)]


def _runs_shell(command):
    words = command.split(None, 1)
    return bool(words) and os.path.basename(words[0]) in _SHELLS


def _reaches(step, name):
    return step["names"] is None or any(devices.matches(each, step["names"]) for each in (name,) + devices.RESERVED)


def _text(row):
    return printable(row.strip()[: scripts.MAX_TEXT])


def _place(action):
    return {"path": printable(action.path), "line": action.token.line}


def _step(action, names, value, sets, certain, runs=None):
    place = dict(_place(action), text=_text(action.token.row))
    return dict(place, names=names, value=value, sets=sets, certain=bool(certain), runs=runs)


def _writer(step, **known):
    members = {
        "active": True,
        "value": step["value"],
        "sets": step["sets"],
        "runs": step["runs"],
        "names": step["names"],
    }
    members.update(known)
    return scripts.writer("udev", step["path"], step["line"], step["text"], **members)
