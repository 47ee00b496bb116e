# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


DOCUMENTATION = r"""
name: endpoint_routes_reviews
short_description: Ask a cluster whether endpoint routes may be switched
version_added: 0.1.0
description:
  - Makes the SelfSubjectAccessReviews of all rights that the role P(nodeward.cilium.endpoint_routes#role) may need, or
    of those that an upgrade of the Helm release needs for its objects.
positional: _input
options:
  _input:
    description: The namespace of Cilium.
    type: str
    required: true
  upgrade:
    description:
      - What an upgrade of the Helm release would do - C(namespace), the manifests C(installed) and C(rendered) as
        texts, the C(hooks), what the cluster serves (C(served)), and whether the dry run C(looks_up) what is there.
        With it only the rights for these objects are asked for.
    type: dict
"""

EXAMPLES = r"""
- name: Ask what is allowed
  kubernetes.core.k8s:
    definition: "{{ 'kube-system' | nodeward.cilium.endpoint_routes_reviews }}"
"""

RETURN = r"""
_value:
  description: The reviews.
  type: list
  elements: dict
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster.rights import reviews
from ansible_collections.nodeward.cilium.plugins.plugin_utils.plain import on_plain


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"endpoint_routes_reviews": on_plain(reviews)}
