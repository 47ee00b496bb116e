# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A diagnosis as text for the terminal. Pure."""

DOCUMENTATION = r"""
name: story
short_description: Tell a diagnosis as lines for people
version_added: 0.1.0
description:
  - Turns what P(nodeward.cilium.diagnosis#filter) returns into lines of text, aligned, for a terminal.
  - Endpoints with the same story share it. The line of the culprit begins with C(>>).
options:
  _input:
    description: The diagnosis.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Tell the story
  nodeward.cilium.tell:
    lines: "{{ diagnosis | nodeward.cilium.story }}"
"""

RETURN = r"""
_value:
  description: The lines.
  type: list
  elements: str
"""

from ansible_collections.nodeward.cilium.plugins.plugin_utils.render.story import story


class FilterModule:
    """The filter of this file."""

    def filters(self):
        return {"story": story}
