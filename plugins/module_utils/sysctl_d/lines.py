# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of a file as each loader parses them."""

import re
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils.sysctl_d.versions import (
    PROCPS_DASH_SINCE,
    PROCPS_GLOBS_SINCE,
    SYSTEMD_DASH_SINCE,
    SYSTEMD_GLOBS_SINCE,
    SYSTEMD_SEMICOLON_UNTIL,
)
from ansible_collections.nodeward.cilium.plugins.module_utils.text import one_line

# kind: 'set' or 'exclude' ("-key" without a value). key: as written, without the leading '-'.
Line = namedtuple("Line", "kind key value path line ignore_failure")

_SPACE = " \t\n\v\f\r"  # isspace(3)


def parse(text, path):
    """The lines of a file as today's systemd-sysctl reads them: (list of Line, list of problems)."""
    return parse_systemd(text, path, SYSTEMD_SEMICOLON_UNTIL)


def parse_systemd(text, path, version):
    comments = "#;" if version <= SYSTEMD_SEMICOLON_UNTIL else "#"
    # read_line() ends a line at NUL and, from 240, at CR too; an editor does not, and its numbers are reported.
    ends = re.compile("[\r\0]") if version >= 240 else re.compile("\0")
    lines, problems = [], []
    for number, row in enumerate(text.split("\n"), 1):
        for part in [piece.strip(" \t\r") for piece in ends.split(row)]:
            if not part or part[0] in comments:
                continue
            key, separator, value = part.partition("=")
            dash = version >= SYSTEMD_DASH_SINCE and part[0] == "-"
            if not separator and not (dash and version >= SYSTEMD_GLOBS_SINCE):
                problems.append(_malformed(path, number, part))
                continue
            key = (key[1:] if dash else key).strip(" \t\r")
            lines.append(
                Line(
                    "set" if separator else "exclude",
                    key,
                    value.strip(" \t\r") if separator else None,
                    path,
                    number,
                    dash,
                )
            )
    return lines, problems


def parse_procps(text, path, version):
    lines, problems = [], []
    for number, row in enumerate(text.split("\n"), 1):
        text = row.partition("\0")[0]  # a C string ends there
        parsed = _procps_line(text) if version >= PROCPS_GLOBS_SINCE else _procps3_line(text, version)
        if parsed is None:
            continue
        kind, key, value, dash = parsed
        if kind is None:
            problems.append(_malformed(path, number, row))
        else:
            lines.append(Line(kind, key, value, path, number, dash))
    return lines, problems


def _procps_line(row):
    row = row.lstrip(_SPACE)
    if not row or row[0] in "#;":
        return None
    key, separator, value = row.partition("=")
    dash = key[:1] == "-"
    if not separator and not dash:
        return None, None, None, None
    # Unlike systemd, no space is stripped behind the dash.
    key = (key[1:] if dash else key).rstrip(_SPACE)
    if separator:
        return "set", key, value.strip(_SPACE), dash
    return "exclude", key, None, dash


def _procps3_line(row, version):
    row = row.rstrip(" \t\r").lstrip(" \t")
    if len(row) < 2 or row[0] in "#;":
        return None
    key, _separator, value = row.lstrip("=").partition("=")  # strtok(3) skips leading separators
    value = value.lstrip("\r").partition("\r")[0].lstrip(" \t")
    if not value:
        return None, None, None, None
    dash = version >= PROCPS_DASH_SINCE and key[:1] == "-"
    return "set", (key[1:] if dash else key).rstrip(" \t\r"), value, dash


def _malformed(path, number, text):
    return problem_at(path, number, f"'{excerpt(text)}' is no assignment; expected 'key = value'")


def problem_at(path, number, text):
    return {"path": path, "line": number, "problem": text}


def excerpt(text):
    text = text.strip()
    text = text if len(text) <= 60 else text[:60] + "..."
    return one_line(text.replace("\t", " "))
