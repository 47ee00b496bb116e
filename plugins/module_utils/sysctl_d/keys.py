# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and values, as both loaders and the kernel read them."""

import re

_ODD_SEPARATORS = re.compile(r"//|/\./|/\.?$|^/|^\./")
CONF_KEY = re.compile(r"net/ipv4/conf/")
_INTEGER = re.compile(r"\s*(-?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)(?:[ \t\n]|$)")


def conf_key(device, name="rp_filter"):
    """The key of a device, a pattern, ``all`` or ``default``, in slash form."""
    return f"net/ipv4/conf/{device}/{name}"


def spell(key):
    """How a key in slash form is written in a file: dotted, or with slashes where a component has a dot."""
    return key if "." in key else key.replace("/", ".")


def swap_separators(key):
    """Slash form of a key as written: if its first separator is a dot, dots and slashes swap (both loaders)."""
    first = re.search(r"[/.]", key)
    if first and first.group() == ".":
        return key.translate({ord("."): "/", ord("/"): "."})
    return key


def normalise(key):
    """Slash form of a key as written, without empty components and without a leading slash (systemd 245)."""
    return simplify(swap_separators(key))


def simplify(path):
    if not _ODD_SEPARATORS.search(path):
        return path
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def canonical_glob(pattern):
    """The pattern with one-character brackets folded (``[l]xc*`` → ``lxc*``), so that spellings can be compared."""
    # Only characters that mean nothing else outside of brackets, and no dot, which would become a separator.
    return re.sub(r"\[([A-Za-z0-9_-])\]", r"\1", pattern)


def kernel_integer(value):
    """The number that proc_dointvec() reads from a value, or None where it refuses the value."""
    # It takes one number in C's notation and ignores what follows white space: '1 # strict' sets 1, '"1"' fails.
    match = _INTEGER.match(value)
    if not match or len(match.group(2)) > 20:  # proc_get_long() has room for 20 digits
        return None
    digits = match.group(2)
    number = int(digits, 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10)
    limit = 0x80000000 if match.group(1) else 0x7FFFFFFF
    if number > limit:
        return None
    return -number if match.group(1) else number


def kernel_refuses(key, value):
    # Of all sysctls only net.ipv4.conf is known here to hold nothing but plain integers.
    return bool(CONF_KEY.match(key)) and kernel_integer(value) is None
