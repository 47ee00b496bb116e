# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every writer of rp_filter other than the two loaders of sysctl.d, in the order in which they write at boot."""

import os
import re
import stat

from ansible_collections.nodeward.cilium.plugins.module_utils.observe import jobs, network, scripts, udev
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable

#: Folders of programs and scripts that nothing runs by itself, and of commands for events that are not known here.
SUSPECT_FOLDERS = ("/usr/local/bin", "/usr/local/sbin", "/opt")
SUSPECT_FOLDERS += ("/etc/keepalived", "/etc/libvirt/hooks", "/etc/modprobe.d", "/etc/cloud", "/etc/openvpn")
SUSPECT_FOLDERS += (
    "/etc/sysconfig/network-scripts",
    "/etc/sysconfig/network/scripts",
    "/etc/sysconfig/network/if-up.d",
)
MAX_DEPTH = 4
MAX_SUSPECTS = 50
_MENTION = re.compile(r"[^#]*\b(?:rp_filter|IPv4ReversePathFilter)\b")


def find(reader, units, systemd_version=None, running=frozenset(), altnames=None, rules=None):
    """(writers, scripts).

    :arg units: the unit files, as ``units.Units``.
    :arg running: the names of the units that run now.
    :arg altnames: the alternative names of each interface.
    :arg rules: udev's rules, as ``udev.Rules``, if they are not those that stand.
    """
    node = scripts.Node(reader, units, running)
    found = jobs.kernel(node) + (rules or udev.Rules(reader)).writers()
    # ufw.service starts before the network, the daemons of the network before the units of multi-user.target.
    found += (
        jobs.tmpfiles(node)
        + jobs.ufw(node)
        + network.networkd(node, systemd_version, altnames)
        + network.network_manager(node)
    )
    found += network.wicked(node) + network.netplan(node) + network.ifupdown(node)
    found += network.hooks_of_clients(node) + network.dispatchers(node)
    services = _as_running(units.writers(), running)
    found += [each for each in services if "boot" in each["when"] or not each["when"]]
    found += jobs.tuned(node) + jobs.init_d(node) + jobs.rc_local(node) + jobs.wireguard(node) + jobs.cloud_init(node)
    crontabs = jobs.cron(node)
    found += [each for each in crontabs if "boot" in each["when"]]
    found += [each for each in services if each["when"] and "boot" not in each["when"]]
    found += [each for each in crontabs if "boot" not in each["when"]]
    found = _each_once(found)
    return found, _suspects(node, {each["path"] for each in found})


def _as_running(writers, running):
    return [dict(each, active=True) if each["unit"] in running else each for each in writers]


def _each_once(writers):
    """A script can be found by its unit and by its folder (rc.local): the one that runs stays."""
    found = []
    for each in writers:
        same = [other for other in found if _content(other) == _content(each)]
        if not same:
            found.append(each)
        elif each["active"] and not same[0]["active"]:
            found[found.index(same[0])] = each
    return found


def _content(writer):
    return [writer[member] for member in ("path", "line", "names", "value", "runs", "when")]


def _suspects(node, known):
    """Lines with rp_filter in text files of folders that hold programs: [{path, line, text}]."""
    found = []
    for folder in SUSPECT_FOLDERS:
        for path in _files_below(node, folder, 1):
            text = node.script(path) if printable(path) not in known else None
            for number, line in enumerate(text.split("\n") if text else (), 1):
                if _MENTION.match(line):
                    found.append(
                        {"path": printable(path), "line": number, "text": printable(line.strip()[: scripts.MAX_TEXT])}
                    )
                    break
            if len(found) >= MAX_SUSPECTS:
                return found
    return found


def _files_below(node, folder, depth):
    for name in node.reader.names(folder):
        path = f"{folder}/{name}"
        try:
            mode = os.lstat(node.reader.root + path).st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode):
            if depth >= MAX_DEPTH:
                node.left_out(path, f"is deeper than {MAX_DEPTH} folders and was not searched for rp_filter")
                continue
            yield from _files_below(node, path, depth + 1)
        else:
            yield path
