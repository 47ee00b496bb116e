# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the sysctl.d tree under one root and resolves a key as each loader would. Pure: no process, no /proc.

Two loaders read these files, and they do not agree:

* systemd-sysctl collects all assignments in one ordered table, then applies the table;
* procps ``sysctl --system`` applies line after line, and /etc/sysctl.conf last.

Version rules carry their source: "systemd N" is ``src/sysctl/sysctl.c``, ``src/basic/sysctl-util.c`` or
``src/basic/conf-files.c`` of that release, "procps N" is ``sysctl.c`` of that release, "glibc" is glob(3) and
fnmatch(3) in the C locale, "measured" was seen with the binary.

Not modelled, because no file under the root shows it: other devices. If no alternative of a brace glob matches any
device, glibc takes the braces for themselves, so a device that is really named ``{a,b}`` may be set.
"""

from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.globs import glob_matches
from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.keys import (
    canonical_glob,
    conf_key,
    kernel_integer,
    normalise,
    spell,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.lines import parse
from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.loaders import Assignment, Procps, SystemdSysctl
from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.tree import (
    FOLDERS,
    MAIN_FILE,
    MAX_BYTES,
    MAX_REPORTED_LINES,
    File,
    Folder,
    Tree,
    read_tree,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.versions import (
    PROCPS_GLOBS_SINCE,
    SYSTEMD_CREDENTIAL_SINCE,
    SYSTEMD_GLOBS_SINCE,
)

__all__ = [
    "Assignment",
    "FOLDERS",
    "File",
    "Folder",
    "MAIN_FILE",
    "MAX_BYTES",
    "MAX_REPORTED_LINES",
    "PROCPS_GLOBS_SINCE",
    "Procps",
    "SYSTEMD_CREDENTIAL_SINCE",
    "SYSTEMD_GLOBS_SINCE",
    "SystemdSysctl",
    "Tree",
    "canonical_glob",
    "conf_key",
    "glob_matches",
    "kernel_integer",
    "normalise",
    "parse",
    "read_tree",
    "spell",
]
