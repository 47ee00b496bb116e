# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import absolute_import, division, print_function

__metaclass__ = type

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.color import stringc
from ansible.utils.display import Display

display = Display()


class ActionModule(ActionBase):
    """Prints lines as they are; ansible.builtin.debug would show them quoted, as a list in JSON."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super(ActionModule, self).run(tmp, task_vars)
        _validated, options = self.validate_argument_spec(
            argument_spec={
                "lines": {"type": "list", "elements": "str", "required": True},
                "mark": {"type": "str", "default": ">>"},
            }
        )
        lines = [
            stringc(line, constants.COLOR_ERROR) if line.startswith(options["mark"]) else line
            for line in options["lines"]
        ]
        # In one piece: another node's words must not come in between.
        display.display("\n".join(lines))
        result["changed"] = False
        return result
