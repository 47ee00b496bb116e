# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import callback_loader
from ansible.utils.color import stringc
from ansible.utils.display import Display

display = Display()
#: Callbacks for people that are not made of the default one.
_FOR_PEOPLE = ("minimal", "oneline")
_DEFAULT = "ansible.plugins.callback.default"


def is_for_people(callback):
    """Whether a stdout callback writes text for people: it is the default one, made of that, or one of two others."""
    if callback.rpartition(".")[2] in _FOR_PEOPLE:
        return True
    plugin = callback_loader.get(callback, class_only=True)
    # The loader may have loaded the default one a second time, so bases are compared by where they are from.
    return _DEFAULT in [each.__module__ for each in getattr(plugin, "__mro__", ())]


class ActionModule(ActionBase):
    """Prints lines as they are; ansible.builtin.debug would show them quoted, as a list in JSON.

    Under a callback for machines, whose output must stay what it is, they are part of the task's result alone.
    """

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validated, options = self.validate_argument_spec(
            argument_spec={
                "lines": {"type": "list", "elements": "str", "required": True},
                "mark": {"type": "str", "default": ">>"},
                "result": {"type": "dict", "default": {}},
            }
        )
        result.update(dict({"lines": options["lines"]}, **options["result"]), changed=False)
        if not is_for_people(constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK")):
            return result
        lines = [
            stringc(line, constants.COLOR_ERROR) if line.startswith(options["mark"]) else line
            for line in options["lines"]
        ]
        # In one piece: another node's words must not come in between.
        display.display("\n".join(lines))
        return result
