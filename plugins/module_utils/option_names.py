# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a message names the options of the module rp_filter: as its caller writes them. Pure.

Messages are written with the module's names. A role's variables have others, and what a message says has to work as
printed.
"""

import re

#: Options as messages write them: before a value, at the beginning, or after words that only stand before an option.
_MENTION = re.compile(
    r"(?<![\w.=/'-])(?:"
    r"(?P<set>[a-z_]+)(?==(?:true|fail|report|disable|restore|adopt|auto|always|never)\b)"
    r"|(?<=Set )(?P<asked>[a-z_]+)(?= (?:for|to) )"
    r"|(?<= in )(?P<listed>uplinks|uplink_devices)(?=$|[,.; ])"
    r")"
    r"|\A(?P<first>[a-z_]+)(?=: | is )"
)


def renamed(text, names):
    """The text with each option that it names called as in ``names`` (option → its name for the caller)."""

    def rename(match):
        return names.get(match.group(), match.group())

    return _MENTION.sub(rename, text)
