# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run leaves on a node, or would leave: which interfaces are exempt, and the filter of each uplink. Pure."""

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, values
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable

NO_SIGN = (
    "found no sign of Cilium on this node (no interface, no agent, no CNI configuration); expected one, unless Cilium "
    "is yet to be installed. Check that the run selects the right nodes; a rollback removes the drop-in"
)


def outcome(running, kinds, planned):
    """{exempt_interfaces, uplinks}.

    running: name → value, with ``all``; kinds: device → kind; planned: name → value that a run in check mode would set.
    """
    after = {name: planned.get(printable(name), value) for name, value in running.items()}

    def effective(name):
        return values.effective(after["all"], after[name])

    of_kind = {
        kind: [name for name in sorted(kinds) if kinds[name] == kind and name in after]
        for kind in (devices.CILIUM, devices.UPLINK)
    }
    return {
        "exempt_interfaces": [printable(name) for name in of_kind[devices.CILIUM] if effective(name) == values.OFF],
        "uplinks": {printable(name): values.WORDS[effective(name)] for name in of_kind[devices.UPLINK]},
    }
