# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd-sysctl and procps make of a tree: the line that decides a key."""

import itertools
import os
from collections import OrderedDict, namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.globs import (
    GLOB_CHARACTERS,
    SPECIAL_CHARACTERS,
    components,
    expand_braces,
    glob_matcher,
    literal_glob,
    to_bytes,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.keys import (
    kernel_refuses,
    normalise,
    simplify,
    swap_separators,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.lines import (
    parse_procps,
    parse_systemd,
    problem_at,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.tree import FOLDERS, FOLDERS_RUN_FIRST
from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.versions import (
    PROCPS_GLOB_EXCLUDES_SINCE,
    PROCPS_GLOBS_SINCE,
    SYSTEMD_CREDENTIAL_SINCE,
    SYSTEMD_GLOBS_SINCE,
    SYSTEMD_NO_SPLIT_USR_SINCE,
    SYSTEMD_PREFIX_FNMATCH_SINCE,
)

Assignment = namedtuple("Assignment", "key value path line")

# target: the key that is written, in slash form, None if none. name: the text that keeps globs off that key.
# lead: what stands before a key in the name that a glob makes of it.
_Option = namedtuple("_Option", "line target name is_glob lead")
_Glob = namedtuple("_Glob", "position matcher lead line")


class _Loader:
    """What both loaders share: explicit keys against globs, globs against globs."""

    def __init__(self, tree, version, options):
        self.tree = tree
        self.version = version
        self._applied = []
        self._explicit = {}
        self._named = {option.name for option in options}
        self._globs = []
        self._candidates = {}
        for position, option in enumerate(options):
            if option.line.kind == "exclude" or not option.target or kernel_refuses(option.target, option.line.value):
                continue  # a glob over folders, net.*.conf.…, may be refused for one key and not for the next
            self._applied.append(option.line)
            if option.is_glob:
                self._globs.append((position, option))
            else:
                self._explicit[option.target] = (position, option.line)

    def winner(self, key, prefix_run=False):
        """The assignment that decides ``key`` (slash form), or None where no line does."""
        position, line = self._explicit.get(key, (-1, None))
        parts = [""] + key.split("/")
        around = (tuple(parts[:-2]), parts[-1], prefix_run)
        candidates = self._candidates.get(around)
        if candidates is None:
            candidates = self._candidates[around] = self._find(*around)
        name = to_bytes(parts[-2])
        for glob in candidates:
            if glob.position < position:
                break
            if glob.matcher.match(name) and not (self._spared(glob.lead + key) or kernel_refuses(key, glob.line.value)):
                line = glob.line
                break
        return None if line is None else _assignment(line)

    def assignments(self):
        """Every assignment that is applied, in order of application; globs as written."""
        return [_assignment(line) for line in self._applied]

    def _spared(self, name):
        """Whether a key is named anywhere, be it to set it or to exclude it: then no glob touches it."""
        return name in self._named

    def _alternatives(self, glob, prefix_run):
        """What a glob stands for: lists of (component, period), one for each alternative of its braces."""
        return [components(glob)]

    def _find(self, head, leaf, prefix_run):
        """The globs that can match head/<any>/leaf, newest first, each with the matcher for <any>."""
        around = list(head) + [None, leaf]
        found = []
        for position, option in self._globs:
            for alternative in self._alternatives(option.target, prefix_run):
                parts = [("", True)] + alternative
                if len(parts) == len(around) and all(
                    name is None or glob_matcher(part, period).match(to_bytes(name))
                    for (part, period), name in zip(parts, around)
                ):
                    found.append(_Glob(position, glob_matcher(*parts[-2]), option.lead, option.line))
        return found[::-1]


class SystemdSysctl(_Loader):
    """What systemd-sysctl of a version would set. ``prefix_run``: as udev runs it, --prefix= one new device.

    named: the files of its command line; then it reads neither the tree nor the credential. credential: the File of
    ``sysctl.extra``, which comes after all files. prefixes: its ``--prefix=`` options, None if there is none.
    """

    def __init__(self, tree, version=257, named=None, credential=None, prefixes=None):
        self.files = self._files(tree, version) if named is None else list(named)
        if named is None and credential and version >= SYSTEMD_CREDENTIAL_SINCE:
            self.files.append(credential)
        # One in /proc/sys/… matches no key at all (252, 257 measured).
        self.prefixes = [normalise(prefix) for prefix in prefixes] if prefixes else None
        #: Lines that count for nothing, each with the identical earlier one that holds its place.
        self.repeated = []
        #: Lines that make it end with an error, after it has applied all others: {path, line, problem}.
        self.failures = []
        table = OrderedDict()
        for entry in self.files:
            lines, problems = parse_systemd(entry.text, entry.path, version)
            self.failures.extend(problems)
            for line in lines:
                # Before 245 keys were not simplified.
                key = normalise(line.key) if version >= SYSTEMD_GLOBS_SINCE else swap_separators(line.key)
                standing = table.get(key)
                # An identical repeat leaves the first where it was; another value moves the key to the end.
                if standing is None or standing.value != line.value:
                    table.pop(key, None)
                    table[key] = line
                elif line.kind == "set":
                    self.repeated.append((_assignment(line), _assignment(standing)))
        options = []
        for key, line in table.items():
            is_glob = version >= SYSTEMD_GLOBS_SINCE and bool(GLOB_CHARACTERS.search(key))
            options.append(_Option(line, simplify(key), key, is_glob, ""))
            if line.kind == "set" and not line.ignore_failure and kernel_refuses(key, line.value):
                self.failures.append(problem_at(line.path, line.line, "the kernel refuses the value"))
        super().__init__(tree, version, options)

    def globs_without_dash(self):
        """The globs that would fail the unit of systemd 245 where they match nothing."""
        return [_assignment(option.line) for _position, option in self._globs if not option.line.ignore_failure]

    @staticmethod
    def _files(tree, version):
        folders = FOLDERS if version < SYSTEMD_NO_SPLIT_USR_SINCE else FOLDERS[:-1]
        # FOREACH_DIRENT leaves hidden files out; procps does not.
        return [entry for entry in _chosen(tree, folders) if not os.path.basename(entry.path).startswith(".")]

    def winner(self, key, prefix_run=False):
        # udev's rule (99-systemd.rules) runs for devices, and has KERNEL!="lo".
        if prefix_run and key.split("/")[-2:-1] in (["all"], ["default"], ["lo"]):
            return None
        if self.prefixes is None:
            return super().winner(key, prefix_run)
        depths = {prefix.count("/") + 1 for prefix in self.prefixes if (key + "/").startswith(prefix + "/")}
        found = [super(SystemdSysctl, self).winner(key, depth) for depth in sorted(depths)]
        found = [assignment for assignment in found if assignment]
        order = [(line.path, line.line) for line in self._applied]
        return max(found, key=lambda each: order.index((each.path, each.line))) if found else None

    def _alternatives(self, glob, prefix_run):
        """prefix_run: False, the number of components of the prefix, or True for all but the last of the glob."""
        if not prefix_run or self.version < SYSTEMD_PREFIX_FNMATCH_SINCE:
            return [components(alternative) for alternative in expand_braces(glob)]
        # fnmatch(3) with the components of the prefix; what is left goes to glob(3), if it still is a glob.
        parts = glob.split("/")
        depth = len(parts) - 1 if prefix_run is True else prefix_run
        known = [(part if GLOB_CHARACTERS.search(part) else literal_glob(part), False) for part in parts[:depth]]
        rest = "/".join(parts[depth:])
        if not rest:
            return [known]
        return [
            known + components(alternative)
            for alternative in (expand_braces(rest) if GLOB_CHARACTERS.search(rest) else [literal_glob(rest)])
        ]


class Procps(_Loader):
    """What ``sysctl --system`` of a version of procps would set; with ``named`` files, ``sysctl -p FILE``."""

    def __init__(self, tree, version=(4, 0, 4), named=None):
        version = tuple(version)
        globs = version >= PROCPS_GLOBS_SINCE
        self.files = self._files(tree, version) if named is None else list(named)
        self._exclude_globs = []
        options = []
        for entry in self.files:
            for line in parse_procps(entry.text, entry.path, version)[0]:
                # setting_new() takes a second dash off.
                key = line.key[1:] if globs and line.key[:1] == "-" else line.key
                written = swap_separators(key)
                lead = written[: len(written) - len(written.lstrip("/"))]
                is_glob = globs and bool(GLOB_CHARACTERS.search(written))
                target = os.path.normpath(written).lstrip("/")
                # A folder, say stat(2) and glob(3), unless glob(3) has only to put what it found before the last name.
                if written.endswith(("/", "/.")) and not (
                    is_glob and not GLOB_CHARACTERS.search(target.rpartition("/")[2])
                ):
                    target = None
                if is_glob and line.kind == "exclude" and version >= PROCPS_GLOB_EXCLUDES_SINCE:
                    self._exclude_globs.append(glob_matcher(written, period=False))
                options.append(_Option(line, target, written, is_glob, lead))
        super().__init__(tree, version, options)

    @staticmethod
    def _files(tree, version):
        folders = FOLDERS if version >= (3, 3, 17) else FOLDERS_RUN_FIRST
        chosen = []
        for entry in _chosen(tree, folders):
            # Preload() hands even the name of a file to glob(3), with braces.
            parent, name = os.path.split(entry.path)
            siblings = tree.folders[parent].files
            matched = (
                [
                    siblings[sibling]
                    for alternative in expand_braces(name)
                    for sibling in sorted(siblings, key=os.fsencode)
                    if glob_matcher(alternative).match(to_bytes(sibling))
                ]
                if SPECIAL_CHARACTERS.search(name)
                else []
            )
            # It returns at the first that it cannot open.
            chosen.extend(itertools.takewhile(lambda file: file.target is not None, matched or [entry]))
        return chosen + ([tree.main] if tree.main else [])

    def _spared(self, name):
        return name in self._named or any(matcher.match(to_bytes(name)) for matcher in self._exclude_globs)


def _chosen(tree, folders):
    """The files that count, in order: of a name the one in the foremost folder, sorted bytewise by name."""
    chosen = {}
    for path in folders:
        for name, entry in tree.folders[path].files.items():
            chosen.setdefault(name, entry)
    return [chosen[name] for name in sorted(chosen, key=os.fsencode)]


def _assignment(line):
    return Assignment(line.key, line.value, line.path, line.line)
