# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


import functools
import json
import os
import tempfile

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import run as audit_run

#: The facts modules, the one fact that each may give, and the options that it takes of ours.
#: Nothing else that a node returns is taken: Ansible makes variables of facts, which would beat those of the inventory.
MODULES = {
    "nodeward.cilium.rp_filter_facts": (
        "rp_filter",
        ("timeout", "exempt", "uplink_devices", "dropin_path", "running_system"),
    ),
    "nodeward.cilium.route_facts": ("cilium_routes", ("timeout", "running_system")),
}
SPEC = {
    "timeout": {"type": "float", "default": 5},
    "exempt": {"type": "list", "elements": "str"},
    "uplink_devices": {"type": "list", "elements": "str"},
    "dropin_path": {"type": "path"},
    "running_system": {"type": "str", "choices": ["auto", "always"], "default": "auto"},
}


class ActionModule(ActionBase):
    """Runs both facts modules at once, each by a process of its own on the controller.

    ansible.builtin.gather_facts would run them as jobs on the node, and leave their files there for ever.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validated, options = self.validate_argument_spec(argument_spec=SPEC)
        with tempfile.TemporaryDirectory(prefix="nodeward-audit-") as folder:
            paths = {name: os.path.join(folder, name) for name in MODULES}
            audit_run.in_processes(
                [functools.partial(self._gather, name, options, task_vars, path) for name, path in paths.items()],
                at_once=len(MODULES),
            )
            found = {name: _read(path) for name, path in paths.items()}
        lost = [each["lost"] for each in found.values() if "lost" in each]
        if lost:
            raise AnsibleConnectionFailure(lost[0])
        facts, warnings, failures = {}, [], []
        for name, each in found.items():
            fact = MODULES[name][0]
            if fact in (each.get("ansible_facts") or {}):
                facts[fact] = each["ansible_facts"][fact]
            warnings += each.get("warnings") or []
            if each.get("failed"):
                told = " ".join(str(each[key]) for key in ("msg", "module_stderr") if each.get(key))
                failures.append("%s: %s" % (name, told or "it failed and does not say why"))
        result.update(changed=False, ansible_facts=facts)
        if warnings:
            result["warnings"] = list(dict.fromkeys(warnings))
        if failures:
            result.update(failed=True, msg="; ".join(failures))
        return result

    def _gather(self, name, options, task_vars, path):
        arguments = {option: options[option] for option in MODULES[name][1] if options[option] is not None}
        try:
            found = self._execute_module(module_name=name, module_args=arguments, task_vars=task_vars)
            # Of the folder on the node that was made for it, nobody but this process knows.
            self.cleanup()
        except AnsibleConnectionFailure as error:
            found = {"lost": str(error)}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(found, file, default=str)


def _read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)
