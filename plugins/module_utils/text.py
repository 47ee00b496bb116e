# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one sanitiser of text that others chose: names of interfaces, hosts and pods, contents of files. Pure."""

import unicodedata

# These draw as nothing although they are letters to Unicode.
BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"


def printable(text):
    """A device's name as text that any terminal and any JSON reader takes; plain UTF-8 is unchanged."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def printable_tree(value):
    """The same for every text in a structure of dicts and lists, keys included."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable_tree(key): printable_tree(entry) for key, entry in value.items()}
    return [printable_tree(entry) for entry in value] if isinstance(value, list) else value


def visible(text):
    """What cannot be seen, or turns the text around it, as its number: names are others' to choose."""
    return "".join(char if _is_seen(char) else f"\u27e8U+{ord(char):04X}\u27e9" for char in text)


def one_line(text):
    """The same for text that is to stay on one line."""
    return visible(text).replace("\n", "\u27e8U+000A\u27e9")


def _is_seen(char):
    if char in "\n\t " or "!" <= char <= "~":
        return True
    # C: controls, formats, surrogates, private, unassigned; Z: separators.
    return unicodedata.category(char)[0] not in "CZ" and char not in BLANK_LETTERS
