# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signs of Cilium on a node: its interfaces, its agent and its CNI plugin."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible_collections.nodeward.cilium.plugins.module_utils.iproute import printable

#: The agent's run-time folder, which it makes when it starts.
AGENT = ("/run/cilium", "/var/run/cilium")
#: Where the agent installs its plugin and the configuration that names it (Cilium's cni.binPath and cni.confPath).
PLUGIN = "/opt/cni/bin/cilium-cni"
CONFIGURATION = "/etc/cni/net.d"


def signs(reader, interfaces):
    """What shows that Cilium runs or has run here, as paths and names of interfaces.

    interfaces: the names of those that are Cilium's.
    """
    found = ["interface %s" % printable(name) for name in sorted(interfaces)[:3]]
    found += [path for path in AGENT if reader.exists(path)][:1]
    found += [PLUGIN] if reader.exists(PLUGIN) else []
    found += [
        "%s/%s" % (CONFIGURATION, printable(name)) for name in reader.names(CONFIGURATION) if "cilium" in name.lower()
    ]
    return found
