"""The playbook diagnose, run as users do: what a program reads of it, and what it says of probes."""

import json

import pytest
from ansible.plugins.loader import init_plugin_loader
from ansible_collections.nodeward.cilium.plugins.action import tell
from audit_nodes import facts
from fleet import Fleet

MACHINES = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
PLAYBOOK = "nodeward.cilium.diagnose"


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    for name, kind in (("node1", "broken"), ("node2", "healthy")):
        known = {key: facts(kind)[key] for key in ("rp_filter", "cilium_routes")}
        fleet.says(name, {"changed": False, "ansible_facts": known})
    return fleet


def results(ran):
    """The results of the task that tells, by node."""
    tasks = [task for play in json.loads(ran.stdout)["plays"] for task in play["tasks"]]
    (told,) = [task["hosts"] for task in tasks if task["task"]["name"].endswith("Tell the story")]
    return told


@pytest.mark.parametrize("options", [{}, {"diagnose_format": "json"}])
def test_output_for_machines_stays_json_and_has_the_diagnosis(fleet, options):
    ran = fleet.run(PLAYBOOK, environment=MACHINES, options=options)
    assert ran.returncode == 0, ran.stdout
    told = results(ran)
    assert {name: each["diagnosis"]["state"] for name, each in told.items()} == {"node1": "dropping", "node2": "ok"}
    assert told["node1"]["lines"][0].startswith("node1: ") and any(
        line.startswith(">> set by") for line in told["node1"]["lines"]
    )


def test_the_audits_output_for_machines_stays_json(fleet):
    ran = fleet.run("nodeward.cilium.audit", environment=MACHINES)
    assert ran.returncode == 2  # it did not pass
    tasks = [task for play in json.loads(ran.stdout)["plays"] for task in play["tasks"]]
    (told,) = [task["hosts"] for task in tasks if task["task"]["name"].endswith("Tell what was found")]
    (result,) = told.values()
    assert result["lines"][0] == "2 nodes: 1 ok, 0 at risk, 1 dropping, 0 unknown"


@pytest.mark.parametrize("serial", [1, 100])
def test_the_document_is_written_to_a_file(fleet, serial):
    path = fleet.folder / "diagnosis.json"
    ran = fleet.run(PLAYBOOK, options={"diagnose_output": path.name, "nodeward_serial": serial})
    assert ran.returncode == 0, ran.stdout
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert {each["node"]: each["state"] for each in found} == {"node1": "dropping", "node2": "ok"}
    path.unlink()
    ran = fleet.run(PLAYBOOK, "--limit", "node2", options={"diagnose_output": path.name})
    assert json.loads(path.read_text())["node"] == "node2"
    path.unlink()
    ran = fleet.run(PLAYBOOK, "--check", options={"diagnose_output": path.name})
    assert ran.returncode == 0 and not path.exists()


def test_a_probe_of_a_healthy_node_says_why_nothing_was_tried(fleet):
    ran = fleet.run(PLAYBOOK, "--limit", "node2", options={"diagnose_probe": True, "diagnose_port": 8080})
    assert ran.returncode == 0, ran.stdout
    said = "no pod's packets are dropped; name one with diagnose_pod or diagnose_address to probe it"
    assert f"   No probe: {said}." in ran.stdout
    assert "No probe" not in fleet.run(PLAYBOOK, "--limit", "node2").stdout


@pytest.mark.parametrize(
    ("callback", "people"),
    [
        ("default", True),
        ("ansible.builtin.default", True),
        ("minimal", True),
        ("ansible.builtin.oneline", True),
        ("ansible.posix.debug", True),
        ("ansible.posix.json", False),
        ("ansible.posix.jsonl", False),
        ("no.such.callback", False),
    ],
)
def test_lines_are_printed_for_people_alone(callback, people):
    init_plugin_loader()
    assert tell.is_for_people(callback) is people
