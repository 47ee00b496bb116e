"""The audit's page as text: its policy, what it embeds, what it leaves out and says so, and strings of any kind."""

import base64
import copy
import hashlib
import json
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils.text import visible
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import page as audit_page
from conftest import FIXTURES
from hypothesis import example, given, settings
from hypothesis import strategies as st

SAMPLE = json.loads((FIXTURES / "audit" / "sample.json").read_text(encoding="utf-8"))
ANY_TEXT = st.text(st.characters(), max_size=40)  # surrogates too


class Elements(HTMLParser):
    """The elements of a page, its attributes, and the contents of style and script."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.raw, self.words = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_data(self, data):
        if self.tags and self.tags[-1] in ("script", "style") and data.strip():
            self.raw.append((self.tags[-1], data))
        else:
            self.words.append(data)


def embedded_in(text):
    return json.loads(re.search(r'<script type="application/json" id="audit">(.*?)</script>', text, re.S).group(1))


def changed(**more):
    return {**copy.deepcopy(SAMPLE), **more}


def finding(rule="RPF001", **more):
    base = next(each for node in SAMPLE["nodes"] for each in node["findings"] if each["id"] == rule)
    return {**copy.deepcopy(base), "waived": None, "change": None, **more}


def with_name(name):
    document = changed()
    document["nodes"] = [copy.deepcopy(document["nodes"][4])]
    document["nodes"][0].update(name=name, summary=name, state="dropping")
    document["verdict"]["reasons"] = [name]
    return document


# --- the policy ---


def test_the_policy_names_the_one_script_and_the_one_style_by_their_hashes():
    text = audit_page.page(SAMPLE)
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text).group(1)
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["base-uri"] == directives["form-action"] == "'none'"
    assert directives["img-src"] == "data:"
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        contents = re.findall(rf"<{element}>(.*?)</{element}>", text, re.S)
        assert len(contents) == 1
        digest = base64.b64encode(hashlib.sha256(contents[0].encode("utf-8")).digest()).decode()
        assert directives[directive] == f"'sha256-{digest}'"
    assert "unsafe" not in policy


def test_the_policy_stands_before_whatever_it_governs():
    text = audit_page.page(SAMPLE)
    policy = text.index("Content-Security-Policy")
    assert all(policy < text.index(part) for part in ("<style>", "<script", "<link", "<title>"))


def test_no_handler_no_style_attribute_and_nothing_from_a_network():
    page = Elements(audit_page.page(SAMPLE))
    assert not [each for each in page.attributes if each[1].startswith("on") or each[1] == "style"]
    sources = [value for _tag, name, value in page.attributes if name in ("src", "href", "action", "srcset", "data")]
    assert all(value.startswith(("#", "data:")) for value in sources)
    written = "".join(audit_page._part(name) for name in ("page.css", "page.js"))
    assert set(re.findall(r"\w+://[^\s'\"`)]+", written)) == {"http://www.w3.org/2000/svg"}, (
        "the name of SVG's elements"
    )
    assert "@import" not in audit_page.page(SAMPLE)


# --- what others chose ---


@given(ANY_TEXT)
@example("<script>alert(1)</script>")
@example("</script><!--")
@example("\u2028\u2029\u202e\ud800")
@settings(deadline=None)
def test_nothing_closes_what_is_embedded(text):
    told = audit_page.embedded({text: [text]})
    assert told.isascii()
    assert not set("<>&") & set(told)
    assert json.loads(told) == {text: [text]}


@given(ANY_TEXT)
@settings(deadline=None)
def test_what_cannot_be_seen_is_spelled_out(text):
    told = visible(text)
    assert all(char in "\n\t " or unicodedata.category(char)[0] not in "CZ" for char in told)
    told.encode("utf-8")
    if text.isalnum() and text.isascii():
        assert told == text


def test_spelled_out_as_its_number():
    assert visible("a\u202eb\u200b\x00\ud800\u3164") == "a⟨U+202E⟩b⟨U+200B⟩⟨U+0000⟩⟨U+D800⟩⟨U+3164⟩"


BENIGN = Elements(audit_page.page(with_name("node1")))


@given(ANY_TEXT)
@example("<script>alert(1)</script>")
@example('"onload="alert(1)')
@example("</textarea></title></style></script>")
@example("<!--script-->")
@example("<!--document-->")
@example("\\g<0>\\1")
@settings(deadline=None, max_examples=60)
def test_no_name_makes_an_element_or_an_attribute(text):
    made = audit_page.page(with_name(text))
    made.encode("utf-8")
    page = Elements(made)
    assert page.tags == BENIGN.tags
    assert [each[:2] for each in page.attributes] == [each[:2] for each in BENIGN.attributes]
    assert embedded_in(made)["nodes"][0]["name"] == text
    if text.strip():
        assert visible(text) in "".join(page.words)


# --- the same again ---


def test_the_same_document_gives_the_same_page():
    backwards = json.loads(json.dumps(SAMPLE), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert audit_page.page(backwards) == audit_page.page(SAMPLE) == audit_page.page(copy.deepcopy(SAMPLE))


def test_the_document_is_left_as_it_is():
    document = changed()
    audit_page.page(document)
    assert document == SAMPLE


def test_nodes_may_be_read_one_at_a_time():
    class Lazy:
        """Parses anew in every pass, as a large fleet's does; knows nothing but its length and its order."""

        def __len__(self):
            return len(SAMPLE["nodes"])

        def __iter__(self):
            return (json.loads(json.dumps(node)) for node in SAMPLE["nodes"])

    assert audit_page.page(changed(nodes=Lazy())) == audit_page.page(SAMPLE)


# --- the compact form ---


def test_what_nodes_share_is_held_once():
    node = next(node for node in SAMPLE["nodes"] if node["name"] == "node1")
    nodes = [{**node, "name": f"node{number}"} for number in range(50)]
    held, _unwell = audit_page.compact(changed(nodes=nodes))
    once, _unwell = audit_page.compact(changed(nodes=nodes[:1]))
    assert held["pool"] == once["pool"]
    assert [held["pool"][number] for number in {each["horizons"] for each in held["nodes"]}] == [node["horizons"]]


@pytest.mark.parametrize(
    ("findings", "full", "named", "unnamed"),
    [(0, 0, 0, 0), (20, 20, 0, 0), (21, 20, 1, 0), (100, 20, 80, 0), (500, 20, 200, 280)],
)
def test_findings_are_cut_by_the_rule_and_all_are_counted(findings, full, named, unnamed):
    many = [finding(subject=f"lxc{number:04d}") for number in range(findings)]
    other = [finding("RPF006", subject="a/pod")]
    shown, cut, counts = audit_page.cut_findings(many + other)
    assert [each["subject"] for each in shown] == [f"lxc{number:04d}" for number in range(full)] + ["a/pod"]
    names, rest = cut.get("RPF001", ([], 0))
    assert (len(names), rest) == (named, unnamed)
    assert names == [f"lxc{number + 20:04d}" for number in range(named)]
    assert sum(counts.get(("RPF001", "high"), [0])) == findings
    assert counts["RPF006", "high"] == [1, 0, 0, 0]


def test_what_counts_and_is_new_is_shown_before_what_is_waived_or_old():
    waiver = {"justification": "because", "expires": None}
    findings = [finding(subject="waived", waived=waiver, change="new")] * 30
    findings += [finding(subject="old", change="unchanged")] * 15 + [finding(subject="new", change="new")] * 10
    shown, cut, counts = audit_page.cut_findings(findings)
    assert [each["subject"] for each in shown] == ["new"] * 10 + ["old"] * 10
    assert cut["RPF001"][0] == ["old"] * 5 + ["waived"] * 30
    assert counts["RPF001", "high"] == [15, 10, 0, 30]


def test_severe_findings_come_first():
    shown, _cut, _counts = audit_page.cut_findings(SAMPLE["nodes"][4]["findings"][::-1])
    assert [each["id"] for each in shown] == ["RPF001", "RPF001", "RPF002", "RPF003", "RPF006", "RPF006", "RPF004"]


def test_the_page_says_what_it_leaves_out():
    held = embedded_in(audit_page.page(SAMPLE))
    assert held["limits"] == {"full": audit_page.IN_FULL, "named": audit_page.BY_NAME}
    assert "in audit.json" in audit_page.page(SAMPLE)


def test_lines_are_ordered_by_the_worst_that_they_are_behind_and_then_by_nodes():
    held, _unwell = audit_page.compact(SAMPLE)
    assert ["/etc/sysctl.d/zz-cis.conf", 4, "net.ipv4.conf.all.rp_filter = 1", 1, 0] in held["lines"]

    def node(name, *lines):
        found = [
            finding(severity=severity, evidence={"path": path, "line": 1, "text": "", "value": None, "counter": None})
            for severity, path in lines
        ]
        return {**copy.deepcopy(SAMPLE["nodes"][4]), "name": name, "findings": found}

    nodes = [
        node("a", ("low", "/common"), ("low", "/worse"), ("high", "/rare"), ("medium", "/often")),
        node("b", ("low", "/common"), ("high", "/worse"), ("low", "/often")),
        node("c", ("low", "/common"), ("medium", "/often")),
    ]
    held, _unwell = audit_page.compact(changed(nodes=nodes))
    assert [[line[0], *line[3:]] for line in held["lines"]] == [
        ["/worse", 2, 0],
        ["/rare", 1, 0],
        ["/often", 3, 1],
        ["/common", 3, 2],
    ]
    assert [each["lines"] for each in held["nodes"]] == [[0, 1, 2, 3], [0, 2, 3], [2, 3]]


def test_a_line_behind_nothing_but_what_is_waived_is_not_named():
    node = copy.deepcopy(SAMPLE["nodes"][4])
    waived = finding(waived={"justification": "because", "expires": None})
    node["findings"] = [waived]
    held, unwell = audit_page.compact(changed(nodes=[node]))
    assert held["lines"] == []
    assert unwell["dropping"][0][3] == []


def test_of_many_lines_the_rest_is_counted():
    node = copy.deepcopy(SAMPLE["nodes"][4])
    node["findings"] = [
        finding(evidence={"path": "/etc/sysctl.d/x", "line": line, "text": "", "value": None, "counter": None})
        for line in range(1, 26)
    ]
    held, _unwell = audit_page.compact(changed(nodes=[node]))
    assert len(held["lines"]) == audit_page.MOST_LINES
    assert held["more_lines"] == 25 - audit_page.MOST_LINES


# --- without scripts ---


@pytest.mark.parametrize(
    ("ok", "at_risk", "dropping", "unknown", "told"),
    [
        (0, 0, 0, 0, "No node was audited."),
        (1, 0, 0, 0, "The node is ok."),
        (2000, 0, 0, 0, "All 2,000 nodes are ok."),
        (0, 0, 1, 0, "The node drops pods' packets now."),
        (1, 1, 0, 0, "1 of 2 nodes is at risk."),
        (1, 2, 0, 1, "2 of 4 nodes are at risk and 1 could not be judged."),
        (0, 1, 2, 3, "2 of 6 nodes drop pods' packets now, 1 is at risk and 3 could not be judged."),
        (0, 0, 0, 5, "5 of 5 nodes could not be judged."),
    ],
)
def test_the_answer(ok, at_risk, dropping, unknown, told):
    nodes = ok + at_risk + dropping + unknown
    totals = {"nodes": nodes, "ok": ok, "at_risk": at_risk, "dropping": dropping, "unknown": unknown}
    assert audit_page.answer(totals) == told


def test_the_plain_list_is_bounded_and_says_so():
    node = next(node for node in SAMPLE["nodes"] if node["name"] == "node-down")
    nodes = [{**node, "name": f"down{number:04d}"} for number in range(500)]
    totals = {**SAMPLE["totals"], "nodes": 500, "ok": 0, "at_risk": 0, "dropping": 0, "unknown": 500}
    text = audit_page.page(changed(nodes=nodes, totals=totals))
    plain = text[text.index('id="plain"') : text.index('id="overview"')]
    assert plain.count("<tr>") == 1 + audit_page.MOST_PLAIN
    assert "300 nodes more, all in audit.json." in plain


def test_dropping_nodes_are_the_first_of_the_plain_list():
    text = audit_page.page(SAMPLE)
    plain = text[text.index('id="plain"') : text.index('id="overview"')]
    states = re.findall(r"</th><td>([a-z ]+)</td>", plain)
    assert states == ["dropping", "dropping", "at risk", "unknown", "unknown"]
    assert "edge-7" not in plain


@pytest.mark.parametrize(
    ("source", "told"),
    [("run", "gathered by this run"), ("cache", "kept from earlier runs"), ("document", "a saved document")],
)
def test_where_the_facts_are_from(source, told):
    assert told in audit_page.about(changed(source=source))


def test_the_age_of_kept_facts_is_told():
    document = changed(source="cache")
    document["nodes"][4]["gathered_at"] = "2026-11-03T04:05:06Z"
    assert "the oldest facts of 2026-11-03 04:05:06 UTC" in audit_page.page(document)
    assert "the oldest facts" not in audit_page.page({**document, "source": "run"})


@pytest.mark.parametrize(
    ("met", "partially_met", "not_met", "unknown", "told"),
    [
        (0, 0, 0, 0, ""),
        (2000, 0, 0, 0, "met on 2,000 nodes"),
        (0, 0, 1, 0, "<strong>not met on 1 node</strong>"),
        (0, 1, 0, 0, "partially met on 1 node"),
        (3, 4, 2, 1, "met on 3 nodes, partially met on 4, <strong>not met on 2</strong>, not known of 1"),
        (0, 0, 0, 4, "not known of 4 nodes"),
    ],
)
def test_on_how_many_nodes_spoof_protection_is_met(met, partially_met, not_met, unknown, told):
    totals = {"met": met, "partially_met": partially_met, "not_met": not_met, "unknown": unknown}
    assert audit_page.protection(totals) == told
    about = audit_page.about(changed(totals={**SAMPLE["totals"], "spoof_protection": totals}))
    assert (f"Spoof protection {told}<" in about) == bool(told)


@pytest.mark.parametrize(
    ("fail_on", "told"),
    [("high", "Fails on severity high<"), ("low", "severity low or worse"), ("none", "Fails on no severity")],
)
def test_what_it_fails_on(fail_on, told):
    assert told in audit_page.about(changed(options={"fail_on": fail_on}))


def test_without_baseline_and_waivers_nothing_is_said_of_them():
    told = audit_page.about(changed(baseline=None, waivers=[], totals={**SAMPLE["totals"], "waived": 0}))
    assert "Since" not in told
    assert "waive" not in told
