"""Names and values of variables: what is refused, and what an inventory may hold for other purposes."""

import itertools
import json
import re
import shlex

import pytest
import yaml
from ansible_collections.nodeward.cilium.plugins.plugin_utils import variables
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import catalogue
from conftest import REPOSITORY as ROOT

OPTIONS = {
    "rp_filter": ["rp_filter_uplinks", "rp_filter_uplink_devices", "rp_filter_dropin_path", "rp_filter_conflicts"],
    "endpoint_routes": ["endpoint_routes_state", "endpoint_routes_timeout"],
}


@pytest.mark.parametrize("name, meant", [
    ("rp_filter_uplink", "rp_filter_uplinks"),
    ("rp_filter_uplinks_devices", "rp_filter_uplink_devices"),
    ("rp_filter_drop_in_path", "rp_filter_dropin_path"),
    ("endpoint_routes_sate", "endpoint_routes_state"),
    ("nodeward_hosst", "nodeward_hosts"),
    ("nodeward_limit", "nodeward_hosts or nodeward_serial or nodeward_max_fail_percentage or nodeward_become"),
    ("rp_filter_uplinks", None),
    ("rp_filter_result", None),
    ("rp_filter_owner", None),
    ("uplink", None),
    ("nodes", None),
])  # fmt: skip
def test_a_name_of_ours_that_is_not_read(name, meant):
    told = variables.misnamed([name, "ansible_host"], OPTIONS)
    assert bool(told) == bool(meant)
    assert not meant or told[0].startswith(f"{name}: found a variable that no role") and f"expected {meant}." in told[0]


@pytest.mark.parametrize("name, meant", [
    ("nodes", "nodeward_hosts"),
    ("node", "nodeward_hosts"),
    ("hosts", "nodeward_hosts"),
    ("serial", "nodeward_serial"),
    ("nodes_become", "nodeward_become"),
    ("conflicts", "rp_filter_conflicts"),
    ("timeout", "endpoint_routes_timeout"),
    ("rpfilter_uplinks", "rp_filter_uplinks"),
    ("nodewad_hosts", "nodeward_hosts"),
    ("rp_filter_uplinks", None),
    ("ansible_timeout", None),
    ("site", None),
    ("node_exporter_version", None),
])  # fmt: skip
def test_a_name_on_the_command_line_that_means_one_of_ours(name, meant):
    told = variables.misnamed_on_command_line([name], OPTIONS)
    assert bool(told) == bool(meant)
    assert not meant or f"expected {meant}." in told[0]


@pytest.mark.parametrize("values, fits", [
    ({"nodeward_serial": "1"}, True),
    ({"nodeward_serial": [1, 5, "30%"]}, True),
    ({"nodeward_serial": "0"}, False),
    ({"nodeward_serial": "101%"}, False),
    ({"nodeward_serial": "one"}, False),
    ({"nodeward_serial": []}, False),
    ({"nodeward_max_fail_percentage": 0}, True),
    ({"nodeward_max_fail_percentage": "100"}, True),
    ({"nodeward_max_fail_percentage": "101"}, False),
    ({"nodeward_become": "false"}, True),
    ({"nodeward_become": "maybe"}, False),
    ({}, True),
])  # fmt: skip
def test_values_of_playbook_variables(values, fits):
    assert (variables.wrong_play_values(values) == []) == fits


def test_groups_are_named_up_to_a_limit():
    groups = {"all": ["a"], "ungrouped": [], **{f"g{number:02d}": ["a"] for number in range(25)}}
    (told,) = variables.wrong_hosts("x", ["x"], [], groups, None)
    assert told.endswith("g18, g19 and 5 more") and "g00, g01" in told
    (told,) = variables.wrong_hosts("x", ["x"], [], {"all": ["a"], "ungrouped": ["a"]}, None)
    assert told.endswith("The inventory has no groups")
    assert "\x1b" not in variables.wrong_hosts("\x1b[2J", ["\x1b[2J"], [], {"all": ["a"], "g\x1b": []}, None)[0]


@pytest.mark.parametrize("pattern, is_one", [
    ("all", True), (["a", "b"], True), ("", False), (" ", False), ([], False), ([""], False), (None, False),
    ({"a": 1}, False), ([1], False),
])  # fmt: skip
def test_what_is_a_host_pattern(pattern, is_one):
    assert (variables.words(pattern) is not None) == is_one


def printed_commands():
    """Each playbook command that the README, the documentation or a finding prints."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    lines = [line for path in paths for line in re.sub(r"\\\n *", "", path.read_text()).splitlines()]
    lines += [rule.command for rule in catalogue.CATALOGUE.values()]
    found = [re.search(r"ansible-playbook [^`#]*nodeward\.cilium\.[^`#]*", line) for line in lines]
    return sorted({match.group().strip() for match in found if match})


def roles_of(playbook):
    (play, *_rest) = yaml.safe_load((ROOT / "playbooks" / (playbook + ".yml")).read_text())
    (check,) = [task for task in play["tasks"] if "nodeward.cilium.check_variables" in task]
    return check["nodeward.cilium.check_variables"]["roles"]


def test_commands_are_found():
    assert len(printed_commands()) > 15


@pytest.mark.parametrize("command", printed_commands())
def test_a_printed_command_sets_variables_that_its_playbook_reads(command):
    words = shlex.split(command)
    (playbook,) = [word.split(".")[2] for word in words if word.startswith("nodeward.cilium.")]
    specs = {
        role: yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"][
            "options"
        ]
        for role in roles_of(playbook)
    }
    given = {}
    for flag, text in itertools.pairwise(words):
        if flag in ("-e", "--extra-vars"):
            given.update(json.loads(text.replace("…", "")) if text.startswith("{") else dict([text.split("=", 1)]))
    of_roles = {name: spec for options in specs.values() for name, spec in options.items()}
    assert set(given) <= set(of_roles) | set(variables.PLAYBOOK), command
    examples = {"SECONDS": "1", "PORT": "80"}
    values = {name: examples.get(value, value) if isinstance(value, str) else value for name, value in given.items()}
    assert variables.wrong_values(of_roles, values)[0] == []
    assert variables.wrong_play_values({name: value for name, value in given.items() if name not in of_roles}) == []
