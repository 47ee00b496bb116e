# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


import os

import yaml
from ansible import context
from ansible.errors import AnsibleActionFail, AnsibleUndefinedVariable
from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from ansible_collections.nodeward.cilium.plugins.plugin_utils import variables
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster import options as endpoint_routes_options
from ansible_collections.nodeward.cilium.plugins.plugin_utils.plain import plain

COLLECTION = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
ROUTES = "endpoint_routes"
#: Differs from host to host; the role's other variables are those of the cluster.
OF_A_HOST = ROUTES + "_node_name"
SPEC = {
    "roles": {"type": "list", "elements": "str", "required": True},
    "hosts": {"type": "raw", "required": True},
}


class ActionModule(ActionBase):
    """Checks the variables of a run for all of its hosts at once, before a node is visited."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validated, asked = self.validate_argument_spec(argument_spec=SPEC)
        self.specs = {role: _options(role) for role in asked["roles"]}
        self.of_play = self._task.play.get_vars()
        self.extra = load_extra_vars(self._loader)
        hosts, told = self._hosts(asked["hosts"], task_vars["groups"])
        told += self._playbook_variables(task_vars)
        routes = {}
        for name in hosts:
            told_of_host, values = self._of_host(name, task_vars)
            told += told_of_host
            if ROUTES in self.specs:
                routes[name] = self._routes(name, values, task_vars)
        told = list(dict.fromkeys(told))
        if not told and routes:
            told += self._wrong_routes(routes)
        if told:
            raise AnsibleActionFail("\n".join(told[:20] + [f"… and {len(told) - 20} more"] * (len(told) > 20)))
        switched = next((each for each in routes.values() if each["state"] != "unchanged"), {})
        return dict(result, changed=False, hosts=len(hosts), endpoint_routes=switched)

    def _hosts(self, pattern, groups):
        """The names of the hosts of the run, and what is wrong with the pattern."""
        if variables.words(pattern) is None:
            return [], [f"{variables.HOSTS}: found no host pattern; expected a host, a group, or a list of these"]
        inventory = InventoryManager(self._loader, parse=False)
        for group, names in groups.items():
            inventory.add_group(group)
            for name in names:
                inventory.add_host(name, group=group)
        unmatched = []
        for part in split_host_pattern(pattern):
            name = part.lstrip("!&")
            if name and name not in groups and not inventory.get_hosts(name):
                unmatched.append(name)
        limit = context.CLIARGS.get("subset")
        inventory.subset(limit)
        hosts = [host.name for host in inventory.get_hosts(pattern)]
        text = ",".join(pattern) if isinstance(pattern, list) else pattern
        # Excluding what does not exist selects more hosts than was asked for.
        return hosts, variables.wrong_hosts(text, unmatched, hosts, groups, limit)

    def _playbook_variables(self, task_vars):
        names = {role: list(options) for role, options in self.specs.items()}
        told = []
        if _is_run_directly():
            told += variables.misnamed_on_command_line(self.extra, names)
        told += variables.misnamed(self.extra, names) + variables.misnamed(self.of_play, names)
        given = {**self.of_play, **self.extra}
        templar = self._templar.copy_with_new_env(available_variables={**task_vars, **given})
        known = {name: templar.template(given[name]) for name in variables.PLAYBOOK if name in given}
        return told + variables.wrong_play_values(known)

    def _of_host(self, name, task_vars):
        """What is wrong with a host's variables; and the values of those that are set, converted."""
        of_host = task_vars["hostvars"].raw_get(name)
        told = []
        for each in variables.OF_PLAYS:
            if each in of_host and each not in self.extra and each not in self.of_play:
                told.append(
                    f"{each}: found in the inventory, where it has no effect; expected on the command line. Set it "
                    "with -e"
                )
        names = {role: list(options) for role, options in self.specs.items()}
        told += variables.misnamed(of_host, names)
        set_for_host = {**of_host, **self.of_play, **self.extra}
        specs = {option: spec for options in self.specs.values() for option, spec in options.items()}
        defaults = {option: spec.get("default") for option, spec in specs.items()}
        known = {**defaults, **set_for_host, "hostvars": task_vars["hostvars"], "groups": task_vars["groups"]}
        templar = self._templar.copy_with_new_env(available_variables=known)
        values = {}
        for option in specs:
            if option in set_for_host:
                try:
                    values[option] = templar.template(set_for_host[option])
                except AnsibleUndefinedVariable:
                    # It may refer to what only the role's own play knows; the role checks its options again.
                    continue
        wrong, values = variables.wrong_values(specs, plain(values))
        return told + [f"{message} ({name})" for message in wrong], values

    def _routes(self, name, values, task_vars):
        """The options of endpoint routes of a host, as its role names them."""
        options = self.specs[ROUTES]
        cut = len(ROUTES) + 1
        return {
            option[cut:]: values.get(option, options[option].get("default"))
            for option in options
            if option != OF_A_HOST
        }

    def _wrong_routes(self, routes):
        hosts = [{"host": name, "options": options} for name, options in routes.items()]
        told = endpoint_routes_options.problems(hosts, len(hosts))
        options = hosts[0]["options"]
        if not told and options["state"] != "unchanged" and options["delegate"] == "localhost":
            told += variables.missing_file(ROUTES + "_kubeconfig", options["kubeconfig"], "localhost")
        return told


def _options(role):
    with open(os.path.join(COLLECTION, "roles", role, "meta", "argument_specs.yml"), encoding="utf-8") as file:
        return yaml.safe_load(file)["argument_specs"]["main"]["options"]


def _is_run_directly():
    """Whether only this collection's playbooks are on the command line; otherwise extra variables may be of others."""
    folder = os.path.join(COLLECTION, "playbooks")
    return all(
        name.startswith("nodeward.cilium.") or os.path.dirname(os.path.realpath(name)) == folder
        for name in context.CLIARGS.get("args") or ()
    )
