# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
name: endpoint_routes_refusals
short_description: Tell what of the variables for endpoint routes cannot be right
version_added: 0.1.0
description:
  - Serves the role P(nodeward.cilium.endpoint_routes#role). Pure; it touches neither cluster nor node.
positional: _input
options:
  _input:
    description: The hosts, each with its C(host) and its C(options), the role's variables without their prefix.
    type: list
    elements: dict
    required: true
  in_play:
    description: How many hosts the play has in all its batches.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Stop where the variables cannot be right
  ansible.builtin.assert:
    that: hosts | nodeward.cilium.endpoint_routes_refusals(ansible_play_hosts | length) | length == 0
"""

RETURN = r"""
_value:
  description: What refuses them, each a sentence.
  type: list
  elements: str
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.options import problems
from ansible_collections.nodeward.cilium.plugins.plugin_utils.plain import on_plain


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"endpoint_routes_refusals": on_plain(problems)}
