# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Since or until when a loader behaves in a way, each with its source."""

SYSTEMD_DASH_SINCE = 243  # systemd 243 NEWS: a "-" before the key means that failures are ignored
SYSTEMD_GLOBS_SINCE = 245  # systemd 245: globs, and "-key" without a value excludes the key from globs
SYSTEMD_PREFIX_FNMATCH_SINCE = 252  # systemd 252, path_glob_can_match(): --prefix is matched without braces
SYSTEMD_CREDENTIAL_SINCE = 252  # systemd 252 NEWS: the credential sysctl.extra (252, 257 measured)
SYSTEMD_NO_SPLIT_USR_SINCE = 255  # systemd 255 NEWS: no more support for an unmerged /usr, so no /lib/sysctl.d
SYSTEMD_SEMICOLON_UNTIL = 258  # systemd 259 parses by conf_file_read(), which knows '#' only (262 measured)
PROCPS_DASH_SINCE = (3, 3, 16)  # procps 3.3.16: ignore_failure; before, the dash was part of the key
PROCPS_GLOBS_SINCE = (4, 0, 0)  # procps 4.0.0 NEWS: "Add support for systemd glob patterns" (4.0.2 measured)
PROCPS_GLOB_EXCLUDES_SINCE = (4, 0, 5)  # procps 4.0.5, settinglist_findpath(): "-glob" excludes what it matches
