# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What files below /run hide: they are gone at the next boot, unless whoever wrote them writes them again."""

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, sysctl_d
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import scripts, udev

LOADER = "systemd-sysctl"


def hidden_by(reader, folders):
    """The files below /run that stand before one of the same name in a weaker folder."""
    found = []
    for position, folder in enumerate(folders):
        if folder.startswith("/run/"):
            weaker = folders[position + 1 :]
            found += [
                f"{folder}/{name}"
                for name in reader.names(folder)
                if any(reader.exists(f"{each}/{name}") for each in weaker)
            ]
    return found


def writers(reader, tree, version, rules, patterns, uplinks):
    """Writers that may appear at the next boot, in the shape of the fact ``other_writers``.

    :arg version: of systemd; None if its lines cannot be predicted.
    :arg rules: udev's rules as they stand.
    """
    return _by_rules(reader, rules, patterns) + _by_lines(reader, tree, version, patterns, uplinks)


def _by_rules(reader, rules, patterns):
    hidden = hidden_by(reader, udev.UDEV_FOLDERS)
    if not hidden:
        return []
    unmasked = udev.Rules(reader, dict.fromkeys(hidden))
    names = [
        pattern
        for pattern in patterns
        if unmasked.on_add(devices.to_come(pattern), "veth") != rules.on_add(devices.to_come(pattern), "veth")
    ]
    return [_writer("udev", hidden[0], None, names, None, LOADER.replace("-", "_"))] if names else []


def _by_lines(reader, tree, version, patterns, uplinks):
    hidden = hidden_by(reader, sysctl_d.FOLDERS) if version else []
    if not hidden:
        return []
    now = sysctl_d.SystemdSysctl(tree, version)
    unmasked = sysctl_d.SystemdSysctl(tree.with_overlay(dict.fromkeys(hidden)), version)
    found = []
    for name in ["all", "default"] + list(patterns) + list(uplinks):
        new = name in patterns
        key = sysctl_d.conf_key(devices.to_come(name) if new else name)
        line = unmasked.winner(key, prefix_run=new)
        if line and line != now.winner(key, prefix_run=new):
            found.append(_writer(LOADER, line.path, line, [name], sysctl_d.kernel_integer(line.value), None))
    return found


def _writer(by, path, line, names, sets, runs):
    text = f"{sysctl_d.spell(line.key)} = {line.value}" if line else "hides a file of the same name"
    known = {"value": line.value, "sets": sets} if line else {}
    known.update(names=names, certain=False, runs=runs, when=["boot"], active=True, before_loader=True)
    return scripts.writer(by, path, line.line if line else 1, text, **known)
