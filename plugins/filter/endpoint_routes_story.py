# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
name: endpoint_routes_story
short_description: Tell a plan or a report of endpoint routes as lines for people
version_added: 0.1.0
description:
  - Serves the role P(nodeward.cilium.endpoint_routes#role). Pure; it touches neither cluster nor node.
positional: _input
options:
  _input:
    description: The plan of P(nodeward.cilium.endpoint_routes_plan#filter).
    type: dict
    required: true
  reported:
    description: The report of P(nodeward.cilium.endpoint_routes_report#filter), or null before acting.
    type: dict
    required: true
  options:
    description: The role's variables, without their prefix.
    type: dict
    required: true
  is_check:
    description: Whether nothing is done, since this is check mode.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Tell what is planned
  nodeward.cilium.tell:
    lines: "{{ plan | nodeward.cilium.endpoint_routes_story(none, options, ansible_check_mode) }}"
"""

RETURN = r"""
_value:
  description: The lines. Those that begin with C(>>) are what is left to do, or to know.
  type: list
  elements: str
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.report import story
from ansible_collections.nodeward.cilium.plugins.plugin_utils.plain import on_plain


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"endpoint_routes_story": on_plain(story)}
