# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
name: rp_filter_summary
short_description: Summarize what the role rp_filter did on a node
version_added: 0.1.0
description:
  - Serves the role P(nodeward.cilium.rp_filter#role), whose variable C(rp_filter_result) it makes. Pure.
positional: _input, node
options:
  _input:
    description: The result of M(nodeward.cilium.rp_filter).
    type: dict
    required: true
  node:
    description: The name of the node.
    type: str
    required: true
  state:
    description: As in M(nodeward.cilium.rp_filter).
    type: str
    choices: [present, absent]
    default: present
  conflicts:
    description: As in M(nodeward.cilium.rp_filter).
    type: str
    choices: [fail, disable, report]
    default: fail
  check_mode:
    description: Whether nothing was changed.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show what was done
  nodeward.cilium.tell:
    lines: "{{ (result | nodeward.cilium.rp_filter_summary(inventory_hostname)).lines }}"
"""

RETURN = r"""
_value:
  description: What changed, and what is pending.
  type: dict
  contains:
    changed:
      description: Whether something changed, or in check mode would change.
      type: bool
    state:
      description: The state that was asked for.
      type: str
    applied:
      description: Whether running values are read and written.
      type: bool
    files:
      description: The files that changed.
      type: list
      elements: str
    running_values:
      description: The running values that changed, key to value.
      type: dict
    exempt_interfaces:
      description: Cilium's interfaces whose filter is off.
      type: list
      elements: str
    uplinks:
      description: Each uplink with its effective filter, V(strict), V(loose) or V(off).
      type: dict
      sample: {eth0: strict}
    accepted_again:
      description:
        - Endpoints whose replies were dropped before and are accepted now, each as in C(dropped). Empty in check mode.
      type: list
      elements: dict
    dropped:
      description:
        - Endpoints whose replies are still dropped, each with C(name), C(pod), C(address), C(device) and C(reason).
      type: list
      elements: dict
    cilium_signs:
      description: What shows that Cilium runs or has run on the node.
      type: list
      elements: str
    pending:
      description: What is still to be done, as sentences.
      type: list
      elements: str
    lines:
      description: The same as one or two lines of text.
      type: list
      elements: str
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.plain import on_plain
from ansible_collections.nodeward.cilium.plugins.plugin_utils.render.rp_filter_summary import summary


def rp_filter_summary(result, node, state="present", conflicts="fail", check_mode=False):
    return summary(result, node, state, conflicts, check_mode)


class FilterModule:
    def filters(self):
        return {"rp_filter_summary": on_plain(rp_filter_summary)}
