# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call of sysctl(8) or of systemd-sysctl(8) writes to rp_filter, by its arguments. Pure."""

import re
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils import sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.shell_words import UNKNOWN

#: Stands in ``names`` for the interface of the event.
INTERFACE = "<interface>"
#: Stands in a text for the interface of the event.
HERE = "\x01"

#: names: as in a writer; None if any key may be meant. value: as written, None if not known; sets: the kernel's number.
#: certain: whether it is written whenever the text runs. runs: "procps" or "systemd_sysctl", which then reads all its
#: files, or "unit", a start of systemd-sysctl.service; None if the same text may change these files. file: the one file
#: that is read instead, by ``loader``. prefixes: systemd-sysctl's. line: within the text.
Write = namedtuple("Write", "names value sets certain runs file loader prefixes line")


def unknown(line):
    """A write of which only the place is known."""
    return Write(None, None, None, False, None, None, None, (), line)


def assignment(name, value, line, certain):
    """[Write] of one value; ``name`` is a component of a path, ``value`` None if it is not known."""
    if value is not None and re.search(r"[\x01\x02`]", value):
        value = None
    sets = None if value is None else sysctl_d.kernel_integer(value)
    if value is not None and sets is None:
        if certain:
            return []  # the kernel refuses it
        value = None
    names = _names(name)
    certain = bool(certain and names and sets is not None)
    return [Write(names, value, sets, certain, None, None, None, (), line)]


def sysctl(arguments, line, certain, files_changed):
    """[Write] by its options and their arguments, as procps reads them.

    :arg files_changed: whether the files that it may read may be others than now.
    """
    certain_files = certain and not files_changed
    load, system, rest, reads = None, False, [], False
    if any(_is_elsewhere(pattern) for pattern in _patterns([argument.text for argument in arguments])):
        return []
    for argument in arguments:
        text = argument.text
        short = re.match(r"-([wqenNb]*)([pf])(.*)\Z", text)
        if text in ("--help", "--version", "--dry-run", "--all") or re.match(r"-[A-Za-z]*[aAXxdhV]", text):
            return [unknown(line)] if UNKNOWN in "".join(each.text for each in arguments) else []
        if text == "--system":
            system = True
        elif text == "--load" or text.startswith("--load="):
            load = [argument._replace(text=text[len("--load=") :])] if "=" in text else []
        elif short:
            load = [argument._replace(text=short.group(3))] if short.group(3) and short.group(2) == "p" else []
        elif re.match(r"-[wqenNb]+\Z", text) or text in ("--write", "--quiet", "--ignore", "--values", "--names"):
            reads = reads or bool(re.match(r"-[qe]*[nN][qe]*\Z", text))
        elif text.startswith("-"):
            certain = certain_files = False  # --pattern: of some keys alone
        else:
            rest.append(argument)
    if system:
        runs = None if files_changed else "procps"
        return [Write(None, None, None, bool(certain_files), runs, None, "procps", (), line)]
    if load is None:
        return [write for word in rest for write in _key(word.text, line, certain, reads)]
    if not load + rest:
        return [Write(None, None, None, bool(certain_files), None, "/etc/sysctl.conf", "procps", (), line)]
    return [write for word in load + rest for write in _load(word, "procps", (), line, certain_files)]


def _patterns(texts):
    """The regular expressions that limit the keys (procps: --pattern, -r)."""
    followed = [after for text, after in zip(texts, texts[1:]) if text in ("--pattern", "-r")]
    return followed + [text[len("--pattern=") :] for text in texts if text.startswith("--pattern=")]


def _is_elsewhere(pattern):
    """Whether a pattern matches no key of net: it is bound to another first part, as nfs-common's ``^sunrpc``."""
    outside = re.sub(r"\([^()]*\)", "", pattern)
    first = re.match(r"\^([a-z]+)(?![a-z*?+{])", outside)
    return bool(first) and not re.search(r"[|()\\]", outside) and first.group(1) != "net"[: len(first.group(1))]


def _key(text, line, certain, reads):
    key, equals, value = text.partition("=")
    if not equals:
        # The whole assignment may be in the variable, or a part of it.
        return [unknown(line)] if UNKNOWN in text and not reads and _may_be(key) else []
    parts = sysctl_d.normalise(key.strip()).split("/")
    if len(parts) == 5 and parts[:3] == ["net", "ipv4", "conf"] and parts[4] == "rp_filter":
        # No sysctl expands a glob on its command line (procps 3.3 and 4, measured).
        if re.search(r"[*?\[]", parts[3]):
            return []
        return assignment(parts[3], value.strip(), line, certain and key == key.strip())
    return [unknown(line)] if UNKNOWN in key and _may_be(key) else []


def systemd_sysctl(arguments, line, certain, files_changed):
    """[Write] by its options and their arguments; ``files_changed`` as for sysctl."""
    certain = certain and not files_changed
    prefixes, files, words = [], [], list(arguments)
    while words:
        word = words.pop(0)
        if word.text in ("--help", "-h", "--version", "--cat-config", "--tldr"):
            return []
        if word.text.startswith("--prefix="):
            prefixes.append(word.text.partition("=")[2])
        elif word.text == "--prefix":
            prefixes.append(words.pop(0).text if words else "")
        elif not word.text.startswith("-"):
            files.append(word)
    meant = [path for path in [_prefix(prefix) for prefix in prefixes] if _in_prefix(path)]
    if prefixes and not meant:
        return []
    names = [_names(path.split("/")[3]) if path.count("/") >= 3 else None for path in meant]
    names = None if None in names else [name for each in names for name in each] or None
    shown = tuple(prefix.replace(HERE, INTERFACE) for prefix in prefixes)
    if files:
        return [write for word in files for write in _load(word, "systemd_sysctl", shown, line, certain)]
    runs = None if files_changed else "systemd_sysctl"
    return [Write(names, None, None, bool(certain), runs, None, "systemd_sysctl", shown, line)]


def _load(word, loader, prefixes, line, certain):
    path = word.text
    if path in ("/dev/null", ""):
        return []
    if not path.startswith("/") or path.startswith("/dev/") or word.glob or re.search(r"[\x01\x02]", path):
        return [unknown(line)]
    return [Write(None, None, None, bool(certain), None, path, loader, prefixes, line)]


def _names(component):
    if component == HERE:
        return [INTERFACE]
    return None if re.search(r"[\x01\x02{}$`\[]", component) else [component]


def _may_be(key):
    """Whether a key with a part that is not known may be one of rp_filter."""
    parts = sysctl_d.normalise(key).split(UNKNOWN)
    begins = "net/ipv4/conf/".startswith(parts[0]) or parts[0].startswith("net/ipv4/conf/")
    last = parts[-1].rpartition("/")[2]
    return begins and ("rp_filter".endswith(last) if last == parts[-1] else last == "rp_filter")


def _prefix(prefix):
    """As systemd-sysctl takes it: with or without /proc/sys, dots or slashes."""
    path = prefix[len("/proc/sys") :] if prefix.startswith("/proc/sys/") else prefix
    return sysctl_d.normalise(path).strip("/")


def _in_prefix(path):
    parts, wanted = path.split("/"), ["net", "ipv4", "conf", None, "rp_filter"]
    return not path or all(
        part == expected or expected is None or UNKNOWN in part for part, expected in zip(parts, wanted)
    )
