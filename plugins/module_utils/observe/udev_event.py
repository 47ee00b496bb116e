# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One event that adds an interface, as udev evaluates its rules for it: which rules match, and what they then do.

SYSCTL{…}=, PROGRAM and IMPORT{program} act while the rules are read. RUN fills a list, which is run after the last
rule, programs and builtins alike. RUN= and RUN:= clear the list, and after RUN:= no rule changes it any more, of
whatever type (measured: udev 247, 252 and 257).
"""

import re
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import udev_rules

#: The kernel names these kinds in DEVTYPE; a veth, a dummy and an Ethernet interface have none.
DEVTYPES = ["bareudp", "bond", "bridge", "geneve", "hsr", "macsec", "macvlan", "macvtap", "netkit", "vlan", "vxlan"]
DEVTYPES += ["wireguard"]
_ACTIONS = ("ENV", "SYSCTL", "RUN")
#: In udev's format strings; longer names first, as one may begin with another.
_LONG = ("devpath", "devnode", "tempnode", "kernel", "number", "driver", "result", "parent", "major", "minor", "links")
_LONG += ("attr", "name", "root", "env", "sys", "id")
_FORMAT = re.compile(rf"(?:\$(?P<long>{'|'.join(_LONG)})|%(?P<short>[a-zA-Z]))(?:\{{(?P<attribute>[^}}]*)\}})?|\$\$|%%")
_SHORT = {"k": "kernel", "n": "number", "b": "id", "E": "env", "s": "attr", "p": "devpath", "M": "major", "m": "minor"}
_SHORT.update({"c": "result", "P": "parent", "D": "name", "L": "links", "N": "devnode", "r": "root", "S": "sys"})
_SHORT["d"] = "driver"
#: Stands for what only udev knows; commands takes it for a variable.
UNKNOWN = "$UDEV_UNKNOWN"
#: One action of a rule: ``certain`` whether it happens at each such event; ``key`` and ``value`` of the token with
#: udev's formats replaced.
Action = namedtuple("Action", "token path certain key value")


class Event:
    """One evaluation of all rules for ACTION=add, SUBSYSTEM=net. Three truths: True, False, None if not known."""

    def __init__(self, name, link_kind):
        self.name = name
        # A virtual interface has no parent device.
        self.virtual = link_kind is not None or devices.matches(name, devices.CILIUM_PATTERNS)
        self.properties = {
            "ACTION": "add",
            "SUBSYSTEM": "net",
            "INTERFACE": name,
            "DEVTYPE": link_kind if link_kind in DEVTYPES else "",
            "DEVPATH": "/devices/virtual/net/" + name if self.virtual else None,
        }
        self.properties.update(dict.fromkeys(("IFINDEX", "SEQNUM", "TAGS", "CURRENT_TAGS", "USEC_INITIALIZED")))
        # Globs of the properties that an import may have set.
        self.imported = []
        self.asked = []
        # The actions that happen at once; the list of RUN; the units that systemd then starts (systemd.device(5)).
        self.immediate, self.run_list, self.wanted = [], [], []
        # What was taken off the list of RUN or not taken in, with the action that did this; the ids of all tokens that
        # came to their turn.
        self.cleared, self.met = [], set()
        # Whether RUN:= came (None: perhaps), and which.
        self.final, self.final_action = False, None

    @property
    def actions(self):
        return self.immediate + self.run_list + self.wanted

    def file(self, path, lines):
        position, maybe_until = 0, 0
        while position < len(lines):
            line = lines[position]
            certain = None if position < maybe_until or line.doubtful else True
            result = self.line(path, line, certain)
            position += 1
            if line.goto is not None and result is not False:
                # A label that stands before is not found.
                target = [at for at in range(position, len(lines)) if lines[at].label == line.goto]
                if target and result:
                    position = target[0]
                elif target:
                    maybe_until = max(maybe_until, target[0])

    def line(self, path, line, certain):
        """Whether the rule matches. The order of tokens within a rule has no meaning, except among its actions."""
        result = _and([certain] + self.matched(line))
        if result is False:
            return False
        for token in line.tokens:
            if token.key == "PROGRAM" or (token.key == "IMPORT" and token.attribute == "program"):
                self.met.add(id(token))
                if udev_rules.builtin(token.value) is None or token.key == "PROGRAM":
                    self.immediate.append(self.acting(path, token, result))
        if any(token.key in ("PROGRAM", "IMPORT", "RESULT") for token in line.tokens):
            result = None
        for token in line.tokens:
            if token.key == "IMPORT":
                self.imports(token)
        for token in in_order(line.tokens):
            self.action(path, token, result)
        return result

    # matches

    def matched(self, line):
        results, of_parents, tokens = [], [], line.tokens
        fixed = [token for token in tokens if token.key in ("ACTION", "SUBSYSTEM") and token.operator in ("==", "!=")]
        if not any(matches(token, self.subject(token.key, None)) is False for token in fixed):
            self.asked += _asked(line)
        for token in tokens:
            if token.operator not in ("==", "!=") or token.key in ("PROGRAM", "IMPORT", "RESULT"):
                continue
            if token.key in ("KERNELS", "SUBSYSTEMS", "DRIVERS", "ATTRS", "TAGS"):
                of_parents.append(matches(token, self.subject(token.key[:-1], token.attribute)))
            else:
                results.append(matches(token, self.subject(token.key, token.attribute)))
        if of_parents:
            # All must match one device: the interface itself or one of its parents.
            own = _and(of_parents)
            results.append(None if own is False and not self.virtual else own)
        return results

    def subject(self, key, attribute):
        """What a key is compared with; None if not known."""
        if key == "ENV":
            return self.property(attribute)
        # An interface has no driver of its own.
        known = {"ACTION": "add", "SUBSYSTEM": "net", "KERNEL": self.name, "DRIVER": ""}
        known["DEVPATH"] = self.properties["DEVPATH"]
        return known.get(key)

    def property(self, name):
        if name in self.properties:
            return self.properties[name]
        return None if any(sysctl_d.glob_matches(glob, name) for glob in self.imported) else ""

    def imports(self, token):
        """Builtins set properties that begin with ID_; a file and a program may set any."""
        if token.attribute == "parent" and self.virtual:
            return
        if udev_rules.builtin(token.value) is not None and token.attribute in ("builtin", "program"):
            glob = "ID_*"
        else:
            glob = token.value if token.attribute in ("db", "cmdline", "parent") else "*"
        self.imported.append(glob)
        fixed = ("ACTION", "SUBSYSTEM", "INTERFACE", "DEVTYPE", "DEVPATH")
        for name in [name for name in self.properties if name not in fixed and sysctl_d.glob_matches(glob, name)]:
            self.properties[name] = None

    # actions

    def action(self, path, token, result):
        self.met.add(id(token))
        if token.key == "ENV":
            if token.attribute == "SYSTEMD_WANTS":
                self.wanted.append(self.acting(path, token, None))
            value = self.expanded(token.value)
            before = self.property(token.attribute) if token.operator == "+=" else ""
            if before:
                value = before + " " + value
            # udev replaces other characters.
            known = result and before is not None and re.match(r"[\w#+\-.:=@/ ]*\Z", value)
            self.properties[token.attribute] = value if known else None
        elif token.key == "SYSCTL":
            self.immediate.append(self.acting(path, token, result))
        elif token.key == "RUN":
            self.run(self.acting(path, token, result))

    def acting(self, path, token, result):
        key, value = self.expanded(token.attribute or ""), self.expanded(token.value)
        return Action(token, path, bool(result), key, value)

    def run(self, action):
        if self.final:
            self.cleared.append((action, self.final_action))
            return
        clears = action.token.operator in ("=", ":=")
        certain = action.certain and self.final is not None
        if clears and certain:
            self.cleared += [(each, action) for each in self.run_list]
            self.run_list = []
        elif clears:
            self.run_list = [each._replace(certain=False) for each in self.run_list]
        if action.token.operator == ":=":
            self.final, self.final_action = True if action.certain else None, action
        self.run_list.append(action._replace(certain=certain))

    def expanded(self, text):
        """The text with udev's formats replaced."""

        def replacement(match):
            if match.group() in ("$$", "%%"):
                return match.group()[0]
            kind, attribute = match.group("long") or _SHORT.get(match.group("short")), match.group("attribute")
            if kind is None:
                return match.group()
            rest = f"{{{attribute}}}" if attribute is not None and kind not in ("env", "attr", "result") else ""
            if kind in ("kernel", "name"):
                value = self.name
            elif kind == "number":
                value = re.search(r"\d*\Z", self.name).group()
            elif kind == "env" and attribute:
                value = self.property(attribute)
            else:
                value = {"driver": "", "root": "/dev", "sys": "/sys", "devpath": self.properties["DEVPATH"]}.get(kind)
            return (UNKNOWN if value is None else value) + rest

        return _FORMAT.sub(replacement, text)


def _asked(line):
    """[(key, alternative)] of the names and kinds of interfaces for which a rule makes a difference."""
    if line.goto is None and not any(token.key in _ACTIONS + ("PROGRAM", "IMPORT") for token in line.tokens):
        return []
    return [
        (token.key, each)
        for token in line.tokens
        if token.key == "KERNEL" or (token.key == "ENV" and token.attribute == "DEVTYPE")
        for each in token.value.split("|")
        if each
    ]


def in_order(tokens):
    """The actions of a rule, as udev sorts them: builtins of RUN come before programs."""

    def rank(token):
        return (_ACTIONS.index(token.key), token.key == "RUN" and token.attribute != "builtin")

    acting = [token for token in tokens if token.key in _ACTIONS and token.operator not in ("==", "!=")]
    return sorted(acting, key=rank)


def _and(results):
    if any(result is False for result in results):
        return False
    return None if None in results else True


def matches(token, subject):
    """Whether a match holds; None if that is not known."""
    if subject is None:
        return None
    value = token.value
    if token.key == "SUBSYSTEM" and value in ("subsystem", "bus", "class"):
        found = subject in ("subsystem", "bus", "class")
    elif not value:
        found = subject == ""
    else:
        alternatives = value.split("|")
        if not subject:
            # Versions differ in whether a glob matches a property that is not set.
            found = True if "" in alternatives else None if re.match(r"\*+\Z", value) else False
        elif re.search(r"[*?\[]", value):
            if token.folded:
                alternatives, subject = [each.lower() for each in alternatives], subject.lower()
            found = any(sysctl_d.glob_matches(each, subject) for each in alternatives if each)
        else:
            found = subject in alternatives or (token.folded and subject.lower() in value.lower().split("|"))
    if found is None:
        return None
    return found == (token.operator == udev_rules.MATCH)


def is_broken(text):
    """Whether a format lacks what it names: then udev uses a part of the text at most."""
    formats = [match.groupdict() for match in _FORMAT.finditer(text)]
    return any(
        not each["attribute"] and (each["long"] or each["short"]) in ("attr", "env", "s", "E") for each in formats
    )
