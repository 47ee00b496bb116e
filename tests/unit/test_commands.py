"""Commands that people copy: whatever a node or an inventory calls itself is a name to the shell, and no more."""

import shlex

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import commands
from audit_nodes import node
from hypothesis import example, given
from hypothesis import strategies as st

HOSTILE = ["x';touch pwned;'", "$(reboot)", "`id`", "a b", "a\nb", '"onload=', "\u202etxt", ";rm -rf", "*", "-e", ""]
HARDEN = "ansible-playbook -i INVENTORY nodeward.cilium.harden"


@given(st.text() | st.text("a1-_.@%!&~:,*[]"))
@example(HOSTILE[0])
def test_a_host_is_one_word_behind_limit(name):
    words = shlex.split(commands.playbook("harden", name, "--check"))
    assert words in [[*HARDEN.split(), "--limit", each, "--check"] for each in (name, "NODE")]
    if words[-2] == name != "NODE":
        hosts = InventoryManager(DataLoader(), sources=[f"{name},"])
        hosts.subset(words[-2])
        assert [host.name for host in hosts.get_hosts()] == [name]


@pytest.mark.parametrize("name", ["node1", "node-1.example.org", "_x", "10.0.0.1", "fd00::1", "a@b", "7"])
def test_what_hosts_are_called_is_a_name_to_limit(name):
    assert commands.playbook("harden", name).endswith(" --limit " + name)


PATTERNS = ["!a", "&a", "@file", "~a.*", "a:b", "a,b", "a[1]", "fe80::1%a,all", "node\u0661", "this node"]


@pytest.mark.parametrize("name", [*HOSTILE, *PATTERNS])
def test_what_is_none_has_to_be_said(name):
    assert commands.playbook("harden", name).endswith(" --limit NODE")


@pytest.mark.parametrize("command, told", [
    (HARDEN, HARDEN + " --limit node1"),
    (HARDEN + " --check --diff", HARDEN + " --limit node1 --check --diff"),
    ("systemctl reset-failed systemd-sysctl.service", "systemctl reset-failed systemd-sysctl.service"),
    ("", ""),
    # A report of one node would replace that of all.
    ("ansible-playbook -i INVENTORY nodeward.cilium.audit", "ansible-playbook -i INVENTORY nodeward.cilium.audit"),
])  # fmt: skip
def test_a_playbook_is_for_the_node_that_needs_it(command, told):
    assert commands.for_node(command, "node1") == told


@pytest.mark.parametrize("pod, command", [
    ("kube-system/coredns-1", "kubectl --namespace kube-system delete pod coredns-1"),
    ("a/web.0", "kubectl --namespace a delete pod web.0"),
    (None, ""), ("", ""), ("coredns", ""), ("a/", ""), ("/b", ""), ("a/b/c", ""), ("A/b", ""),
    ("--all-namespaces/--all", ""), ("a/--all", ""), ("a/b;reboot", ""), ("a/b\n", ""), ("a/$(id)", ""),
])  # fmt: skip
def test_a_pod_that_cannot_be_called_so_gets_no_command(pod, command):
    assert commands.recreate(pod) == command


@pytest.mark.parametrize("word", HOSTILE)
def test_no_command_of_the_audit_runs_what_a_name_says(word):
    def named(known):
        known["cilium_routes"]["endpoints"][0]["pod"] = "default/Web" + word

    made = node(word, "broken", change=named)
    assert made["state"] == "dropping"
    told = [command for cure in made["cures"] for command in cure["commands"]]
    told += [each["remedy"]["command"] for each in made["findings"]]
    for command in filter(None, told):
        words = shlex.split(command)
        assert words[0] in ("ansible-playbook", "kubectl", "journalctl", "sysctl", "nft", "sed"), command
        assert [after for before, after in zip(words, words[1:]) if before == "--limit"] in ([], ["NODE"])
        assert not [one for one in words if one.startswith("default") or "Web" in one]
