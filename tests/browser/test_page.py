"""The audit's page as a reader meets it, in a real browser and with its policy in force."""

import json
import re
import sys
from types import SimpleNamespace

import chromium
import fleet
import pytest
from ansible_collections.nodeward.cilium.plugins.filter.diagnosis import diagnosis
from ansible_collections.nodeward.cilium.plugins.filter.findings import findings
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.node import judged
from conftest import FIXTURES, REPOSITORY
from jsonschema import Draft202012Validator
from playwright.sync_api import expect

HOSTILE = [
    "<script>alert(1)</script>",
    '"onload="',
    "\u202eevil",
    ";rm -rf",
    "<img src=x onerror=alert(1)>",
    "</script><b>",
    "<!--script-->",
    "a\u200bb",
    "javascript:alert(1)",
    "'><svg/onload=alert(1)>",
    "]]>&amp;",
    "__proto__",
    "\u2028x",
    "{{ 7*7 }}",
    "%s%n",
]


@pytest.fixture(scope="session")
def browser():
    with chromium.started() as started:
        yield started


@pytest.fixture
def opened(browser, tmp_path):
    """opened(document, address, **options of the context) → the page; watched until the test ends."""
    watched = []

    def open_one(document=None, address="", **options):
        one = chromium.Watched(browser, chromium.written(document or fleet.sample(), tmp_path), **options)
        watched.append(one)
        return one.open(address)

    yield open_one
    for one in watched:
        one.close()


@pytest.fixture
def scenario_hints(monkeypatch):
    """The module that finds in the scenario hints what is printed for people to copy, and executes it."""
    for folder in ("molecule/hints/tests", "tests/support"):
        monkeypatch.syspath_prepend(str(REPOSITORY / folder))
    import hints

    yield hints
    del sys.modules["hints"]


@pytest.fixture(scope="session")
def many():
    return fleet.fleet(250, 30)


def names(page):
    return page.locator(".matrix tbody th.node a").all_inner_texts()


def tally(page):
    return page.locator(".tally").inner_text()


def figure(page, state):
    return page.locator(f"#figures button.{state}")


def rule(page, name):
    return page.locator("button.rule", has_text=name)


def column(page, name):
    return page.locator(".matrix thead button", has_text=name)


def shows(page, heading):
    expect(page.locator("h1:visible")).to_have_text(heading)


def focused(page):
    return page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id")


def test_documents_follow_the_schema(many):
    schema = json.loads((REPOSITORY / "roles/audit/files/audit.schema.json").read_text(encoding="utf-8"))
    for document in (fleet.sample(), many, hostile_document()):
        assert [error.message for error in Draft202012Validator(schema).iter_errors(document)] == []


# --- the answer ---


def test_opens_with_the_answer(opened):
    page = opened()
    shows(page, "2 of 7 nodes drop pods' packets now, 1 is at risk and 2 could not be judged.")
    assert page.locator(".verdict").inner_text() == "Failed"
    assert "9 findings of severity high on 3 nodes" in page.locator(".reasons").inner_text()
    assert [figure(page, state).inner_text().split() for state in ("dropping", "at_risk", "unknown", "ok")] == [
        ["2", "dropping"],
        ["1", "at", "risk"],
        ["2", "unknown"],
        ["2", "ok"],
    ]
    about = page.locator(".about").inner_text()
    assert "2026-11-24 10:00 UTC" in about
    assert "5 new, 1 gone, 11 unchanged" in about
    assert "1 waiver expired" in about
    assert "Spoof protection met on 2 nodes, partially met on 1, not met on 2, not known of 2" in about
    assert page.title().startswith("Failed: 2 of 7 nodes")
    assert "The audit's document (audit.json) holds all of it, uncut." in page.locator("footer").inner_text()


def test_waivers_are_told_with_what_they_do(opened):
    told = opened().locator(".waivers li").all_inner_texts()
    assert "in force 1 finding" in told[0]
    assert "NET-118" in told[0]
    assert "expired 2 findings count again" in told[1]
    assert "matches nothing" in told[2]


def test_nodes_left_out_of_the_comparison_are_named(opened):
    told = opened().locator('section[aria-labelledby="baseline"]').inner_text()
    assert "node-down" in told
    assert "node-old" in told


def test_without_scripts_the_answer_and_the_nodes_stand_there(opened):
    page = opened(java_script_enabled=False)
    text = page.locator("body").inner_text()
    assert "2 of 7 nodes drop pods' packets now" in text
    assert "Scripts are off" in text
    rows = page.locator("#plain tbody tr").all_inner_texts()
    assert len(rows) == 5
    assert any("node-down" in row and "No route to host" in row for row in rows)
    assert any("node1" in row and "RPF006" in row for row in rows)


def test_all_fine_has_nothing_to_show_and_says_so(opened):
    page = opened(fleet.document([], compared=False))
    shows(page, "No node was audited.")
    assert page.locator(".verdict").inner_text() == "Failed"
    well = fleet.node("node-1", "ok", "Cilium is here and has no endpoint yet")
    page = opened(fleet.document([well], compared=False))
    shows(page, "The node is ok.")
    assert page.locator(".verdict").inner_text() == "Passed"
    assert "Nothing was found on any node." in page.locator("#overview").inner_text()
    page.locator("a", has_text="node-1").click()
    shows(page, "node-1")
    text = page.locator("#node").inner_text()
    assert "there is no pod on this node" in text
    assert "None." in text


# --- filters, search, order ---


def test_figures_filter_and_the_count_is_announced(opened):
    page = opened()
    figure(page, "dropping").click()
    assert sorted(names(page)) == ["<script>alert(1)</script>", "node1"]
    assert figure(page, "dropping").get_attribute("aria-pressed") == "true"
    assert tally(page) == "2 of 7 nodes: dropping"
    assert page.locator(".tally").get_attribute("role") == "status"
    figure(page, "at_risk").click()
    assert "node3" in names(page)
    figure(page, "dropping").click()
    assert names(page) == ["node3"]


def test_a_finding_is_as_severe_as_it_is_and_not_as_its_rule(opened):
    nodes = [fleet.ok("high"), fleet.ok("low"), fleet.ok("both")]
    for node in nodes:
        severities = {"both": ["low", "medium"]}.get(node["name"], [node["name"]])
        node["findings"] = [fleet.finding("RPF009", each, each + " one", "nothing", "1") for each in severities]
    page = opened(fleet.document(nodes, compared=False))
    # Of all nodes the worst.
    expect(page.locator(".rules tbody tr", has_text="RPF009").locator(".severity")).to_have_class("severity high")
    expect(page.locator(".matrix thead .severity")).to_have_class("severity high bare")
    for name, worst in (("high", "high"), ("low", "low"), ("both", "medium")):
        row = page.locator(".matrix tbody tr", has=page.get_by_role("link", name=name, exact=True))
        expect(row.locator("td.finding .amount")).to_have_class("amount " + worst)
    page.get_by_role("link", name="both", exact=True).click()
    group = page.locator(".finding-group:visible")
    expect(group).to_have_class("finding-group medium")
    expect(group.locator("h3 .severity .full")).to_have_text("medium")
    # The one that is another says so.
    told = group.locator(".instances li .subject")
    assert [[each.inner_text() for each in one.locator(".full").all()] for one in told.all()] == [[], ["low"]]


def test_filters_by_id_severity_new_and_waiver_hold_for_the_same_finding(opened):
    page = opened()
    rule(page, "RPF003").click()
    assert names(page) == ["node1", "node3"]
    page.locator(".choices button", has_text="low").click()
    assert names(page) == []
    assert page.locator(".matrix").is_hidden()
    page.locator(".nodes .empty button", has_text="Clear filters").click()
    assert len(names(page)) == 7
    page.locator("button", has_text="New only").click()
    assert sorted(names(page)) == ["<script>alert(1)</script>", "node1"]
    rule(page, "RPF002").click()
    assert names(page) == [], "RPF002 is on node1, but not new"
    page.locator(".under button", has_text="Clear filters").click()
    page.locator("#waived").select_option("only")
    assert names(page) == ["edge-7"]
    page.locator("#waived").select_option("without")
    rule(page, "RPF007").click()
    assert names(page) == ["node3"]


def test_nodes_without_spoof_protection_are_filtered_and_sorted(opened):
    page = opened()
    words = page.locator(".matrix tbody td.protection")
    by_name = dict(zip(names(page), words.all_inner_texts()))
    assert by_name["node1"] == "met"
    assert by_name["node3"] == by_name["edge-7"] == "not met"
    assert by_name["node-down"] == "not known"
    column(page, "Spoof").click()
    assert words.all_inner_texts() == ["not met"] * 2 + ["not known"] * 2 + ["partially met"] + ["met"] * 2
    column(page, "Spoof").click()
    assert words.all_inner_texts()[0] == "met"
    assert "sort=-protection" in page.url
    buttons = page.locator(".protections button")
    assert buttons.all_inner_texts() == ["not met", "not known", "partially met", "met"]
    buttons.first.click()
    assert page.url.endswith("#protection=not&sort=-protection")
    assert buttons.first.get_attribute("aria-pressed") == "true"
    assert sorted(names(page)) == ["edge-7", "node3"]
    assert tally(page) == "2 of 7 nodes: spoof protection not met"
    buttons.nth(1).click()
    assert len(names(page)) == 4
    page.locator(".under button", has_text="Clear filters").click()
    assert len(names(page)) == 7
    assert names(opened(address="#protection=unknown&q=down")) == ["node-down"]
    assert names(opened(address="#protection=partly")) == ["node2"]


def test_ids_of_findings_lead_to_the_nodes_that_have_them(opened):
    page = opened(address="#node=node1")
    link = page.locator(".finding-group h3 a.id", has_text="RPF001").first
    link.click()
    assert page.url.endswith("#id=RPF001")
    assert "node1" in names(page)
    assert page.locator("#list").is_visible()
    page = opened()
    page.locator(".waivers a.id", has_text="RPF007").click()
    assert page.url.endswith("#id=RPF007")
    assert sorted(names(page)) == ["edge-7", "node3"]


def test_a_tree_of_files_is_shown_as_one(opened):
    document = fleet.sample()
    why = "this is a chroot: /proc/sys is the build host's"
    for node in document["nodes"]:
        if node["name"] == "node2":
            node.update(
                running_system={"observed": False, "why": why}, endpoints=None, uplinks=[], paths=[], counters=None
            )
    page = opened(document=document, address="#node=node2")
    text = page.locator("#node").inner_text()
    assert "Judged by its files alone: " + why in text
    assert "not applicable" in text.lower() and "it does not run" in text


def test_cards_tell_spoof_protection(opened):
    page = opened(viewport={"width": 320, "height": 800})
    told = [card.inner_text() for card in page.locator(".card").all()]
    assert ["Spoof protection not met" in text for text in told if text.startswith(("node3", "node1"))] == [False, True]
    page.locator("#sort").select_option("protection")
    assert page.locator(".card").first.locator(".protection").inner_text() == "Spoof protection not met"


def test_cards_tell_severities_by_letters(opened):
    page = opened(viewport={"width": 320, "height": 800})
    told = page.locator(".card", has_text="node1").locator(".ids li")
    assert [" ".join(each.split()) for each in told.all_inner_texts()] == [
        "H high RPF001 2",
        "H high RPF002 1",
        "H high RPF003 1",
        "H high RPF006 2",
        "M medium RPF004 1",
    ]
    assert told.first.locator("[aria-hidden]").inner_text() == "H", "and the word is for those who hear it"
    assert told.first.locator("[aria-hidden]").is_visible()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("node3", ["node3"]),
        ("50-default.conf:26", ["<script>alert(1)</script>", "node1"]),
        ("coredns", ["node1"]),
        ("LXC91f0b62", ["node1"]),
        ("10.9.8.7", ["node-down"]),
        ("rpf003 cis", ["node3"]),
        ("nowhere", []),
        # Lines that no finding names: of a horizon, of an uplink, of what set a value.
        ("99-override_cilium_rp_filter.conf:16", ["edge-7", "node2"]),
        ("99-override_cilium_rp_filter.conf:18", ["node2"]),
        ("net.ipv4.conf.eth0.rp_filter", ["node2"]),
        ("99-systemd.rules:72", ["<script>alert(1)</script>", "node1"]),
        ("BOND0", ["edge-7"]),
        ('"protection not met"', ["edge-7", "node3"]),
        ('"not met" edge', ["edge-7"]),
        ('"not known"', ["node-down", '"onload="x\' ⟨U+202E⟩;rm -rf']),
        ('"onload="x', ['"onload="x\' ⟨U+202E⟩;rm -rf']),
        ("\u202e", ["<script>alert(1)</script>", '"onload="x\' ⟨U+202E⟩;rm -rf']),
    ],
)
def test_search(opened, text, found):
    page = opened()
    page.locator("#search").fill(text)
    assert sorted(names(page)) == sorted(found)


def test_two_words_are_searched_each_for_itself(opened):
    page = opened()
    page.locator("#search").fill("met not")
    assert {"edge-7", "node3"} <= set(names(page))


def test_the_page_says_what_a_search_sees(opened):
    told = opened().locator(".nodes").inner_text()
    assert "pods that are well, and their devices, are in audit.json only" in told
    assert "220 findings" in told


def test_a_finding_left_out_in_full_is_found_by_its_subject(opened, many):
    page = opened(many)
    dropping = next(node for node in many["nodes"] if node["state"] == "dropping")
    page.locator("#search").fill(fleet.device(dropping["name"], 29))
    assert names(page) == [dropping["name"]]


def test_a_line_shows_the_nodes_that_it_is_behind(opened, many):
    page = opened(many)
    line = page.locator("button.where", has_text="/usr/lib/sysctl.d/50-default.conf:26")
    assert "net.ipv4.conf.*.rp_filter = 2" in line.inner_text()
    line.click()
    assert tally(page) == "25 of 250 nodes: /usr/lib/sysctl.d/50-default.conf:26"
    assert line.get_attribute("aria-pressed") == "true"
    assert page.url.endswith("#line=%2Fusr%2Flib%2Fsysctl.d%2F50-default.conf%3A26")
    page.reload()
    assert tally(page).startswith("25 of 250 nodes")
    line.click()
    assert tally(page) == "250 nodes"


def test_every_line_shows_as_many_nodes_as_it_says(opened):
    """Also where a search for it finds more: those on which what it is behind is waived, or only threatens."""
    page = opened()
    told = [" ".join(each.split()) for each in page.locator(".lines li").all_inner_texts()]
    assert told == [
        "/etc/sysctl.d/<script>alert(1)</script>.conf:1 H high 1 node",
        "/etc/sysctl.d/zz-cis.conf:4 net.ipv4.conf.all.rp_filter = 1 H high 1 node",
        "/usr/lib/sysctl.d/50-default.conf:26 net.ipv4.conf.*.rp_filter = 2 H high 1 node",
        "/etc/systemd/network/10-bond.network:9 L low 1 node",
    ]
    for line in page.locator("button.where").all():
        line.click()
        assert tally(page).startswith("1 of 7 nodes")


def test_a_line_behind_findings_that_are_cut_shows_all_its_nodes(opened):
    node = fleet.dropping("node-1", 40)
    for each in node["findings"][20:40]:
        each["evidence"] = {**each["evidence"], "path": "/etc/later.conf", "line": 7}
    page = opened(fleet.document([node, fleet.ok("node-2")]))
    page.locator("button.where", has_text="/etc/later.conf:7").click()
    assert names(page) == ["node-1"]


def test_sorts_by_any_column_both_ways(opened):
    page = opened()
    head = page.locator(".matrix thead th.node")
    assert page.locator('.matrix th[aria-sort="ascending"]').inner_text().startswith("State")
    column(page, "Node").click()
    ascending = names(page)
    assert head.get_attribute("aria-sort") == "ascending"
    column(page, "Node").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert names(page) == ascending[::-1]
    column(page, "001").click()
    assert page.locator('.matrix th[aria-sort="descending"] .digits').inner_text() == "001"
    assert names(page)[0] == "node1"
    column(page, "and gone").click()
    assert names(page)[:3] == ["<script>alert(1)</script>", "node1", "node2"], "three new, two new, one gone"
    assert page.locator(".matrix tbody tr").nth(2).locator("td").nth(3).inner_text() == "\u22121"
    column(page, "dropping").click()
    assert names(page)[0] == "node1"
    assert page.locator("[aria-sort]").count() == 1


def test_cells_tell_how_many_and_how_severe(opened):
    page = opened(address="#sort=name")
    row = page.locator(".matrix tbody tr", has_text="node1")
    assert row.locator("td.pods").inner_text() == "2 / 3", "pods dropping, of all"
    told = row.locator(".amount").evaluate_all("(all) => all.map((one) => [one.className, one.textContent])")
    high, medium = "amount high", "amount medium"
    assert told == [[high, "2"], [high, "1"], [high, "1"], [high, "2"], [medium, "1"]]
    low = page.locator(".matrix tbody tr", has_text="edge-7").locator(".amount").last
    assert low.get_attribute("class") == "amount low"
    looks = {
        severity: page.locator(f".matrix .amount.{severity}").first.evaluate(
            "(one) => (({backgroundColor, color, borderTopColor}) => backgroundColor + color + borderTopColor)"
            "(getComputedStyle(one))"
        )
        for severity in ("high", "medium", "low")
    }
    assert len(set(looks.values())) == 3


def test_columns_are_those_ids_that_occur(opened):
    page = opened()
    assert page.locator(".matrix thead .digits").all_inner_texts() == [
        "001",
        "002",
        "003",
        "006",
        "004",
        "007",
        "009",
        "012",
    ]


def many_kinds():
    """The sample, with fifteen kinds of findings more."""
    document = fleet.sample()
    known = document["rules"]["RPF009"]
    document["rules"].update({f"RPF{number:03d}": {**known, "title": f"Kind {number}"} for number in range(20, 35)})
    document["nodes"][4]["findings"] += [
        fleet.finding(f"RPF{number:03d}", "low", "x", "a", "b") for number in range(20, 35)
    ]
    return document


def test_many_kinds_of_findings_are_folded_and_unfold(opened):
    document = many_kinds()
    page = opened(document)
    kinds = page.locator(".rules tbody tr:visible")
    assert kinds.count() == 10
    unfold = page.locator("button", has_text="All 23 kinds of findings")
    assert unfold.get_attribute("aria-expanded") == "false"
    unfold.click()
    assert kinds.count() == 23
    assert unfold.get_attribute("aria-expanded") == "true"
    page = opened(document, "#id=RPF034")
    assert rule(page, "RPF034").is_visible(), "a filter that is on is to be seen"


def test_pages_of_many_nodes(opened, many):
    page = opened(many)
    back, on = page.locator(".pager button", has_text="Previous"), page.locator(".pager button", has_text="Next")
    assert back.get_attribute("aria-disabled") == "true"
    seen = names(page)
    for first in (51, 101, 151, 201):
        on.click()
        assert f"{first} to {first + 49} of 250" in page.locator(".pager").inner_text()
        seen += names(page)
    assert sorted(seen) == [node["name"] for node in many["nodes"]]
    assert on.get_attribute("aria-disabled") == "true"
    on.click(force=True)
    assert names(page) == seen[200:]
    figure(page, "at_risk").click()
    assert len(names(page)) == 25
    assert page.locator(".pager").is_hidden()


# --- the address ---


def test_back_and_forward_and_links(opened):
    page = opened()
    figure(page, "dropping").click()
    page.locator("a", has_text="node1").click()
    shows(page, "node1")
    link = page.url
    page.go_back()
    shows(page, re.compile("^2 of 7"))
    assert len(names(page)) == 2
    assert focused(page) == "node1", "the focus is back on the link that was followed"
    page.go_back()
    expect(page.locator(".tally")).to_have_text("7 nodes")
    page.go_forward()
    page.go_forward()
    shows(page, "node1")
    again = opened(address="#" + link.split("#")[1])
    shows(again, "node1")
    again.locator("a.back").click()
    shows(again, re.compile("^2 of 7"))
    assert len(names(again)) == 2


def test_what_was_typed_is_there_on_the_way_back(opened):
    page = opened()
    page.locator("#search").fill("node3")
    page.locator(".matrix a").click()
    shows(page, "node3")
    page.go_back()
    shows(page, re.compile("^2 of 7"))
    assert page.locator("#search").input_value() == "node3"
    assert names(page) == ["node3"]


def test_the_age_of_kept_facts_is_told(opened):
    document = {**fleet.sample(), "source": "cache"}
    document["nodes"][4]["gathered_at"] = "2026-11-03T04:05:06Z"
    assert (
        "Facts gathered 2026-11-03 04:05:06 UTC" in opened(document, "#node=node1").locator("#node .about").inner_text()
    )


def test_an_address_opens_what_it_names(opened):
    page = opened(address="#state=at_risk,dropping&id=RPF003&sort=-name&q=node")
    assert names(page) == ["node3", "node1"]
    assert page.locator("#search").input_value() == "node"


def test_a_node_that_is_not_here_is_told_and_gone_from_the_address(opened):
    page = opened(many_kinds(), "#node=not-\u202ethere&state=ok", viewport={"width": 1280, "height": 400})
    message = page.locator("#missing")
    assert message.inner_text() == "There is no node called not-⟨U+202E⟩there here."
    assert message.bounding_box()["y"] < 400, "in the window"
    assert "There is no node called" in page.locator("#said").inner_text()
    assert page.url.endswith("#state=ok")
    page.locator(".choices button").first.scroll_into_view_if_needed()
    before = page.locator(".choices button").first.bounding_box()["y"]
    assert page.evaluate("scrollY") > 0
    page.locator(".choices button").first.click()
    assert message.is_hidden()
    after = page.locator(".choices button").first.bounding_box()["y"]
    assert after == pytest.approx(before, abs=1), "no node was left: nobody is taken back"
    assert focused(page).endswith("high")
    page.evaluate("location.hash = '#node=neither'")
    expect(message).to_have_text("There is no node called neither here.")
    page.locator("#search").fill("node1")
    page.locator(".matrix a").click()
    shows(page, "node1")
    page.locator("a.back").click()
    shows(page, re.compile("^2 of 7"))
    assert message.is_hidden()
    page.go_back()
    shows(page, "node1")
    page.evaluate("location.hash = '#node=nor-this'")
    expect(message).to_be_visible()
    assert message.bounding_box()["y"] >= 0
    assert focused(page).startswith("2 of 7 nodes")


@pytest.mark.parametrize(
    "address", ["#node=not-there", "#state=wrong&id=RPF999&sort=__proto__&page=-5&severity=%00", "#%E0%A4%A", "#="]
)
def test_a_wrong_address_shows_the_list(opened, address):
    page = opened(address=address)
    assert len(names(page)) == 7


def test_every_node_has_a_link_that_opens_it(opened):
    page = opened(hostile_document())
    for place in range(len(HOSTILE)):
        link = page.locator(".matrix tbody a").nth(place)
        name = link.inner_text()
        link.click()
        shows(page, name)
        page.reload()
        shows(page, name)
        page.locator("a.back").click()
        shows(page, re.compile("^15 of 15"))


def test_back_in_the_list_one_is_where_one_was(opened, many):
    page = opened(many, viewport={"width": 1280, "height": 500})
    link = page.locator(".matrix tbody a").nth(30)
    link.scroll_into_view_if_needed()
    name, before = link.inner_text(), page.evaluate("scrollY")
    assert before > 0
    link.click()
    shows(page, name)
    assert page.evaluate("scrollY") == 0
    page.locator("a.back").click()
    shows(page, re.compile("of 250 nodes"))
    assert page.evaluate("scrollY") == before
    assert focused(page) == name


# --- a node ---


def test_the_drawing_says_where_the_packet_dies_and_whose_line_it_was(opened):
    page = opened(address="#node=node1")
    drawing = page.locator("svg.way-drawing")
    text = " ".join(drawing.locator("text").all_text_contents())
    for told in (
        "kube-system/coredns",
        "10.0.0.113",
        "lxc3c160d6c7aa0",
        "loose (2)",
        "cilium_host",
        "dropped here",
        "/usr/lib/sysctl.d/50-default.conf:26",
        "net.ipv4.conf.*.rp_filter = 2",
        "hears nothing",
    ):
        assert told in text, told
    described = page.locator("#way-desc").text_content()
    assert "arrives on lxc3c160d6c7aa0" in described
    assert "The way back: cilium_host, not the device it came in by." in described
    assert "/usr/lib/sysctl.d/50-default.conf:26" in described
    assert drawing.get_attribute("role") == "img"
    assert drawing.locator(".sign.dropping path").count() == 2, "a stop sign with a cross"


@pytest.mark.parametrize("width", [320, 1280])
def test_an_arrow_leads_from_the_line_to_the_device_that_it_filters(opened, width):
    page = opened(address="#node=node1", viewport={"width": width, "height": 800})
    start, end, line, device = page.evaluate("""() => {
      const box = (name) => (({x, y, width, height}) => [x, y, x + width, y + height])(
        document.querySelector(`.box.${name} .shape`).getBBox());
      const points = document.querySelector('.arrow.blame .trunk').getAttribute('d').slice(1).split('L');
      const tip = document.querySelector('.arrow.blame .head').getAttribute('d').slice(1).split('L')[0];
      return [points[0].split(' ').map(Number), tip.split(' ').map(Number), box('culprit'), box('device')];
    }""")
    assert page.locator(".arrow.blame").count() == 1

    def touches(point, box):
        return all(box[axis] - 5 <= point[axis] <= box[axis + 2] + 5 for axis in (0, 1))

    assert touches(start, line)
    assert touches(end, device)


@pytest.mark.parametrize("width", [320, 1280])
def test_beyond_the_drop_no_packet_goes(opened, width):
    def dashes(page, kind):
        return page.locator(f".arrow.{kind} .trunk").evaluate_all(
            "(all) => all.map((one) => getComputedStyle(one).strokeDasharray)"
        )

    page = opened(address="#node=node1", viewport={"width": width, "height": 800})
    assert set(dashes(page, "reply")) == {"none"}
    [beyond] = dashes(page, "never")
    assert beyond != "none"
    page = opened(address="#node=node2", viewport={"width": width, "height": 800})
    assert dashes(page, "never") == []


def test_the_drawing_of_what_is_accepted(opened):
    text = opened(address="#node=node2").locator("svg.way-drawing").text_content()
    assert "accepted" in text
    assert "hears the reply" in text
    assert "dropped" not in text


def test_below_the_drawing_stands_what_will_be_otherwise(opened):
    told = opened(address="#node=node3").locator(".way-figure figcaption p").all_inner_texts()
    assert "accepted" in told[0]
    assert [" ".join(each.split()) for each in told[1:]] == [
        "dropped after the next boot, by /etc/sysctl.d/zz-cis.conf:4",
        "dropped after the next restart of systemd-sysctl, by /etc/sysctl.d/zz-cis.conf:4",
        "dropped after the next sysctl --system, by /etc/sysctl.d/zz-cis.conf:4",
    ]
    assert opened(address="#node=node1").locator(".way-figure figcaption p").count() == 1


def test_the_drawing_with_endpoint_routes(opened):
    well = fleet.ok("node-1")
    well["paths"] = [fleet.way("node-1", 0, dropped=False, symmetric=True)]
    unknown = fleet.ok("node-2")
    unknown["paths"] = [
        {
            **fleet.way("node-2", 0, dropped=False),
            "verdict": "unknown",
            "symmetric": None,
            "route_device": None,
            "address": None,
            "device": None,
            "name": None,
            "pod": None,
            "effective": None,
            "decided_by": None,
        }
    ]
    page = opened(fleet.document([well, unknown]), "#node=node-1")
    assert "the same device" in page.locator("#way-desc").text_content()
    assert page.locator(".box.back.same").count() == 1
    page = opened(fleet.document([well, unknown]), "#node=node-2")
    assert "not known" in page.locator("svg.way-drawing").text_content()
    assert "no route" not in page.locator("svg.way-drawing").text_content(), "nobody said that there is none"
    assert "pod of unknown name" in page.locator("svg.way-drawing").text_content()


def test_a_node_whose_pods_have_ipv6_alone(opened):
    node = fleet.ok("node-1")
    node.update(paths=[], endpoints={"total": 2, "accepted": 0, "dropped": 0, "unknown": 0, "dropping": 0})
    text = opened(fleet.document([node]), "#node=node-1").locator("main").text_content()
    assert "No drawing: no endpoint has an IPv4 address, so rp_filter does not apply." in text
    assert "0 accepted, 0 dropped, 2 without IPv4, to which rp_filter does not apply." in text
    assert "more. The audit keeps" not in text


def only_outward(name, reply, symmetric=None, by=None):
    """A node of which one pod's packets to the world die, and nothing else does."""
    node = fleet.dropping(name, 3)
    accepted = fleet.way(name, 1, dropped=False, symmetric=True)
    why = {"accepted": "the route back leaves by the same device", "unknown": "cilium_host has no IPv4 address"}[reply]
    path = {**fleet.way(name, 0, dropped=True), "verdict": reply, "reason": why, "symmetric": symmetric}
    path["leaves"]["device"] = by
    path["route_device"] = path["device"] if symmetric else None
    node["paths"] = [path, accepted]
    node["findings"] = node["findings"][-1:]
    node["findings"][0]["observed"] = "dropped on the way to the world"
    counts = {"total": 3, "accepted": 2, "dropped": 0, "unknown": 0, "dropping": 1}
    node["endpoints"] = {**counts, reply: counts[reply] + 1}
    node["summary"] = "the kernel drops packets of 1 of 3 endpoints"
    return node


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("reply", ["accepted", "unknown"])
def test_where_only_packets_to_the_world_die_that_is_drawn(opened, reply, width):
    word = {"accepted": "accepted", "unknown": "not known"}[reply]
    document = fleet.document([only_outward("node-1", reply, by="eth7")])
    page = opened(document, "#node=node-1", viewport={"width": width, "height": 800})
    drawing = page.locator("svg.way-drawing")
    text = " ".join(drawing.locator("text").all_text_contents())
    for told in ("Its packet arrives on", "dropped here", "The world", "eth7", "hears nothing"):
        assert told in text, told
    assert "host and beyond" not in text
    assert drawing.locator(".sign.dropping").count() == 1
    assert drawing.locator(".arrow.never").count() == 1
    assert page.locator("#way-title").text_content() == "The way of a packet to the world: dropped here"
    assert page.locator("#way-desc").text_content().startswith("A packet to the world of team-")
    told = [" ".join(each.split()) for each in page.locator(".way-figure figcaption p").all_inner_texts()]
    assert told[0].startswith("dropped to the world by eth7: the filter is loose (2) on lxc")
    assert told[1].startswith(word + " reply to the host: ")
    assert len(told) == 2
    picked = page.locator("#path option").all_text_contents()
    assert picked[0].endswith(f": reply {word}, to the world dropped")
    assert picked[1].endswith(": accepted")


def test_both_verdicts_stand_under_endpoints(opened):
    half = fleet.dropping("node-3", 1)
    half["paths"][0]["leaves"] = {"device": "eth9", "verdict": "accepted", "reason": "the route is its own"}
    page = opened(fleet.document([only_outward("node-1", "unknown"), only_outward("node-2", "accepted", True), half]))

    def rows(node):
        page.goto(page.url.split("#")[0] + "#node=" + node)
        shows(page, node)
        return [
            [" ".join(cell.split()) for cell in row.locator("td").all_inner_texts()[2:]]
            for row in page.locator("section.endpoints tbody tr").all()
        ]

    assert rows("node-1")[0] == ["not known", "not known", "dropped"]
    assert rows("node-1")[1][1:] == ["accepted", "accepted by eth0"]
    way_back = "Where would a packet|not known|The way back|not known"
    drawn = page.locator("svg.way-drawing text").all_text_contents()
    assert [text for text in drawn if text in way_back.split("|")] == way_back.split("|")
    assert page.locator("section.endpoints p").first.inner_text() == (
        "3 endpoints, 1 dropping. Replies to the host: 2 accepted, 0 dropped, 1 not known."
    )
    assert rows("node-2")[0][1:] == ["accepted", "dropped"]
    assert rows("node-3") == [["cilium_host", "dropped", "accepted by eth9"]]
    told = page.locator(".way-figure figcaption p").all_inner_texts()
    assert "dropped here" in page.locator("svg.way-drawing").text_content()
    assert [" ".join(each.split()) for each in told][1] == "accepted to the world by eth9: the route is its own."


def test_the_matrix_counts_and_sorts_by_those_dropping(opened):
    more = fleet.dropping("node-3", 2)
    page = opened(fleet.document([fleet.ok("node-1"), only_outward("node-2", "accepted", True), more]))
    column(page, "dropping").click()
    rows = page.locator(".matrix tbody tr")
    assert names(page) == ["node-3", "node-2", "node-1"]
    assert rows.locator("td.pods").all_inner_texts() == ["2 / 2", "1 / 3", "0 / 3"]


def test_another_pod_can_be_drawn(opened):
    page = opened(address="#node=node1")
    page.locator("#path").select_option("2")
    assert "default/web-6d4cf56db6-zq2xv" in page.locator("svg.way-drawing").text_content().replace("\n", "")


def test_the_address_tells_which_pod_is_drawn(opened):
    page = opened(address="#node=node1&q=node")
    page.locator("#path").focus()
    page.keyboard.press("ArrowDown")
    assert page.url.endswith("#node=node1&way=2&q=node")
    assert focused(page).startswith("kube-system"), "the choice keeps the focus"

    def drawn():
        return page.locator(".box.pod .title").all_text_contents()

    page.reload()
    assert "".join(drawn()).startswith("default/web")
    assert page.locator("#path").input_value() == "2"
    page.locator(".siblings a").first.click()
    assert "way=" not in page.url
    page.go_back()
    shows(page, "node1")
    assert "".join(drawn()).startswith("default/web")
    page.locator("a.back").click()
    shows(page, re.compile("^2 of 7"))
    assert page.url.endswith("#q=node")
    assert focused(page) == "node1"
    for wrong in ("0", "-1", "3", "x", "1e9"):
        page.goto(page.url.split("#")[0] + "#node=node1&way=" + wrong)
        shows(page, "node1")
        assert page.locator("svg.way-drawing").count() == 1, wrong


@pytest.mark.parametrize(("width", "kind"), [(320, "tall"), (1280, "wide")])
def test_no_text_of_the_drawing_leaves_its_box(opened, many, width, kind):
    node = next(each for each in many["nodes"] if each["state"] == "dropping")
    node = json.loads(json.dumps(node))
    node["paths"][0].update(name="a-namespace-of-some-length/" + "W" * 80, device="WWWWWWWWWWWWWWW")
    node["paths"][0]["set_by"][0]["path"] = "/etc/sysctl.d/" + "W" * 90 + ".conf"
    page = opened(fleet.document([node]), "#node=" + node["name"], viewport={"width": width, "height": 800})
    assert page.locator(f"svg.way-drawing.{kind}").count() == 1
    outside = page.evaluate("""() => [...document.querySelectorAll('.way-drawing .box')].flatMap((box) => {
      const shape = box.querySelector('.shape').getBBox();
      return [...box.querySelectorAll('text')].filter((text) => {
        const own = text.getBBox();
        return own.x + own.width > shape.x + shape.width || own.y + own.height > shape.y + shape.height;
      }).map((text) => text.textContent);
    })""")
    assert outside == []


def test_the_horizons_stand_side_by_side(opened):
    page = opened(address="#node=node3")
    cards = page.locator(".horizon-list > li")
    assert [text.split("\n")[0] for text in cards.all_inner_texts()] == [
        "Now",
        "Next pod",
        "Next boot",
        "Restart of systemd-sysctl",
        "sysctl --system",
    ]
    assert ["accepted" in text for text in cards.all_inner_texts()] == [True, True, False, False, False]
    assert "/etc/sysctl.d/zz-cis.conf:4" in cards.nth(2).inner_text()
    assert len({box["y"] for box in (cards.nth(place).bounding_box() for place in range(5))}) == 1


def test_a_horizon_tells_how_long_it_lasts_and_what_may_write_it(opened):
    node = fleet.at_risk("node-1")
    ends = {"by": "agent", "value": 0, "seconds": 600}
    place = {"by": "timer", "path": "/usr/local/sbin/tune", "line": 7}
    before = {"effective": 1, "lines": [fleet.BASELINE]}
    node["horizons"].update(
        pod={"effective": None, "dropped": None, "lines": [], "ends": None, "before": None, "unknown": [place]},
        boot={**fleet.EXEMPT, "before": before},
        restart={**fleet.OVERRULED, "ends": ends},
        sysctl_system={**fleet.OVERRULED, "ends": {**ends, "seconds": None}},
    )
    page = opened(fleet.document([node]), "#node=node-1")
    _now, pod, boot, restart, system = page.locator(".horizon-list > li").all_inner_texts()
    assert "not known" in pod
    assert "/usr/local/sbin/tune:7" in pod
    assert "may write it; cannot be predicted" in pod
    assert "Until the agent has started: strict (1), by /etc/sysctl.d/zz-cis.conf:4" in boot
    assert "dropped for up to 10 minutes, until the agent resets it" in restart
    assert "dropped until the agent resets it, at its next start, or from Cilium 1.16 within 10 minutes" in system


def test_each_horizon_tells_the_filter(opened):
    told = opened(address="#node=node3").locator(".horizon-list .filter").all_inner_texts()
    assert told == ["filter off (0)"] * 2 + ["filter strict (1)"] * 3


def test_the_packets_dropped_since_boot_are_counted(opened):
    assert "412 packets dropped by the filter since boot" in opened(address="#node=node1").locator("#node").inner_text()
    assert "\n0 packets dropped" in opened(address="#node=node2").locator("#node").inner_text()


def test_endpoints_are_counted_by_what_becomes_of_them(opened):
    assert opened(address="#node=node1").locator("section.endpoints p").first.inner_text() == (
        "3 endpoints, 2 dropping. Replies to the host: 1 accepted, 2 dropped."
    )


def test_uplinks_are_called_what_they_are(opened):
    well = fleet.ok("node-1")
    [uplink] = well["uplinks"]
    well["uplinks"] = [
        {**uplink, "device": f"eth{number}", "effective": now, "boot": boot, "restart": boot, "sysctl_system": later}
        for number, (now, boot, later) in enumerate([(0, 1, 2), (1, 2, 0), (2, 0, 1), (None, None, None)])
    ]
    page = opened(fleet.document([well]), "#node=node-1")
    rows = page.locator("section.uplinks tbody tr")
    off, strict, loose = "off (0): no protection", "strict (1): protected", "loose (2): protected in part"
    cells = [row.locator("td").all_inner_texts() for row in rows.all()]
    assert [[now, boot, later] for now, boot, _by, _restart, later in cells] == [
        [off, strict, loose],
        [strict, loose, off],
        [loose, off, strict],
        ["not known", "not known: another program may set it", "not known"],
    ]


@pytest.mark.parametrize(
    ("node", "state", "told"),
    [
        ("node1", "ok", "The intent of the control is met"),
        ("node2", "at_risk", "The intent of the control is partially met: some interfaces are loose"),
        ("node3", "dropping", "The intent of the control is not met"),
        ("node-down", "unknown", "Not known whether the intent of the control is met"),
    ],
)
def test_the_auditor_is_told_whether_the_intent_is_met(opened, node, state, told):
    page = opened(address="#node=" + node)
    mark = page.locator("section.attestation > .state")
    assert mark.inner_text() == told
    assert mark.locator("use").get_attribute("href") == "#mark-" + state
    assert mark.get_attribute("class") == "state " + state


def test_a_node_that_was_not_reached_says_why(opened):
    text = opened(address="#node=node-down").locator("#node").inner_text()
    assert "unknown" in text
    assert "No route to host" in text
    assert "no facts of this node are there" in text


def test_no_pod_is_not_told_of_a_node_of_which_none_could_be_seen(opened):
    blind = fleet.node("node-1", "unknown", "Cilium is here, but nothing tells of its endpoints")
    empty = fleet.node("node-2", "ok", "Cilium is here and has no endpoint yet")
    unasked = fleet.ok("node-3")
    unasked.update(state="unknown", summary="whether the kernel drops packets of 3 pods is unknown")
    unasked["endpoints"] = {"total": 3, "accepted": 0, "dropped": 0, "unknown": 3, "dropping": 0}
    nowhere = {**fleet.LASTING, "effective": None, "dropped": None, "lines": []}
    for node in (blind, empty):
        node["horizons"] = {**node["horizons"], "now": nowhere}
    page = opened(fleet.document([blind, empty, unasked]), "#sort=name")
    cells = page.locator(".matrix tbody td.pods").all_inner_texts()
    assert cells == ["unknown", "none", "unknown"]
    column(page, "dropping").click()
    assert names(page)[0] == "node-2", "none dropping is more than not known"

    def told(node):
        page.goto(page.url.split("#")[0] + "#node=" + node)
        shows(page, node)
        return page.locator("#node").inner_text()

    text = told("node-1")
    assert "Which pods are here could not be seen." in text
    assert "No drawing: which pods are on this node could not be seen." in text
    assert "no pod" not in text.lower()
    assert "not known" in page.locator(".horizon-list > li").first.inner_text()
    text = told("node-2")
    assert "No pod is here." in text
    assert "no pod is here" in page.locator(".horizon-list > li").first.inner_text()
    assert "could not be seen" not in text
    assert "not known" not in page.locator(".horizon-list").inner_text()


def test_findings_have_evidence_why_remedy_and_waiver(opened):
    page = opened(address="#node=edge-7")
    waived = page.locator(".finding-group", has_text="RPF007").inner_text()
    for told in (
        "bond0",
        "Packets with a pod's or the node's own addresses can come in by it.",
        "observed 0, expected 1 or 2",
        "waived",
        "NET-118",
        "until 2027-06-30",
        "nodeward.cilium.harden",
        "rp_filter_uplinks",
        "docs/findings.md#rpf007",
        "networking/ip-sysctl",
    ):
        assert told in waived, told
    assert "/etc/systemd/network/10-bond.network:9" in page.locator(".finding-group", has_text="RPF009").inner_text()
    assert "RPF003" in opened(address="#node=node2").locator(".gone-list").inner_text()


def test_what_is_cut_is_said(opened, many):
    node = next(each for each in many["nodes"] if each["state"] == "dropping")
    page = opened(many, "#node=" + node["name"])
    more = page.locator(".finding-group", has_text="RPF001").locator("details")
    assert more.locator("summary").inner_text() == "10 more of the same, all in audit.json"
    more.locator("summary").click()
    assert more.inner_text().count("lxc") == 10
    assert "Findings: 62" in page.locator("#node").inner_text()


def test_copies_commands_and_the_text_for_the_auditor(opened):
    page = opened(address="#node=node1", permissions=["clipboard-read", "clipboard-write"])
    page.locator("section.cures .copy").first.click()
    assert page.evaluate("navigator.clipboard.readText()") == (
        "ansible-playbook -i INVENTORY nodeward.cilium.harden --limit 'NODE' --check --diff"
    )
    assert "Copied command 1 of way 1" in page.locator("#said").inner_text()
    page.locator("section.attestation .copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == fleet.sample()["nodes"][4]["attestation"]["text"]


def test_prints_the_commands_that_the_scenario_hints_executes(opened, scenario_hints):
    known = json.loads((FIXTURES / "audit/facts-broken.json").read_text(encoding="utf-8"))
    rp_filter, routes = known["rp_filter"], known["cilium_routes"]
    node = judged(scenario_hints.NAME, rp_filter, routes, fleet.MOMENT, fleet.MOMENT)
    page = opened(fleet.document([node], compared=False), "#node=" + scenario_hints.NAME)
    shown = page.locator(".finding-group .copyable code, section.cures .copyable code").all_inner_texts()
    diagnosed = diagnosis(rp_filter, routes, node=scenario_hints.NAME)
    there = SimpleNamespace(findings=findings(rp_filter, routes), diagnosis=diagnosed)
    assert len(set(shown)) > 3
    assert set(shown) == set(scenario_hints.printed(there))


def test_the_sections_that_findings_refer_to_are_there():
    headings = re.findall(r"^#+ (.*)", (REPOSITORY / "docs/findings.md").read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    referred = {rule["section"] for rule in fleet.sample()["rules"].values()}
    assert {"docs/findings.md#" + anchor for anchor in anchors} >= referred


def test_copies_where_there_is_no_clipboard_for_pages(opened):
    page = opened(address="#node=node1")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    button = page.locator(".finding-group", has_text="RPF006").locator(".copy")
    button.click()
    assert focused(page).startswith("Copied")
    page.locator("a.back").click()
    shows(page, re.compile("^2 of 7"))
    page.locator("#search").focus()
    page.keyboard.press("Control+V")
    assert page.locator("#search").input_value() == "ansible-playbook nodeward.cilium.diagnose"


def test_what_the_browser_does_not_copy_is_not_called_copied(opened):
    page = opened(address="#node=node1")
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.execCommand = () => false"
    )
    button = page.locator("section.cures .copy").first
    button.click()
    assert button.inner_text().startswith("Press Ctrl+C")
    assert "did not let it be copied" in page.locator("#said").inner_text()
    assert page.evaluate("String(getSelection())").startswith("ansible-playbook -i INVENTORY"), "it is selected"


def test_what_cannot_be_seen_is_not_copied(opened):
    node = fleet.dropping("node-1")
    node["cures"][0]["commands"] = ["ansible-playbook --limit 'a\u202eb'", "one\ntwo", "ansible-playbook harmless"]
    page = opened(fleet.document([node]), "#node=node-1")
    assert page.locator("section.cures .copy").count() == 1
    assert "⟨U+202E⟩" in page.locator("section.cures").inner_text()


# --- names that others chose ---


def hostile_document(*more):
    """Each hostile string as the name of a host, a device, a pod, a file, and in every text of a finding."""
    made = list(more)
    for text in HOSTILE:
        node = fleet.dropping(text)
        node["summary"] = "summary " + text
        node["attestation"]["text"] = text
        node["cures"] = [{"title": text, "commands": [text], "variables": {text: text}}]
        node["uplinks"][0]["device"] = text
        path = node["paths"][0]
        path.update(name=text, pod=text, device=text, route_device=text, address=text, reason=text)
        path["set_by"][0].update(key=text, path="/etc/sysctl.d/" + text, text=text, by=text)
        node["horizons"] = {
            name: {**fleet.FILTERED, "lines": [{"path": text, "line": 1, "key": text, "value": 2}]}
            for name in fleet.HORIZONS
        }
        node["findings"] = [
            fleet.finding(
                "RPF001",
                "high",
                text,
                text,
                text,
                "/etc/" + text,
                1,
                text,
                remedy={"variable": text, "command": text},
            )
        ]
        node["gone"] = [{"id": "RPF002", "severity": "high", "subject": text}]
        made.append(node)
    waivers = [
        {"id": "RPF001" if len(text) % 2 else "RPF009", "hosts": text, "justification": text} for text in HOSTILE
    ]
    document = fleet.document(made, waivers)
    document["baseline"] = {**document["baseline"], "not_compared": HOSTILE, "missing": HOSTILE}
    document["verdict"]["reasons"] = list(HOSTILE)
    document["rules"]["RPF001"].update(
        title=HOSTILE[0], why=HOSTILE[1], reference="javascript:alert(1)", section=HOSTILE[2]
    )
    return document


def spelled(text):
    return re.sub("[\u202e\u200b\u2028]", lambda match: f"⟨U+{ord(match.group()):04X}⟩", text)


def test_hostile_names_show_as_text(opened):
    page = opened(hostile_document())
    assert sorted(names(page)) == sorted(spelled(text) for text in HOSTILE)
    inside = page.locator("main, footer, header")
    assert planted(page) == []
    assert page.locator(".reasons li").all_inner_texts() == [spelled(text) for text in HOSTILE]
    for text in HOSTILE:
        page.goto(page.url.split("#")[0])
        page.locator(".matrix tbody tr").nth(sorted_place(page, spelled(text))).locator("a").click()
        shows(page, spelled(text))
        assert planted(page) == [], text
        told = page.locator("#node").inner_text()
        assert told.count(spelled(text)) >= 12, text
        assert "\u202e" not in inside.all_inner_texts()[1]


def planted(page):
    """What no name may make of itself: elements that the page never has, handlers, styles, addresses that run."""
    return page.evaluate("""() => [...document.querySelectorAll('header *, main *, footer *')].flatMap((one) => [
      ...(one.matches('img, iframe, object, embed, script, style, form, base, [srcdoc]') ? [one.tagName] : []),
      ...[...one.attributes].filter(({name, value}) => /^on|^style$/.test(name) || /^javascript:/.test(value))
        .map(({name}) => name),
    ])""")


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<img src=x>", ["IMG"]),
        ("<iframe srcdoc=x></iframe>", ["IFRAME"]),
        ("<object></object><embed>", ["OBJECT", "EMBED"]),
        ("<script>1</script>", ["SCRIPT"]),
        ("<b onload=x>b</b>", ["onload"]),
        ("<svg onload=x></svg>", ["onload"]),
        ("<a href=javascript:x>a</a>", ["href"]),
        ("<p style=color:red>p</p>", ["style"]),
    ],
)
def test_what_is_planted_would_be_seen(browser, tmp_path, html, found):
    path = chromium.written(fleet.sample(), tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("</main>", html + "</main>"), encoding="utf-8")
    page = chromium.Watched(browser, path).open()
    assert planted(page) == found
    page.context.close()


def sorted_place(page, text):
    return names(page).index(text)


def test_the_policy_refuses_what_gets_in_all_the_same(opened, browser, tmp_path):
    """Shown to hold: script, handler, style, picture, form and connection of a page with its own policy are refused."""
    watched = chromium.Watched(browser, chromium.written(fleet.sample(), tmp_path))
    html = watched.path.read_text(encoding="utf-8").replace(
        "</main>",
        "</main><script>window.broken = 1</script><img src='https://example.invalid/x' onerror='window.broken = 2'>"
        "<p id='styled' style='color: rgb(1, 2, 3)'>x</p>",
    )
    watched.path.write_text(html, encoding="utf-8")
    page = watched.open()
    page.evaluate("fetch('https://example.invalid/').catch(() => 0)")
    assert page.evaluate("window.broken") is None
    assert page.evaluate("getComputedStyle(document.getElementById('styled')).color") != "rgb(1, 2, 3)"
    refused = " ".join(page.evaluate("window.violations"))
    for directive in ("script-src-elem", "img-src", "style-src-attr", "connect-src"):
        assert directive in refused, directive
    with pytest.raises(AssertionError):
        watched.close()


# --- keyboard ---


def test_keyboard_alone(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the answer"
    page.keyboard.press("Enter")
    assert focused(page).startswith("2 of 7 nodes")
    page.keyboard.press("Tab")
    assert focused(page).endswith("dropping")
    page.keyboard.press("Space")
    assert len(names(page)) == 2
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("node1")
    assert names(page) == ["node1"]
    page.keyboard.press("Escape")
    assert len(names(page)) == 2
    page.keyboard.press("Escape")
    assert len(names(page)) == 7
    for _step in range(60):
        page.keyboard.press("Tab")
        if focused(page) == "<script>alert(1)</script>":
            break
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert focused(page) == "node3"
    page.keyboard.press("ArrowUp")
    assert focused(page) == "node1"
    page.keyboard.press("Enter")
    shows(page, "node1")
    assert focused(page) == "node1"
    page.keyboard.press("Escape")
    assert page.locator("#list").is_visible()
    assert focused(page) == "node1"


def test_sorting_by_keyboard_keeps_the_focus(opened):
    page = opened()
    column(page, "003").focus()
    page.keyboard.press("Enter")
    assert page.locator("[aria-sort]").inner_text().startswith("RPF")
    assert names(page)[:2] == ["node1", "node3"]
    assert page.evaluate("document.activeElement.closest('th').getAttribute('aria-sort')") == "descending"


def test_focus_is_always_to_be_seen(opened):
    page = opened()
    for _step in range(40):
        page.keyboard.press("Tab")
        width, style = page.evaluate(
            "(({outlineWidth, outlineStyle}) => [outlineWidth, outlineStyle])(getComputedStyle(document.activeElement))"
        )
        assert (width, style) == ("2px", "solid"), focused(page)


def test_a_slash_in_the_search_is_a_slash(opened):
    page = opened()
    page.locator("#search").focus()
    page.keyboard.type("/etc/")
    assert page.locator("#search").input_value() == "/etc/"


# --- looks ---


def brightness(page, selector="html"):
    return sum(
        map(
            int,
            re.findall(r"\d+", page.locator(selector).evaluate("(one) => getComputedStyle(one).backgroundColor"))[:3],
        )
    )


def choose(page, theme):
    button = page.locator("#tools button", has_text="Theme")
    while theme not in button.inner_text():
        button.click()


def test_dark_and_light_by_system_and_by_hand(opened):
    assert brightness(opened(color_scheme="light")) > 600
    page = opened(color_scheme="dark")
    assert brightness(page) < 150
    button = page.locator("#tools button", has_text="Theme")
    button.click()
    assert "light" in button.inner_text()
    assert brightness(page) > 600
    button.click()
    assert "dark" in button.inner_text()
    page.emulate_media(color_scheme="light")
    assert brightness(page) < 150
    button.click()
    assert brightness(page) > 600


def test_the_theme_is_remembered(opened):
    page = opened(color_scheme="light")
    choose(page, "dark")
    page.reload()
    assert "dark" in page.locator("#tools button", has_text="Theme").inner_text()
    assert brightness(page) < 150


def test_forced_colours_still_show_what_is_pressed_and_how_severe(opened, browser):
    page = opened(address="#state=dropping&id=RPF001&severity=high", forced_colors="active")
    outlines = page.locator("button[aria-pressed]").evaluate_all(
        "(all) => all.map((one) => [one.getAttribute('aria-pressed'), getComputedStyle(one).outlineStyle])"
    )
    assert {style for pressed, style in outlines if pressed == "true"} == {"solid"}
    assert {style for pressed, style in outlines if pressed == "false"} == {"none"}
    page = opened(forced_colors="active")
    for severity in ("high", "medium", "low"):
        for place in (".matrix .amount.%s", ".rules .severity.%s > span:first-child"):
            # What the browser makes of the colours is in no computed style.
            dark = chromium.darkness(browser, page.locator(place % severity).first.screenshot())
            assert 0.04 < dark < 0.96, f"{place % severity}: its letter is to be seen"


@pytest.mark.parametrize("system", ["light", "dark"])
@pytest.mark.parametrize("chosen", ["automatic", "light", "dark"])
def test_forced_colours_hold_in_the_drawing_whatever_theme_was_chosen(opened, system, chosen):
    page = opened(address="#node=node1", forced_colors="active", color_scheme=system)
    choose(page, chosen)
    ink = page.evaluate("getComputedStyle(document.body).color")
    contrasts = chromium.drawing_contrasts(page)
    assert len(contrasts) > 20
    assert [each for each in contrasts if each[1] < each[2]] == []
    fills = page.locator(".way-drawing text").evaluate_all("(all) => all.map((one) => getComputedStyle(one).fill)")
    assert set(fills) == {ink}


@pytest.mark.parametrize("width", [320, 768, 1024, 1440])
@pytest.mark.parametrize("address", ["", "#node=node1", "#node=node3", "#node=node-down", "#node=edge-7"])
def test_nothing_is_wider_than_the_window(opened, width, address):
    page = opened(address=address, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [320, 1280])
def test_long_and_hostile_names_do_not_widen_it(opened, width):
    document = hostile_document(fleet.dropping("w" * 200))
    page = opened(document, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto(page.url.split("#")[0] + "#node=" + "w" * 200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


MARKS = "zalgo" + "\u0301\u0323\u0308\u20dd" * 25


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
@pytest.mark.parametrize("width", [320, 768, 1280])
def test_names_of_many_marks_do_not_widen_it(opened, width, scripts):
    node = fleet.dropping(MARKS)
    node["summary"] = node["reason"] = MARKS
    node["paths"][0].update(name="a/" + MARKS, pod="a/" + MARKS, device=MARKS)
    node["findings"][0].update(subject=MARKS)
    node["cures"][0]["commands"] = [MARKS]
    for horizon in node["horizons"]:
        node["horizons"][horizon] = {**fleet.FILTERED, "lines": [{**fleet.VENDOR, "path": "/etc/" + MARKS}]}
    document = fleet.document([node, fleet.dropping("node-2"), fleet.dropping("node-3")])
    document["verdict"]["reasons"].append(MARKS)
    page = opened(document, viewport={"width": width, "height": 800}, java_script_enabled=scripts)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if scripts:
        page.locator("a", has_text="zalgo").first.click()
        expect(page.locator("#node")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator("a.back").click()
        # The page draws the list only once the address has changed; until then both views have a link to node-3.
        expect(page.locator("#node")).to_be_hidden()
        page.locator("a", has_text="node-3").click()
        expect(page.locator(".siblings", has_text="zalgo")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [320, 768, 1280])
def test_without_scripts_names_are_whole_where_there_is_room(opened, width):
    document = fleet.document([fleet.dropping("worker-0010.rack00.example.net"), fleet.unreachable("w" * 200)])
    page = opened(document, viewport={"width": width, "height": 800}, java_script_enabled=False)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    lines = page.locator("#plain tbody th bdi").evaluate_all("(all) => all.map((one) => one.getClientRects().length)")
    assert lines[0] == 1
    assert lines[1] > 1
    told = page.locator("#plain tbody td bdi").first
    assert told.inner_text() == "the kernel drops packets of 3 of 3 endpoints"
    words = told.evaluate("""(one) => [...one.firstChild.data.matchAll(/\\S+/g)].map(({0: word, index}) => {
      const range = document.createRange();
      range.setStart(one.firstChild, index);
      range.setEnd(one.firstChild, index + word.length);
      return range.getClientRects().length;
    })""")
    assert set(words) == {1}, "no word is broken"


@pytest.mark.parametrize("width", [320, 1280])
def test_the_line_stands_behind_a_path_that_is_written_from_the_right(opened, width):
    hebrew = {**fleet.VENDOR, "path": "/etc/sysctl.d/99-\u05d0\u05d1\u05d2", "line": 12}
    node = fleet.dropping("node-1")
    node["paths"][0]["set_by"][0].update(path=hebrew["path"], line=12)
    node["findings"][0]["evidence"].update(path=hebrew["path"], line=12)
    node["horizons"] = {name: {**fleet.FILTERED, "lines": [hebrew]} for name in node["horizons"]}
    node["horizons"]["boot"]["lines"] = []
    node["horizons"]["restart"]["unknown"] = [{"by": "timer", "path": hebrew["path"], "line": 12}]
    node["uplinks"][0]["lines"] = [hebrew]
    node["paths"][0]["next"]["boot"] = {**fleet.EXEMPT, "lines": [hebrew]}
    page = opened(fleet.document([node]), viewport={"width": width, "height": 800})
    # Of each ":12" whether the last letter of its path ends where it begins.
    ends = """() => [...document.querySelectorAll('.path')].filter((one) => one.checkVisibility()).flatMap((one) => {
      const [path, line] = one.childNodes;
      if (line?.data !== ':12') return [];
      const range = document.createRange();
      range.selectNodeContents(line);
      const behind = range.getBoundingClientRect();
      range.selectNodeContents(path);
      const beside = [...range.getClientRects()].filter(({top}) => Math.abs(top - behind.top) < 9);
      return [behind.left >= Math.max(...beside.map(({right}) => right)) - 1];
    })"""
    assert page.evaluate(ends) == [True]
    page.goto(page.url.split("#")[0] + "#node=node-1")
    shows(page, "node-1")
    assert page.evaluate(ends) == [True] * (4 + 1 + 1 + 1), "horizons, the caption, a finding, an uplink"
    drawn = page.evaluate("""() => {
      const text = [...document.querySelectorAll('.box.culprit text')].find((one) => one.textContent.endsWith(':12'));
      const at = (char) => text.getExtentOfChar(text.textContent.indexOf(char)).x;
      return [at('9'), at('\u05d2'), at('\u05d1'), at('\u05d0'), text.getExtentOfChar(text.textContent.length - 3).x];
    }""")
    assert drawn == sorted(drawn), "99-, three letters from the right, and then the line"


def test_of_a_long_path_the_drawing_keeps_the_line(opened):
    node = fleet.dropping("node-1")
    node["paths"][0]["set_by"][0].update(path="/etc/sysctl.d/" + "very-long-" * 20 + ".conf", line=4711)
    page = opened(fleet.document([node]), "#node=node-1", viewport={"width": 320, "height": 800})
    title = page.locator(".box.culprit .title").all_text_contents()
    assert title[0].startswith("/etc/sysctl.d/")
    assert title[-1].startswith("…")
    assert title[-1].endswith("long-.conf:4711")
    assert len(title) == 4


def test_what_cannot_be_seen_stays_within_its_line(opened):
    node = fleet.dropping("node-1")
    line = {**fleet.VENDOR, "path": "/etc/a\u200bb.conf", "line": 3}
    node["horizons"] = {name: {**fleet.FILTERED, "lines": [line]} for name in node["horizons"]}
    page = opened(fleet.document([node]), "#node=node-1")
    mark = page.locator(".horizon-list .unseen").first
    assert mark.evaluate("(one) => getComputedStyle(one).display") == "inline"


@pytest.mark.parametrize("width", [640, 768, 1280])
def test_a_matrix_of_many_columns_scrolls_within_itself(opened, width):
    page = opened(many_kinds(), viewport={"width": width, "height": 800})
    inside, outside = page.locator(".matrix").evaluate("(one) => [one.scrollWidth, one.clientWidth]")
    assert inside > outside
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".matrix").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)  # it scrolls smoothly, and the policy refuses a script that waits for it
    assert page.locator(".matrix").evaluate("(one) => one.scrollLeft") > 0


def test_the_names_and_the_heads_stay_while_the_matrix_scrolls(opened):
    document = many_kinds()
    page = opened(document, viewport={"width": 768, "height": 320})
    matrix = page.locator(".matrix")
    matrix.evaluate("(one) => one.scrollTo(300, 30)")
    assert matrix.evaluate("(one) => [one.scrollLeft, one.scrollTop]") == [300, 30]
    frame = matrix.bounding_box()
    for name in page.locator(".matrix tbody th.node").all():
        assert abs(name.bounding_box()["x"] - frame["x"]) <= 1.5
    for head in page.locator(".matrix thead th").all():
        assert abs(head.bounding_box()["y"] - frame["y"]) <= 1.5


@pytest.mark.parametrize("width", [640, 768])
def test_what_has_the_focus_in_the_matrix_is_not_behind_heads_or_names(opened, many, width):
    document = many_kinds()
    document["nodes"][0]["name"] = "a-node-whose-name-takes-as-much-room-as-there-is.example.net"
    page = opened(document, viewport={"width": width, "height": 320})
    names_end = page.locator(".matrix thead th.node").bounding_box()
    names_end = names_end["x"] + names_end["width"]
    heads = page.locator(".matrix thead button")
    assert heads.count() == 23 + 5
    heads.last.focus()
    for _step in range(heads.count() - 2):
        page.keyboard.press("Shift+Tab")
        box = page.evaluate("(({left, right}) => [left, right])(document.activeElement.getBoundingClientRect())")
        assert box[0] >= names_end - 1, focused(page)
        assert box[1] <= width
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "Node"
    page = opened(many, viewport={"width": width, "height": 320})
    page.locator(".matrix tbody a").nth(20).focus()
    for _step in range(20):
        page.keyboard.press("ArrowUp")
        heads_end, top = page.evaluate("""[document.querySelector('.matrix thead th').getBoundingClientRect().bottom,
          document.activeElement.getBoundingClientRect().top]""")
        assert top >= heads_end - 1, focused(page)
    page.locator(".matrix").evaluate("(one) => one.scrollTo(100, 0)")
    page.keyboard.press("ArrowDown")
    assert page.locator(".matrix").evaluate("(one) => one.scrollLeft") == 100, "names are where they are"


def test_narrow_nodes_are_cards(opened):
    page = opened(viewport={"width": 320, "height": 800})
    assert page.locator(".cards .card").count() == 7
    assert page.locator(".matrix").is_hidden()
    page.locator("#sort").select_option("name")
    assert page.locator(".cards a").first.inner_text().startswith('"onload')
    page.locator(".cards a", has_text="node3").click()
    shows(page, "node3")


def test_narrow_endpoints_and_uplinks_stand_below_each_other(opened):
    page = opened(address="#node=node1", viewport={"width": 320, "height": 800})
    for section in ("endpoints", "uplinks"):
        cells = page.locator(f"section.{section} tbody td, section.{section} tbody th")
        for cell in cells.all():
            box = cell.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 320, cell.inner_text()
    cells = page.locator("section.endpoints tbody tr").first.locator("td")
    assert [" ".join(text.split()) for text in cells.all_inner_texts()] == [
        "Address 10.0.0.113",
        "Device lxc3c160d6c7aa0",
        "Route by cilium_host",
        "Reply dropped",
        "To the world dropped",
    ]
    wide = opened(address="#node=node1")
    assert wide.locator("section.endpoints tbody tr").first.locator("td").first.inner_text().strip() == "10.0.0.113"


@pytest.mark.parametrize("node", ["node-down", "node-unseen"])
def test_the_matrix_says_why_a_node_is_unknown(opened, node):
    unseen = fleet.node("node-unseen", "unknown", "whether the kernel drops packets of 2 pods is unknown")
    page = opened(fleet.document([fleet.unreachable("node-down"), unseen, fleet.ok("node-1")]))
    why = {"node-down": "unreachable: Failed to connect to the host via ssh", "node-unseen": unseen["summary"]}[node]
    told = page.locator(".matrix tbody tr", has_text=node).locator(".because")
    assert told.inner_text().startswith(why)
    assert told.get_attribute("title").startswith(why)
    assert page.locator(".because").count() == 2


def test_what_was_unfolded_to_be_printed_is_folded_again(opened, tmp_path):
    page = opened(fleet.document([fleet.dropping("node-1", 60)]), "#node=node-1")
    folds = page.locator("details.more")
    assert folds.count() == 2
    folds.last.locator("summary").click()
    page.evaluate(
        "addEventListener('beforeprint', () => { window.open = document.querySelectorAll('details[open]').length; })"
    )
    page.pdf(path=tmp_path / "audit.pdf")
    assert page.evaluate("window.open") == 2
    assert folds.evaluate_all("(all) => all.map((one) => one.open)") == [False, True]


def test_a_printed_drawing_takes_the_width_of_its_frame(opened, tmp_path):
    page = opened(address="#node=node1", viewport={"width": 700, "height": 900})
    assert page.locator("svg.way-drawing.tall").count() == 1
    page.evaluate("""addEventListener('beforeprint', () => {
      const [drawing, frame] = ['svg.way-drawing', '.way-figure'].map((one) => document.querySelector(one));
      window.printed = [drawing.getAttribute('class'), drawing.clientWidth / frame.clientWidth];
    })""")
    page.pdf(path=tmp_path / "audit.pdf", format="A4")
    kind, share = page.evaluate("window.printed")
    assert kind == "way-drawing wide"
    assert share > 0.9
    assert page.locator("svg.way-drawing.tall").count() == 1, "and afterwards it is as before"


def test_prints_all_nodes_black_on_white_without_controls(opened, many, tmp_path):
    page = opened(many, color_scheme="dark")
    page.evaluate(
        "addEventListener('beforeprint', () => { window.rows = document.querySelectorAll('.matrix tbody tr').length; })"
    )
    page.pdf(path=tmp_path / "audit.pdf", format="A4")
    assert page.evaluate("window.rows") == 250
    assert len(names(page)) == 50, "and afterwards it is as before"
    assert (tmp_path / "audit.pdf").stat().st_size > 20000
    page.emulate_media(media="print", color_scheme="dark")
    assert brightness(page) == 765
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    for control in ("#tools", ".filters", ".pager", ".keys"):
        assert page.locator(control).is_hidden(), control
    page.goto(page.url.split("#")[0] + "#node=" + many["nodes"][0]["name"])
    assert page.locator(".copy").first.is_hidden()
    assert page.locator("svg.way-drawing").is_visible()


def test_printed_is_what_is_folded_too(opened):
    page = opened(many_kinds())
    assert page.locator(".rules tbody tr:visible").count() == 10
    page.emulate_media(media="print")
    assert page.locator(".rules tbody tr:visible").count() == 23


def test_states_and_severities_are_never_told_by_colour_alone(opened):
    page = opened()
    for mark in page.locator(".matrix .state").all():
        assert mark.inner_text() in ("dropping", "at risk", "unknown", "ok")
        assert mark.locator("use").count() == 1
    shapes = page.evaluate("[...document.querySelectorAll('symbol .ground')].map((one) => one.outerHTML)")
    assert len(set(shapes)) == 4
    assert page.locator(".matrix thead .bare [aria-hidden]").all_inner_texts() == [
        "H",
        "H",
        "H",
        "H",
        "M",
        "M",
        "L",
        "L",
    ]


@pytest.fixture(scope="session")
def shown(tmp_path_factory, many):
    """Every view of the page: its file, its address, and what is done there before one looks."""

    def unfold(page):
        page.locator("details.more summary").first.click()
        inside, outside = page.locator("details.more p").first.evaluate("(one) => [one.scrollHeight, one.clientHeight]")
        assert inside > outside

    outward = [only_outward("node-1", "unknown"), only_outward("node-2", "accepted", True)]
    unseen = fleet.node("node-3", "unknown", "Cilium is here, but nothing tells of its endpoints")
    empty = fleet.node("node-4", "ok", "Cilium is here and has no endpoint yet")
    documents = {
        "sample": fleet.sample(),
        "many": many,
        "kinds": many_kinds(),
        "hostile": hostile_document(),
        "nothing": fleet.document([], compared=False),
        "all ok": fleet.document([fleet.ok("node-1")], compared=False),
        "cut": fleet.document([fleet.dropping("node-1", 300)]),
        "seldom": fleet.document([*outward, unseen, empty]),
    }
    files = {name: chromium.written(document, tmp_path_factory.mktemp("shown")) for name, document in documents.items()}
    views = [("sample", "#node=" + node["name"], None) for node in documents["sample"]["nodes"]]
    views += [("seldom", f"#node=node-{number}", None) for number in (1, 2, 3, 4)]
    views += [
        ("sample", "", None),
        ("sample", "#q=nothing-at-all", None),
        ("sample", "#node=not-there", None),
        ("sample", "#state=dropping&protection=met&severity=high&id=RPF001&new=1&waived=without&sort=-RPF001", None),
        ("sample", "#line=%2Fusr%2Flib%2Fsysctl.d%2F50-default.conf%3A26", None),
        ("many", "#page=2", None),
        ("kinds", "", lambda page: page.locator(".unfold").click()),
        ("hostile", "", None),
        ("hostile", "#node=%E2%80%AEevil", None),
        ("nothing", "", None),
        ("all ok", "", None),
        ("all ok", "#node=node-1", None),
        ("cut", "#node=node-1", unfold),
    ]
    return files, views


@pytest.mark.parametrize(
    ("system", "chosen", "width"),
    [
        ("light", None, 320),
        ("light", None, 1280),
        ("dark", None, 320),
        ("dark", None, 1280),
        ("dark", "light", 1280),
        ("light", "dark", 1280),
    ],
)
def test_axe_finds_no_violation_in_any_view(browser, shown, system, chosen, width):
    # axe is not in the page's policy: only here it is bypassed.
    files, views = shown
    context = browser.new_context(bypass_csp=True, color_scheme=system, viewport={"width": width, "height": 800})
    page = context.new_page()
    for name, address, act in views:
        page.goto("about:blank")
        page.goto(files[name].as_uri() + address)
        if chosen:
            choose(page, chosen)
        assert (brightness(page) > 600) == ((chosen or system) == "light")
        if act:
            act(page)
        assert chromium.axe_violations(page) == [], (name, address)
        if page.locator("svg.way-drawing").count():
            contrasts = chromium.drawing_contrasts(page)
            assert len(contrasts) > 20
            assert [each for each in contrasts if each[1] < each[2]] == [], (name, address)
    context.close()


def test_a_drawing_that_is_hard_to_read_would_be_found(opened):
    page = opened(address="#node=node1", bypass_csp=True)
    page.add_style_tag(content=":root { --soft: #999; --edge: #ccc } .sign .cut { stroke: #c55 !important }")
    poor = {each[0] for each in chromium.drawing_contrasts(page) if each[1] < each[2]}
    assert {"Pod", "10.0.0.113", "Whose line", "sign"} <= poor
    assert any(each.startswith("arrow never") for each in poor)
    assert "dropped here" not in poor


def test_axe_would_find_one(opened):
    page = opened(bypass_csp=True)
    page.evaluate("""() => {
      document.querySelector('.tally').style.background = 'linear-gradient(#fff, #000)';
      const broken = document.createElement('img');
      broken.src = 'data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7';
      document.querySelector('main').append(broken);
      document.querySelector('h2').style.color = '#eee';
      document.querySelector('label[for=waived]').remove();
    }""")
    found = [each.split(":")[0] for each in chromium.axe_violations(page)]
    assert {"image-alt", "color-contrast", "select-name", "undecided color-contrast"} <= set(found)


def test_headings_are_in_order_and_the_page_has_a_language(opened):
    page = opened(address="#node=node1")
    levels = [
        int(level[1])
        for level in page.locator("h1:visible, h2:visible, h3:visible, h4:visible").evaluate_all(
            "(all) => all.map((one) => one.tagName)"
        )
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:]))
    assert page.locator("html").get_attribute("lang") == "en"
