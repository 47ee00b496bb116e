"""Each variable and command that a message of the audit asks for is set or run as printed, and keeps its promise."""

import ast
import json
import re
import time
from pathlib import Path

import pytest
import yaml
from audit_nodes import facts
from conftest import REPOSITORY as ROOT
from fleet import Fleet


def answer(kind="healthy"):
    return {"changed": False, "ansible_facts": {name: facts(kind)[name] for name in ("rp_filter", "cilium_routes")}}


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.says("node1", answer())
    return fleet


def refused(fleet, *words, playbook="audit", arguments=(), environment=(), **options):
    """The message of a run that is refused; words: what it asks for."""
    ran = fleet.run("nodeward.cilium." + playbook, *arguments, options=options, environment=environment)
    assert ran.returncode == 2, ran.stdout
    said = " ".join(ran.stdout.split())
    for word in words:
        assert word in said
    return said


def works(fleet, playbook="audit", environment=(), **options):
    """A run that does what a message asks for."""
    ran = fleet.run("nodeward.cilium." + playbook, options=options, environment=environment)
    assert ran.returncode == 0, ran.stdout
    assert fleet.states() == {"node1": "ok"}


def test_a_report_names_the_cache_or_document_with_which_it_works(fleet):
    said = refused(fleet, "run nodeward.cilium.audit", "set audit_document", playbook="report")
    cache = dict(re.findall(r"\b(ANSIBLE_\w+)=(\w+)", said))
    assert list(cache.values()) == ["jsonfile", "FOLDER"]
    half = {"ANSIBLE_CACHE_PLUGIN": "jsonfile"}
    assert "ANSIBLE_CACHE_PLUGIN_CONNECTION=FOLDER" in refused(fleet, playbook="report", environment=half)
    refused(fleet, "Run nodeward.cilium.audit with this cache first", playbook="report", environment=cache)
    works(fleet, environment=cache)
    works(fleet, "report", environment=cache)
    assert fleet.document()["source"] == "cache"
    document = str(fleet.report / "audit.json")
    limited = ["--limit", "node1"]
    refused(fleet, "--limit leaves out: drop it", playbook="report", arguments=limited, audit_document=document)
    works(fleet, "report", audit_document=document)
    assert fleet.document()["source"] == "document"
    (path,) = fleet.folder.glob("FOLDER/*node1")
    then = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 30 * 3600))
    path.write_text(re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", then, path.read_text()))
    remedies = ("gather them anew by nodeward.cilium.audit", "audit_max_age=0")
    refused(fleet, *remedies, playbook="report", environment=cache)
    works(fleet, "report", environment=cache, audit_max_age=0)
    works(fleet, environment=cache)
    works(fleet, "report", environment=cache)


def test_what_an_option_is_expected_to_be_is_accepted(fleet):
    said = refused(fleet, audit_formats=[])
    names = re.search(r"audit_formats: expected some of ([a-z, ]+), found none", said).group(1).split(", ")
    refused(fleet, "audit_timeout: expected seconds, more than 0", audit_timeout=0)
    refused(fleet, "audit_max_age: expected hours from 0", audit_max_age=-1)
    (fleet.folder / "file").touch()
    refused(fleet, "expected a folder", audit_directory=str(fleet.folder / "file"))
    works(fleet, audit_formats=names, audit_timeout=1, audit_max_age=0, audit_directory=str(fleet.report))
    assert len(list(fleet.report.iterdir())) == len(names)


def test_an_audit_that_fails_names_the_variable_that_decides_it(fleet):
    fleet.says("node1", answer("broken"))
    refused(fleet, "FAILED (audit_fail_on: high)")
    said = refused(fleet, audit_fail_on="hihg")
    choices = re.search(r"value of audit_fail_on must be one of: ([a-z, ]+), got", said).group(1).split(", ")
    assert choices == ["high", "medium", "low", "none"]
    refused(fleet, "FAILED (audit_fail_on: low)", audit_fail_on="low")
    assert fleet.run(options={"audit_fail_on": "none"}).returncode == 0


def test_a_waiver_has_what_the_refusal_of_another_names(fleet):
    waiver = {"id": "RPF001", "hosts": "*", "justification": "agreed"}
    said = refused(fleet, audit_waivers=[dict(waiver, until="2999-12-31")])
    for field in (*waiver, "expires"):
        assert field in said.partition("no field is called until; there are ")[2]
    said = refused(fleet, audit_waivers=[dict(waiver, id="RPF999")])
    first, last, path = re.search(r"there are (RPF\d+) to (RPF\d+) \((\S+)\)", said).groups()
    assert (ROOT / path).is_file()
    said = refused(fleet, audit_waivers=[dict(waiver, expires="soon")])
    day = re.search(r"such as ([\d-]+)", said).group(1)
    works(fleet, audit_waivers=[dict(waiver, id=name, expires=day) for name in (first, last)])


def test_a_baseline_that_cannot_be_read_is_made_anew(fleet):
    works(fleet)
    kept = fleet.report / "audit.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "totals": None}))
    refused(fleet, "make a new one", audit_baseline=str(kept))
    works(fleet)
    works(fleet, audit_baseline=str(kept))


def test_variables_that_are_not_read_are_read_once_renamed_or_set_with_e(fleet):
    (fleet.folder / "host_vars").mkdir()
    (fleet.folder / "host_vars/node1.yml").write_text("nodeward_serial: 1\n")
    wrong = {"nodes": "node1", "audit_time_out": 1, "fail_on": "none"}
    said = refused(fleet, "nodeward_serial: found in the inventory", "Set it with -e", **wrong)
    renamed = {}
    for name, value in wrong.items():
        found = re.search(fr"\b{name}: found a variable that no role or playbook of this run reads; expected (\w+)\. "
                          "Rename it", said)  # fmt: skip
        renamed[found.group(1)] = value
    assert list(renamed) == ["nodeward_hosts", "audit_timeout", "audit_fail_on"]
    (fleet.folder / "host_vars/node1.yml").unlink()
    works(fleet, nodeward_serial=1, **renamed)
    refused(fleet, "Groups of the inventory: empty (empty), nodes", nodeward_hosts="nod")
    works(fleet, nodeward_hosts="nodes")


def test_each_variable_that_a_message_of_the_audit_names_is_tried_above():
    specs = yaml.safe_load((ROOT / "roles/audit/meta/argument_specs.yml").read_text())
    options = set(specs["argument_specs"]["main"]["options"])
    asked = set()
    for path in (*ROOT.glob("plugins/action/audit_*.py"), *ROOT.glob("plugins/plugin_utils/audit/*.py")):
        for each in ast.walk(ast.parse(path.read_text())):
            if isinstance(each, ast.Constant) and isinstance(each.value, str) and " " in each.value:
                asked |= options & set(re.findall(r"\baudit_[a-z_]+", each.value))
    for path in ROOT.glob("roles/audit/tasks/*.yml"):
        asked |= options & set(re.findall(r"msg: \"(audit_[a-z_]+):", path.read_text()))
    tried = {
        keyword.arg
        for each in ast.walk(ast.parse(Path(__file__).read_text()))
        if isinstance(each, ast.Call) and getattr(each.func, "id", "") in ("works", "refused")
        for keyword in each.keywords
    }
    assert len(asked) > 6
    assert asked - tried == set()
