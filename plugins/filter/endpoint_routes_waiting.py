# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
name: endpoint_routes_waiting
short_description: Tell which agents of a batch have not come back yet
version_added: 0.1.0
description:
  - Serves the role P(nodeward.cilium.endpoint_routes#role). Pure; it touches neither cluster nor node.
positional: _input
options:
  _input:
    description: The agents that were deleted, as in C(batches) of P(nodeward.cilium.endpoint_routes_plan#filter).
    type: list
    elements: dict
    required: true
  daemonset:
    description: The agents' DaemonSet.
    type: dict
    required: true
  pods:
    description: The agents' pods as they are now.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Stop where an agent has not come back
  ansible.builtin.assert:
    that: batch | nodeward.cilium.endpoint_routes_waiting(daemonset, pods.resources) | length == 0
"""

RETURN = r"""
_value:
  description: One for each agent that has not come back, with C(node) and C(why).
  type: list
  elements: dict
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.endpoint_routes_agents import waiting_for
from ansible_collections.nodeward.cilium.plugins.plugin_utils.endpoint_routes_settings import on_plain


class FilterModule(object):
    """The filter of this file."""

    def filters(self):
        return {"endpoint_routes_waiting": on_plain(waiting_for)}
