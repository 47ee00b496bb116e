# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of rp_filter, which of two is stronger, and the names of its keys. Pure."""

from ansible_collections.nodeward.cilium.plugins.module_utils import sysctl_d

OFF, STRICT, LOOSE = 0, 1, 2
MODES = {"off": OFF, "strict": STRICT, "loose": LOOSE}
WORDS = {OFF: "off", STRICT: "strict", LOOSE: "loose"}

# Strict drops all that loose drops and more; the kernel's max() is not that order.
_STRENGTH = {OFF: 0, LOOSE: 1, STRICT: 2}


def strength(value):
    """How much a value drops, to compare by: off < loose < strict."""
    return _STRENGTH[value]


def stronger(*values):
    """The value that drops most."""
    return max(values, key=strength)


def is_stronger(value, other):
    """Whether a value drops more than another."""
    return strength(value) > strength(other)


def effective(all_value, own):
    """The value that the kernel filters an interface with (kernel doc, ip-sysctl: the larger of the two)."""
    return max(all_value, own)


def normal(value):
    """The kernel reads 1 as strict, any other positive number as loose, the rest as off."""
    value = int(value)
    if value == STRICT:
        return STRICT
    return LOOSE if value > 0 else OFF


def in_words(value):
    """A value as people read it."""
    return f"{WORDS[value]} ({value})"


def key(name):
    """How the key of an interface, a pattern, ``all`` or ``default`` is written in a sysctl.d file."""
    return sysctl_d.spell(sysctl_d.conf_key(name))


def name_of(written):
    """The interface, pattern, ``all`` or ``default`` of a key as written; None for any other key."""
    path = sysctl_d.normalise(written.strip(" \t\r")).split("/")
    if len(path) != 5 or path[:3] != ["net", "ipv4", "conf"] or path[4] != "rp_filter":
        return None
    return path[3]
