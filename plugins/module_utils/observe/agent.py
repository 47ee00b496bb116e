# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cilium on this node: its agent, after how long the reconciler resets what it keeps at 0, and all signs of it."""

import re

from ansible_collections.nodeward.cilium.plugins.module_utils.observe import agent_api as cilium_agent
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable

#: The agent's run-time folder, which it makes when it starts.
RUN_FOLDERS = ("/run/cilium", "/var/run/cilium")
#: Where the agent installs its plugin and the configuration that names it (Cilium's cni.binPath and cni.confPath).
CNI_PROGRAM = "/opt/cni/bin/cilium-cni"
CNI_FOLDER = "/etc/cni/net.d"
# libcni reads these alone; Cilium renames the others to *.cilium_bak.
_CNI_FILE = re.compile(r".*\.(conf|conflist|json)\Z")
_CNI_PLUGIN = "cilium-cni"
#: The agent's reconciler of sysctls came with Cilium 1.16 (pkg/datapath/linux/sysctl), and runs every 10 minutes.
RECONCILES_SINCE = (1, 16)
RECONCILES_AFTER = 600


def presence(reader, socket=cilium_agent.SOCKET, timeout=5, ask=True):
    """The fact ``agent``: {seen, by, answers, version, reconciles_after}.

    An agent is seen if its socket answers, or if its state folder or its CNI configuration is on the node.

    :arg ask: False where the running system is not looked at, as in a chroot.
    """
    version, by = None, None
    if ask:
        try:
            version = cilium_agent.Agent(socket, timeout).health()["version"]
            by = "socket"
        except cilium_agent.AgentError:
            pass  # whether it belongs here, its files tell
    answers = by is not None
    if not answers and reader.exists(cilium_agent.STATE):
        by = "state"
    if by is None and _has_cni(reader):
        by = "cni"
    return {
        "seen": by is not None,
        "by": by,
        "answers": answers,
        "version": version,
        "reconciles_after": reconciles_after(version),
    }


def reconciles_after(version):
    """Seconds between two turns of its reconciler; None if it has none, or if its version is not known."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version or "")[:2])
    return RECONCILES_AFTER if numbers >= RECONCILES_SINCE else None


def _has_cni(reader):
    return any(
        _CNI_PLUGIN in (reader.text(f"{CNI_FOLDER}/{name}") or "")
        for name in reader.names(CNI_FOLDER)
        if _CNI_FILE.match(name)
    )


def signs(reader, interfaces):
    """What shows that Cilium runs or has run here, as paths and names of interfaces.

    :arg interfaces: the names of those that are Cilium's.
    """
    found = [f"interface {printable(name)}" for name in sorted(interfaces)[:3]]
    found += [path for path in RUN_FOLDERS if reader.exists(path)][:1]
    found += [CNI_PROGRAM] if reader.exists(CNI_PROGRAM) else []
    return found + [f"{CNI_FOLDER}/{printable(name)}" for name in reader.names(CNI_FOLDER) if "cilium" in name.lower()]
