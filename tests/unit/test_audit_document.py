"""Facts of nodes in, the audit's document out: states, horizons, attestation, waivers, baseline, verdict."""

import contextlib
import datetime
import functools
import json

import jsonschema
import pytest
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import summary as audit_summary
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.baseline import Baseline, parsed
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.formats import FORMATS
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.node import judged, not_judged
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.page import page
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import (
    FAIL_ON,
    FAILED,
    NO_FACTS,
    UNREACHABLE,
    AuditError,
)
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.waivers import Waivers
from audit_nodes import FACTS, MOMENT, SCHEMA, TODAY, document, facts, node, three
from hypothesis import example, given, settings
from hypothesis import strategies as st

VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
MEMBERS = ("rp_filter", "cilium_routes")
SEVERE = {"hosts": "*", "justification": "agreed"}


def baseline_of(earlier):
    return Baseline.read(json.dumps(earlier), "earlier.json")


def test_three_nodes_fit_the_schema():
    made = three()
    VALIDATOR.validate(made)
    assert [each["state"] for each in made["nodes"]] == ["dropping", "ok", "unknown"]
    assert {key: made["totals"][key] for key in ("nodes", "ok", "at_risk", "dropping", "unknown")} == {
        "nodes": 3,
        "ok": 1,
        "at_risk": 0,
        "dropping": 1,
        "unknown": 1,
    }


def test_what_the_schema_does_not_know_is_refused():
    made = three()
    made["nodes"][0]["odd"] = 1
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(made)


def test_a_broken_node_names_the_line():
    made = node("broken", "broken")
    [found] = [each for each in made["findings"] if each["id"] == "RPF001" and each["subject"].startswith("lxc")]
    assert (found["evidence"]["path"], found["evidence"]["line"]) == ("/usr/lib/sysctl.d/50-default.conf", 3)
    assert made["endpoints"] == {"total": 1, "accepted": 0, "dropped": 1, "unknown": 0, "dropping": 1}
    for horizon in made["horizons"].values():
        assert horizon["dropped"] is True
        assert horizon["effective"] == 2
        assert horizon["lines"][0]["path"] == "/usr/lib/sysctl.d/50-default.conf"
    assert made["paths"][0]["verdict"] == "dropped"
    assert made["cures"]


def test_a_way_bears_the_name_of_its_endpoint():
    def unnamed(known):
        known["cilium_routes"]["endpoints"][0].update(pod=None)

    def health(known):
        known["cilium_routes"]["endpoints"][0].update(pod=None, is_health=True)

    assert node("broken", "broken")["paths"][0]["name"] == node("broken", "broken")["paths"][0]["pod"]
    assert node("broken", "broken", change=unnamed)["paths"][0]["name"] is None
    assert node("broken", "broken", change=health)["paths"][0]["name"] == "health endpoint"


def test_a_healthy_node_shows_one_way_and_needs_no_cure():
    made = node()
    assert [path["verdict"] for path in made["paths"]] == ["accepted"]
    assert made["cures"] == []
    assert {name: horizon["dropped"] for name, horizon in made["horizons"].items()} == {
        "now": False,
        "pod": False,
        "boot": False,
        "restart": False,
        "sysctl_system": False,
    }


def test_a_node_ok_now_and_dropping_with_the_next_pod_is_at_risk():
    def mended_by_hand(known):
        for name in ("lxc3c160d6c7aa0", "cilium_host", "cilium_net"):
            known["rp_filter"]["devices"][name].update(running=0, effective=0)
        known["cilium_routes"]["endpoints"][0].update(verdict="accepted", reason="the filter is off")
        known["cilium_routes"]["endpoints"][0]["leaves"]["verdict"] = "accepted"

    made = node("node1", "broken", change=mended_by_hand)
    assert made["state"] == "at_risk"
    assert made["horizons"]["now"]["dropped"] is False
    assert made["horizons"]["pod"]["dropped"] is True


@pytest.mark.parametrize("kind, state", [("healthy", "ok"), ("broken", "at_risk")])
def test_a_node_without_cilium_is_judged_by_its_first_pod(kind, state):
    def bare(known):
        for name in ("lxc3c160d6c7aa0", "cilium_host", "cilium_net"):
            del known["rp_filter"]["devices"][name]
        known["cilium_routes"]["endpoints"] = []
        known["cilium_routes"]["source"] = None
        known["cilium_routes"]["unread"] = []

    made = node("node1", kind, change=bare)
    assert made["state"] == state, made["summary"]
    assert made["endpoints"]["total"] == 0
    assert ("replies of its first pod will be dropped" in made["summary"]) == (state == "at_risk")


def findings_of(made):
    return {each["id"] for each in made["findings"]}


def test_no_node_is_fine_beside_a_high_finding():
    rule = {"family": "ip", "table": "raw", "chain": "PREROUTING", "rule": "-m rpfilter"}

    def filtered(known):
        known["rp_filter"]["netfilter"] = [dict(rule, ipv6_only=False, only_on=None, not_on=[])]

    made = node(change=filtered)
    assert made["state"] == "at_risk"
    title = "A netfilter rule checks the reverse path"
    assert made["summary"].startswith(title + ": ip raw PREROUTING; of its pods: ok")


def with_routes(known):
    known["cilium_routes"]["endpoint_routes"].update(agent=True, in_effect=True, with_route=1, without_route=0)
    known["cilium_routes"]["endpoints"][0].update(route_device="lxc3c160d6c7aa0", symmetric=True, dropped_at=[])


@pytest.mark.parametrize("name", ["cilium_host", "all"])
def test_nodes_that_are_cut_apart_are_dropping(name):
    def cut(known):
        with_routes(known)
        if name == "all":
            known["rp_filter"]["all"]["running"] = 1
            for device in known["rp_filter"]["devices"].values():
                device["effective"] = max(1, device["running"])
        else:
            known["rp_filter"]["devices"][name].update(running=2, effective=2)

    made = node(change=cut)
    assert (made["state"], findings_of(made) & {"RPF026"}) == ("dropping", {"RPF026"})
    assert made["summary"].startswith("packets from other nodes are dropped on cilium_host")
    assert node(change=with_routes)["state"] == "ok"


def unread(known):
    what = {"what": "/etc/sysctl.d/99-zz-cis.conf", "why": "Permission denied", "decides": True, "needs_root": True}
    known["rp_filter"]["unread"].append(what)


def test_what_could_not_be_read_is_no_pass():
    made = node(change=unread)
    assert made["state"] == "unknown"
    assert made["summary"].startswith(
        "What may decide the filter could not be read: /etc/sysctl.d/99-zz-cis.conf; of the rest: ok"
    )
    assert made["attestation"]["state"] == "unknown"
    assert "  not read: /etc/sysctl.d/99-zz-cis.conf (Permission denied)" in made["attestation"]["text"].splitlines()
    assert not document([made], fail_on="none")["verdict"]["passed"]
    # What is dropped now is dropped all the same.
    assert node("node1", "broken", change=unread)["state"] == "dropping"


def test_at_most_five_ways_the_dropped_ones_first():
    def many(known):
        pattern = known["cilium_routes"]["endpoints"][0]
        state = known["rp_filter"]["devices"][pattern["device"]]
        known["cilium_routes"]["endpoints"] = []
        for number in range(12):
            name = f"lxc{number}"
            known["rp_filter"]["devices"][name] = state
            verdict = "dropped" if number > 7 else "unknown"
            known["cilium_routes"]["endpoints"].append(
                dict(pattern, device=name, address=f"10.0.0.{number}", verdict=verdict)
            )

    made = node("node1", "broken", change=many)
    assert len(made["paths"]) == 5
    assert [path["verdict"] for path in made["paths"]][:4] == ["dropped"] * 4
    VALIDATOR.validate(document([made]))


@pytest.mark.parametrize("change", [
    lambda known: known["rp_filter"].pop("devices"),
    lambda known: known["rp_filter"].update(all=None),
    lambda known: known["rp_filter"]["devices"].update(lxc9="?"),
    lambda known: known["cilium_routes"].pop("endpoints"),
    lambda known: known.update(cilium_routes=[]),
])  # fmt: skip
def test_facts_that_nobody_understands_judge_nothing(change):
    made = node("node1", change=change)
    assert made["state"] == "unknown"
    assert made["attestation"]["state"] == "unknown"
    if made["gathered"]:
        assert "RPF029" in {each["id"] for each in made["findings"]}
        assert made["summary"].startswith("The facts are incomplete: ")
    else:
        assert made["reason"].startswith("no facts: ")
    VALIDATOR.validate(document([made]))


# --- for auditors ---


def test_the_intent_is_met_by_lines_that_are_named():
    told = node()["attestation"]
    assert told["state"] == "partially_met"
    assert "The intent is PARTIALLY MET" in told["text"]
    assert "uplink eth0: loose (2) now, loose (2) after a boot (" in told["text"]
    after = "loose (2) after a restart of systemd-sysctl, loose (2) after sysctl --system  <-- protected in part\n"
    assert "), " + after in told["text"]
    assert "Exempt, as interfaces of Cilium: cilium_host, cilium_net, lxc3c160d6c7aa0." in told["text"]
    assert "/etc/sysctl.d/99-override_cilium_rp_filter.conf:17" in told["text"]


def strict(known):
    """Make the uplink strict, now and later, and interfaces of other programs with it."""
    for name, device in known["rp_filter"]["devices"].items():
        if device["kind"] == "uplink":
            line = dict(device["configured"]["systemd_sysctl"], value=1)
            device.update(running=1, effective=1, configured={"systemd_sysctl": line, "procps": line})
        elif device["kind"] == "other" and name != "lo":
            device.update(running=1, effective=1)


def test_strict_is_met_loose_is_partially_met_and_off_is_not_met():
    def loose_after_a_boot(known):
        strict(known)
        configured = known["rp_filter"]["devices"]["eth0"]["configured"]
        configured["systemd_sysctl"] = dict(configured["systemd_sysctl"], value=2)

    met = node(change=strict)["attestation"]
    assert met["state"] == "met" and "The intent is MET: each interface" in met["text"]
    assert "RHEL-08-040285) takes 1 or 2" in met["text"] and "What loose (2) does not stop" not in met["text"]
    in_part = node(change=loose_after_a_boot)["attestation"]
    assert in_part["state"] == "partially_met"
    assert "strict (1) now, loose (2) after a boot" in in_part["text"]
    assert "What loose (2) does not stop" in in_part["text"] and "loose does not satisfy it" in in_part["text"]


def test_each_state_of_spoof_protection_is_counted():
    def off(known):
        known["rp_filter"]["devices"]["eth0"].update(running=0, effective=0)

    nodes = [node("a", change=strict), node("b"), node("c", change=off), not_judged("d", FAILED, "?")]
    totals = document(nodes)["totals"]["spoof_protection"]
    assert totals == {"met": 1, "partially_met": 1, "not_met": 1, "unknown": 1}


def image(known):
    """Facts of a tree of files that does not run."""
    system = {"observed": False, "why": "this is a chroot: /proc/sys is the build host's"}
    known["rp_filter"].update(running_system=system, devices={}, counters=dict.fromkeys(known["rp_filter"]["counters"]))
    for name in ("all", "default"):
        known["rp_filter"][name]["running"] = None
    routes = {"in_effect": None, "with_route": 0, "without_route": 0, "agent": None, "disagreement": None}
    known["cilium_routes"].update(running_system=system, endpoints=[], source=None, unread=[], endpoint_routes=routes)


@pytest.mark.parametrize("kind, state", [("healthy", "ok"), ("broken", "at_risk")])
def test_an_image_is_judged_by_its_files_alone(kind, state):
    made = node(kind=kind, change=image)
    assert made["state"] == state and "judged by its files alone (this is a chroot" in made["summary"]
    assert made["running_system"]["observed"] is False
    assert (made["endpoints"], made["uplinks"], made["paths"]) == (None, [], [])
    assert not {"RPF001", "RPF006", "RPF007", "RPF029", "RPF030"} & findings_of(made)
    assert made["attestation"]["state"] == "unknown"
    assert "not a running system (this is a chroot" in made["attestation"]["text"]
    VALIDATOR.validate(document([made]))
    assert "node1: judged by its files alone: this is a chroot: /proc/sys is the build host's" in audit_summary.summary(
        document([made])
    )


@pytest.mark.parametrize("fact", ["rp_filter", "cilium_routes"])
def test_a_node_whose_facts_another_version_gathered_is_unknown(fact):
    made = node(change=lambda known: known[fact].pop("schema_version"))
    assert (made["state"], made["gathered"]) == ("unknown", False)
    assert made["reason"].startswith(f"other version: gathered by an older version: {fact} has no schema_version")
    VALIDATOR.validate(document([made]))


def test_only_what_packets_raise_is_counted():
    assert set(node()["counters"]) == {"ip_reverse_path_filter", "boot_id"}


def test_a_node_on_which_all_is_on_meets_the_letter():
    def letter(known):
        known["rp_filter"]["all"]["running"] = 1
        for device in known["rp_filter"]["devices"].values():
            device["effective"] = max(1, device["running"])

    text = node(change=letter)["attestation"]["text"]
    assert "The letter is also met: all is on" in text
    assert "Why not to the letter" not in text
    assert "Why not to the letter" in node()["attestation"]["text"]


@pytest.mark.parametrize("change, met", [
    (lambda device: device.update(kind="other", link_kind="dummy"), "met"),
    (lambda device: device.update(kind="other", link_kind="veth"), "not_met"),
    (lambda device: device.update(kind="other", link_kind="veth", effective=2), "partially_met"),
    (lambda device: device.update(kind="other", link_kind="veth", effective=1), "met"),
    (lambda device: device.update(kind="cilium"), "met"),
])  # fmt: skip
def test_only_devices_by_which_packets_come_in_must_be_filtered(change, met):
    def bare(known):
        device = json.loads(json.dumps(known["rp_filter"]["devices"]["eth0"]))
        device.update(running=0, effective=0)
        change(device)
        strict(known)
        known["rp_filter"]["devices"]["bare0"] = device

    assert node(change=bare)["attestation"]["state"] == met


def test_sysctl_system_may_strip_an_uplink_too():
    def later(known):
        known["rp_filter"]["devices"]["eth0"]["configured"]["procps"] = {
            "key": "net.ipv4.conf.eth0.rp_filter", "line": 1, "path": "/etc/sysctl.conf", "value": 0
        }  # fmt: skip

    made = node(change=later)
    assert made["attestation"]["state"] == "not_met"
    assert "off (0) after sysctl --system  <-- NOT protected" in made["attestation"]["text"]
    assert made["uplinks"][0]["sysctl_system"] == 0
    assert "RPF030" in findings_of(made)


@pytest.mark.parametrize("kind", ["uplink", "other"])
def test_the_intent_is_not_met_where_a_device_lost_its_filter(kind):
    def off(known):
        known["rp_filter"]["devices"]["eth0"].update(kind=kind, running=0, effective=0)

    told = node(change=off)["attestation"]
    assert told["state"] == "not_met"
    assert "eth0: off (0) now" in told["text"] and "<-- NOT protected" in told["text"]


def test_an_uplink_that_a_boot_strips_of_its_filter_does_not_meet_it():
    def later(known):
        line = {"key": "net.ipv4.conf.eth0.rp_filter", "line": 1, "path": "/etc/sysctl.d/zz.conf", "value": 0}
        known["rp_filter"]["devices"]["eth0"]["configured"]["systemd_sysctl"] = line

    told = node(change=later)["attestation"]
    assert told["state"] == "not_met"
    [line] = [line for line in told["text"].splitlines() if "uplink eth0" in line]
    assert "loose (2) now, off (0) after a boot (" in line
    assert "(/etc/sysctl.d/zz.conf:1)" in line and line.endswith("<-- NOT protected")
    assert "RPF030" in findings_of(node(change=later))


def writes(by, names, sets):
    line = {"by": by, "path": f"/etc/{by}.conf", "line": 7, "text": "x", "names": names, "value": "x", "sets": sets}
    line.update(narrowed=False, not_on=[])

    def change(known):
        known["rp_filter"]["other_writers"] = [line]

    return change


@pytest.mark.parametrize("writer, boot, met", [
    # The kernel uses the larger of both, and eth0 is pinned at 2.
    (("ufw", ["all"], 0), 2, "partially_met"),
    (("ufw", ["all"], 1), 2, "partially_met"),
    # It writes after systemd-sysctl.
    (("tuned", ["eth0"], 1), 1, "partially_met"),
    (("tuned", ["eth1"], 0), 2, "partially_met"),
    (("networkmanager", None, 2), 2, "partially_met"),
    (("tuned", ["eth0"], 0), 0, "not_met"),
    (("tuned", ["eth0"], None), None, "unknown"),
    (("networkd", ["e*"], 0), 0, "not_met"),
    (("networkd", ["all"], 0), 2, "partially_met"),
    (("networkmanager", None, None), None, "unknown"),
    # A loader writes no value that is there already, and what was never written follows `default`.
    (("ufw", ["default"], 0), None, "unknown"),
])  # fmt: skip
def test_the_intent_is_not_met_for_sure_where_another_program_may_take_the_filter_off(writer, boot, met):
    made = node(change=writes(*writer))
    assert made["uplinks"][0]["boot"] == boot
    assert made["attestation"]["state"] == met
    [line] = [line for line in made["attestation"]["text"].splitlines() if "uplink eth0" in line]
    assert ("not known, since another program may set it, after a boot" in line) is (boot is None)
    if writer[2] is not None and boot is None:
        assert f"(/etc/{writer[0]}.conf:7)" in line


@pytest.mark.parametrize("writer, horizons", [
    (("ufw", ["all"], 1), ["boot"]),
    (("ufw", ["*"], 2), ["boot"]),
    (("networkd", ["lxc*"], 1), ["pod", "boot"]),
    (("networkd", ["eth*"], 1), []),
    (("ufw", ["all"], 0), []),
])  # fmt: skip
def test_what_another_program_sets_is_in_the_horizons(writer, horizons):
    made = node(change=writes(*writer))
    assert [when for when in ("pod", "boot", "sysctl_system") if made["horizons"][when]["dropped"]] == horizons
    for when in horizons:
        assert [line["path"] for line in made["horizons"][when]["lines"]] == [f"/etc/{writer[0]}.conf"]
    assert made["state"] == ("at_risk" if horizons else "ok")


def test_a_program_that_starts_when_pods_may_have_interfaces_makes_the_next_boot_unknown():
    made = node(change=writes("tuned", ["lxc*"], 1))
    assert (made["horizons"]["boot"]["dropped"], made["state"]) == (None, "at_risk")


AGENT = {"seen": True, "by": "socket", "answers": True, "version": "1.20.0", "reconciles_after": 600}
CIS = {"key": "net.ipv4.conf.all.rp_filter", "line": 3, "path": "/etc/sysctl.d/zz-cis.conf", "value": 1}


def baseline(agent):
    """A baseline that sets `all` and no glob, and no drop-in."""

    def change(known):
        known["rp_filter"]["agent"] = agent
        known["rp_filter"]["all"]["configured"] = {"systemd_sysctl": CIS, "procps": CIS}
        known["rp_filter"]["dropin"] = {**known["rp_filter"]["dropin"], "assignments": []}

    return change


def test_what_the_agent_ends_by_itself_puts_a_node_at_risk_and_does_not_fail_the_audit():
    made = node(change=baseline(AGENT))
    assert made["state"] == "at_risk"
    assert {each["severity"] for each in made["findings"] if each["id"] in ("RPF004", "RPF034")} == {"medium"}
    assert "RPF003" not in findings_of(made)
    assert made["horizons"]["boot"]["dropped"] is False
    before = {"effective": 1, "lines": [{name: CIS[name] for name in ("path", "line", "key", "value")}]}
    assert made["horizons"]["boot"]["before"] == before
    assert made["horizons"]["restart"]["ends"] == {"by": "agent", "value": 0, "seconds": 600}
    assert document([made])["verdict"]["passed"] is True
    without = node(change=baseline(None))
    assert "RPF003" in findings_of(without)
    assert document([without])["verdict"]["passed"] is False


def test_a_horizon_that_a_script_makes_unknown_puts_a_node_at_risk_and_names_the_script():
    def script(known):
        writes("networkd-dispatcher", None, None)(known)
        known["rp_filter"]["other_writers"][0].update(when=["interface"], certain=False, active=True, value=None)

    made = node(change=script)
    assert made["state"] == "at_risk"
    assert made["horizons"]["pod"]["dropped"] is None
    [place] = made["horizons"]["pod"]["unknown"]
    assert place == {"by": "networkd-dispatcher", "path": "/etc/networkd-dispatcher.conf", "line": 7}
    assert "/etc/networkd-dispatcher.conf:7 may write the filter" in made["summary"]


def test_with_endpoint_routes_an_unknown_value_of_the_host_interfaces_is_not_fine():
    def script(known):
        writes("networkd-dispatcher", ["cilium_*"], None)(known)
        known["rp_filter"]["other_writers"][0].update(when=["interface"], certain=False, active=True, value=None)
        for endpoint in known["cilium_routes"]["endpoints"]:
            endpoint["dropped_at"] = []
        known["cilium_routes"]["endpoint_routes"].update(agent=True, in_effect=True, without_route=0, with_route=1)

    made = node(change=script)
    assert (made["state"], "RPF002" in findings_of(made)) == ("at_risk", True)


@pytest.mark.parametrize("writer, lines, boot, lost", [
    # Whether eth0 is there already when `default` is written, nobody knows.
    (("ufw", ["default"], 1), {}, None, False),
    (("networkd", ["default"], 1), {}, 0, True),
    (("ufw", ["all"], 2), {}, 2, False),
    # It makes strict loose, and no other.
    (("networkmanager", None, 2), {}, 0, True),
    (("networkmanager", None, 2), {"value": 1}, 2, False),
    (("networkmanager", None, 2), {"value": 0}, 0, True),
])  # fmt: skip
def test_an_uplink_that_no_line_sets_for_good(writer, lines, boot, lost):
    def bare(known):
        writes(*writer)(known)
        known["rp_filter"]["default"]["configured"] = {"systemd_sysctl": None, "procps": None}
        line = {"key": "net.ipv4.conf.eth0.rp_filter", "line": 1, "path": "/etc/sysctl.d/zz.conf", **lines}
        known["rp_filter"]["devices"]["eth0"]["configured"]["systemd_sysctl"] = line if lines else None

    made = node(change=bare)
    assert made["uplinks"][0]["boot"] == boot
    assert ("RPF030" in findings_of(made)) is lost
    # NetworkManager is named where there is something that it makes loose.
    named = "/etc/networkmanager.conf" in [line["path"] for line in made["uplinks"][0]["lines"]]
    assert named is (writer[0] == "networkmanager" and lines == {"value": 1})


def test_an_uplink_is_protected_by_all_whatever_is_done_to_it():
    def everywhere(known):
        writes("tuned", ["eth0"], None)(known)
        line = {"key": "net.ipv4.conf.all.rp_filter", "line": 1, "path": "/etc/sysctl.d/zz.conf", "value": 1}
        known["rp_filter"]["all"]["configured"]["systemd_sysctl"] = line

    # Strict or loose, and loose is the weaker.
    assert node(change=everywhere)["uplinks"][0]["boot"] == 2


@pytest.mark.parametrize("writer, cures", [
    (("ufw", ["all"], 1), ["/etc/ufw.conf:7 'x' (ufw) overrides net.ipv4.conf.all.rp_filter = 0 with 1; remove the "]),
    (("networkd", ["lxc*"], 1),
     ["/etc/networkd.conf:7 'x' (networkd) overrides ", "give every pod a route by its own device"]),
])  # fmt: skip
def test_no_cure_is_told_that_another_program_undoes(writer, cures):
    made = node(change=writes(*writer))
    assert made["state"] == "at_risk"
    assert len(made["cures"]) == len(cures)
    assert all(cure["title"].startswith(told) for cure, told in zip(made["cures"], cures))
    assert made["cures"][0]["commands"] == []
    # A loader's line drops replies as well.
    made = node(kind="broken", change=writes(*writer))
    assert "exempt Cilium's devices" in made["cures"][1]["title"]
    assert len(made["cures"]) == len(cures) + 1


def test_without_any_uplink_it_cannot_be_said():
    told = node(change=lambda known: known["rp_filter"]["devices"].pop("eth0"))["attestation"]
    assert told["state"] == "unknown"
    assert "no uplink is known" in told["text"]


# --- the verdict ---


@pytest.mark.parametrize("kind, fail_on, passed", [
    ("broken", "high", False), ("broken", "medium", False), ("broken", "low", False), ("broken", "none", True),
    ("healthy", "high", True), ("healthy", "medium", True), ("healthy", "low", False), ("healthy", "none", True),
])  # fmt: skip
def test_the_severity_decides(kind, fail_on, passed):
    verdict = document([node("node1", kind)], fail_on=fail_on)["verdict"]
    assert verdict["passed"] is passed
    assert bool(verdict["reasons"]) is not passed


@pytest.mark.parametrize("fail_on", FAIL_ON)
@pytest.mark.parametrize("kind", [UNREACHABLE, FAILED, NO_FACTS])
def test_a_node_that_could_not_be_judged_never_passes(fail_on, kind):
    made = document([not_judged("lost", kind, "timed\nout")], fail_on=fail_on)
    assert made["verdict"] == {"passed": False, "reasons": ["1 node could not be judged: lost"]}
    assert made["nodes"][0]["reason"] == f"{kind}: timed out"


def test_no_node_is_no_pass():
    assert document([], fail_on="none")["verdict"] == {"passed": False, "reasons": ["no node was audited"]}


def test_the_reasons_count_findings_and_the_nodes_that_have_them():
    made = document([node("a", "broken"), node("b", "broken"), node("c")], fail_on="medium")
    counted = made["totals"]["findings"]
    expected = f"{counted['high'] + counted['medium']} findings of severity medium or worse on 2 nodes"
    assert made["verdict"]["reasons"] == [expected]


# --- waivers ---


def of_all(made):
    return [dict(SEVERE, id=rule_id) for rule_id in made["rules"]]


def test_what_is_waived_is_kept_and_does_not_count():
    waivers = of_all(three())
    made = document([node("node1", "broken")], waivers=waivers, fail_on="low")
    VALIDATOR.validate(made)
    assert made["verdict"]["passed"] is True
    assert made["nodes"][0]["state"] == "dropping"
    assert made["totals"]["findings"] == {"high": 0, "medium": 0, "low": 0}
    assert made["totals"]["waived"] == len(made["nodes"][0]["findings"]) > 0
    assert made["nodes"][0]["findings"][0]["waived"] == {"justification": "agreed", "expires": None}
    assert sum(each["matched"] for each in made["waivers"]) == made["totals"]["waived"]


@pytest.mark.parametrize("expires, passed", [
    (TODAY, True), (datetime.date(2026, 11, 24), True), ("2026-11-23", False), (datetime.date(2026, 11, 23), False),
])  # fmt: skip
def test_a_waiver_holds_to_the_end_of_its_last_day(expires, passed):
    waivers = [dict(each, expires=expires) for each in of_all(three())]
    made = document([node("node1", "broken")], waivers=waivers)
    VALIDATOR.validate(made)
    assert made["verdict"]["passed"] is passed
    assert all(each["expired"] is not passed for each in made["waivers"])


@pytest.mark.parametrize("hosts, covered", [("edge*", True), ("edge-?", True), ("edge-[12]", True), ("Edge*", False),
                                            ("edge", False), ("dge*", False)])  # fmt: skip
def test_a_waiver_covers_the_hosts_of_its_pattern(hosts, covered):
    waivers = [{"id": "RPF001", "hosts": hosts, "justification": "agreed"}]
    made = document([node("edge-1", "broken")], waivers=waivers)
    assert all(bool(each["waived"]) == (covered and each["id"] == "RPF001") for each in made["nodes"][0]["findings"])


@pytest.mark.parametrize("given, told", [
    ("RPF001", "expected a list"),
    ([1], "waiver 1: expected a dictionary with id, hosts, justification, expires"),
    ([dict(SEVERE, id="RPF001"), dict(SEVERE, id="RPF999")], "waiver 2: id: there is no finding 'RPF999'"),
    ([dict(SEVERE, id="RPF001", host="x")], "no field is called host"),
    ([{"id": "RPF001", "hosts": "*"}], "justification: expected text"),
    ([dict(SEVERE, id="RPF001", hosts="  ")], "hosts: expected text"),
    ([dict(SEVERE, id="RPF001", expires="soon")], "expires: expected the last day"),
    ([dict(SEVERE, id="RPF001", expires="2026-02-30")], "expires: expected the last day"),
    ([dict(SEVERE, id="RPF001", expires=20261231)], "expires: expected the last day"),
    ([dict(SEVERE, id="RPF001", expires="２０２０-０１-０１")], "expires: expected the last day"),
])  # fmt: skip
def test_a_waiver_that_is_wrong_is_named(given, told):
    with pytest.raises(AuditError, match="audit_waivers: ") as raised:
        Waivers(given, TODAY)
    assert told in str(raised.value)


# --- an earlier document ---


def test_the_same_again_is_unchanged():
    made = three(baseline=baseline_of(three()))
    VALIDATOR.validate(made)
    found = sum(len(each["findings"]) for each in made["nodes"])
    assert made["baseline"] == {
        "generated": MOMENT,
        "new": 0,
        "gone": 0,
        "unchanged": found,
        "not_compared": ["lost"],
        "missing": [],
    }
    assert {each["change"] for node_ in made["nodes"] for each in node_["findings"]} == {"unchanged"}


def test_what_came_and_what_went():
    earlier = baseline_of(document([node("a", "broken"), node("b")]))
    made = document([node("a"), node("b", "broken")], baseline=earlier)
    VALIDATOR.validate(made)
    a, b = made["nodes"]
    assert ("RPF001", "lxc3c160d6c7aa0", "high") in {
        (each["id"], each["subject"], each["severity"]) for each in a["gone"]
    }
    assert {each["change"] for each in b["findings"] if each["id"] == "RPF001"} == {"new"}
    assert made["baseline"]["gone"] == len(a["gone"]) + len(b["gone"])


def test_what_could_not_be_seen_is_not_gone():
    earlier = baseline_of(document([node("a", "broken"), node("b", "broken")]))
    made = document([not_judged("a", UNREACHABLE, "?")], baseline=earlier)
    VALIDATOR.validate(made)
    assert made["baseline"]["gone"] == 0
    assert made["baseline"]["not_compared"] == ["a"]
    assert made["baseline"]["missing"] == ["b"]


def test_what_could_not_be_seen_then_is_not_new():
    earlier = baseline_of(document([not_judged("a", UNREACHABLE, "?")]))
    made = document([node("a", "broken"), node("b", "broken")], baseline=earlier)
    VALIDATOR.validate(made)
    assert made["baseline"]["not_compared"] == ["a"]
    assert {each["change"] for each in made["nodes"][0]["findings"]} == {None}
    assert made["baseline"]["new"] == len(made["nodes"][1]["findings"])


@pytest.mark.parametrize("boot, grown", [("same", 2), ("another", 7)])
def test_counters_are_compared_with_those_of_the_baseline(boot, grown):
    known = facts()["rp_filter"]["counters"]
    before = dict(known, ip_reverse_path_filter=5)
    # After a boot they begin at 0, so all of it is new.
    before["boot_id"] = known["boot_id"] if boot == "same" else boot

    def more(facts_):
        facts_["rp_filter"]["counters"]["ip_reverse_path_filter"] = 7

    found = [each for each in node(before=before, change=more)["findings"] if each["id"] == "RPF021"]
    assert {each["subject"]: each["evidence"]["counter"] for each in found}["ip_reverse_path_filter"] == grown


@pytest.mark.parametrize("text, told", [
    ("", "is no JSON"), ("[]", "is no JSON"), ("{", "is no JSON"), ("{}", "expected an audit's document"),
    ('{"schema": "other"}', "found 'other'"),
    ('{"schema": "nodeward.cilium/audit", "schema_version": 3}', "is of schema_version 3"),
    ('{"schema": "nodeward.cilium/audit", "schema_version": 2, "generated": "now"}', "generated: expected a time"),
    ('{"schema": "nodeward.cilium/audit", "schema_version": 2, "generated": "２０２６-11-24T10:00:00Z"}',
     "generated: expected a time"),
    ('{"schema": "nodeward.cilium/audit", "schema_version": 2, "generated": "2026-02-30T10:00:00Z"}',
     "generated: expected a time"),
    (f'{{"schema": "nodeward.cilium/audit", "schema_version": 2, "generated": "{MOMENT}"}}', "has no nodes"),
    (f'{{"schema": "nodeward.cilium/audit", "schema_version": 2, "generated": "{MOMENT}", "nodes": [1]}}',
     "collection: expected a value, found nothing"),
])  # fmt: skip
def test_another_file_is_no_baseline(text, told):
    with pytest.raises(AuditError, match=r"^earlier\.json: ") as raised:
        Baseline.read(text, "earlier.json")
    assert told in str(raised.value)


@pytest.mark.parametrize("change, told", [
    (lambda text: text + "x", "expected the end at character "),
    (lambda text: text + "\n" + text, "expected the end at character "),
    (lambda text: text[:-1] + ",}", "expected \" at character "),
    (lambda text: text.replace('"nodes":[', '"nodes":[1,],"more":['), "Expecting value: "),
    (lambda text: text[:-1] + ',["a"]:1}', "expected \" at character "),
])  # fmt: skip
def test_what_is_no_json_is_no_document(change, told):
    text = change(json.dumps(three(), separators=(",", ":")))
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    with pytest.raises(AuditError, match=r"^earlier\.json: is no JSON: ") as raised:
        parsed(text, "earlier.json")
    assert told in str(raised.value)


def test_a_member_of_a_node_stands_once():
    text = json.dumps(document([node()])).replace('"state": "ok"', '"state": "at_risk", "state": "ok"', 1)
    with pytest.raises(AuditError, match=r"^earlier\.json: is no JSON: state stands there twice$"):
        parsed(text, "earlier.json")


def test_a_member_stands_once():
    text = json.dumps(document([node()]))[:-1] + ', "nodes": %s}' % json.dumps(three()["nodes"])
    with pytest.raises(AuditError, match=r"^earlier\.json: is no JSON: nodes stands there twice$"):
        parsed(text, "earlier.json")


@pytest.mark.parametrize("indent", [None, 1, 4])
def test_a_document_is_read_in_any_layout(indent):
    made = three()
    head, nodes = parsed(json.dumps(made, indent=indent), "earlier.json")
    assert list(nodes) == made["nodes"]
    assert head["verdict"] == made["verdict"]


def test_a_saved_document_gets_today_s_waivers():
    saved = three()
    _head, nodes = parsed(json.dumps(saved), "saved.json")
    made = document(nodes, waivers=of_all(saved), source="document")
    VALIDATOR.validate(made)
    assert made["totals"]["waived"] == sum(len(each["findings"]) for each in saved["nodes"])


def test_a_node_stands_once():
    with pytest.raises(AuditError, match="stands twice"):
        document([node("a"), node("a")])


# --- facts that a node made up ---


def paths_of(value, path=()):
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield path + (key,)
        yield from paths_of(entry, path + (key,))


PATHS = [(kind,) + path for kind in FACTS for path in paths_of({key: FACTS[kind][key] for key in MEMBERS})]
NAN, INFINITE = float("nan"), float("inf")
ODD = [..., None, "", "x", "dropped", -1, 3, 2**70, True, 1.5, NAN, INFINITE, [], {}, [None], {"x": None}, [[]]]


@settings(max_examples=400, deadline=None)
@example([(("broken", "rp_filter", "patterns"), ...), (("broken", "cilium_routes", "endpoint_routes"), ...)])
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(ODD)), min_size=1, max_size=4))
def test_whatever_a_node_says_the_document_fits_its_schema(mutations):
    kind = mutations[0][0][0]
    known = facts(kind)
    for (_kind, *path), odd in sorted(mutations, key=str, reverse=True):
        with contextlib.suppress(KeyError, IndexError, TypeError):
            inner = functools.reduce(lambda value, key: value[key], path[:-1], known)
            if odd is ...:
                del inner[path[-1]]
            else:
                inner[path[-1]] = odd
    made = document([judged("node1", *(known.get(member) for member in MEMBERS), MOMENT, MOMENT)])
    VALIDATOR.validate(json.loads(json.dumps(made, allow_nan=False)))
    for _file, make in FORMATS.values():
        "".join(make(made))
    page(made)
    if "RPF029" in findings_of(made["nodes"][0]):
        assert made["nodes"][0]["state"] in ("unknown", "dropping")


@pytest.mark.parametrize("odd", [NAN, INFINITE, 1.5, "0", True])
def test_a_number_that_is_none_is_not_taken(odd):
    def changed(known):
        known["rp_filter"]["counters"]["ip_reverse_path_filter"] = odd
        known["rp_filter"]["devices"]["eth0"]["effective"] = odd

    made = node(change=changed)
    assert made["state"] == "unknown"
    assert made["attestation"]["state"] == "unknown"
    assert made["counters"] is None


def test_the_order_of_facts_does_not_matter():
    def turned(known):
        known["rp_filter"]["devices"] = dict(reversed(list(known["rp_filter"]["devices"].items())))

    assert node("a", "broken", change=turned) == node("a", "broken")
