import copy

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.nodeward.cilium.plugins.filter import findings

NONE = {"systemd_sysctl": None, "procps": None}
HEALTHY = {
    "all": {"running": 0, "configured": NONE},
    "default": {"running": 2, "configured": NONE},
    "devices": {
        "lxc1": {"kind": "cilium", "running": 0, "effective": 0, "configured": NONE},
        "eth0": {"kind": "uplink", "running": 2, "effective": 2, "configured": NONE},
        "docker0": {"kind": "other", "running": 0, "effective": 0, "configured": NONE},
    },
    "patterns": {"lxc*": {"configured": NONE}},
    "loaders": {
        "systemd_sysctl": {"version": 257, "globs": True, "unit": "active", "unit_result": "success"},
        "procps": {"version": "4.0.4", "globs": True},
    },
    "reload_on_add": {"path": "/usr/lib/udev/rules.d/99-systemd.rules", "line": 73},
    "netfilter": [],
    "other_writers": [],
    "unread": [],
}
LINE = {"value": 2, "path": "/usr/lib/sysctl.d/50-default.conf", "line": 26, "key": "net.ipv4.conf.*.rp_filter"}
PLACE = "/usr/lib/sysctl.d/50-default.conf:26 net.ipv4.conf.*.rp_filter"


def judge(path=(), value=None, routes=None):
    """(id, subject, observed, evidence) of the findings on a healthy node, with one fact changed."""
    facts = copy.deepcopy(HEALTHY)
    if path:
        inner = facts
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
    found = findings.FilterModule().filters()["findings"](facts, routes)
    return [(finding["id"], finding["subject"], finding["observed"], finding["evidence"]) for finding in found]


def test_a_healthy_node():
    assert judge() == []


def test_a_filtered_device():
    filtered = {"kind": "cilium", "running": 2, "effective": 2, "configured": NONE}
    assert judge(("devices", "lxc1"), filtered) == [("RPF001", "lxc1", "2", "its own value is 2, all is 0")]


def test_all_filters_whatever_the_device_says():
    assert judge(("all", "running"), 1) == [("RPF005", "all", "1", "net.ipv4.conf.all.rp_filter")]


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        ("systemd_sysctl", [("RPF002", "lxc*", "2", PLACE), ("RPF003", "lxc*", "2", PLACE)]),
        ("procps", [("RPF004", "lxc*", "2", PLACE)]),
    ],
)
def test_times_to_come(loader, expected):
    assert judge(("patterns", "lxc*", "configured"), {**NONE, loader: LINE}) == expected


@pytest.mark.parametrize(("loader", "rule_id"), [("systemd_sysctl", "RPF003"), ("procps", "RPF004")])
def test_all_to_come(loader, rule_id):
    assert judge(("all", "configured"), {**NONE, loader: LINE}) == [(rule_id, "lxc*", "2", PLACE)]


def test_without_udev_s_rule_the_next_device_is_left_alone():
    facts = copy.deepcopy(HEALTHY)
    facts["reload_on_add"] = None
    facts["patterns"]["lxc*"]["configured"] = {**NONE, "systemd_sysctl": LINE}
    assert [finding["id"] for finding in findings.findings(facts)] == ["RPF003", "RPF013"]


def test_our_own_rule_keeps_the_loader_off_the_next_device_but_not_the_next_boot():
    facts = copy.deepcopy(HEALTHY)
    facts["reload_on_add"]["cleared_by"] = {"path": "/etc/udev/rules.d/x.rules", "line": 4}
    facts["patterns"]["lxc*"]["configured"] = {**NONE, "systemd_sysctl": LINE}
    assert [finding["id"] for finding in findings.findings(facts)] == ["RPF003"]


def test_an_uplink_without_protection_and_no_other_device():
    bare = {"kind": "uplink", "running": 0, "effective": 0, "configured": NONE}
    assert judge(("devices", "eth0"), bare) == [("RPF007", "eth0", "0", "its own value is 0, all is 0")]


def test_a_unit_that_failed_is_told_apart_from_quick_restarts():
    loader = {**HEALTHY["loaders"]["systemd_sysctl"], "unit": "failed"}
    (bad_line,) = judge(("loaders", "systemd_sysctl"), {**loader, "unit_result": "exit-code"})
    (restarts,) = judge(("loaders", "systemd_sysctl"), {**loader, "unit_result": "start-limit-hit"})
    assert bad_line[:3] == ("RPF010", "systemd-sysctl.service", "exit-code")
    assert "restarts" in restarts[3]
    assert "restarts" not in bad_line[3]


def test_what_else_enforces_or_writes_it():
    rule = {"family": "ip", "table": "raw", "chain": "PREROUTING", "rule": "-m rpfilter"}
    writer = {"by": "ufw", "path": "/etc/ufw/sysctl.conf", "line": 3, "text": "a=1", "value": "1"}
    assert judge(("netfilter",), [rule]) == [("RPF008", "ip raw PREROUTING", "a rule", "-m rpfilter")]
    assert judge(("other_writers",), [writer]) == [("RPF009", "ufw", "1", "/etc/ufw/sysctl.conf:3 a=1")]
    assert judge(("loaders", "procps", "globs"), False)[0][:2] == ("RPF011", "procps")
    assert judge(("loaders", "procps"), None) == []


def test_endpoints_and_what_could_not_be_read():
    endpoint = {"pod": "a/b", "address": "10.0.0.1", "reason": "strict", "verdict": "dropped"}
    routes = {
        "endpoints": [endpoint, {**endpoint, "verdict": "accepted"}, {**endpoint, "pod": None}],
        "unread": [{"what": "the agent's socket", "why": "Permission denied"}],
    }
    assert judge(routes=routes) == [
        ("RPF006", "10.0.0.1", "dropped", "strict"),
        ("RPF006", "a/b", "dropped", "strict"),
        ("RPF012", "the agent's socket", "not read", "Permission denied"),
    ]


def test_what_is_no_fact_is_refused():
    with pytest.raises(AnsibleFilterError, match="expected the fact rp_filter"):
        findings.findings({"nothing": 1})


def test_every_rule_is_documented():
    for rule_id, rule in findings.CATALOGUE.items():
        assert "V(%s)" % rule_id in findings.DOCUMENTATION
        assert rule.severity in ("high", "medium", "low")
