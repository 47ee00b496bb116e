"""The audit's playbooks and role, run as users do, on nodes that are down, lie, or fail.

Their answers are made up, as no real node gives them: a node's interpreter is a script that prints what the test wants.
"""

import copy
import json
import re
import sys
import time
from pathlib import Path

import pytest
from audit_nodes import facts
from fleet import Fleet

FORMATS = ["audit.csv", "audit.html", "audit.json", "audit.junit.xml", "audit.prom", "audit.sarif"]


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path)


def answer(kind="healthy", **more):
    """What both facts modules return, each time."""
    known = facts(kind)
    return {"changed": False, "ansible_facts": {**{key: known[key] for key in ("rp_filter", "cilium_routes")}, **more}}


def test_no_node_decides_about_others_and_none_is_lost(fleet):
    elsewhere = fleet.folder / "elsewhere"
    # The first of the play, whose variables the report is made with.
    fleet.says("a_liar", answer("broken", audit_fail_on="none", audit_directory=str(elsewhere), nodes="healthy"))
    fleet.fails("failing")
    fleet.says("healthy", answer())
    odd = answer()
    odd["ansible_facts"]["rp_filter"]["counters"]["in_martian_src"] = float("nan")
    fleet.says("no_number", odd)
    fleet.says("half", {"ansible_facts": {"rp_filter": facts()["rp_filter"]}})
    fleet.is_down("unreachable")
    ran = fleet.run(environment={"ANSIBLE_ANY_ERRORS_FATAL": "True"}, options={"audit_timeout": 3})
    assert ran.returncode == 2, ran.stdout
    assert sorted(path.name for path in fleet.report.iterdir()) == FORMATS
    assert not elsewhere.exists()
    assert fleet.states() == {
        "a_liar": "dropping",
        "failing": "unknown",
        "half": "unknown",
        "healthy": "ok",
        "no_number": "unknown",
        "unreachable": "unknown",
    }
    document = fleet.document()
    assert document["options"] == {"fail_on": "high"}
    reasons = {node["name"]: node["reason"] or "" for node in document["nodes"]}
    assert reasons["failing"].startswith("failed: nodeward.cilium.rp_filter_facts: ") and "boom" in reasons["failing"]
    assert reasons["unreachable"].startswith("unreachable: ")
    assert reasons["half"] == "no facts: there is no cilium_routes"
    assert "4 nodes could not be judged: failing, half, no_number, unreachable" in document["verdict"]["reasons"]
    assert ">> FAILED (audit_fail_on: high)" in ran.stdout
    # Nothing stays on a node.
    assert list((fleet.folder / "remote").iterdir()) == []


def test_what_is_written_and_whether_it_changed(fleet):
    fleet.says("node1", answer("broken"))
    options = {"audit_fail_on": "none", "audit_formats": ["html"]}

    def changed(*arguments, **more):
        ran = fleet.run("nodeward.cilium.audit", *arguments, options={**options, **more})
        assert ran.returncode == 0, ran.stdout
        return ran.stdout, int(re.search(r"node1 .*changed=(\d)", ran.stdout).group(1))

    said, count = changed("--check", "--diff")
    assert count == 1 and not fleet.report.exists()
    assert "+node1: dropping: RPF001" in said
    said, count = changed()
    assert count == 1
    # The document is what the others are made of.
    assert sorted(path.name for path in fleet.report.iterdir()) == ["audit.html", "audit.json"]
    assert f"Written: {fleet.report / 'audit.html'}" in said
    assert changed()[1] == 0
    fleet.says("node1", answer("healthy"))
    said, count = changed("--check", "--diff")
    assert count == 1 and fleet.states() == {"node1": "dropping"}
    assert "-node1: dropping" in said and "+node1: ok" in said
    assert changed()[1] == 1
    assert "The node is ok." in (fleet.report / "audit.html").read_text()
    assert fleet.states() == {"node1": "ok"}


@pytest.mark.parametrize("playbook", ["nodeward.cilium.audit", "nodeward.cilium.report"])
@pytest.mark.parametrize("nodes, arguments, told", [
    ("nosuch", [], "no host or group in the inventory that matches 'nosuch'"),
    ("nodes:!nosuch", [], "no host or group in the inventory that matches 'nosuch'"),
    ("empty", [], "no host in the inventory that matches 'empty'"),
    (["node1", "nosuch"], [], "no host or group in the inventory that matches 'nosuch'"),
    ("node1", ["--limit", "node2"], "no host in the inventory that matches 'node1' and --limit 'node2'"),
    ("", [], "nodeward_hosts: found no host pattern"),
])  # fmt: skip
def test_nobody_is_no_pass(fleet, playbook, nodes, arguments, told):
    fleet.says("node1", answer())
    fleet.says("node2", answer())
    ran = fleet.run(playbook, *arguments, options={"nodeward_hosts": nodes, "nodeward_serial": 1})
    assert ran.returncode == 2
    assert told in ran.stdout and ran.stdout.count("fatal: ") == 1, ran.stdout
    assert "Check the options" not in ran.stdout
    assert not fleet.report.exists()


@pytest.mark.parametrize("playbook", ["nodeward.cilium.audit", "nodeward.cilium.report"])
def test_an_empty_inventory_is_no_pass_and_no_error_of_syntax(fleet, playbook):
    ran = fleet.run(playbook)
    assert ran.returncode == 2 and "The inventory has no hosts; name it with -i" in ran.stdout, ran.stdout
    assert fleet.run(playbook, "--syntax-check").returncode == 0
    assert not fleet.report.exists()


def test_somebody_is_found_however_named(fleet):
    fleet.says("node1", answer())
    fleet.says("node2", answer())
    for nodes, arguments, names in (
        (["node1", "node2"], [], ["node1", "node2"]),
        ("nodes:!node1", [], ["node2"]),
        ("nodes", ["--limit", "node2,nosuch"], ["node2"]),
    ):
        ran = fleet.run("nodeward.cilium.audit", *arguments, options={"nodeward_hosts": nodes})
        assert (ran.returncode, sorted(fleet.states())) == (0, names), ran.stdout


PLAY = """
- hosts: nodes
  gather_facts: false
  tasks:
    - ansible.builtin.fail:
        msg: before
      when: inventory_hostname == gone | default('')

- hosts: nodes
  gather_facts: false
  serial: %s
  order: %s
  strategy: %s
  roles:
    - nodeward.cilium.audit
"""


@pytest.mark.parametrize("serial, order, strategy, gone", [
    (2, "inventory", "linear", ""),
    (2, "reverse_inventory", "linear", ""),
    (1, "shuffle", "linear", ""),
    ("100%", "inventory", "linear", "node3"),
    ("100%", "inventory", "free", ""),
])  # fmt: skip
def test_the_role_alone_reports_once_for_all_batches(fleet, serial, order, strategy, gone):
    fleet.says("node1", answer("broken"))
    fleet.says("node2", answer())
    fleet.says("node3", answer())
    (fleet.folder / "play.yml").write_text(PLAY % (serial, order, strategy))
    ran = fleet.run(str(fleet.folder / "play.yml"), options={"gone": gone})
    assert ran.returncode == 2, ran.stdout
    assert fleet.states() == {"node1": "dropping", "node2": "ok", "node3": "unknown" if gone else "ok"}, ran.stdout
    # Where no host waits for the others, each of them reports once all are known.
    count = ran.stdout.count("FAILED (audit_fail_on: high)")
    assert count == 1 or strategy == "free" and count


def test_of_kept_facts_only_young_ones_are_taken(fleet):
    kept = {"ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": "cache"}
    for name in ("ahead", "future", "old", "silent", "timeless", "young"):
        fleet.says(name, answer())
    assert fleet.run(environment=kept).returncode == 0

    def hence(seconds):
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))

    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    for name, now, kept_as in (
        ("ahead", moment, hence(120)),
        ("future", moment, hence(3600)),
        ("old", moment, hence(-30 * 3600)),
        ("timeless", moment, "２０２６-11-24T10:00:00Z"),
        ("silent", "audit_gathering", "x"),
    ):
        (path,) = fleet.folder.glob(f"cache/*{name}")
        text, count = re.subn(now, kept_as, path.read_text())
        assert count == 1
        path.write_text(text)
    fleet.hosts = [host.split()[0] + " ansible_host=127.0.0.9 ansible_port=9" for host in fleet.hosts]
    ran = fleet.run("nodeward.cilium.report", environment=kept)
    assert ran.returncode == 2, ran.stdout
    young, unknown = {"ahead": "ok", "young": "ok"}, ("future", "old", "timeless", "silent")
    assert fleet.states() == {**young, **dict.fromkeys(unknown, "unknown")}, ran.stdout
    reasons = {node["name"]: node["reason"] for node in fleet.document()["nodes"]}
    assert reasons["old"].startswith("no facts: they are 30 hours old, and audit_max_age is 24; gather them anew")
    for name in ("timeless", "silent"):
        assert reasons[name].startswith("no facts: it is not known when they were gathered")
    assert re.match(rf"no facts: they are of {moment}, which is to come: it is {moment} by", reasons["future"])
    for age, state in ((40, "unknown"), (0, "ok")):
        fleet.run("nodeward.cilium.report", environment=kept, options={"audit_max_age": age})
        assert fleet.states() == {"future": state, "old": "ok", "timeless": state, "silent": state, **young}
    gathered = {node["name"]: node["gathered_at"] for node in fleet.document()["nodes"]}
    assert gathered["timeless"] is gathered["silent"] is None


def test_a_report_without_kept_facts_leaves_the_audit_as_it_is(fleet):
    fleet.says("node1", answer("broken"))
    fleet.run()
    before = (fleet.report / "audit.json").read_bytes()
    cache = {"ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": "cache"}
    for environment, told in (
        ({}, "found no fact cache that outlives a run (ANSIBLE_CACHE_PLUGIN is memory); expected one"),
        ({"ANSIBLE_CACHE_PLUGIN": "ansible.builtin.memory"}, "(ANSIBLE_CACHE_PLUGIN is ansible.builtin.memory)"),
        (cache, "found no kept facts of any of the 1 hosts"),
    ):
        ran = fleet.run("nodeward.cilium.report", environment=environment)
        assert ran.returncode == 2 and told in ran.stdout, ran.stdout
        assert (fleet.report / "audit.json").read_bytes() == before


def test_a_folder_that_cannot_be_written_is_found_before_a_node_is_asked(fleet):
    fleet.says("node1", answer())
    file = fleet.folder / "file"
    file.write_text("")
    for directory, told in (
        (file / "reports" / "today", f"expected a folder, found that {file} is a file"),
        (file, f"expected a folder, found that {file} is a file"),
        ("/proc/nodeward-report", "expected a folder that can be written, found that /proc cannot be: "),
    ):
        for arguments in [(), ("--check",)] if directory != "/proc/nodeward-report" else [()]:
            ran = fleet.run("nodeward.cilium.audit", *arguments, options={"audit_directory": str(directory)})
            assert ran.returncode == 2 and f"audit_directory: {directory}: {told}" in ran.stdout, ran.stdout
            assert "Gather the filter, pods and routes at once" not in ran.stdout


def test_a_saved_document_is_reported_of_anew(fleet):
    fleet.says("node1", answer("broken"))
    fleet.run()
    saved = fleet.folder / "saved.json"
    saved.write_text((fleet.report / "audit.json").read_text())
    waivers = [
        {"id": rule_id, "hosts": "*", "justification": "agreed", "expires": "2999-12-31"}
        for rule_id in fleet.document()["rules"]
    ]
    ran = fleet.run("nodeward.cilium.report", options={"audit_document": str(saved), "audit_waivers": waivers})
    assert ran.returncode == 0, ran.stdout
    assert fleet.document()["source"] == "document"
    assert fleet.document()["totals"]["waived"] == len(fleet.document()["nodes"][0]["findings"])
    ran = fleet.run("nodeward.cilium.report", "--limit", "node1", options={"audit_document": str(saved)})
    assert ran.returncode != 0 and "--limit leaves out" in ran.stdout


def damaged(change):
    def make(document):
        made = copy.deepcopy(document)
        change(made)
        return json.dumps(made)

    return make


def test_options_that_are_wrong_stop_it_before_a_node_is_asked(fleet):
    fleet.says("node1", answer("broken"))
    fleet.run()
    document = fleet.document()
    bad = fleet.folder / "bad.json"
    before = {path.name: path.read_bytes() for path in fleet.report.iterdir()}
    for option, value, text, told in (
        ("audit_formats", [], None, "audit_formats: expected some of csv, html, json"),
        ("audit_timeout", 0, None, "audit_timeout: expected seconds, more than 0; found 0"),
        ("audit_max_age", -1, None, "audit_max_age: expected hours from 0, found -1"),
        ("audit_fail_on", "hihg", None, "value of audit_fail_on must be one of"),
        ("audit_baseline", str(bad), "{", f"audit_baseline: {bad}: is no JSON"),
        ("audit_baseline", str(bad), damaged(lambda made: made["nodes"][0]["endpoints"].pop("dropping"))(document),
         f"audit_baseline: {bad}: node 'node1': endpoints.dropping: expected a value, found nothing. It was changed"),
    ):  # fmt: skip
        if text is not None:
            bad.write_text(text)
        ran = fleet.run(options={option: value})
        assert ran.returncode != 0, (option, ran.stdout)
        assert told in re.sub(r"\s+", " ", ran.stdout), (option, ran.stdout)
        assert "TASK [nodeward.cilium.audit : Gather the filter" not in ran.stdout
        assert {path.name: path.read_bytes() for path in fleet.report.iterdir()} == before
    bad.write_text(damaged(lambda made: made["nodes"][0].update(summary=None))(document))
    ran = fleet.run("nodeward.cilium.report", options={"audit_document": str(bad)})
    assert ran.returncode != 0
    assert f"audit_document: {bad}: node 'node1': summary: expected string, found None. It was changed" in ran.stdout


def test_a_node_is_judged_by_what_it_was_hardened_with(fleet):
    """The real modules, on this very machine."""
    fleet.hosts = [f"here ansible_connection=local ansible_python_interpreter={sys.executable}"]
    path = str(fleet.folder / "99-somewhere-else.conf")
    options = {"rp_filter_dropin_path": path, "rp_filter_uplink_devices": ["lo"], "rp_filter_exempt": ["lxc*", "eni*"]}
    fleet.run(options=options)
    (node,) = fleet.document()["nodes"]
    assert [each["subject"] for each in node["findings"] if each["id"] == "RPF016"] == [path]
    # Without systemd this machine counts as an image, which is judged by its files alone.
    assert [each["device"] for each in node["uplinks"]] == (["lo"] if Path("/run/systemd/system").is_dir() else [])
    assert list((fleet.folder / "remote").iterdir()) == []
