"""What the terminal shows of an audit, and what the audit does with files and processes."""

import json
import os
import stat

import pytest
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import document as audit
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import run as audit_run
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.baseline import Baseline
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.node import not_judged
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.summary import outline, summary
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import FAILED, AuditError
from audit_nodes import document, node, three

# --- the terminal ---


def test_the_answer_comes_first_and_the_verdict_last():
    lines = summary(three())
    assert lines[0] == "3 nodes: 1 ok, 0 at risk, 1 dropping, 1 unknown"
    nodes = [line.split(":")[0] for line in lines if line.startswith((">> ", "   ")) and line[3] != " "]
    assert nodes[:3] == [">> broken", ">> lost", "   healthy"]
    assert lines[-3:] == [
        ">> FAILED (audit_fail_on: high)",
        "   1 node could not be judged: lost",
        "   4 findings of severity high on 1 node",
    ]
    where = "(/usr/lib/sysctl.d/50-default.conf:3)"
    assert "     high   RPF001 lxc3c160d6c7aa0: A device of Cilium is filtered now " + where in lines
    assert (
        "Spoof protection, the intent of all.rp_filter = 1: met on 0 (strict), partially met on 2 (loose), "
        "not met on 0, not known of 1" in lines
    )
    assert summary(document([node()]))[-1] == "PASSED (audit_fail_on: high)"


def test_a_node_that_is_fine_and_has_no_finding_is_a_number():
    def whole(known):
        known["cilium_routes"]["unread"] = []

    assert not [line for line in summary(document([node("node1", change=whole)])) if "node1" in line]


def test_the_worst_nodes_and_findings_are_shown_and_the_rest_counted():
    nodes = [node(f"node{number:02d}", "broken") for number in range(25)] + [node("zz")]
    lines = summary(document(nodes))
    assert [line for line in lines if line.startswith(">> node")][-1].startswith(">> node19: dropping")
    assert "   and 6 more with findings" in lines
    of_the_first = lines[2 : lines.index(next(line for line in lines if line.startswith(">> node01")))]
    assert len(of_the_first) == 6 and of_the_first[-1].strip().startswith("and ")
    severities = [line.split()[0] for line in of_the_first[:-1]]
    assert severities == sorted(severities, key=audit.SEVERITIES.index)


def test_waivers_and_a_baseline_are_told():
    waivers = [
        {"id": "RPF001", "hosts": "*", "justification": "agreed"},
        {"id": "RPF002", "hosts": "br*", "justification": "agreed", "expires": "2026-01-31"},
        {"id": "RPF002", "hosts": "bro\nkn*", "justification": "agreed", "expires": "2027-01-31"},
        {"id": "RPF003", "hosts": "bor*", "justification": "agreed", "expires": "2026-01-31"},
    ]
    earlier = Baseline.read(json.dumps(document([node("broken"), node("healthy", "broken"), node("gone")])))
    lines = summary(three(waivers=waivers, baseline=earlier))
    assert [line for line in lines if line.startswith("Waiver")] == [
        "Waiver of RPF002 for br* expired on 2026-01-31: it covers nothing",
        "Waiver of RPF002 for bro⟨U+000A⟩kn* matches nothing",
        "Waiver of RPF003 for bor* expired on 2026-01-31: it covers nothing",
    ]
    assert not [line for line in lines if "RPF001" in line]
    assert [line for line in lines if "RPF002" in line and line.endswith(" [new]")]
    (compared,) = [number for number, line in enumerate(lines) if line.startswith("Since 2026-11-24T10:00:00Z: ")]
    assert lines[compared + 1] == "   not in this audit: gone"


def test_what_others_chose_stays_on_its_line_and_draws_nothing():
    hostile = "a\n>> PASSED\x1b[2J\u202e"
    lines = summary(document([node(hostile, "broken"), not_judged("b", FAILED, "x\x1b[31m")]))
    shown = "\n".join(lines)
    assert "\x1b" not in shown and "\u202e" not in shown
    assert not [line for line in lines if line.startswith(">> PASSED")]
    told = list(outline(document([node(hostile, "broken")])))[1]
    assert told.startswith("a⟨U+000A⟩>> PASSED⟨U+001B⟩[2J⟨U+202E⟩: dropping")


def test_the_outline_is_what_a_difference_is_made_of():
    waiver = {"id": "RPF012", "hosts": "*", "justification": "agreed"}
    told = list(outline(document([node("node1")], waivers=[waiver])))
    assert told == ["passed: True", "node1: ok: RPF012 x2 (waived)"]


# --- files ---


def test_a_digest_leaves_out_times_alone(tmp_path):
    path = tmp_path / "audit.json"
    assert audit_run.digest(str(path)) is None
    digests = []
    for text in ("at 2026-11-24T10:00:00Z: 1", "at 2027-01-01T00:00:59Z: 1", "at 2026-11-24T10:00:00Z: 2"):
        path.write_text(text)
        digests.append(audit_run.digest(str(path)))
    assert digests[0] == digests[1] != digests[2]
    path.write_text("at ２０２６-11-24T10:00:00Z: 1")
    assert audit_run.digest(str(path)) not in digests


def test_a_file_is_put_in_place_as_a_whole(tmp_path):
    source, target = tmp_path / "new", tmp_path / "there" / "audit.json"
    target.parent.mkdir()
    source.write_text("new")
    target.write_text("old")
    before = os.umask(0o027)
    try:
        audit_run.put(str(source), str(target))
    finally:
        os.umask(before)
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    with pytest.raises(FileNotFoundError):
        audit_run.put(str(tmp_path / "nothing"), str(target))
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["audit.json"]


def test_jobs_run_in_processes_of_their_own_and_all_of_them(tmp_path):
    def write(number):
        (tmp_path / str(number)).write_text(str(os.getpid()))

    audit_run.in_processes([lambda number=number: write(number) for number in range(7)], at_once=3)
    pids = {path.read_text() for path in tmp_path.iterdir()}
    assert len(pids) == 7 and str(os.getpid()) not in pids


def test_a_job_that_fails_is_told_and_ends_the_others(tmp_path):
    def fail():
        raise ValueError("no such thing")

    def complain():
        raise AuditError("audit_document: x: is no JSON")

    def hang():
        import time

        time.sleep(60)
        (tmp_path / "late").write_text("")

    with pytest.raises(AuditError, match="^ValueError: no such thing$"):
        audit_run.in_processes([hang, fail], at_once=2)
    with pytest.raises(AuditError, match="^audit_document: x: is no JSON$"):
        audit_run.in_processes([complain])
    with pytest.raises(AuditError, match="^a process of the audit ended with 3$"):
        audit_run.in_processes([lambda: os._exit(3)])
    assert list(tmp_path.iterdir()) == []
