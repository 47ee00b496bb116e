"""Facts in, findings out: each rule on a healthy node with one thing changed, and the facts of real nodes."""

import contextlib
import copy
import json
import random
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.nodeward.cilium.plugins.filter import findings
from ansible_collections.nodeward.cilium.plugins.module_utils import devices, dropin, facts_version, sysctl_d, values
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import IpRoute
from ansible_collections.nodeward.cilium.plugins.module_utils.write import plan
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge import catalogue
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.diagnosis import diagnosis
from hypothesis import given, settings
from hypothesis import strategies as st
from test_observe_routes import Replay, agent, agent_documents, observe

REPOSITORY = Path(__file__).resolve().parents[2]
DROPIN = dropin.PATH
NONE = {"systemd_sysctl": None, "procps": None}
LINE = {"value": 2, "path": "/usr/lib/sysctl.d/50-default.conf", "line": 26, "key": "net.ipv4.conf.*.rp_filter"}
LATER = {"value": 1, "path": "/etc/sysctl.d/99-zz.conf", "line": 3, "key": "net.ipv4.conf.*.rp_filter"}


def ours(name, line, value=0):
    return {"value": value, "path": DROPIN, "line": line, "key": values.key(name)}


def both(line):
    return {"systemd_sysctl": line, "procps": line}


def device(kind, running, effective=None, configured=NONE, link_kind=None):
    effective = running if effective is None else effective
    return {
        "kind": kind,
        "link_kind": link_kind,
        "running": running,
        "effective": effective,
        "configured": configured,
    }


CILIUMS = {"value": 0, "path": "/etc/sysctl.d/99-zzz-override_cilium.conf", "line": 2, "key": values.key("all")}
HEALTHY = {
    "schema_version": facts_version.RP_FILTER,
    "running_system": {"observed": True, "why": None},
    "all": {"running": 0, "configured": both(ours("all", 21))},
    "default": {"running": 2, "configured": both(ours("default", 12, 2))},
    "devices": {
        "lxc1": device("cilium", 0, configured=both(ours("[l]xc*", 16)), link_kind="veth"),
        "cilium_host": device("cilium", 0, configured=both(ours("[c]ilium_*", 17)), link_kind="veth"),
        "eth0": device("uplink", 2, configured=both(ours("eth0", 19, 2))),
        "docker0": device("other", 2, link_kind="bridge"),
        "kube-ipvs0": device("other", 0, link_kind="dummy"),
    },
    "patterns": {
        "lxc*": {"configured": both(ours("[l]xc*", 16)), "effective": 0},
        "cilium_*": {"configured": both(ours("[c]ilium_*", 17)), "effective": 0},
    },
    "loaders": {
        "systemd_sysctl": {"version": 257, "globs": True, "unit": "active", "unit_result": "success"},
        "procps": {"version": "4.0.4", "globs": True},
    },
    "reload_on_add": {"path": "/usr/lib/udev/rules.d/99-systemd.rules", "line": 73, "cleared_by": None},
    "dropin": {
        "path": DROPIN,
        "present": True,
        "format": 1,
        "intact": True,
        "assignments": [
            {"name": "default", "value": 2, "line": 12},
            {"name": "lxc*", "value": 0, "line": 16},
            {"name": "cilium_*", "value": 0, "line": 17},
            {"name": "eth0", "value": 2, "line": 19},
            {"name": "all", "value": 0, "line": 21},
        ],
    },
    "globs_without_dash": [],
    "repeated_lines": [],
    "source_marks": {
        "all": {"src_valid_mark": 0, "accept_local": 0},
        "default": {"src_valid_mark": 0, "accept_local": 0},
        "devices": {},
    },
    "netfilter": [],
    "other_writers": [],
    "counters": {"ip_reverse_path_filter": 12, "in_martian_src": 3, "boot_id": "boot-1"},
    "unread": [],
}
ENDPOINT = {
    "address": "10.0.0.1",
    "ipv6": None,
    "device": "lxc1",
    "pod": "a/b",
    "peer": {"device": "eth0", "index": 2, "namespace": None},
    "received": 7,
    "endpoint_route": False,
    "route_device": "cilium_host",
    "symmetric": False,
    "verdict": "accepted",
    "reason": "the filter is off on lxc1",
    "dropped_at": [1, 2],
    "leaves": {"device": "eth0", "verdict": "accepted", "reason": "the filter is off on lxc1"},
}
ROUTES = {
    "schema_version": facts_version.CILIUM_ROUTES,
    "running_system": {"observed": True, "why": None},
    "endpoint_routes": {
        "in_effect": False,
        "with_route": 0,
        "without_route": 1,
        "agent": False,
        "disagreement": None,
    },
    "loosens_uplinks": None,
    "agent_options": {
        "l7_proxy": False,
        "load_balancer_mode": "snat",
        "egress_gateway": False,
        "ipam": "cluster-pool",
        "devices": ["eth0"],
    },
    "source": "agent",
    "endpoints": [ENDPOINT],
    "unread": [],
}
EVIDENCE = {"path": (str, type(None)), "line": (int, type(None)), "text": str, "value": (str, type(None))}


AGENT = {"seen": True, "by": "socket", "answers": True, "version": "1.20.0", "reconciles_after": 600}
NO_AGENT = {"seen": False, "by": None, "answers": False, "version": None, "reconciles_after": None}
BARE_UPLINK = device("uplink", 0, configured=both({**LINE, "path": "/etc/sysctl.d/70-tke.conf"}))


def changed(document, changes):
    """A copy with the member at each dotted path (a tuple) set, or taken out where the value is `...`."""
    document = copy.deepcopy(document)
    for path, value in changes.items():
        inner = document
        for key in path[:-1]:
            inner = inner[key]
        if value is ...:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
    return document


def judge(filter_changes=(), route_changes=(), before=None, routes=ROUTES):
    """The findings on the healthy node, with some facts changed."""
    facts = changed(HEALTHY, dict(filter_changes))
    known = changed(routes, dict(route_changes)) if routes else None
    kept = copy.deepcopy((facts, known, before))
    found = findings.FilterModule().filters()["findings"](facts, known, before)
    assert (facts, known, before) == kept
    for finding in found:
        for member, kind in EVIDENCE.items():
            assert isinstance(finding["evidence"][member], kind)
        assert isinstance(finding["observed"], str)
        assert isinstance(finding["expected"], str)
    json.dumps(found)
    return found


def told(*arguments, **options):
    return [(finding["id"], finding["subject"]) for finding in judge(*arguments, **options)]


def all_filters(value=1):
    """What goes with all=1: every effective value is the larger."""
    facts = {("all", "running"): value}
    for name, state in HEALTHY["devices"].items():
        facts["devices", name, "effective"] = max(value, state["running"])
    return facts


DROPPED = {("endpoints", 0, "verdict"): "dropped", ("endpoints", 0, "reason"): "strict"}
BY_FILTER = {("devices", "lxc1", "running"): 1, ("devices", "lxc1", "effective"): 1}
WITH_ROUTES = {
    ("endpoint_routes",): {
        "in_effect": True,
        "with_route": 1,
        "without_route": 0,
        "agent": True,
        "disagreement": None,
    },
    ("endpoints", 0, "dropped_at"): [],
}
ROUTED_ALSO = {("endpoint_routes", "with_route"): 1, ("endpoint_routes", "agent"): None}
L7 = {("agent_options", "l7_proxy"): True}
STRICT_UPLINK = {("devices", "eth0"): device("uplink", 1, configured=both(ours("eth0", 19, 2)))}
LOADER = ("loaders", "systemd_sysctl")
GLOB_245 = {LOADER + ("version",): 245, ("globs_without_dash",): [{**LINE, "matches": ["cilium"]}]}
NETFILTER = {
    "family": "ip",
    "table": "raw",
    "chain": "PREROUTING",
    "rule": "-m rpfilter",
    "ipv6_only": False,
    "only_on": None,
    "not_on": [],
}
WRITER = {
    "by": "ufw",
    "path": "/etc/ufw/sysctl.conf",
    "line": 3,
    "text": "a=1",
    "names": ["docker0"],
    "value": "1",
    "sets": 1,
    "narrowed": False,
    "not_on": [],
}
UNREAD = {"what": "x", "why": "Permission denied", "decides": False, "needs_root": True}
REPEATED = {
    **CILIUMS,
    "key": "net.ipv4.conf.lxc*.rp_filter",
    "first": {"path": "/etc/sysctl.d/99-ours.conf", "line": 4},
}
BARE = {
    ("devices", "eth0"): device("uplink", 0),
    ("dropin", "assignments"): [],
    ("all", "configured"): both(CILIUMS),
}

# id → what raises it, as (changes of rp_filter, of routes, before), and the whole of what is found then.
RAISED = {
    "RPF001": ({("devices", "lxc1"): device("cilium", 2)}, {}, None, [("RPF001", "lxc1")]),
    "RPF002": (
        {("patterns", "lxc*", "configured", "systemd_sysctl"): LINE, ("dropin", "assignments"): []},
        {},
        None,
        [("RPF002", "lxc*"), ("RPF003", "lxc*"), ("RPF034", "lxc*")],
    ),
    "RPF003": (
        {("all", "configured", "systemd_sysctl"): LINE, ("dropin", "assignments"): []},
        {},
        None,
        [("RPF003", "lxc*"), ("RPF034", "lxc*")],
    ),
    "RPF004": (
        {("patterns", "lxc*", "configured", "procps"): LINE, ("dropin", "assignments"): []},
        {},
        None,
        [("RPF004", "lxc*")],
    ),
    "RPF005": (
        all_filters(),
        {},
        None,
        [
            *(("RPF001", "lxc1"), ("RPF002", "lxc*"), ("RPF005", "all")),
        ],
    ),
    "RPF006": (BY_FILTER, DROPPED, None, [("RPF001", "lxc1"), ("RPF006", "a/b")]),
    "RPF007": ({("devices", "eth0"): device("uplink", 0)}, {}, None, [("RPF007", "eth0")]),
    "RPF008": ({("netfilter",): [NETFILTER]}, {}, None, [("RPF008", "ip raw PREROUTING")]),
    "RPF009": ({("other_writers",): [WRITER]}, {}, None, [("RPF009", "ufw")]),
    "RPF010": (
        {LOADER + ("unit",): "failed", LOADER + ("unit_result",): "exit-code"},
        {},
        None,
        [("RPF010", "systemd-sysctl.service")],
    ),
    "RPF011": ({LOADER + ("globs",): False, LOADER + ("version",): 239}, {}, None, [("RPF011", "systemd_sysctl")]),
    "RPF012": ({("unread",): [UNREAD]}, {}, None, [("RPF012", "x")]),
    "RPF013": ({("reload_on_add",): None}, {}, None, [("RPF013", "udev")]),
    "RPF014": (
        {("all", "configured", "procps"): LATER},
        {},
        None,
        [("RPF004", "lxc*"), ("RPF014", "all")],
    ),
    "RPF015": ({("devices", "eth0", "configured"): both(LATER)}, {}, None, [("RPF015", "eth0")]),
    "RPF016": (
        {("dropin",): {"path": DROPIN, "present": False, "format": None, "intact": None, "assignments": []}},
        {},
        None,
        [("RPF016", DROPIN)],
    ),
    "RPF017": ({("dropin", "intact"): False}, {}, None, [("RPF017", DROPIN)]),
    "RPF018": ({("dropin", "format"): 0}, {}, None, [("RPF018", DROPIN)]),
    "RPF019": (GLOB_245, {}, None, [("RPF019", "net.ipv4.conf.*.rp_filter")]),
    "RPF020": (STRICT_UPLINK, {("agent_options", "egress_gateway"): True}, None, [("RPF020", "eth0")]),
    "RPF021": (
        {},
        {},
        {"ip_reverse_path_filter": 10, "in_martian_src": 3, "boot_id": "boot-1"},
        [("RPF021", "ip_reverse_path_filter")],
    ),
    "RPF022": ({}, {("endpoint_routes", "agent"): True}, None, [("RPF022", "endpoint routes")]),
    "RPF023": ({}, {("endpoint_routes", "with_route"): 1}, None, [("RPF023", "endpoint routes")]),
    "RPF024": (
        {LOADER + ("unit",): "failed", LOADER + ("unit_result",): "start-limit-hit"},
        {},
        None,
        [("RPF024", "systemd-sysctl.service")],
    ),
    "RPF025": ({("source_marks", "all", "src_valid_mark"): 1}, L7, None, [("RPF025", "src_valid_mark")]),
    "RPF026": ({("devices", "cilium_host"): device("cilium", 2)}, WITH_ROUTES, None, [("RPF026", "cilium_host")]),
    "RPF027": (BARE, {}, None, [("RPF007", "eth0"), ("RPF027", "eth0")]),
    "RPF028": (
        {
            ("patterns", "lxc*", "configured", "systemd_sysctl"): LATER,
            ("repeated_lines",): [REPEATED],
            ("dropin", "assignments"): [],
        },
        {},
        None,
        [("RPF002", "lxc*"), ("RPF003", "lxc*"), ("RPF028", "lxc*"), ("RPF034", "lxc*")],
    ),
    "RPF029": ({("dropin",): ...}, {}, None, [("RPF029", "rp_filter.dropin")]),
    "RPF030": (
        {("devices", "eth0", "configured"): both({**LATER, "value": 0}), ("dropin", "assignments"): []},
        {},
        None,
        [("RPF030", "eth0")],
    ),
    "RPF031": ({("devices", "cilium_host"): device("cilium", 2)}, {}, None, [("RPF031", "cilium_host")]),
    "RPF032": ({("unread",): [{**UNREAD, "decides": True}]}, {}, None, [("RPF032", "x")]),
    "RPF033": ({("devices", "docker0"): device("other", 0)}, {}, None, [("RPF033", "other devices")]),
    # udev's rule is masked, so the next interface and the next boot are right.
    "RPF034": (
        {
            ("patterns", "lxc*", "configured", "systemd_sysctl"): LINE,
            ("reload_on_add",): None,
            ("dropin", "assignments"): [],
        },
        {},
        None,
        [("RPF013", "udev"), ("RPF034", "lxc*")],
    ),
}

# What is near to a finding and is none.
NOT_RAISED = {
    "RPF001": ({("devices", "lxc1"): device("cilium", 2)}, WITH_ROUTES, None),
    "RPF002": (
        {
            ("patterns", "lxc*", "configured", "systemd_sysctl"): LINE,
            ("reload_on_add", "cleared_by"): {"path": "/etc/udev/rules.d/x.rules", "line": 4},
        },
        {},
        None,
    ),
    "RPF003": ({("patterns", "lxc*", "configured", "systemd_sysctl"): LINE}, WITH_ROUTES, None),
    "RPF004": ({("patterns", "lxc*", "configured", "systemd_sysctl"): LINE}, {}, None),
    "RPF005": ({**all_filters(), ("devices", "lxc1"): ..., ("devices", "cilium_host"): ...}, {}, None),
    "RPF006": ({}, {("endpoints", 0, "verdict"): "unknown"}, None),
    "RPF007": ({("devices", "docker0"): device("other", 0)}, {}, None),
    "RPF010": ({LOADER + ("unit",): "failed", LOADER + ("unit_result",): "start-limit-hit"}, {}, None),
    "RPF011": ({("loaders", "procps", "globs"): False}, {}, None),
    "RPF013": ({("reload_on_add",): ...}, {}, None),
    "RPF014": ({("all", "configured"): both({**CILIUMS, "value": 0})}, {}, None),
    "RPF015": ({("dropin", "format"): None, ("devices", "eth0", "configured"): both(LATER)}, {}, None),
    "RPF016": ({("dropin", "present"): None}, {}, None),
    "RPF018": ({("dropin", "intact"): False}, {}, None),
    "RPF019": ({**GLOB_245, LOADER + ("version",): 246}, {}, None),
    "RPF020": (STRICT_UPLINK, {("agent_options", "load_balancer_mode"): "dsr"}, None),
    "RPF021": ({}, {}, {"ip_reverse_path_filter": 12, "in_martian_src": 3, "boot_id": "boot-1"}),
    "RPF022": ({}, {("endpoint_routes", "agent"): None}, None),
    "RPF023": ({}, {**WITH_ROUTES}, None),
    "RPF024": ({LOADER + ("unit",): "failed", LOADER + ("unit_result",): "exit-code"}, {}, None),
    "RPF025": ({("source_marks", "all"): {"src_valid_mark": 1, "accept_local": 1}}, L7, None),
    "RPF026": ({("devices", "cilium_host"): device("cilium", 2)}, {}, None),
    "RPF027": ({("devices", "eth0"): device("uplink", 0), ("all", "configured"): both(CILIUMS)}, {}, None),
    "RPF028": ({("repeated_lines",): [REPEATED]}, {}, None),
    "RPF030": ({("devices", "eth0", "configured"): both(LATER)}, {}, None),
    "RPF031": ({("devices", "cilium_host"): device("cilium", 2)}, {("endpoint_routes", "agent"): True}, None),
    "RPF032": ({("unread",): [UNREAD]}, {}, None),
    "RPF033": ({("devices", "lo"): device("other", 0)}, {}, None),
    "RPF034": (
        {
            ("all", "configured", "systemd_sysctl"): LINE,
            LOADER + ("unit_file",): {"state": "masked", "path": "/etc/x.service", "line": None, "text": None},
        },
        {},
        None,
    ),
}


def test_a_healthy_node_has_no_finding():
    assert told() == told(routes=None) == told(routes={}) == []
    assert told(route_changes=WITH_ROUTES) == []


@pytest.mark.parametrize("rule_id", catalogue.CATALOGUE)
def test_each_rule_is_raised(rule_id):
    facts, routes, before, expected = RAISED[rule_id]
    assert rule_id in [entry[0] for entry in expected]
    assert told(facts, routes, before) == expected


@pytest.mark.parametrize("rule_id", NOT_RAISED)
def test_each_rule_is_not_raised_by_what_is_near(rule_id):
    assert rule_id not in [entry[0] for entry in told(*NOT_RAISED[rule_id])]


@pytest.mark.parametrize("rule_id", catalogue.CATALOGUE)
def test_a_finding_carries_what_its_rule_says(rule_id):
    facts, routes, before, _expected = RAISED[rule_id]
    rule = catalogue.CATALOGUE[rule_id]
    found = next(finding for finding in judge(facts, routes, before) if finding["id"] == rule_id)
    assert set(found) == set(yaml.safe_load(findings.RETURN)["_value"]["contains"])
    assert set(found["evidence"]) == set(yaml.safe_load(findings.RETURN)["_value"]["contains"]["evidence"]["contains"])
    assert (found["severity"], found["title"], found["why"]) == (rule.severity, rule.title, rule.why)
    own = {
        "RPF012": "",
        "RPF019": f"sed --in-place --follow-symlinks '26s/^/-/' {LINE['path']}",
        "RPF032": "",
        "RPF033": catalogue.HARDEN
        + """ --extra-vars '{"rp_filter_uplink_devices": ["eth0", "docker0"], """
        + """"rp_filter_uplinks": {"docker0": "loose"}}'""",
    }
    variables = {"RPF028": "rp_filter_conflicts"}  # a later file decides there
    own["RPF015"] = catalogue.CATALOGUE["RPF015"].command
    own["RPF015"] += """ --extra-vars '{"rp_filter_uplinks": {"eth0": "strict"}}'"""  # that line is stricter
    own["RPF028"] = catalogue.HARDEN + " --extra-vars rp_filter_conflicts=disable"
    for uplink in ("RPF007", "RPF020", "RPF027"):
        own[uplink] = rule.command.replace("DEVICE", "eth0")
    # Root reads what was denied.
    if found["evidence"]["text"] == "Permission denied":
        del own[rule_id]
    assert found["remedy"] == {
        "variable": variables.get(rule_id, rule.variable) if own.get(rule_id) != "" else "",
        "command": own.get(rule_id, rule.command),
    }
    assert found["reference"] == rule.reference


def evidence(rule_id, *arguments, **options):
    return next(finding["evidence"] for finding in judge(*arguments, **options) if finding["id"] == rule_id)


@pytest.mark.parametrize("rule_id", ["RPF002", "RPF003", "RPF004", "RPF034"])
def test_a_time_to_come_names_the_line(rule_id):
    facts, routes, before, _expected = RAISED[rule_id]
    assert evidence(rule_id, facts, routes, before) == {
        "path": LINE["path"],
        "line": 26,
        "text": "/usr/lib/sysctl.d/50-default.conf:26 net.ipv4.conf.*.rp_filter = 2",
        "value": "2",
        "counter": None,
    }


def test_a_filtered_device_names_the_line_that_gives_its_value():
    by_line = evidence("RPF001", {("devices", "lxc1"): device("cilium", 2, configured=both(LINE))})
    assert (by_line["path"], by_line["line"], by_line["value"]) == (LINE["path"], 26, "2")
    assert by_line["text"].startswith("its own value is 2, all is 0; ")
    by_hand = evidence("RPF001", {("devices", "lxc1"): device("cilium", 2, configured=both(LATER))})
    assert (by_hand["path"], by_hand["text"]) == (None, "its own value is 2, all is 0")
    # The larger of both counts.
    by_all = evidence("RPF001", {**all_filters(1), ("all", "configured"): {**NONE, "procps": LATER}})
    assert (by_all["path"], by_all["line"]) == (LATER["path"], 3)


def test_all_filters_what_comes_before_there_is_cilium():
    facts = {("devices",): {"eth0": device("uplink", 2)}, ("all", "running"): 1, ("dropin", "assignments"): []}
    assert told(facts, routes=None) == [("RPF002", "cilium_*"), ("RPF002", "lxc*")]
    facts["patterns", "lxc*", "configured"] = both(LINE)
    assert [entry for entry in told(facts, routes=None) if entry[1] == "lxc*"] == [
        *(("RPF002", "lxc*"), ("RPF003", "lxc*"), ("RPF004", "lxc*"), ("RPF034", "lxc*")),
    ]


def test_a_first_pod_is_judged_by_what_the_agent_is_configured_for():
    facts = {("patterns", "lxc*", "configured"): both(LINE), ("dropin", "assignments"): []}
    no_pod = {("endpoints",): [], ("endpoint_routes", "without_route"): 0}
    assert len(told(facts, no_pod)) == 4
    assert told(facts, {**no_pod, ("endpoint_routes", "agent"): True}) == []


def test_with_endpoint_routes_the_host_s_own_devices_count_in_times_to_come():
    facts = {("patterns", "cilium_*", "configured"): both(LINE), ("dropin", "assignments"): []}
    assert [entry[0] for entry in told(facts, WITH_ROUTES)] == ["RPF002", "RPF003", "RPF004", "RPF034"]


def test_with_endpoint_routes_all_cuts_nodes_apart():
    found = told(all_filters(), WITH_ROUTES)
    assert ("RPF026", "all") in found
    # The pods of this node are safe from it.
    assert not {"RPF001", "RPF005"} & set(dict(found))
    assert ("RPF026", "cilium_host") not in found


def test_routes_that_linger_count_too():
    found = told({("devices", "cilium_host"): device("cilium", 2)}, {("endpoint_routes", "with_route"): 1})
    assert found == [("RPF023", "endpoint routes"), ("RPF026", "cilium_host")]


def test_a_device_is_spared_only_where_all_its_endpoints_are():
    two = [{**ENDPOINT, "dropped_at": []}, {**ENDPOINT, "address": "10.0.0.2", "dropped_at": None}]
    facts = {("devices", "lxc1"): device("cilium", 2)}
    assert ("RPF001", "lxc1") in told(facts, {**WITH_ROUTES, ("endpoints",): two})
    assert ("RPF001", "lxc1") not in told(facts, {**WITH_ROUTES, ("endpoints",): two[:1]})
    # Loose is enough where an address of its own takes it in.
    loose = [{**ENDPOINT, "dropped_at": [1]}]
    assert ("RPF001", "lxc1") not in told(facts, {("endpoints",): loose})
    assert ("RPF001", "lxc1") in told({("devices", "lxc1"): device("cilium", 1)}, {("endpoints",): loose})


def test_a_host_device_is_safe_only_where_the_host_is_known_to_reach_pods_by_it():
    facts = {("devices", "cilium_host"): device("cilium", 2)}
    routes = ("endpoint_routes", "agent")
    assert told(facts, {routes: None}) == [("RPF031", "cilium_host")]
    # Nothing tells of any endpoint, nor what the agent is configured for.
    unknown = {routes: None, ("endpoint_routes", "without_route"): 0, ("endpoints",): []}
    assert told(facts, unknown) == told(facts, routes=None) == [("RPF001", "cilium_host")]
    # By `all` it is filtered with all others, of which that is said already.
    assert "RPF031" not in dict(told(all_filters()))


def test_host_devices_to_come_name_both_loaders():
    lines = {"systemd_sysctl": LINE, "procps": LATER}
    facts = {("patterns", "cilium_*", "configured"): lines, ("dropin", "assignments"): []}
    (found,) = judge(facts)
    assert (found["id"], found["subject"]) == ("RPF031", "cilium_*")
    assert found["observed"] == "2 after a boot, 2 after a restart of systemd-sysctl, 1 after sysctl --system"
    assert (found["evidence"]["path"], found["evidence"]["line"]) == (LINE["path"], 26)


def lost(changes, **others):
    facts = {("dropin", "assignments"): [], **changes, **others}
    return [(f["subject"], f["observed"], f["evidence"]["path"]) for f in judge(facts) if f["id"] == "RPF030"]


def test_an_uplink_that_loses_its_protection_later():
    zero = {**LATER, "value": 0}
    eth0 = ("devices", "eth0", "configured")
    kept = both(ours("eth0", 19, 2))
    assert lost({eth0: {**kept, "procps": zero}}) == [("eth0", "0 after sysctl --system", zero["path"])]
    by_systemd = "0 after a boot, after a restart of systemd-sysctl"
    assert lost({eth0: {**kept, "systemd_sysctl": zero}}) == [("eth0", by_systemd, zero["path"])]
    # A value that somebody wrote by hand does not outlive the boot, unless `default` gives it again.
    assert lost({eth0: NONE}) == []
    bare = {eth0: NONE, ("default", "configured"): NONE}
    assert lost(bare) == [("eth0", "0 after a boot", DROPIN)]
    assert lost({**bare, ("all", "configured"): NONE}) == [("eth0", "0 after a boot", None)]
    # networkd or the like may set it.
    assert lost({**bare, ("other_writers",): [{**WRITER, "names": None}]}) == []
    assert lost({**bare, ("other_writers",): [WRITER]}) == [("eth0", "0 after a boot", DROPIN)]
    assert lost({eth0: both(zero), ("all", "configured"): both(LATER)}) == []


@pytest.mark.parametrize("rule, routes, raised", [
    ({}, {}, True),
    ({"only_on": ["eth0"]}, {}, False), ({"only_on": ["eth0", "lxc*"]}, {}, True), ({"only_on": ["lxc1"]}, {}, True),
    # A pod's device to come.
    ({"not_on": ["lxc1", "cilium_host"]}, {}, True), ({"not_on": ["lxc*", "cilium_*"]}, {}, False),
    ({"not_on": ["lxc*"]}, {}, True), ({"only_on": ["*"], "not_on": ["lxc*", "cilium_*"]}, {}, False),
    ({"ipv6_only": True}, {}, False), ({"ipv6_only": True}, {("endpoints", 0, "ipv6"): "fd00::1"}, True),
    ({"ipv6_only": True}, {("endpoints",): []}, True),
])  # fmt: skip
def test_a_rule_of_netfilter_counts_where_it_is_for_pods(rule, routes, raised):
    found = told({("netfilter",): [{**NETFILTER, **rule}]}, routes)
    assert found == ([("RPF008", "ip raw PREROUTING")] if raised else [])


@pytest.mark.parametrize("names, sets, severity", [
    # What runs at boot may run late, when pods have interfaces.
    (["all"], 1, "high"), (["lxc*"], 2, "medium"), (["lxc1"], 1, "low"), (["*"], 1, "high"), (["default"], 1, "low"),
    (["eth0"], 1, "low"), (None, 1, "medium"), (["docker0"], None, "low"),
    # eth0 is pinned, and the kernel uses the larger of both.
    (["all"], 0, "low"), (["eth0"], 0, "medium"), (["eth0"], None, "medium"), (None, None, "medium"),
])  # fmt: skip
def test_what_sets_it_past_the_loaders_is_as_severe_as_what_it_does(names, sets, severity):
    (found,) = of_writers([{**WRITER, "names": names, "sets": sets}])
    assert found["severity"] == severity


def of_writers(writers, changes=(), routes=(), **options):
    found = judge({("other_writers",): writers, **dict(changes)}, routes, **options)
    return [each for each in found if each["id"] == "RPF009"]


@pytest.mark.parametrize("writer, agent, severity", [
    ({"names": ["lxc*"], "when": ["interface"]}, None, "high"),
    ({"names": ["lxc*"], "when": ["interface"]}, AGENT, "high"),
    # The agent starts after it and sets `all` to 0.
    ({"names": ["all"], "when": ["boot"]}, AGENT, "low"), ({"names": ["all"], "when": ["boot"]}, None, "high"),
    ({"names": ["all"], "when": ["boot"], "active": False}, None, "low"),
    ({"names": ["all"], "when": ["periodic"]}, AGENT, "medium"),
    ({"names": None, "sets": None, "value": None, "certain": False, "when": ["interface"]}, AGENT, "medium"),
    ({"names": None, "sets": None, "value": None, "active": False, "when": ["interface"]}, AGENT, "low"),
])  # fmt: skip
def test_another_writer_is_as_severe_as_the_drop_that_it_decides(writer, agent, severity):
    (found,) = of_writers([{**WRITER, "by": "unit", **writer}], {("agent",): agent})
    assert found["severity"] == severity


def test_a_writer_whose_value_drops_replies_now_is_of_high_severity_until_the_agent_ends_it():
    writer = {**WRITER, "by": "tuned", "names": ["all"], "when": ["boot"]}
    running = {**all_filters(), ("all", "configured"): NONE}
    assert [each["severity"] for each in of_writers([writer], running)] == ["high"]
    assert [each["severity"] for each in of_writers([writer], {**running, ("agent",): AGENT})] == ["low"]


@pytest.mark.parametrize("writer, expected", [
    ({"names": ["lxc*"], "sets": None, "value": None, "certain": False, "when": ["interface"]},
     [("RPF002", "unknown"), ("RPF003", "unknown")]),
    ({"names": ["lxc*"], "when": ["interface"]}, [("RPF002", "1"), ("RPF003", "1")]),
    ({"names": ["lxc*"], "sets": 0, "value": "0", "certain": False, "when": ["interface"]}, []),
])  # fmt: skip
def test_a_writer_that_cannot_be_predicted_makes_the_horizon_unknown_and_is_named(writer, expected):
    facts = {("other_writers",): [{**WRITER, "by": "unit", "unit": "x.service", **writer}], ("agent",): AGENT}
    found = [each for each in judge(facts) if each["id"] in ("RPF002", "RPF003")]
    assert [(each["id"], each["observed"]) for each in found] == expected
    for each in found:
        assert (each["evidence"]["path"], each["evidence"]["line"]) == ("/etc/ufw/sysctl.conf", 3)
        assert each["severity"] == ("medium" if each["observed"] == "unknown" else "high")
        assert each["remedy"]["command"].endswith("nodeward.cilium.diagnose"), "harden does not hold against it"


CIS = {**LATER, "path": "/etc/sysctl.d/90-cis.conf", "key": values.key("all")}


def test_what_the_agent_ends_by_itself_is_not_high():
    facts = {("all", "configured"): both(CIS), ("dropin", "assignments"): []}
    with_agent = judge({**facts, ("agent",): AGENT})
    told_of = [(each["id"], each["severity"], each["observed"]) for each in with_agent]
    for_minutes = "1 for up to 10 minutes, until the agent resets it"
    assert told_of == [("RPF004", "medium", for_minutes), ("RPF034", "medium", for_minutes)]
    old = judge({**facts, ("agent",): {**AGENT, "version": "1.15.0", "reconciles_after": None}})
    assert {each["observed"] for each in old} == {
        "1 until the agent resets it, at its next start, or from Cilium 1.16 within 10 minutes"
    }
    without = judge({**facts, ("agent",): NO_AGENT})
    assert [(each["id"], each["severity"]) for each in without] == [
        ("RPF003", "high"), ("RPF004", "medium"), ("RPF034", "medium"),
    ]  # fmt: skip
    remark = "; no agent was seen on this node: predicted without one"
    assert all(each["evidence"]["text"].endswith(remark) for each in without)
    assert [each["id"] for each in judge(facts)] == ["RPF003", "RPF004", "RPF034"]


def test_with_endpoint_routes_the_agent_keeps_its_host_interfaces_at_0():
    facts = {("patterns", "cilium_*", "configured"): both(LINE), ("dropin", "assignments"): [], ("agent",): AGENT}
    found = judge(facts, WITH_ROUTES)
    assert [(each["id"], each["severity"]) for each in found] == [("RPF004", "medium"), ("RPF034", "medium")]
    assert all("for up to 10 minutes" in each["observed"] for each in found)


def test_all_that_filters_now_is_told_with_what_the_agent_does():
    (found,) = [each for each in judge({**all_filters(), ("agent",): AGENT}) if each["id"] == "RPF002"]
    assert (found["severity"], found["observed"]) == ("medium", "1 for up to 10 minutes, until the agent resets it")
    assert [each["severity"] for each in judge(all_filters()) if each["id"] == "RPF002"] == ["high"]
    text = evidence("RPF001", {**all_filters(), ("agent",): AGENT})["text"]
    assert text == "its own value is 0, all is 1; for up to 10 minutes, until the agent resets it"


def through_all(agent, writers=(), **eth0):
    """The finding RPF030 of an uplink that is filtered by `all` alone; None without it."""
    state = device("uplink", 0, 1)
    state["configured"] = {**NONE, **eth0}
    facts = {**all_filters(), ("devices", "eth0"): state, ("default", "configured"): NONE, ("agent",): agent}
    facts.update({("all", "configured"): both(CIS), ("dropin", "assignments"): [], ("other_writers",): list(writers)})
    return next((each for each in judge(facts) if each["id"] == "RPF030"), None)


def test_an_uplink_loses_what_it_has_through_all_by_the_agent():
    assert through_all(None) is None
    found = through_all(AGENT)
    assert found["observed"] == "0 within 10 minutes, after a boot"
    assert found["evidence"]["text"] == (
        "the agent sets all to 0 at its start, and within 10 minutes if another value stands there; "
        "eth0 has no value of its own then"
    )
    # Before 1.16 it has no reconciler.
    found = through_all({**AGENT, "reconciles_after": None})
    assert found["observed"] == "0 after a boot"
    assert found["evidence"]["text"] == "the agent sets all to 0 at its start; eth0 has no value of its own then"


def test_a_value_of_its_own_comes_back_at_boot_and_not_with_the_agent():
    own = ours("eth0", 19, 1)
    found = through_all(AGENT, systemd_sysctl=own, procps=own)
    assert found["observed"] == "0 within 10 minutes"
    assert found["evidence"]["text"].startswith("the agent sets all to 0 at its start, and within 10 minutes")
    cron = {**WRITER, "by": "cron", "names": ["all"], "sets": 1, "when": ["periodic"]}
    assert through_all(AGENT, [cron], systemd_sysctl=own, procps=own) is None


def test_what_a_loader_gives_through_all_lasts_until_the_agent_resets_it():
    zero = {**LATER, "value": 0}
    changes = {("devices", "eth0", "configured"): both(zero), ("all", "configured"): both(LATER), ("agent",): AGENT}
    assert lost(changes) == [(
        "eth0",
        "0 after a boot, within 10 minutes after a restart of systemd-sysctl, within 10 minutes after sysctl --system",
        zero["path"],
    )]  # fmt: skip


IPV6_POD = {
    **ENDPOINT, "address": None, "ipv6": "fd00::1", "verdict": "unknown", "dropped_at": None,
    "leaves": {"device": None, "verdict": "unknown", "reason": "it has no IPv4 address"},
}  # fmt: skip


def test_a_pod_with_ipv6_alone_is_not_dropped_by_the_filter():
    facts = {("devices", "lxc1"): device("cilium", 2, configured=both(LINE)), ("dropin", "assignments"): []}
    facts["patterns", "lxc*", "configured"] = both(LINE)
    routes = {("endpoints",): [IPV6_POD]}
    assert told(facts, routes) == []
    document = diagnosis(changed(HEALTHY, facts), changed(ROUTES, routes))
    assert document["state"] == "ok"
    assert "None" not in json.dumps(document["summary"])
    assert ("RPF001", "lxc1") in told(facts, {("endpoints",): [{**IPV6_POD, "ipv6": None}]})


@pytest.mark.parametrize("own", [0, 2])
def test_no_text_says_none(own):
    facts = {("all", "running"): None, ("devices", "lxc1"): device("cilium", own), ("devices", "eth0"): BARE_UPLINK}
    assert not [each for each in judge(facts) if "None" in each["evidence"]["text"] + each["observed"]]


RULE_2004 = {"priority": 9, "mark": "0x200/0xf00", "table": 2004}


@pytest.mark.parametrize("l7_proxy, rule, raised", [
    (None, RULE_2004, True), (None, None, False), (False, RULE_2004, False), (True, None, True),
])  # fmt: skip
def test_a_policy_rule_for_the_proxys_mark_is_evidence_of_the_proxy(l7_proxy, rule, raised):
    routes = {("proxy_rule",): rule, ("agent_options", "l7_proxy"): l7_proxy}
    found = judge({("source_marks", "all", "src_valid_mark"): 1}, routes)
    assert [each["id"] for each in found] == (["RPF025"] if raised else [])
    if raised and not l7_proxy:
        assert found[0]["evidence"]["text"].endswith("; the policy rule 9: fwmark 0x200/0xf00 lookup 2004")


def test_networkd_s_names_are_devices():
    writer = {**WRITER, "by": "networkd", "names": ["all", "en*"]}
    (found,) = of_writers([writer])
    assert found["severity"] == "low"
    for more, severity in (
        ({"names": ["l*"]}, "high"),
        ({"names": ["l*"], "narrowed": True}, "medium"),
        ({"names": ["*"], "not_on": ["lxc*", "cilium_*"]}, "low"),
        ({"names": ["*"], "not_on": ["lxc*"]}, "high"),
        ({"names": None, "not_on": ["lxc*", "cilium_*"]}, "low"),
    ):
        # Endpoint routes: a filter on the host's interfaces drops, too.
        (found,) = of_writers([{**writer, **more}], routes=ROUTED_ALSO)
        assert found["severity"] == severity, more
    # What makes a strict device loose filters no other.
    (found,) = of_writers([{**WRITER, "by": "networkmanager", "names": None, "sets": 2}])
    assert found["severity"] == "low"


def test_where_there_is_no_cilium_nothing_has_to_tell_of_endpoints():
    no_agent = {
        ("unread",): [{"what": "/var/run/cilium/cilium.sock", "why": "no such socket", "needs_root": False}],
        ("endpoints",): [],
    }
    bare = {("devices",): {"eth0": HEALTHY["devices"]["eth0"]}}
    assert told(bare, no_agent) == []
    assert told((), no_agent) == [("RPF012", "/var/run/cilium/cilium.sock")]
    # Where no device could be seen, Cilium's may be among them.
    assert ("RPF012", "/var/run/cilium/cilium.sock") in told({("devices",): {}}, no_agent)


def test_other_devices_are_one_finding():
    facts = {("devices", f"veth{number}"): device("other", 0, link_kind="veth") for number in range(7)}
    (found,) = judge(facts)
    assert (found["id"], found["observed"], found["evidence"]["counter"]) == ("RPF033", "7 at 0", 7)
    assert found["evidence"]["text"] == "veth0, veth1, veth2, veth3, veth4, … (7 in all)"


def test_the_file_of_a_glob_is_quoted_for_the_shell():
    (found,) = judge({**GLOB_245, ("globs_without_dash", 0, "path"): "/etc/sysctl.d/a b;reboot.conf"})
    assert found["remedy"]["command"] == "sed --in-place --follow-symlinks '26s/^/-/' '/etc/sysctl.d/a b;reboot.conf'"


@pytest.mark.parametrize("facts, changes, command", [
    (BY_FILTER, {}, "harden"),
    ({}, {}, "diagnose"),
    (BY_FILTER, {("endpoints", 0, "dropped_at"): None}, "diagnose"),
    ({("devices", "lxc1"): ...}, {}, "diagnose"),
])  # fmt: skip
def test_what_the_filter_did_not_drop_is_not_for_harden_to_mend(facts, changes, command):
    (found,) = [each for each in judge(facts, {**DROPPED, **changes}) if each["id"] == "RPF006"]
    assert found["remedy"]["command"].endswith("nodeward.cilium." + command)
    assert bool(found["remedy"]["variable"]) is (command == "harden")


def test_the_health_endpoint_is_called_so():
    health = {("endpoints", 0, "is_health"): True, ("endpoints", 0, "pod"): None}
    (found,) = [each for each in judge(BY_FILTER, {**DROPPED, **health}) if each["id"] == "RPF006"]
    assert found["subject"] == "health endpoint"


def test_packets_that_die_on_the_way_to_the_world():
    (found,) = judge((), {("endpoints", 0, "leaves"): {"device": None, "verdict": "dropped", "reason": "strict"}})
    assert (found["id"], found["subject"], found["evidence"]["text"]) == ("RPF006", "a/b", "strict")


def test_without_udev_s_rule_the_next_device_is_left_alone():
    facts = {("reload_on_add",): None, ("patterns", "lxc*", "configured", "systemd_sysctl"): LINE}
    assert [entry[0] for entry in told({**facts, ("dropin", "assignments"): []})] == ["RPF013", "RPF034"]


def test_what_beats_the_drop_in_names_loaders_and_line():
    (found,) = [f for f in judge({("all", "configured"): both(LATER)}) if f["id"] == "RPF014"]
    assert found["observed"] == "1 under sysctl --system and systemd-sysctl"
    assert (found["expected"], found["evidence"]["path"], found["evidence"]["line"]) == ("0", LATER["path"], 3)


WITHOUT_DROPIN = {("dropin", "present"): False, ("dropin", "format"): None, ("dropin", "assignments"): []}


@pytest.mark.parametrize("name, routes, raised", [
    ("lxc1", {}, [("RPF004", "lxc1"), ("RPF034", "lxc1")]),
    ("lxc1", WITH_ROUTES, []),
    ("cilium_host", {}, [("RPF031", "cilium_host")]),
    ("cilium_host", WITH_ROUTES, [("RPF003", "cilium_host"), ("RPF004", "cilium_host"), ("RPF034", "cilium_host")]),
    ("cilium_host", None, [("RPF003", "cilium_host"), ("RPF004", "cilium_host"), ("RPF034", "cilium_host")]),
])  # fmt: skip
def test_a_line_for_one_device_of_cilium_counts_without_the_drop_in_too(name, routes, raised):
    line = {**LATER, "key": f"net.ipv4.conf.{name}.rp_filter"}
    facts = {**WITHOUT_DROPIN, ("devices", name, "configured"): both(line)}
    found = judge(facts, routes or (), routes=ROUTES if routes is not None else None)
    assert [(each["id"], each["subject"]) for each in found if each["id"] != "RPF016"] == raised
    assert {each["evidence"]["path"] for each in found} - {DROPIN} <= {LATER["path"]}
    of_one = [each for each in found if each["id"] in ("RPF003", "RPF004", "RPF034")]
    # An explicit key beats the globs of the drop-in.
    assert all(each["remedy"]["command"].endswith(" rp_filter_conflicts=disable") for each in of_one)
    # The pod's device is gone with the boot.
    assert [each["severity"] for each in of_one if each["id"] == "RPF003"] == ["high"] * (("RPF003", name) in raised)
    if routes is not None:
        document = diagnosis(changed(HEALTHY, facts), changed(ROUTES, routes))
        for when in ("restart", "sysctl_system"):
            assert document["next"][when]["dropped"] is (raised[:1] == [("RPF004", "lxc1")])


def test_an_explicit_key_of_a_present_device_beats_the_glob_of_the_drop_in():
    line = {**LATER, "key": "net.ipv4.conf.lxc1.rp_filter"}
    many = {("devices", f"lxc{n}"): device("cilium", 0, configured=both(LATER)) for n in range(2, 5)}
    found = judge({("devices", "lxc1", "configured", "systemd_sysctl"): line, **many})
    # Three devices that one line beats are one finding.
    assert [(f["id"], f["subject"], f["evidence"]["text"].split()[1]) for f in found] == [
        ("RPF004", "lxc*", "net.ipv4.conf.*.rp_filter"),
        ("RPF014", "lxc*", "net.ipv4.conf.*.rp_filter"),
        ("RPF014", "lxc*", "net.ipv4.conf.lxc1.rp_filter"),
        ("RPF034", "lxc*", "net.ipv4.conf.*.rp_filter"),
        ("RPF034", "lxc1", "net.ipv4.conf.lxc1.rp_filter"),
    ]


def test_the_drop_in_does_not_beat_itself():
    own = ours("lxc1", 22, 1)
    assert "RPF014" not in dict(told({("devices", "lxc1", "configured"): both(own)}))


def test_cilium_s_file_takes_protection_only_where_it_turns_all_off():
    assert told({**BARE, ("all", "configured"): {**NONE, "systemd_sysctl": {**CILIUMS, "value": 1}}}) == [
        *(("RPF003", "lxc*"), ("RPF007", "eth0"), ("RPF034", "lxc*")),
    ]


def test_pods_of_which_nothing_is_known_are_taken_for_threatened():
    facts = {("patterns", "lxc*", "configured", "systemd_sysctl"): LINE, ("dropin", "assignments"): []}
    assert told(facts, {("endpoints", 0, "dropped_at"): None}) == [
        *(("RPF002", "lxc*"), ("RPF003", "lxc*"), ("RPF034", "lxc*")),
    ]


def test_somebody_else_s_file_is_no_drop_in():
    assert told({("dropin", "format"): None, ("dropin", "intact"): None}) == [("RPF017", DROPIN)]
    assert told({("dropin", "intact"): None}) == [("RPF018", DROPIN)]
    (newer,) = judge({("dropin", "format"): 2})
    assert (newer["id"], newer["remedy"]["command"]) == ("RPF018", "")


@pytest.mark.parametrize(
    ("matches", "raised"), [(["cilium"], True), ([], True), (["cilium", "uplink"], False), (None, False)]
)
def test_a_glob_that_matches_at_boot_does_not_fail_the_unit(matches, raised):
    found = told({**GLOB_245, ("globs_without_dash",): [{**LINE, "matches": matches}]})
    assert bool(found) is raised


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({"load_balancer_mode": "dsr", "devices": ["eth0", "eth1"]}, "direct server return over 2 devices"),
        ({"load_balancer_mode": "hybrid", "devices": ["eth0", "eth1"]}, "direct server return over 2 devices"),
        ({"load_balancer_mode": "snat", "devices": ["eth0", "eth1"]}, None),
        ({"ipam": "eni"}, "Cilium's ENI mode"),
        ({"egress_gateway": True}, "Cilium's egress gateway"),
        ({"egress_gateway": True, "devices": ["eth7"]}, None),
        ({"egress_gateway": True, "devices": None}, "Cilium's egress gateway"),
    ],
)
def test_modes_that_need_uplinks_loose(options, mode):
    changes = {("agent_options", name): value for name, value in options.items()}
    texts = [finding["evidence"]["text"] for finding in judge(STRICT_UPLINK, changes)]
    assert texts == ([f"{mode} is on"] if mode else [])
    assert told((), changes) == []  # loose already


def test_growth_of_counters():
    def growth(**before):
        found = judge(before={"ip_reverse_path_filter": None, "in_martian_src": None, "boot_id": None, **before})
        return {finding["subject"]: finding["evidence"]["counter"] for finding in found}

    assert growth() == {}
    assert growth(ip_reverse_path_filter=5) == {"ip_reverse_path_filter": 7}
    assert growth(ip_reverse_path_filter=5, boot_id="boot-1") == {"ip_reverse_path_filter": 7}
    assert growth(ip_reverse_path_filter=5, boot_id="boot-0") == {"ip_reverse_path_filter": 12}
    assert growth(ip_reverse_path_filter=99) == {"ip_reverse_path_filter": 12}
    # Our own questions to the kernel raise it as well.
    assert growth(in_martian_src=1, boot_id="boot-1") == {}
    nothing = {"ip_reverse_path_filter": 0, "in_martian_src": 0, "boot_id": "boot-1"}
    rebooted = {("counters",): {**nothing, "boot_id": "boot-2"}}
    assert told(rebooted, before=nothing) == []
    assert told({("counters", "ip_reverse_path_filter"): None}, before=nothing) == []
    assert "in_martian_src is" not in json.dumps(judge(before=nothing))


@pytest.mark.parametrize(
    ("all_", "default", "devices", "expected"),
    [
        ((0, 0), (0, 0), {}, None),
        ((1, 0), (0, 0), {"lxc1": (0, 0)}, 2),
        ((1, 0), (0, 1), {"lxc1": (0, 1)}, None),
        ((1, 0), (0, 1), {"lxc1": (0, 0), "lxc2": (0, 1)}, 1),
        ((0, 0), (1, 0), {"lxc1": (0, 0)}, 1),
        ((0, 1), (1, 0), {"lxc1": (1, 0)}, None),
    ],
)
def test_marks_beside_the_l7_proxy(all_, default, devices, expected):
    def marks(pair):
        return {"src_valid_mark": pair[0], "accept_local": pair[1]}

    facts = {"all": marks(all_), "default": marks(default), "devices": {n: marks(p) for n, p in devices.items()}}
    found = judge({("source_marks",): facts}, L7)
    assert [finding["evidence"]["counter"] for finding in found] == ([expected] if expected else [])
    assert told({("source_marks",): facts}) == []


def test_loaders_without_globs_where_something_hangs_on_them():
    no_dropin = RAISED["RPF016"][0]
    old_procps = {("loaders", "procps", "globs"): False, ("loaders", "procps", "version"): "3.3.17"}
    assert told({**no_dropin, **old_procps}) == [("RPF011", "procps"), ("RPF016", DROPIN)]
    old_systemd = RAISED["RPF011"][0]
    cleared = {("reload_on_add", "cleared_by"): {"path": "x.rules", "line": 4}}
    assert told({**old_systemd, **cleared}) == []
    assert told({("loaders", "procps"): None}) == []


def test_lines_that_disarm_nothing():
    facts = RAISED["RPF028"][0]
    same_file = {**REPEATED, "first": {"path": REPEATED["path"], "line": 1}}
    vendor = {**REPEATED, "path": "/etc/sysctl.d/60.conf"}
    other_key = {**REPEATED, "key": "net.ipv4.conf.veth*.rp_filter"}
    for line in (same_file, vendor, other_key):
        assert "RPF028" not in dict(told({**facts, ("repeated_lines",): [line]}))
    bracketed = {**REPEATED, "key": "net.ipv4.conf.[l]xc*.rp_filter"}
    assert "RPF028" in dict(told({**facts, ("repeated_lines",): [bracketed]}))
    found = evidence("RPF028", facts)
    assert (found["path"], found["line"]) == ("/etc/sysctl.d/99-ours.conf", 4)


# ---- what is no fact, or half of one ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({"nothing": 1},), "expected the fact rp_filter"),
        ((None,), "expected the fact rp_filter"),
        ((HEALTHY, ["x"]), "routes: expected the fact cilium_routes"),
        ((HEALTHY, None, [1]), "before: expected the counters"),
        ((HEALTHY, None, {"ip_reverse_path_filter": "7"}), "before: ip_reverse_path_filter: expected a number"),
        ((HEALTHY, None, {"boot_id": 7}), "before: boot_id: expected the id"),
    ],
)
def test_what_is_no_fact_is_refused(arguments, words):
    with pytest.raises(AnsibleFilterError, match=words):
        findings.findings(*arguments)


def test_what_is_lacking_is_named_once_and_the_rest_judged():
    many = {("devices", f"lxc{n}"): {"kind": "cilium", "running": 2} for n in range(1, 9)}
    found = judge({**many, ("devices", "lxc9"): device("cilium", 2), ("netfilter",): None})
    assert [(f["id"], f["subject"], f["evidence"]["counter"]) for f in found] == [
        ("RPF001", "lxc9", None),
        ("RPF029", "rp_filter.devices.*.effective", 8),
        ("RPF029", "rp_filter.netfilter", 1),
    ]


def test_facts_of_an_older_version_are_judged_as_far_as_they_go():
    older = dict.fromkeys(
        [("dropin",), ("globs_without_dash",), ("repeated_lines",), ("source_marks",), ("counters", "boot_id")], ...
    )
    found = told({**older, ("devices", "lxc1"): device("cilium", 2)}, {("agent_options",): ...})
    assert found == [
        ("RPF001", "lxc1"),
        ("RPF029", "cilium_routes.agent_options"),
        ("RPF029", "rp_filter.counters.boot_id"),
        *(("RPF029", "rp_filter." + name) for name in ("dropin", "globs_without_dash", "repeated_lines")),
        ("RPF029", "rp_filter.source_marks"),
    ]


def paths_of(document, path=()):
    """The path of everything in it."""
    members = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in members:
        yield path + (key,)
        if isinstance(value, (dict, list)):
            yield from paths_of(value, path + (key,))


def full(rule_ids=tuple(RAISED)):
    """Facts with something in each place."""
    facts, routes = copy.deepcopy(HEALTHY), copy.deepcopy(ROUTES)
    for rule_id in rule_ids:
        if rule_id not in ("RPF013", "RPF016", "RPF029"):
            facts = changed(facts, RAISED[rule_id][0])
            routes = changed(routes, RAISED[rule_id][1])
    facts["source_marks"]["devices"]["lxc1"] = {"src_valid_mark": 1, "accept_local": 0}
    facts["dropin"]["assignments"] = copy.deepcopy(HEALTHY["dropin"]["assignments"])
    routes["endpoint_routes"]["without_route"] = 1
    return {"rp_filter": facts, "routes": routes}


FULL = full()
PATHS = list(paths_of(FULL))
ODD = [..., None, "", "x", -1, 2**70, True, 1.5, [], {}, [None], {"x": None}, [{}], {7: {}}]


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(ODD)), min_size=1, max_size=6))
def test_no_mutation_of_facts_makes_a_traceback(mutations):
    document = copy.deepcopy(FULL)
    # The deepest first, and a list from its end, that the paths of the others hold.
    for path, odd in sorted(mutations, key=lambda entry: [str(part) for part in entry[0]], reverse=True):
        try:
            document = changed(document, {path: odd})
        except (KeyError, IndexError, TypeError):
            continue
    with contextlib.suppress(AnsibleFilterError):
        json.dumps(findings.findings(document.get("rp_filter"), document.get("routes"), {"in_martian_src": 1}))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ".".join(str(part) for part in path))
def test_each_member_that_is_lacking_is_found_or_does_not_matter(path):
    document = changed(FULL, {path: ...})
    if path in (("rp_filter",), ("routes",), ("rp_filter", "devices")):
        return
    lacking = [f for f in findings.findings(document["rp_filter"], document["routes"]) if f["id"] == "RPF029"]
    named = re.sub(r"\.\d+", "[]", ".".join(str(part) for part in path)).replace("routes.", "cilium_routes.", 1)
    unread = {*("effective", "received", "endpoint_route")}
    unread |= {"unit", "unit_result", "cleared_by", "disagreement", "text", "index", "namespace", "link_kind"}
    is_entry = isinstance(path[-1], int) or path[-2] in ("devices", "patterns")
    if lacking:
        pattern = [finding["subject"].replace("*", "") for finding in lacking]
        assert len(lacking) == 1, (named, pattern)
    else:
        assert is_entry or path[-1] in unread or path[-2:] == ("leaves", "device") or "peer" in path, named


def shuffled(value, order):
    if isinstance(value, dict):
        items = [(key, shuffled(entry, order)) for key, entry in value.items()]
        order.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        entries = [shuffled(entry, order) for entry in value]
        order.shuffle(entries)
        return entries
    return value


@pytest.mark.parametrize("seed", range(30))
def test_the_order_of_the_facts_does_not_matter(seed):
    document = full()
    document["rp_filter"]["devices"].update({f"lxc{n}": device("cilium", n % 3) for n in range(2, 12)})
    document["rp_filter"]["devices"]["lxc20"] = {"kind": 7}
    document["rp_filter"]["devices"]["lxc21"] = {"kind": [8]}
    document["rp_filter"]["netfilter"].append({**NETFILTER, "rule": "another"})
    expected = findings.findings(document["rp_filter"], document["routes"])
    assert len(expected) > 20
    other = shuffled(document, random.Random(seed))
    assert findings.findings(other["rp_filter"], other["routes"]) == expected


def test_a_hundred_devices_are_judged_in_milliseconds():
    devices = {f"lxc{n}": device("cilium", 0, configured=both(ours("[l]xc*", 16))) for n in range(100)}
    facts = changed(HEALTHY, {("devices",): devices})
    routes = changed(ROUTES, {("endpoints",): [{**ENDPOINT, "device": f"lxc{n}"} for n in range(100)]})
    started = time.process_time()
    for _ in range(20):
        assert findings.findings(facts, routes) == []
    assert (time.process_time() - started) / 20 < 0.02  # 1.3 ms; the rest is for slow machines


# ---- the facts of real nodes -----------------------------------------------------------------------------------------

VENDOR = {
    "/usr/lib/sysctl.d/50-default.conf": (
        "net.ipv4.conf.default.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n"
    )
}
EXEMPT_PATTERNS = ["lxc*", "cilium_*"]
_PLAIN_RUN = {"optional": False, "path": None, "line": None, "text": None, "loader": "systemd_sysctl", "files": None}
PLAIN_UNIT = {"state": "runs", "path": None, "line": None, "text": None, "credential": None}
PLAIN_UNIT["steps"] = [dict(_PLAIN_RUN, prefixes=[])]


def filter_of(state, folder, files, version=257):
    """The fact rp_filter of a captured node, on which these files lay."""
    for path, text in files.items():
        (folder / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (folder / path[1:]).write_text(text)
    tree = sysctl_d.read_tree(str(folder))
    systemd, procps = observe_filter.Loader("x", version), observe_filter.Loader("y", (4, 0, 4))
    resolve = observe_filter.Resolver(tree, systemd, procps, PLAIN_UNIT, None)
    seen = observe_filter.see_devices(IpRoute(Replay(state)), EXEMPT_PATTERNS, None)
    facts = copy.deepcopy(HEALTHY)
    for name in ("all", "default"):
        facts[name] = {"running": seen.running[name], "configured": resolve(name)}
    facts["devices"] = {
        name: device(kind, seen.running[name], max(seen.running["all"], seen.running[name]), resolve(name))
        for name, kind in seen.kinds.items()
    }
    facts["patterns"] = {
        pattern: {"configured": resolve(observe_filter.devices.to_come(pattern), new=True)}
        for pattern in EXEMPT_PATTERNS
    }
    facts["loaders"]["systemd_sysctl"]["version"] = version
    facts["dropin"] = observe_filter.read_dropin(DROPIN, facts["unread"], str(folder))
    facts["globs_without_dash"] = observe_filter.globs_without_dash(resolve.systemd, seen.kinds)
    facts["repeated_lines"] = observe_filter.repeated_lines(resolve.systemd)
    return facts


def routes_of(state, folder):
    with agent(folder / "cilium.sock", agent_documents(state)) as path:
        return observe(Replay(state), folder, agent_path=path)


def hardened(state):
    """What the writer would lay on that node."""
    seen = observe_filter.see_devices(IpRoute(Replay(state)), EXEMPT_PATTERNS, None)
    nothing = plan.Observed(seen.running, seen.kinds, lambda _name: None, lambda _name: None, dropin.parse(None), None)
    return {**VENDOR, DROPIN: dropin.compose(plan.present(plan.Options(EXEMPT_PATTERNS, "keep", None), nothing))}


BROKEN = {
    "broken": {"RPF001", "RPF006"},
    "exempt": set(),
    "routes-mixed": {"RPF001", "RPF006", "RPF022"},
    "routes": set(),
}


@pytest.mark.parametrize("state", BROKEN)
def test_a_real_node_with_the_drop_in(state, tmp_path):
    found = findings.findings(filter_of(state, tmp_path, hardened(state)), routes_of(state, tmp_path))
    assert {finding["id"] for finding in found} == BROKEN[state]


@pytest.mark.parametrize("state", BROKEN)
def test_a_real_node_without_it(state, tmp_path):
    found = findings.findings(filter_of(state, tmp_path, VENDOR), routes_of(state, tmp_path))
    to_come = {"RPF002", "RPF003", "RPF004", "RPF016", "RPF034"}
    # The host's own devices matter where the agent gives pods routes of their own.
    routed = state.startswith("routes")
    assert {finding["id"] for finding in found} == BROKEN[state] | to_come | ({"RPF031"} if not routed else set())
    patterns = {finding["subject"] for finding in found if finding["id"] == "RPF003"}
    # With its own route, which a pod has that is made anew, it is safe; the host's devices are not.
    assert patterns == ({"cilium_*"} if routed else {"lxc*"})


@pytest.mark.parametrize("files", ["vendor", "hardened", "all", "procps", "nothing", "by hand"])
@pytest.mark.parametrize("state", BROKEN)
def test_findings_and_diagnosis_say_the_same(state, files, tmp_path):
    texts = {
        "vendor": VENDOR,
        "hardened": hardened(state),
        "all": {"/etc/sysctl.d/60.conf": "net.ipv4.conf.all.rp_filter = 1\n"},
        "procps": {**hardened(state), "/etc/sysctl.conf": "net.ipv4.conf.all.rp_filter = 1\n"},
        "nothing": {},
        "by hand": {},
    }[files]
    facts, routes = filter_of(state, tmp_path, texts), routes_of(state, tmp_path)
    if files == "by hand":
        facts["all"]["running"] = 1
        for each in facts["devices"].values():
            each["effective"] = max(1, each["running"])
    found = findings.findings(facts, routes)
    document = diagnosis(facts, routes)
    ids = {finding["id"] for finding in found if finding["subject"] in ("lxc*", "all")}
    dropped = {finding["subject"] for finding in found if finding["id"] == "RPF006"}
    dropping = [story for story in document["stories"] if "dropped" in (story["verdict"], story["leaves"]["verdict"])]
    health = "health endpoint"
    assert dropped == {health if story["is_health"] else story["pod"] or story["address"] for story in dropping}
    apart = any(finding["id"] == "RPF026" for finding in found)
    assert (document["state"] == "dropping") is (bool(dropped) or apart)
    assert bool(document["between_nodes"] and document["between_nodes"]["dropped"]) is apart
    filtered = {finding["subject"] for finding in found if finding["id"] == "RPF001"}
    assert filtered >= {story["device"] for story in dropping if story["filter_is_why"]}
    assert document["next"]["pod"]["dropped"] is ("RPF002" in ids)
    assert document["next"]["boot"]["dropped"] is ("RPF003" in ids)
    for when, rule_id in ("restart", "RPF034"), ("sysctl_system", "RPF004"):
        assert document["next"][when]["dropped"] is bool(ids & {"RPF002", rule_id, "RPF005"})


def test_a_baseline_behind_the_drop_in_is_named_by_its_line(tmp_path):
    zz = {"/etc/sysctl.d/zz.conf": "# CIS\nnet.ipv4.conf.all.rp_filter = 1\nnet.ipv4.conf.eth0.rp_filter = 1\n"}
    found = findings.findings(filter_of("exempt", tmp_path, {**hardened("exempt"), **zz}))
    beaten = [(f["id"], f["subject"], f["evidence"]["path"], f["evidence"]["line"]) for f in found]
    assert ("RPF014", "all", "/etc/sysctl.d/zz.conf", 2) in beaten
    assert ("RPF015", "eth0", "/etc/sysctl.d/zz.conf", 3) in beaten


def test_a_plain_spelling_disarms_cilium_s_file_and_ours_does_not(tmp_path):
    # As measured: 99-override, then *=1 in 99-sysctl.conf, then Cilium's own file.
    files = {
        DROPIN: "-net.ipv4.conf.lxc*.rp_filter = 0\n",
        "/etc/sysctl.d/99-sysctl.conf": "net.ipv4.conf.*.rp_filter = 1\n",
        "/etc/sysctl.d/99-zzz-override_cilium.conf": (
            "-net.ipv4.conf.lxc*.rp_filter = 0\n"
            "-net.ipv4.conf.cilium_*.rp_filter = 0\n"
            "net.ipv4.conf.all.rp_filter = 0\n"
        ),
    }
    (tmp_path / "plain").mkdir()
    (tmp_path / "ours").mkdir()
    plain = findings.findings(filter_of("exempt", tmp_path / "plain", files))
    assert [(f["subject"], f["evidence"]["path"]) for f in plain if f["id"] == "RPF028"] == [("lxc*", DROPIN)]
    spelled = filter_of("exempt", tmp_path / "ours", {**files, DROPIN: hardened("exempt")[DROPIN]})
    assert "RPF028" not in {finding["id"] for finding in findings.findings(spelled)}
    assert "RPF003" not in {finding["id"] for finding in findings.findings(spelled)}


@pytest.mark.parametrize(("version", "raised"), [(245, True), (247, False)])
def test_a_glob_without_a_dash_on_a_real_node(version, raised, tmp_path):
    files = {**hardened("exempt"), "/etc/sysctl.d/99-zz.conf": "net.ipv4.conf.lxc*.rp_filter = 0\n"}
    found = findings.findings(filter_of("exempt", tmp_path, files, version))
    assert [(f["id"], f["evidence"]["path"], f["evidence"]["line"]) for f in found] == (
        [("RPF019", "/etc/sysctl.d/99-zz.conf", 1)] if raised else []
    )


# ---- the catalogue and its documentation -----------------------------------------------------------------------------


def test_ids_are_stable_and_in_order():
    ids = list(catalogue.CATALOGUE)
    assert ids == [f"RPF{number:03d}" for number in range(1, len(ids) + 1)]
    assert len(ids) == len(catalogue._RULES) >= 29
    assert {catalogue.CATALOGUE[rule_id].severity for rule_id in ids} == set(catalogue.SEVERITIES)


@pytest.mark.parametrize("rule", catalogue.CATALOGUE.values(), ids=lambda rule: rule.id)
def test_every_rule_is_documented(rule):
    assert f"- V({rule.id}), {rule.title}.\n" in findings.DOCUMENTATION
    assert all(getattr(rule, name) for name in rule._fields if name not in ("variable", "command"))
    assert rule.meaning.endswith(".")
    assert rule.detected.endswith(".")
    assert rule.evidence.endswith(".")
    assert not rule.why.endswith(".")
    page = (REPOSITORY / "docs" / "findings.md").read_text()
    assert f"\n## {rule.id}\n\n**{rule.title}.**" in page
    assert catalogue.section(rule.id) == f"docs/findings.md#{rule.id.lower()}"


def planned(facts, command):
    """What the role would set for each name, run by this command on a node with these facts."""
    words = shlex.split(command)
    assert words[:4] == shlex.split(catalogue.HARDEN)
    given = {}
    for before, word in zip(words, words[1:]):
        if before == "--extra-vars":
            given.update(json.loads(word) if word.startswith("{") else dict([word.split("=")]))
    running = {name: facts[name]["running"] for name in ("all", "default")}
    running.update({name: each["running"] for name, each in facts["devices"].items()})
    uplinks = given.get("rp_filter_uplink_devices")
    kinds = {name: "uplink" if name in (uplinks or ()) else each["kind"] for name, each in facts["devices"].items()}
    options = plan.Options(list(facts["patterns"]), given.get("rp_filter_uplinks", "keep"), uplinks)
    seen = plan.Observed(running, kinds, {}.get, {}.get, dropin.parse(None), None)
    return {item.name: item.to for item in plan.present(options, seen).items if item.line}


@pytest.mark.parametrize("rule_id", ["RPF001", "RPF007", "RPF020", "RPF026", "RPF027", "RPF030", "RPF033"])
def test_the_remedy_mends(rule_id):
    # Beside an uplink that stays as it is.
    changes = {
        **dict(RAISED[rule_id][0]),
        ("devices", "eth9"): device("uplink", 1, configured=both(ours("eth9", 20, 1))),
    }
    facts = changed(HEALTHY, changes)
    found = [
        each for each in judge(changes, *RAISED[rule_id][1:3]) if each["id"] == rule_id and each["subject"] != "eth9"
    ]
    assert found
    for finding in found:
        will_be = planned(facts, finding["remedy"]["command"])
        assert (will_be["all"], will_be["lxc*"], will_be["cilium_*"]) == (0, 0, 0)
        assert will_be["eth0"] in (1, 2) and will_be["eth9"] == 1
        if rule_id == "RPF033":
            assert will_be["docker0"] == 2
        if rule_id == "RPF020":
            assert will_be["eth0"] == 2


@pytest.mark.parametrize("changes, path", [
    ({("devices",): {}}, "rp_filter.devices"),
    ({("patterns",): {}}, "rp_filter.patterns"),
    ({("all", "running"): None}, "rp_filter.all.running"),
    ({("default", "running"): None}, "rp_filter.default.running"),
])  # fmt: skip
def test_what_every_kernel_has_is_missed(changes, path):
    assert ("RPF029", path) in told(changes)
    # Where it could not be read, that is said instead.
    unread = {**UNREAD, "what": "devices", "decides": True}
    found = told({**changes, ("unread",): [unread]})
    assert ("RPF032", "devices") in found and "RPF029" not in dict(found)


@pytest.mark.parametrize("why, is_told", [
    ("Permission denied", True), ("Keine Berechtigung", True), ("the root of the tree is gone", False),
])  # fmt: skip
@pytest.mark.parametrize("decides", [True, False])
def test_to_become_root_is_told_where_that_helps(why, is_told, decides):
    (found,) = judge({("unread",): [{"what": "x", "why": why, "decides": decides, "needs_root": is_told}]})
    rule = catalogue.CATALOGUE["RPF032" if decides else "RPF012"]
    assert "nodeward_become=true" in rule.command
    assert found["remedy"] == {"variable": "", "command": rule.command if is_told else ""}


def test_no_command_is_of_names_that_would_be_something_else():
    for names in (["{{7*6}}"], [f"veth{number}" for number in range(30)]):
        facts = {("devices", name): device("other", 0, link_kind="veth") for name in names}
        (found,) = judge(facts)
        assert found["remedy"]["command"] == catalogue.CATALOGUE["RPF033"].command


def test_variables_are_variables_of_a_role():
    defaults = {}
    for role in ("rp_filter", "endpoint_routes"):
        defaults.update(yaml.safe_load((REPOSITORY / "roles" / role / "defaults" / "main.yml").read_text()))
    for rule in catalogue.CATALOGUE.values():
        assert rule.variable in {"", *defaults}, rule.id


def test_the_documentation_names_no_other_id():
    ids = set(re.findall(r"RPF\d+", findings.DOCUMENTATION + (REPOSITORY / "docs" / "findings.md").read_text()))
    assert ids == set(catalogue.CATALOGUE)


def test_the_page_is_up_to_date():
    subprocess.run([REPOSITORY / "tests" / "setup" / "document-findings", "--check"], check=True)


@pytest.mark.parametrize("argument, code, is_written", [
    ("--help", 0, False), ("--chekc", 2, False), ("--check", 1, False), (None, 0, True),
])  # fmt: skip
def test_the_page_is_written_where_nothing_else_is_asked(tmp_path, argument, code, is_written):
    for name in ("tests/setup/document-findings", "plugins/plugin_utils/judge/catalogue.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    command = [tmp_path / "tests/setup/document-findings"] + [argument] * bool(argument)
    assert subprocess.run(command, capture_output=True, check=False).returncode == code
    assert (tmp_path / "docs/findings.md").exists() is is_written


OLD_SYSTEMD = {("loaders", "systemd_sysctl", "globs"): False, ("loaders", "systemd_sysctl", "version"): 239}
RELOAD = {
    "runs": "systemd_sysctl",
    "names": [devices.to_come("eni*")],
    "value": None,
    "sets": None,
    "certain": True,
    "path": "/usr/lib/udev/rules.d/99-systemd.rules",
    "line": 73,
    "text": "RUN+=…",
}
EXEMPT_ENI = {"path": "/usr/lib/sysctl.d/50-default.conf", "line": 26, "key": "net.ipv4.conf.*.rp_filter", "value": 2}


def eni(on_add, configured=NONE):
    """A rule clears udev's run for lxc*|cilium_*; eni* is one more exempt pattern."""
    return {
        ("reload_on_add", "cleared_by"): {"path": "/etc/udev/rules.d/99-zz-x.rules", "line": 4},
        ("patterns", "lxc*", "on_add"): [],
        ("patterns", "cilium_*", "on_add"): [],
        ("patterns", "eni*"): {"configured": configured, "on_add": on_add},
    }


def test_a_rule_of_udev_covers_the_patterns_that_it_matches_alone():
    assert told({**eni([]), **OLD_SYSTEMD}) == []
    assert told({**eni([RELOAD]), **OLD_SYSTEMD}) == [("RPF011", "systemd_sysctl")]
    assert ("RPF002", "eni*") in told(eni([RELOAD], both(EXEMPT_ENI)))
    assert ("RPF002", "eni*") not in told(eni([], both(EXEMPT_ENI)))


@pytest.mark.parametrize("version, words", [(..., "an older"), (0, "an older"), (2, "a newer"), ("1", "an older")])
@pytest.mark.parametrize("fact", ["rp_filter", "cilium_routes"])
def test_facts_of_another_version_are_unknown(version, words, fact):
    outdated = {("schema_version",): version}
    changes = (outdated, ()) if fact == "rp_filter" else ((), outdated)
    (found,) = judge(*changes)
    assert (found["id"], found["subject"]) == ("RPF029", fact)
    assert found["observed"] == f"gathered by {words} version: unknown"


IMAGE = {
    ("running_system",): {"observed": False, "why": "this is a chroot: /proc/sys is the build host's"},
    ("all", "running"): None,
    ("default", "running"): None,
    ("devices",): {},
    ("counters",): {"ip_reverse_path_filter": None, "in_martian_src": None, "boot_id": None},
}
NO_PODS = {
    ("running_system",): IMAGE["running_system",],
    ("endpoints",): [],
    ("source",): None,
    ("endpoint_routes",): {"in_effect": None, "with_route": 0, "without_route": 0, "agent": None, "disagreement": None},
}


def test_an_image_is_judged_by_its_files_alone():
    assert told(IMAGE, NO_PODS) == []
    glob = {("patterns", name, "configured"): both(LINE) for name in ("lxc*", "cilium_*")}
    found = judge({**IMAGE, **glob, ("dropin", "present"): False}, NO_PODS)
    expected = {"RPF002", "RPF003", "RPF004", "RPF034", "RPF016"}
    assert {each["id"] for each in found} == expected
    assert {each["evidence"]["path"] for each in found if each["id"] != "RPF016"} == {LINE["path"]}


def test_an_explicit_key_of_a_host_interface_counts_after_a_boot_where_no_agent_resets_it():
    line = dict(LINE, key="net.ipv4.conf.cilium_host.rp_filter")
    named = {("devices", "cilium_host", "configured"): both(line)}
    routed = {("endpoint_routes", "agent"): True}
    assert ("RPF003", "cilium_host") in told({**named, ("agent",): NO_AGENT}, routed)
    assert ("RPF003", "cilium_host") not in told({**named, ("agent",): AGENT}, routed)
