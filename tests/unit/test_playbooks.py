"""The playbooks, run as users do: which hosts they visit, and which variables they refuse before they visit one."""

import json

import pytest
import yaml
from audit_nodes import facts
from conftest import REPOSITORY as ROOT
from fleet import Fleet

VISITED = "fatal: [node1]: UNREACHABLE"


@pytest.fixture
def fleet(tmp_path):
    """Two nodes that are down: a run that visits one says so."""
    fleet = Fleet(tmp_path)
    fleet.is_down("node1")
    fleet.is_down("node2")
    return fleet


def flat(text):
    return " ".join(text.replace("\\n", " ").replace("\\\\", "\\").split())


@pytest.mark.parametrize("playbook", ["harden", "rollback", "diagnose"])
def test_a_pattern_that_selects_no_host_ends_the_run_and_names_the_groups(fleet, playbook):
    ran = fleet.run("nodeward.cilium." + playbook, options={"nodeward_hosts": "typo"})
    assert ran.returncode == 2, ran.stdout
    assert (
        "nodeward_hosts: found no host or group in the inventory that matches 'typo'; expected at least one. "
        "Groups of the inventory: empty (empty), nodes" in flat(ran.stdout)
    )
    assert VISITED not in ran.stdout


def test_variables_that_are_not_read_or_do_not_fit_end_the_run_before_a_node_is_visited(fleet):
    (fleet.folder / "host_vars").mkdir()
    (fleet.folder / "host_vars" / "node2.yml").write_text(
        "rp_filter_uplinks: strict\nrp_filter_aply: never\nrp_filter_conflicts: dissable\nnodeward_serial: 1\n"
        "rp_filter_owner: another team\naddress: 192.0.2.1\nnodes: [a]\n"
    )
    ran = fleet.run(
        "nodeward.cilium.harden",
        *("--check", "-e", "nodes=node1", "-e", "address=192.0.2.1", "-e", "conflicts=disable", "-e", "site=berlin"),
        options={
            "rp_filter_uplink": "strict",
            "endpoint_routes_state": "enable",
            "nodeward_host": "node1",
            "nodeward_max_fail_percentage": "many",
        },
    )
    assert ran.returncode == 2, ran.stdout
    said = flat(ran.stdout)
    for name, expected in (
        ("nodes", "nodeward_hosts"),
        ("conflicts", "rp_filter_conflicts"),
        ("rp_filter_uplink", "rp_filter_uplinks"),
        ("nodeward_host", "nodeward_hosts"),
        ("rp_filter_aply", "rp_filter_apply"),
    ):
        assert f"{name}: found a variable that no role or playbook of this run reads; expected {expected}." in said
    for told in (
        "nodeward_max_fail_percentage: found 'many'; expected a percentage from 0 to 100",
        "value of endpoint_routes_state must be one of: enabled, disabled, unchanged, got: enable (node1)",
        "value of rp_filter_conflicts must be one of: fail, disable, report, got: dissable (node2)",
        "nodeward_serial: found in the inventory, where it has no effect; expected on the command line",
    ):
        assert told in said, said
    # Names that an inventory may use for other purposes.
    assert "rp_filter_owner" not in said and "address:" not in said and "site:" not in said
    assert VISITED not in ran.stdout


@pytest.mark.parametrize("arguments", [(), ("--check",)])
def test_a_cluster_that_cannot_be_reached_ends_the_run_before_a_node_is_visited(fleet, arguments):
    (fleet.folder / "group_vars").mkdir()
    (fleet.folder / "group_vars" / "nodes.yml").write_text("endpoint_routes_state: enabled\n")
    missing = str(fleet.folder / "kubeconfig")
    ran = fleet.run("nodeward.cilium.harden", *arguments, options={"endpoint_routes_kubeconfig": missing})
    assert ran.returncode == 2, ran.stdout
    assert f"endpoint_routes_kubeconfig: found no readable file '{missing}' on localhost" in flat(ran.stdout)
    assert VISITED not in ran.stdout
    (fleet.folder / "kubeconfig").write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "clusters": [{"name": "lab", "cluster": {"server": "http://127.0.0.9:9"}}],
        "users": [{"name": "lab", "user": {}}],
    }))  # fmt: skip
    ran = fleet.run("nodeward.cilium.harden", *arguments, options={"endpoint_routes_kubeconfig": missing})
    assert ran.returncode == 2, ran.stdout
    said = flat(ran.stdout)
    assert f"endpoint_routes_kubeconfig: the cluster could not be asked with '{missing}' and 'its current" in said
    assert "(Read Cilium's configuration): " in said and "127.0.0.9" in said
    assert "Set endpoint_routes_kubeconfig to its path" in said
    assert VISITED not in ran.stdout


PLAY = """
- hosts: node1
  gather_facts: false
  tasks:
    - ansible.builtin.assert:
        that: nodes == 'of another purpose'

- ansible.builtin.import_playbook: nodeward.cilium.harden
  vars: %s
"""


def test_a_playbook_that_imports_ours_has_extra_variables_of_its_own(fleet):
    for given, told in (
        ({"nodeward_hosts": "node2"}, "fatal: [node2]: UNREACHABLE"),
        ({"rp_filter_uplink": "strict"}, "expected rp_filter_uplinks"),
        ({"endpoint_routes_state": "enable"}, "value of endpoint_routes_state must be one of"),
    ):
        (fleet.folder / "play.yml").write_text(PLAY % json.dumps(given))
        ran = fleet.run(str(fleet.folder / "play.yml"), "-e", "nodes='of another purpose'")
        assert told in flat(ran.stdout), ran.stdout
        assert VISITED not in ran.stdout


def test_endpoint_routes_have_no_tasks_unless_a_host_asks_for_them(fleet):
    ran = fleet.run("nodeward.cilium.harden", "--limit", "node2")
    assert "fatal: [node2]: UNREACHABLE" in ran.stdout
    assert "nodeward.cilium.endpoint_routes" not in ran.stdout
    listed = fleet.run("nodeward.cilium.harden", "--list-tags").stdout
    assert "rp_filter]" in listed and "endpoint_routes]" in listed


def test_diagnose_takes_its_own_variables_alone_and_honours_serial(tmp_path):
    fleet = Fleet(tmp_path)
    known = {key: facts("broken")[key] for key in ("rp_filter", "cilium_routes")}
    for name in ("node1", "node2"):
        fleet.says(name, {"changed": False, "ansible_facts": known})
    fleet.hosts = [host + " address=192.0.2.1 pod=somewhere/else" for host in fleet.hosts]
    ran = fleet.run("nodeward.cilium.diagnose", options={"nodeward_serial": 1, "diagnose_format": "json"})
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.count("PLAY [Diagnose each node]") == 2
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    assert [each["node"] for each in found] == ["node1", "node2"]
    assert all(each["stories"] for each in found)
    address = found[0]["stories"][0]["address"]
    ran = fleet.run(
        "nodeward.cilium.diagnose", "--limit", "node1", options={"diagnose_format": "json", "diagnose_address": address}
    )
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("{")]
    assert {each["address"] for each in json.loads(line)["stories"]} == {address}


RESULT = {
    "changed": True,
    "diff": [{"before_header": "running values", "after_header": "running values",
              "before": "net.ipv4.conf.lxc1.rp_filter = 2\n", "after": "net.ipv4.conf.lxc1.rp_filter = 0\n"}],
    "plan": [], "header": [], "records": {}, "conflicts": [], "unhealed": [],
    "applied": True, "not_applied": None,
    "healed": [{"pod": "shop/cart", "address": "10.0.0.7", "device": "lxc1"}],
    "exempt_interfaces": ["lxc1"], "uplinks": {"eth0": "strict"}, "cilium_signs": ["interface lxc1"],
}  # fmt: skip
SHOW = """
- ansible.builtin.import_playbook: nodeward.cilium.harden

- hosts: nodes
  gather_facts: false
  tasks:
    - ansible.builtin.assert:
        that:
          - rp_filter_result.uplinks.eth0 == 'strict'
          - rp_filter_result.changed == (inventory_hostname == 'node1')
"""


def test_harden_says_of_each_node_what_it_did_and_keeps_it(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.says("node1", RESULT)
    without = {"changed": False, "diff": [], "healed": [], "exempt_interfaces": [], "cilium_signs": []}
    fleet.says("node2", {**RESULT, **without})
    (tmp_path / "play.yml").write_text(SHOW)
    ran = fleet.run(str(tmp_path / "play.yml"))
    assert ran.returncode == 0, ran.stdout
    assert (
        "\nnode1: changed: 1 running value; 1 interface exempt (lxc1); uplinks: eth0 strict; "
        "accepted again: 1 endpoint (shop/cart)\n" in ran.stdout
    )
    assert (
        "\nnode2: no change; 0 interfaces exempt; uplinks: eth0 strict\n"
        ">> node2: pending: no sign of Cilium on this node; expected unless it is yet to be installed\n" in ran.stdout
    )
    headings = [line.rstrip("* ") for line in ran.stdout.splitlines() if line.startswith(("TASK [", "PLAY ["))]
    assert max(map(len, headings)) <= 80


def test_what_the_role_says_about_a_dropped_reply_works_as_printed(tmp_path):
    fleet = Fleet(tmp_path)
    dropped = {"pod": None, "address": "10.0.0.8", "device": "lxc2", "reason": "filtered", "verdict": "dropped"}
    health = {**dropped, "address": "10.0.0.9", "device": "lxc_health", "is_health": True}
    fleet.says("node1", {**RESULT, "unhealed": [dropped, health]})
    ran = fleet.run("nodeward.cilium.harden")
    assert ran.returncode == 2 and "set rp_filter_verify=false" in flat(ran.stdout), ran.stdout
    assert ">> node1: pending: the replies of 2 endpoints (10.0.0.8, health endpoint) are still dropped" in ran.stdout
    assert "10.0.0.8 lxc2 filtered; health endpoint lxc_health filtered. Nothing" in flat(ran.stdout)
    assert fleet.run("nodeward.cilium.harden", "-e", "rp_filter_verify=false").returncode == 0


def named(tasks):
    for task in tasks:
        yield task["name"]
        for part in ("block", "rescue", "always"):
            yield from named(task.get(part, []))


def test_no_heading_is_longer_than_a_terminal():
    headings = []
    for path in sorted((ROOT / "roles").glob("*/tasks/*.yml")):
        role = path.parent.parent.name
        headings += [f"TASK [nodeward.cilium.{role} : {name}]" for name in named(yaml.safe_load(path.read_text()))]
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        for play in yaml.safe_load(path.read_text()):
            headings += [f"PLAY [{play['name']}]"] + [f"TASK [{name}]" for name in named(play["tasks"])]
    assert [heading for heading in headings if len(heading) > 80] == []
