"""Each message names options as its caller writes them."""

import ast
import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.nodeward.cilium.plugins.module_utils import option_names
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import agent, files
from ansible_collections.nodeward.cilium.plugins.module_utils.write import outcome

ROOT = Path(__file__).parents[2]
NAMES = yaml.safe_load((ROOT / "roles/rp_filter/vars/main.yml").read_text())["__rp_filter_option_names"]
#: Names of options that are no words of English: a message that holds one of them means the option.
PLAIN = "absent_breaks_pods|allow_lockout|allow_absent_uplinks|uplink_devices"


def messages():
    """Every text in the writer's code that may become a message."""
    folder = ROOT / "plugins/module_utils"
    for path in (folder / "dropin.py", *sorted((folder / "write").glob("*.py"))):
        for each in ast.walk(ast.parse(path.read_text())):
            if isinstance(each, ast.Constant) and isinstance(each.value, str) and " " in each.value:
                yield each.value


def test_the_role_names_each_option_that_it_passes_on():
    tasks = (ROOT / "roles/rp_filter/tasks/main.yml").read_text().split("\n- name:")[1]
    passed = dict(re.findall(r"^    (\w+): \"\{\{ (rp_filter_\w+)", tasks, re.M))
    assert {**passed, "option_names": None} == {**NAMES, "option_names": None}


def test_no_message_of_the_writer_keeps_the_module_s_name_of_an_option():
    mentions = re.compile(rf"(?<![\w'])(?:(?:{PLAIN})\b|(?:conflicts|edited|apply|udev|uplinks)=[a-z])|Set uplinks")
    found = [
        text for text in messages() if mentions.search(text) and "Request" not in text and "namedtuple" not in text
    ]
    assert len(found) > 8
    for text in found:
        if re.match(r"[a-z_ ]+\Z", text) or text.startswith(("#:", "What", "Whether")):
            continue  # the members of a named tuple
        assert not mentions.search(option_names.renamed(text, NAMES)), text


@pytest.mark.parametrize("text, expected", [
    ("path: '/x' is a link. Name another file", "rp_filter_dropin_path: '/x' is a link. Name another file"),
    ("… or say absent_breaks_pods=true", "… or say rp_filter_absent_breaks_pods=true"),
    ("Set conflicts=report to continue", "Set rp_filter_conflicts=report to continue"),
    ("Set uplinks to loose for eth0, or set allow_lockout=true",
     "Set rp_filter_uplinks to loose for eth0, or set rp_filter_allow_lockout=true"),
    ("apply is never", "rp_filter_apply is never"),
    ("3 uplinks are loose; conflicts were found in the path of 2 files", None),
    ("'/etc/udev=always' sets path=/x; exempt globs", None),
])  # fmt: skip
def test_options_and_nothing_else_are_renamed(text, expected):
    assert option_names.renamed(text, NAMES) == (expected or text)
    assert option_names.renamed(text, {}) == text


def test_signs_of_cilium(tmp_path):
    def found(*interfaces):
        return agent.signs(files.Reader(str(tmp_path)), interfaces)

    assert found() == []
    (tmp_path / "etc/cni/net.d").mkdir(parents=True)
    (tmp_path / "etc/cni/net.d/10-flannel.conflist").write_text("{}")
    assert found() == []
    (tmp_path / "etc/cni/net.d/05-cilium.conflist").write_text("{}")
    assert found() == ["/etc/cni/net.d/05-cilium.conflist"]
    (tmp_path / "run/cilium").mkdir(parents=True)
    assert found("cilium_host") == ["interface cilium_host", "/run/cilium", "/etc/cni/net.d/05-cilium.conflist"]


def test_what_stands_after_a_run_and_what_would():
    running = {"all": 1, "default": 0, "cilium_host": 0, "lxc1": 2, "eth0": 2, "lo": 0}
    kinds = {"cilium_host": "cilium", "lxc1": "cilium", "eth0": "uplink", "lo": "other"}
    # The kernel takes the larger of both, so an interface at 0 is filtered.
    assert outcome.outcome(running, kinds, {}) == {"exempt_interfaces": [], "uplinks": {"eth0": "loose"}}
    planned = {"all": 0, "lxc1": 0, "eth0": 1, "lxc*": 0}
    assert outcome.outcome(running, kinds, planned) == {
        "exempt_interfaces": ["cilium_host", "lxc1"],
        "uplinks": {"eth0": "strict"},
    }
