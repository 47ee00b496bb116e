# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
name: endpoint_routes_hardening
short_description: Tell from what the module rp_filter said in check mode how the filter will be
version_added: 0.1.0
description:
  - Serves the role P(nodeward.cilium.endpoint_routes#role). Pure; it touches neither cluster nor node.
positional: _input
options:
  _input:
    description: What M(nodeward.cilium.rp_filter) returned in check mode, or an empty dictionary.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Gather the filter as it would be configured
  nodeward.cilium.rp_filter_facts:
    overlay: "{{ (result | nodeward.cilium.endpoint_routes_hardening).overlay }}"
"""

RETURN = r"""
_value:
  description:
    - C(running), the values that would change, by device; C(overlay), the content of each file that would change, as
      M(nodeward.cilium.rp_filter_facts) takes it.
  type: dict
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.caveats import hardening
from ansible_collections.nodeward.cilium.plugins.plugin_utils.plain import on_plain


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"endpoint_routes_hardening": on_plain(hardening)}
