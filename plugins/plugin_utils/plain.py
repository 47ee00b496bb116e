# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values as Ansible hands them to a filter or an action, as Python's own types."""


def plain(value):
    """A value as Python's own types; what Ansible hands to a filter only looks like them."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    return next((kind(value) for kind in (str, int, float) if isinstance(value, kind)), value)


def on_plain(function):
    """The function as a filter."""

    def filtered(*arguments, **options):
        return function(*plain(arguments), **plain(options))

    return filtered
