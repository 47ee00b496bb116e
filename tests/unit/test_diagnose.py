"""Facts in, a story out: the diagnosis, its words, and that role and documentation name the same options."""

import copy
import inspect
import json
from pathlib import Path

import pytest
import yaml
from agent_server import agent, answering
from ansible.errors import AnsibleFilterError
from ansible_collections.nodeward.cilium.plugins.filter import diagnosis as diagnosis_plugin
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import RP_FILTER_WORDS
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.node import judged
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.diagnosis import diagnosis
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.findings import findings
from ansible_collections.nodeward.cilium.plugins.plugin_utils.render.story import story
from test_observe_routes import Replay, agent_documents, observe

CAPTURES = Path(__file__).resolve().parents[1] / "fixtures" / "captures"
ROLE = Path(__file__).resolve().parents[2] / "roles" / "diagnose"
LXC = "lxc3c160d6c7aa0"
GLOB = {"value": 2, "path": "/usr/lib/sysctl.d/50-default.conf", "line": 26, "key": "net.ipv4.conf.*.rp_filter"}
EXEMPT = {"value": 0, "path": "/etc/sysctl.d/99-override_cilium_rp_filter.conf", "line": 9, "key": "[l]xc*"}
ALL = {"value": 1, "path": "/etc/sysctl.conf", "line": 3, "key": "net.ipv4.conf.all.rp_filter"}
RULE = {"path": "/usr/lib/udev/rules.d/99-systemd.rules", "line": 72}
UNREAD = {"what": "/run/x.sock", "why": "GET /v1/endpoint on /run/x.sock: no such socket; no Cilium agent runs here"}
UNREAD["needs_root"] = False
REASON = "the filter is loose (2) on %s, which has no IPv4 address, and the route back leaves by cilium_host"


def configured(systemd=None, procps=None):
    return {"systemd_sysctl": systemd, "procps": procps}


def filter_facts(devices=None, line=GLOB, **changes):
    """Of a node where `line` decides the filter of every lxc device."""
    devices = {LXC: 2} if devices is None else devices
    facts = {
        "schema_version": 1,
        "running_system": {"observed": True, "why": None},
        "dropin": {"path": EXEMPT["path"], "present": False, "format": None, "intact": None, "assignments": []},
        "globs_without_dash": [],
        "repeated_lines": [],
        "source_marks": {"all": None, "default": None, "devices": {}},
        "all": {"running": 0, "configured": configured()},
        "default": {"running": 2, "configured": configured(line, line)},
        "devices": {
            name: {"kind": "cilium", "running": value, "effective": value, "configured": configured(line, line)}
            for name, value in devices.items()
        },
        "patterns": {"lxc*": {"configured": configured(line, line)}, "cilium_*": {"configured": configured()}},
        "loaders": {
            "systemd_sysctl": {"version": 257, "globs": True, "unit": "active"},
            "procps": {"version": "4.0.4", "globs": True},
        },
        "reload_on_add": RULE,
        "netfilter": [],
        "other_writers": [],
        "counters": {"ip_reverse_path_filter": 12, "in_martian_src": 0, "boot_id": "boot-1"},
        "unread": [],
    }
    facts.update(changes)
    return facts


def endpoint(number=113, device=LXC, verdict="dropped", **changes):
    result = {
        "address": f"10.0.0.{number}",
        "ipv6": None,
        "device": device,
        "pod": f"kube-system/coredns-{number}",
        "peer": {"device": "eth0", "index": 2, "namespace": None},
        "received": 100,
        "endpoint_route": False,
        "route_device": "cilium_host",
        "symmetric": False,
        "verdict": verdict,
        "reason": REASON % device if verdict == "dropped" else f"the filter is off on {device}",
        "dropped_at": [1, 2],
        "leaves": {"device": None if verdict == "dropped" else "eth0", "verdict": verdict, "reason": REASON % device},
    }
    result.update(changes)
    return result


def route_facts(*endpoints, **changes):
    in_effect = {"in_effect": False, "with_route": 0, "without_route": 1, "agent": None, "disagreement": None}
    facts = {
        "schema_version": 1,
        "running_system": {"observed": True, "why": None},
        "endpoint_routes": in_effect,
        "loosens_uplinks": None,
        "agent_options": {
            "l7_proxy": None,
            "load_balancer_mode": None,
            "egress_gateway": None,
            "ipam": None,
            "devices": None,
        },
        "source": "agent",
        "endpoints": list(endpoints),
        "unread": [],
    }
    facts.update(changes)
    return facts


def told(*arguments, **options):
    document = diagnosis(*arguments, node="node1", **options)
    json.dumps(document)
    return document, story(document)


BROKEN = """\
node1: the kernel drops packets of 1 of 1 endpoint

   kube-system/coredns-113   10.0.0.113   lxc3c160d6c7aa0

   route                      the host reaches it by cilium_host; its reply arrives on lxc3c160d6c7aa0
   filter                     loose (2) on lxc3c160d6c7aa0: its own value (all is 0)
   verdict                    dropped: the filter is loose (2) on lxc3c160d6c7aa0, which has no IPv4 address,
                              and the route back leaves by cilium_host
   to the world               dropped as well
>> set by                     /usr/lib/sysctl.d/50-default.conf:26   net.ipv4.conf.*.rp_filter = 2
                              by systemd-sysctl, which udev runs for every new device
                              (/usr/lib/udev/rules.d/99-systemd.rules:72)
   next pod                   drops replies: loose (2) by /usr/lib/sysctl.d/50-default.conf:26
   next boot                  drops replies: loose (2) by /usr/lib/sysctl.d/50-default.conf:26
   restart of systemd-sysctl  drops replies: loose (2) by /usr/lib/sysctl.d/50-default.conf:26
   sysctl --system            drops replies: loose (2) by /usr/lib/sysctl.d/50-default.conf:26

   Cure 1: exempt Cilium's devices from the filter, and keep it on all others
     $ ansible-playbook -i INVENTORY nodeward.cilium.harden --limit node1 --check --diff
     $ ansible-playbook -i INVENTORY nodeward.cilium.harden --limit node1
     rp_filter_state: "present"   (role nodeward.cilium.rp_filter)

   Cure 2: give every pod a route by its own device; agents must be restarted, and then all pods recreated
     $ ansible-playbook -i INVENTORY nodeward.cilium.harden -e endpoint_routes_state=enabled --check --diff
     $ ansible-playbook -i INVENTORY nodeward.cilium.harden -e endpoint_routes_state=enabled -e endpoint_routes_restart=rolling
     $ kubectl --namespace kube-system delete pod coredns-113
     endpoint_routes_state: "enabled"   (role nodeward.cilium.endpoint_routes)"""  # noqa: E501


def test_the_story_of_the_fault():
    document, lines = told(filter_facts(), route_facts(endpoint()))
    assert "\n".join(lines) == BROKEN
    assert document["state"] == "dropping"
    assert document["schema"] == 2
    (culprit,) = document["stories"][0]["set_by"]
    assert (culprit["path"], culprit["line"]) == ("/usr/lib/sysctl.d/50-default.conf", 26)


def test_a_healthy_node_takes_one_line():
    _document, lines = told(filter_facts({LXC: 0}, EXEMPT), route_facts(endpoint(verdict="accepted"), unread=[UNREAD]))
    assert lines == [
        "node1: ok: the kernel accepts the reply of its one endpoint now, after the next pod, the next boot, the "
        "next restart of systemd-sysctl and the next 'sysctl --system'"
    ]


def test_well_now_but_not_after_the_next_pod():
    document, lines = told(filter_facts({LXC: 0}), route_facts(endpoint(verdict="accepted")))
    assert document["state"] == "at_risk"
    assert lines[0] == (
        "node1: the kernel accepts the reply of its one endpoint now, but the next pod, the next boot, "
        "the next restart of systemd-sysctl and the next 'sysctl --system' will drop replies"
    )
    assert "   next pod                   drops replies: loose (2) by /usr/lib/sysctl.d/50-default.conf:26" in lines
    assert [cure["variables"] for cure in document["cures"]] == [
        {"rp_filter_state": "present"},
        {"endpoint_routes_state": "enabled"},
    ]


def test_with_endpoint_routes_the_filter_may_stay():
    symmetric = {"route_device": LXC, "symmetric": True, "dropped_at": [], "endpoint_route": True}
    document, lines = told(filter_facts(), route_facts(endpoint(verdict="accepted", **symmetric)))
    assert (document["state"], len(lines)) == ("ok", 1)


def test_pods_older_than_endpoint_routes_are_recreated_and_the_next_ones_are_accepted():
    mixed = {"in_effect": None, "with_route": 0, "without_route": 1, "agent": True, "disagreement": None}
    facts, routes = filter_facts(), route_facts(endpoint(), endpoint_routes=mixed)
    document, lines = told(facts, routes)
    assert document["state"] == "dropping"
    for known in (document["next"], document["stories"][0]["next"]):
        dropped = {when: horizon["dropped"] for when, horizon in known.items()}
        assert dropped == {"pod": False, "boot": False, "restart": True, "sysctl_system": True}
    assert document["cures"][1]["commands"] == ["kubectl --namespace kube-system delete pod coredns-113"]
    assert not any("endpoint_routes_state" in line for line in lines)
    of_pods = {each["id"] for each in findings(facts, routes) if each["subject"] == "lxc*"}
    assert "RPF034" in of_pods and not of_pods & {"RPF002", "RPF003"}


UPLINK = {"kind": "uplink", "running": 2, "effective": 2, "configured": configured()}


def test_no_cilium():
    document, lines = told(filter_facts({}) | {"devices": {"eth0": UPLINK}}, route_facts(source=None))
    assert document["state"] == "no_cilium"
    assert lines == ["node1: there is no Cilium on this node: none of its devices, and no agent"]


class TestNoEndpointYet:
    DEVICES = {"devices": {"cilium_host": {"kind": "cilium", "running": 0, "effective": 0, "configured": configured()}}}

    @staticmethod
    def routes(**changes):
        nothing = {"in_effect": None, "with_route": 0, "without_route": 0, "agent": None, "disagreement": None}
        return route_facts(endpoint_routes=dict(nothing, **changes))

    def test_the_glob_waits_for_the_first_pod(self):
        document, lines = told(filter_facts() | self.DEVICES, self.routes())
        assert document["state"] == "at_risk"
        assert document["next"]["pod"] == {
            "effective": 2,
            "dropped": True,
            "lines": [GLOB],
            "sources": [{"by": "systemd-sysctl", **GLOB}],
            "ends": None,
            "before": None,
            "unknown": [],
        }
        assert lines[0] == (
            "node1: Cilium is here and has no endpoint yet, but the next pod, the next boot, "
            "the next restart of systemd-sysctl and the next 'sysctl --system' will drop replies"
        )
        assert "   next pod                   drops replies: loose (2) by /usr/lib/sysctl.d/50-default.conf:26" in lines

    def test_without_the_glob_all_is_well(self):
        document, lines = told(filter_facts(line=None) | self.DEVICES, self.routes())
        assert document["next"]["pod"]["dropped"] is False
        assert (document["state"], lines) == ("ok", ["node1: Cilium is here and has no endpoint yet"])

    @pytest.mark.parametrize(
        ("changes", "state"),
        [
            ({"in_effect": True}, "ok"),
            ({"agent": True}, "ok"),
            ({"agent": True, "in_effect": False}, "ok"),
            ({"agent": False, "in_effect": True}, "at_risk"),
        ],
    )
    def test_a_route_of_its_own_saves_the_first_pod(self, changes, state):
        assert told(filter_facts() | self.DEVICES, self.routes(**changes))[0]["state"] == state


def test_devices_that_could_not_be_read_are_not_no_cilium():
    unread = [{"what": "devices", "why": "'ip' did not finish", "decides": True, "needs_root": False}]
    document, lines = told(filter_facts({}, unread=unread), route_facts(source=None))
    assert document["state"] == "unknown"
    assert lines[-2:] == ["   Not seen:", "     devices: 'ip' did not finish"]


def test_without_root():
    unread = [
        {
            "what": "/run/cilium.sock",
            "why": "permission denied; the socket is for root only (become)",
            "needs_root": True,
        },
        {"what": "/run/netns", "why": "entering a network namespace needs root (become)", "needs_root": True},
    ]
    document, lines = told(filter_facts(), route_facts(source=None, unread=unread))
    assert document["state"] == "unknown"
    assert lines[0] == "node1: whether the kernel drops packets of 1 pod is unknown"
    assert "   pod of unknown name   address unknown   lxc3c160d6c7aa0" in lines
    assert ">> set by                     /usr/lib/sysctl.d/50-default.conf:26   net.ipv4.conf.*.rp_filter = 2" in lines
    assert lines[-3:] == [
        "   Not seen:",
        "     /run/cilium.sock: permission denied; the socket is for root only (become)",
        "     /run/netns: entering a network namespace needs root (become)",
    ]
    assert [entry["needs_root"] for entry in document["unseen"]] == [True, True]


def test_all_decides():
    facts = filter_facts({LXC: 0}, None)
    facts["all"] = {"running": 1, "configured": configured(ALL, ALL)}
    facts["devices"][LXC]["effective"] = 1
    document, lines = told(facts, route_facts(endpoint()))
    assert "   filter                     strict (1) on lxc3c160d6c7aa0: because of all (its own is 0)" in lines
    assert ">> set by                     /etc/sysctl.conf:3   net.ipv4.conf.all.rp_filter = 1" in lines
    assert "                              by systemd-sysctl, at boot and whenever its unit restarts" in lines
    assert "   next boot                  drops replies: strict (1) by /etc/sysctl.conf:3" in lines
    assert document["stories"][0]["filter"]["decided_by"] == "all"


def test_both_values_filter_and_both_culprits_are_named():
    facts = filter_facts()
    facts["all"] = {"running": 2, "configured": configured(dict(ALL, value=2), None)}
    _document, lines = told(facts, route_facts(endpoint()))
    assert [line.split()[3] for line in lines if line.startswith(">> ")] == [
        "/usr/lib/sysctl.d/50-default.conf:26",
        "/etc/sysctl.conf:3",
    ]


UFW = {
    "by": "ufw",
    "path": "/etc/ufw/sysctl.conf",
    "line": 5,
    "text": "…",
    "names": ["eth0"],
    "value": "1",
    "sets": 1,
    "narrowed": False,
    "not_on": [],
}
NOBODY = "no line of a loader and no known writer; whoever wrote it may write it again"


BEFORE_EXEMPT = f"a loader (probably systemd-sysctl), before {EXEMPT['path']}:9 overrode this line"
LITERAL = {"value": 2, "path": "/etc/sysctl.d/60-pods.conf", "line": 4, "key": f"net.ipv4.conf.{LXC}.rp_filter"}


@pytest.mark.parametrize(
    ("systemd", "procps", "changes", "path", "by"),
    [
        (EXEMPT, GLOB, {}, GLOB["path"], "procps, when someone called 'sysctl --system'"),
        (EXEMPT, EXEMPT, {}, None, NOBODY),
        (None, None, {}, GLOB["path"], "the value of 'default', with which a device begins"),
        (GLOB, None, {"reload_on_add": None}, GLOB["path"], "systemd-sysctl, at boot and whenever its unit restarts"),
        (
            EXEMPT,
            None,
            {"other_writers": [dict(UFW, names=["lxc*"])]},
            None,
            NOBODY + "; found on this node: /etc/ufw/sysctl.conf:5 (ufw)",
        ),
        (EXEMPT, None, {"other_writers": [UFW]}, None, NOBODY),
        (EXEMPT, None, {"other_writers": [dict(UFW, names=["lxc*"], sets=2)]}, UFW["path"], "ufw, past both loaders"),
        # No program writes a file of the distribution, or the interfaces of a glob.
        (EXEMPT, None, {"lines": [GLOB]}, GLOB["path"], BEFORE_EXEMPT),
        (EXEMPT, None, {"lines": [dict(GLOB, path="/etc/sysctl.d/a.conf")]}, "/etc/sysctl.d/a.conf", BEFORE_EXEMPT),
        (EXEMPT, None, {"lines": [dict(LITERAL, path="/lib/sysctl.d/a.conf")]}, "/lib/sysctl.d/a.conf", BEFORE_EXEMPT),
        (
            EXEMPT,
            None,
            {"lines": [LITERAL]},
            LITERAL["path"],
            f"a loader, before {EXEMPT['path']}:9 overrode this line, or the program that wrote this line",
        ),
        (
            EXEMPT,
            None,
            {"lines": [dict(LITERAL, path="/etc/sysctl.d/90-dev-sec.conf")]},
            "/etc/sysctl.d/90-dev-sec.conf",
            f"a loader, before {EXEMPT['path']}:9 overrode this line, or the role os_hardening of dev-sec, which will "
            "write it again on its next run",
        ),
        (
            None,
            EXEMPT,
            {"lines": [LITERAL]},
            LITERAL["path"],
            f"a loader, before {EXEMPT['path']}:9 overrode this line, or the program that wrote this line",
        ),
        (
            None,
            None,
            {"lines": [LITERAL], "default": {"running": 0, "configured": configured()}},
            LITERAL["path"],
            "a loader, though none applies this line now, or the program that wrote this line",
        ),
        (None, None, {"lines": [GLOB]}, GLOB["path"], "the value of 'default', with which a device begins"),
        (EXEMPT, None, {"lines": [ALL, dict(GLOB, value=1)]}, None, NOBODY),
        (
            EXEMPT,
            None,
            {"scripts": [{"path": "/usr/local/sbin/tune", "line": 2, "text": "…"}]},
            None,
            NOBODY + "; found on this node: /usr/local/sbin/tune:2 (a script)",
        ),
    ],
)
def test_who_set_it(systemd, procps, changes, path, by):
    facts = filter_facts(**changes)
    facts["devices"][LXC]["configured"] = configured(systemd, procps)
    (culprit,) = told(facts, route_facts(endpoint()))[0]["stories"][0]["set_by"]
    assert (culprit["path"], culprit["by"]) == (path, by)


def test_the_next_device_without_udevs_rule_keeps_ciliums_value():
    document, lines = told(filter_facts(reload_on_add=None), route_facts(endpoint()))
    expected = {"effective": 0, "dropped": False, "lines": [], "sources": []}
    assert document["next"]["pod"] == dict(expected, ends=None, before=None, unknown=[])
    assert "   next pod                   ok: off (0) as Cilium sets it; no line says otherwise" in lines


@pytest.mark.parametrize(
    ("cleared_by", "effective"), [(None, 2), ({"path": "/etc/udev/rules.d/99-zz-cilium.rules", "line": 3}, 0)]
)
def test_a_rule_that_clears_udevs_programs_saves_the_next_device(cleared_by, effective):
    facts = filter_facts({LXC: 0}, reload_on_add=dict(RULE, cleared_by=cleared_by))
    document, _lines = told(facts, route_facts(endpoint(verdict="accepted")))
    for when in ("pod", "boot"):
        assert (document["next"][when]["effective"], document["next"][when]["dropped"]) == (effective, effective == 2)


def test_a_martian_is_not_blamed_on_the_filter():
    martian = {"reason": "its source address is local to the host; this is not rp_filter", "dropped_at": None}
    document, lines = told(filter_facts({LXC: 0}, EXEMPT), route_facts(endpoint(**martian)))
    assert document["stories"][0]["filter_is_why"] is False
    assert document["cures"] == []
    assert not [line for line in lines if line.startswith(">>")]
    assert any("the filter is not why" in line for line in lines)


def test_endpoints_with_one_story_share_it():
    many = [endpoint(number, f"lxc{number:08x}") for number in range(1, 31)]
    other = endpoint(99, "lxcother", verdict="dropped", route_device="eth0")
    facts = filter_facts(dict({each["device"]: 2 for each in many}, lxcother=2))
    document, lines = told(facts, route_facts(*many, other))
    assert len(document["stories"]) == 31
    assert len([line for line in lines if line.startswith(">>")]) == 2
    assert "   and 10 more" in lines
    assert "   route                      the host reaches it by cilium_host; its reply arrives on its device" in lines


BPF_NODE = "1.20-bpf-host-routing"
NETCONF = json.loads((CAPTURES / BPF_NODE / "ip-netconf.json").read_text())
WITHOUT_MODE = {
    "/v1/endpoint": (CAPTURES / BPF_NODE / "agent-endpoint.json").read_text(),
    "/v1/config": (CAPTURES / BPF_NODE / "agent-config.json").read_text(),
    "/v1/healthz": "{}",
}


@pytest.mark.parametrize(
    ("answers", "to_the_world"),
    [
        (agent_documents(BPF_NODE), "accepted: with BPF host routing it leaves the node before the kernel's check"),
        (answering(WITHOUT_MODE), "unknown: the mode of host routing is not known: with legacy routing it is dropped"),
        (agent_documents("1.20-broken"), "dropped as well"),
    ],
    ids=["bpf", "unknown", "legacy"],
)
def test_what_leaves_the_node_passes_with_bpf_host_routing(tmp_path, answers, to_the_world):
    """Of a real node: the filter is on for its three pods, and off for the health endpoint."""
    with agent(tmp_path / "cilium.sock", answers) as path:
        routes = observe(Replay(BPF_NODE), tmp_path, agent_path=path)
    modes = {each["interface"]: each["rp_filter"] for each in NETCONF}
    values = {each["device"]: RP_FILTER_WORDS[modes[each["device"]]] for each in routes["endpoints"]}
    document, lines = told(filter_facts(values), routes)
    assert document["state"] == "dropping"
    assert document["summary"] == "the kernel drops packets of 3 of 4 endpoints"
    text = " ".join(" ".join(lines).split())
    assert "verdict dropped: the filter is loose (2) on its device" in text
    assert "to the world " + to_the_world in text
    assert "None" not in text


def test_a_device_whose_name_begins_anothers():
    pair = [endpoint(1, "lxc1", route_device="lxc12"), endpoint(2, "lxc2", route_device="lxc12")]
    _document, lines = told(filter_facts({"lxc1": 2, "lxc2": 2}), route_facts(*pair))
    assert "   route                      the host reaches it by lxc12; its reply arrives on its device" in lines


def test_names_do_not_write_to_the_terminal():
    _document, lines = told(filter_facts({"lxc\x1b[2J": 2}), route_facts(endpoint(1, "lxc\x1b[2J")))
    assert "\x1b" not in "".join(lines)
    assert any("lxc⟨U+001B⟩[2J" in line for line in lines)
    assert any("lxcé" in line for line in told(filter_facts({"lxcé": 2}), route_facts(endpoint(1, "lxcé")))[1])


class TestSelection:
    FACTS = filter_facts({LXC: 2, "lxc2": 0})
    ROUTES = route_facts(endpoint(), endpoint(42, "lxc2", verdict="accepted", ipv6="fd00::42"))

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            ({}, ["10.0.0.113"]),
            ({"pod": "kube-system/coredns-42"}, ["10.0.0.42"]),
            ({"address": "10.0.0.113"}, ["10.0.0.113"]),
            ({"address": "fd00:0::42"}, ["10.0.0.42"]),
        ],
    )
    def test_one_of_two(self, wanted, expected):
        document, _lines = told(self.FACTS, self.ROUTES, **wanted)
        assert [each["address"] for each in document["stories"]] == expected

    def test_not_on_this_node(self):
        document, lines = told(self.FACTS, self.ROUTES, pod="default/web")
        assert document["state"] == "elsewhere"
        assert lines == ["node1: default/web is not on this node, which has 2 endpoints"]

    def test_where_nobody_knows_names(self):
        _document, lines = told(self.FACTS, dict(self.ROUTES, source="netns"), pod="default/web")
        assert "give the address instead of default/web" in lines[0]

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            ({"pod": "coredns"}, "pod: 'coredns' is no pod; write namespace/name"),
            ({"address": "10.0.0"}, "address: '10.0.0' is no IP address"),
            ({"pod": "a/b", "address": "10.0.0.1"}, "give one of them"),
        ],
    )
    def test_nonsense(self, wanted, expected):
        with pytest.raises(AnsibleFilterError, match=expected):
            diagnosis(self.FACTS, self.ROUTES, **wanted)

    @pytest.mark.parametrize("facts", [None, {}, "text"])
    def test_no_facts(self, facts):
        with pytest.raises(AnsibleFilterError, match="expected the facts of nodeward.cilium.rp_filter_facts"):
            diagnosis(facts, self.ROUTES)
        with pytest.raises(AnsibleFilterError, match="expected the facts of nodeward.cilium.route_facts"):
            diagnosis(self.FACTS, facts)


@pytest.mark.parametrize(
    ("died", "received", "expected"),
    [
        (0, {LXC: 9}, "In 10 s no packet died."),
        (7, {LXC: 9}, "In 10 s 7 packets died by the filter, on lxc3c160d6c7aa0 (9 came in)."),
        (7, {LXC: 9, "lxc2": 1}, f"7 packets died by the filter, on some of: {LXC} (9 came in), lxc2 (1 came in)."),
        (7, {LXC: 3}, "7 packets died by the filter, some of them on lxc3c160d6c7aa0 (3 came in)."),
        (7, {LXC: 3, "lxc2": 1}, f"died by the filter, some of them on {LXC} (3 came in), lxc2 (1 came in)."),
        (7, {LXC: 6, "lxc2": 1}, f"died by the filter, on some of: {LXC} (6 came in), lxc2 (1 came in)."),
        (7, {}, "on which device cannot be told"),
    ],
)
def test_watch(died, received, expected):
    before = filter_facts({LXC: 2, "lxc2": 2})
    pods = [endpoint(), endpoint(42, "lxc2")]
    counters = {"ip_reverse_path_filter": 12 + died, "in_martian_src": 0}
    later = {
        "seconds": 10,
        "rp_filter": dict(before, counters=counters),
        "cilium_routes": route_facts(*[dict(e, received=100 + received.get(e["device"], 0)) for e in pods]),
    }
    document, lines = told(before, route_facts(*pods), later=later)
    assert document["watch"]["dropped"] == died
    assert [line for line in lines if expected in line]


@pytest.mark.parametrize(
    ("answered", "before", "after", "expected"),
    [
        (False, 12, 15, "no connection; the drop counter went from 12 to 15."),
        (
            False,
            12,
            12,
            "no connection; the drop counter stayed at 12: no packet died by the filter meanwhile "
            "(the port may have refused).",
        ),
        (True, 0, 0, "connected; the drop counter stayed at 0: no packet died by the filter meanwhile."),
        (True, None, 12, "connected; the drop counter could not be read."),
    ],
)
def test_probe(answered, before, after, expected):
    probe = {"address": "10.0.0.113", "port": 53, "answered": answered, "before": before, "after": after}
    _document, lines = told(filter_facts(), route_facts(endpoint()), probes=[probe])
    assert "   Probe of 10.0.0.113 port 53: " + expected in lines


def test_what_else_matters_is_noted():
    rule = {"family": "inet", "table": "raw", "chain": "pre", "rule": "fib saddr . iif oif missing drop"}
    rule.update(ipv6_only=False, only_on=None, not_on=[])
    routes = route_facts(endpoint())
    routes["endpoint_routes"]["disagreement"] = "the agent is configured for endpoint routes, but they are missing"
    _document, lines = told(filter_facts(netfilter=[rule]), routes)
    assert [line for line in lines if line.startswith("   Note: ")] == [
        "   Note: the agent is configured for endpoint routes, but they are missing",
        "   Note: a rule of netfilter drops the same packets whatever the filter says: "
        "inet raw pre: fib saddr . iif oif missing drop",
    ]


def test_what_tuned_applies_as_the_loader_does_is_not_noted():
    line = {"path": "/etc/sysctl.d/10-x.conf", "line": 1, "key": "net.ipv4.conf.all.rp_filter", "value": 1}
    again = {**writer(by="tuned", path=line["path"], line=1), "names": ["all"], "sets": 1, "reapplied": True}
    for value, is_noted in ((1, False), (0, True)):
        facts = copy.deepcopy(filter_facts(other_writers=[again]))
        facts["all"]["configured"] = {"systemd_sysctl": {**line, "value": value}, "procps": None}
        _document, lines = told(facts, route_facts(endpoint()))
        assert any("past both loaders: /etc/sysctl.d/10-x.conf:1" in text for text in lines) == is_noted


def test_other_writers_are_noted():
    writers = [{**UFW, "line": number} for number in (5, 6, 7, 8)]
    _document, lines = told(filter_facts(other_writers=writers), route_facts(endpoint()))
    assert [line for line in lines if line.startswith("   Note: ")] == [
        f"   Note: ufw sets the filter too, past both loaders: /etc/ufw/sysctl.conf:{number}" for number in (5, 6, 7)
    ]


def test_that_udev_loads_nothing_is_noted():
    _document, lines = told(filter_facts(reload_on_add=None), route_facts(endpoint()))
    assert [line for line in lines if line.startswith("   Note: ")] == [
        "   Note: no rule of udev runs systemd-sysctl for a new device, which so keeps the value that it is made with"
    ]


def test_documentation_has_the_arguments_and_the_fields():
    options = yaml.safe_load(diagnosis_plugin.DOCUMENTATION)["options"]
    assert [name for name in options if name != "_input"] == list(inspect.signature(diagnosis).parameters)[1:]
    fields = yaml.safe_load(diagnosis_plugin.RETURN)["_value"]["contains"]
    assert list(fields) == list(diagnosis(filter_facts(), route_facts(endpoint())))


def test_the_roles_defaults_are_its_argument_specs():
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == defaults


@pytest.mark.parametrize("name", ["probe", "watch"])
def test_under_check_the_role_waits_as_it_says(name):
    tasks = yaml.safe_load((ROLE / "tasks" / (name + ".yml")).read_text())
    assert [task.get("check_mode") for task in tasks if "ansible.builtin.wait_for" in task] == [False]


@pytest.mark.parametrize("addresses, value, state, said", [
    ((None, None), 0, "ok", "the reply of 1 of 2 endpoints (no other has an IPv4 address) now"),
    ((None, "fd00::1"), 2, "ok", "the reply of 1 of 2 endpoints (no other has an IPv4 address) now"),
    # It has none yet, and where it will be the filter is on.
    ((None, None), 2, "unknown", "whether the kernel drops packets of 1 pod is unknown"),
])  # fmt: skip
def test_no_more_replies_are_told_than_were_asked_for(addresses, value, state, said):
    facts = filter_facts({LXC: 0, "lxc2": value}, line=EXEMPT)
    new = {"address": addresses[0], "ipv6": addresses[1], "device": "lxc2", "dropped_at": None}
    leaves = {"device": None, "verdict": "unknown", "reason": "x"}
    document, _lines = told(
        facts, route_facts(endpoint(verdict="accepted"), endpoint(verdict="unknown", leaves=leaves, **new))
    )
    assert document["state"] == state
    assert said in document["summary"]


def ipv6_endpoint(number, device):
    why = "it has no IPv4 address, and rp_filter is for IPv4 only"
    leaves = {"device": None, "verdict": "unknown", "reason": why}
    of_the_kernel = {"reason": why, "dropped_at": [], "route_device": None, "symmetric": None, "leaves": leaves}
    address = {"address": None, "ipv6": f"fd00::{number}"}
    return endpoint(number, device, verdict="unknown", **address, **of_the_kernel)


@pytest.mark.parametrize("ipv4", [False, None])
@pytest.mark.parametrize("configured_routes", [False, None, True])
@pytest.mark.parametrize("host", [0, 2])
@pytest.mark.parametrize("every", [0, 1])
def test_rp_filter_does_not_apply_to_a_node_with_ipv6_alone(ipv4, configured_routes, host, every):
    """Whatever the filter and the endpoint routes are; audit and diagnosis agree."""
    facts = filter_facts({LXC: 2, "lxc_health": 2, "cilium_host": host})
    facts["all"] = {"running": every, "configured": configured(ALL, ALL)}
    for device in facts["devices"].values():
        device["effective"] = max(device["running"], every)
    state = {"in_effect": None, "with_route": 0, "without_route": 0, "agent": configured_routes, "disagreement": None}
    endpoints = [ipv6_endpoint(1, LXC), ipv6_endpoint(2, "lxc_health")]
    routes = route_facts(*endpoints, ipv4=ipv4, endpoint_routes=state)
    document, lines = told(facts, routes)
    assert lines == ["node1: ok: no endpoint has an IPv4 address, so rp_filter does not apply"]
    assert document["endpoints"] == {"accepted": 0, "dropped": 0, "unknown": 0, "total": 2}
    audited = judged("node1", facts, routes, None, "2026-11-24")
    assert audited["state"] == "ok"
    assert audited["horizons"]["now"]["dropped"] is False
    assert {found["severity"] for found in audited["findings"]} <= {"medium", "low", "info"}
    assert "None" not in str([audited["summary"], *[found["evidence"]["text"] for found in audited["findings"]]])


@pytest.mark.parametrize("wanted", [{"pod": "kube-system/coredns-1"}, {"address": "fd00::1"}])
def test_rp_filter_does_not_apply_to_a_pod_with_ipv6_alone(wanted):
    routes = route_facts(ipv6_endpoint(1, LXC), endpoint(42, "lxc2"))
    document, lines = told(filter_facts({LXC: 2, "lxc2": 2}), routes, **wanted, probing=True)
    name = next(iter(wanted.values()))
    assert document["state"] == "ok"
    assert lines == [
        f"node1: ok: rp_filter does not apply to {name} (it has no IPv4 address)",
        "",
        "   kube-system/coredns-1   fd00::1   lxc3c160d6c7aa0",
        "",
        "   verdict  rp_filter does not apply: it has no IPv4 address",
        "",
        "   No probe: rp_filter does not apply to the pods above, which have no IPv4 address.",
    ]


def test_a_device_whose_pod_is_not_known_is_unknown_beside_a_pod_with_ipv6_alone():
    document, _lines = told(filter_facts({LXC: 2, "lxc2": 2}), route_facts(ipv6_endpoint(1, LXC)))
    assert document["state"] == "unknown"
    document, _lines = told(filter_facts({LXC: 2, "lxc2": 2}), route_facts(ipv6_endpoint(1, LXC), ipv4=False))
    assert document["state"] == "ok"


@pytest.mark.parametrize("pattern, every, first, second", [
    # `all` becomes 1, which the second alone meets as strict.
    (GLOB, ALL, (2, None, [1]), (0, None, [1])),
    # The same value now, and a line of its own.
    (None, None, (0, None, [1]), (0, ALL, [1])),
    # The same line, which does another thing to it.
    (None, None, (0, GLOB, [1]), (0, GLOB, [2])),
])  # fmt: skip
def test_what_differs_between_endpoints_is_seen_of_each(pattern, every, first, second):
    facts = filter_facts({LXC: first[0], "lxc2": second[0]}, line=None)
    facts["patterns"]["lxc*"]["configured"] = configured(procps=pattern)
    facts["all"]["configured"] = configured(procps=every)
    endpoints = []
    for number, (device, (_running, line, dropped_at)) in enumerate(((LXC, first), ("lxc2", second))):
        facts["devices"][device]["configured"] = configured(procps=line)
        endpoints.append(endpoint(number, device=device, verdict="accepted", dropped_at=dropped_at))
    assert not diagnosis(facts, route_facts(endpoints[0]))["next"]["sysctl_system"]["dropped"]
    assert diagnosis(facts, route_facts(*endpoints))["next"]["sysctl_system"]["dropped"]


# ---- horizons, and who writes ----------------------------------------------------------------------------------------

AGENT = {"seen": True, "by": "socket", "answers": True, "version": "1.20.0", "reconciles_after": 600}
NO_AGENT = {"seen": False, "by": None, "answers": False, "version": None, "reconciles_after": None}
CIS = {"value": 1, "path": "/etc/sysctl.d/90-cis.conf", "line": 3, "key": "net.ipv4.conf.all.rp_filter"}


def baseline(agent, line=CIS):
    """Of a node with a CIS baseline that sets `all`, and no glob."""
    facts = filter_facts({LXC: 0}, None, agent=agent)
    facts["all"]["configured"] = configured(line, line)
    return facts


def test_what_the_agent_ends_is_told_with_how_long_it_lasts():
    document, lines = told(baseline(AGENT), route_facts(endpoint(verdict="accepted")))
    assert document["state"] == "at_risk"
    assert lines[0] == (
        "node1: the kernel accepts the reply of its one endpoint now, but the next restart of systemd-sysctl and "
        "the next 'sysctl --system' will drop replies for up to 10 minutes, until the agent resets it"
    )
    assert document["next"]["boot"]["dropped"] is False
    ends = {"by": "agent", "value": 0, "seconds": 600}
    assert [document["next"][when]["ends"] for when in ("boot", "restart", "sysctl_system")] == [None, ends, ends]
    text = "\n".join(lines)
    for expected in (
        "next pod                   ok: off (0)",
        "next boot                  ok: off (0) as the agent sets it; until the agent has started strict (1) by "
        "/etc/sysctl.d/90-cis.conf:3",
        "restart of systemd-sysctl  drops replies for up to 10 minutes, until the agent resets it: strict (1) by "
        "/etc/sysctl.d/90-cis.conf:3",
        "sysctl --system            drops replies for up to 10 minutes, until the agent resets it: strict (1) by",
    ):
        assert " ".join(expected.split()) in " ".join(text.split()), text


def test_without_an_agent_the_boot_drops_replies_and_the_remark_says_so():
    document, lines = told(baseline(NO_AGENT), route_facts(endpoint(verdict="accepted")))
    assert document["next"]["boot"]["dropped"] is True
    assert "   Note: no agent was seen on this node: predicted without one" in lines
    assert not [line for line in told(baseline(AGENT), route_facts(endpoint()))[1] if "no agent was seen" in line]
    assert not [line for line in told(baseline(None), route_facts(endpoint()))[1] if "no agent was seen" in line]


def test_a_healthy_node_without_an_agent_says_so_and_no_other_note():
    facts = filter_facts({LXC: 0}, EXEMPT, agent=NO_AGENT, reload_on_add=None)
    document, lines = told(facts, route_facts(endpoint(verdict="accepted")))
    assert (document["state"], len(document["notes"])) == ("ok", 2)
    assert lines[1:] == ["", "   Note: no agent was seen on this node: predicted without one"]
    none = filter_facts({}, agent=NO_AGENT)
    assert len(told(none | {"devices": {"eth0": UPLINK}}, route_facts(source=None))[1]) == 1


def test_masked_rules_leave_the_next_pod_and_boot_right_and_a_restart_is_not():
    facts = filter_facts({LXC: 0}, GLOB, reload_on_add=None)
    document, _lines = told(facts, route_facts(endpoint(verdict="accepted")))
    dropped = {when: horizon["dropped"] for when, horizon in document["next"].items()}
    assert dropped == {"pod": False, "boot": False, "restart": True, "sysctl_system": True}
    assert document["state"] == "at_risk"


def writer(**changes):
    known = {
        "by": "unit", "path": "/etc/systemd/system/x.service", "line": 4, "text": "ExecStart=/x", "unit": "x.service",
        "names": ["all"], "value": "1", "sets": 1, "certain": True, "narrowed": False, "not_on": [], "runs": None,
        "when": ["boot"], "active": True,
    }  # fmt: skip
    return dict(known, **changes)


def test_a_writer_that_cannot_be_predicted_is_never_healthy():
    script = writer(path="/etc/networkd-dispatcher/up", line=2, names=None, value=None, sets=None, certain=False,
                    when=["interface"], by="networkd-dispatcher", unit=None)  # fmt: skip
    facts = filter_facts({LXC: 0}, EXEMPT, other_writers=[script], agent=AGENT)
    document, lines = told(facts, route_facts(endpoint(verdict="accepted")))
    assert document["state"] == "at_risk"
    assert "what comes with the next pod and the next boot is unknown: /etc/networkd-dispatcher/up:2" in lines[0]
    assert "   next pod                   unknown: /etc/networkd-dispatcher/up:2 may write it" in lines
    assert document["next"]["pod"]["unknown"][0]["path"] == "/etc/networkd-dispatcher/up"
    idle = dict(script, active=False)
    facts = filter_facts({LXC: 0}, EXEMPT, other_writers=[idle], agent=AGENT)
    assert told(facts, route_facts(endpoint(verdict="accepted")))[0]["state"] == "ok"


TUNED = writer(by="tuned", path="/etc/tuned/profiles/k8s-node/tuned.conf", line=6, unit="tuned.service",
               text="net.ipv4.conf.all.rp_filter=1")  # fmt: skip


def test_a_running_value_of_another_writer_is_named_and_its_way_out_comes_first():
    facts = filter_facts({LXC: 0}, None, other_writers=[TUNED])
    facts["all"]["running"] = 1
    facts["devices"][LXC]["effective"] = 1
    document, lines = told(facts, route_facts(endpoint()))
    (culprit,) = document["stories"][0]["set_by"]
    assert (culprit["path"], culprit["line"]) == (TUNED["path"], 6)
    assert culprit["by"] == "tuned (tuned.service), past both loaders"
    titles = [cure["title"] for cure in document["cures"]]
    assert titles[0].startswith(TUNED["path"] + ":6 ")
    assert "reapply_sysctl=1" in titles[0]
    assert titles[1].startswith("after that, exempt Cilium's devices")
    assert len(titles) == 2, "with `all` on, endpoint routes cut nodes apart"
    assert any(line.startswith(">> set by") and TUNED["path"] + ":6" in line for line in lines)


@pytest.mark.parametrize("by, sets, harden", [("udev", 1, False), ("networkd", 2, False)])
def test_harden_is_not_offered_for_what_it_does_not_hold_against(by, sets, harden):
    network = writer(by=by, path="/etc/systemd/network/zz.network", line=7, names=["*"], sets=sets, when=["interface"],
                     text="IPv4ReversePathFilter=loose")  # fmt: skip
    facts = filter_facts({LXC: 0}, EXEMPT, other_writers=[network], agent=AGENT)
    if by == "udev":
        step = {"runs": None, "sets": sets, "value": "1", "certain": True, "names": None, "text": "x"}
        facts["patterns"]["lxc*"]["on_add"] = [dict(step, path=network["path"], line=7)]
    document, _lines = told(facts, route_facts(endpoint(verdict="accepted")))
    assert document["state"] == "at_risk"
    assert document["cures"][0]["title"].startswith("/etc/systemd/network/zz.network:7 ")
    assert any("rp_filter_state" in cure["variables"] for cure in document["cures"]) is harden


def test_a_line_that_a_role_wrote_into_the_kernel_too_is_named_with_the_role_s_variable():
    line = {"value": 1, "path": "/etc/sysctl.d/90-dev-sec.conf", "line": 14, "key": "net.ipv4.conf.all.rp_filter"}
    dropin = dict(EXEMPT, key="net.ipv4.conf.all.rp_filter", line=21)
    facts = filter_facts({LXC: 0}, EXEMPT, lines=[line, dropin], agent=AGENT)
    facts["all"] = {"running": 1, "configured": configured(dropin, dropin)}
    facts["devices"][LXC]["effective"] = 1
    document, lines = told(facts, route_facts(endpoint()))
    (culprit,) = document["stories"][0]["set_by"]
    assert (culprit["path"], culprit["line"]) == ("/etc/sysctl.d/90-dev-sec.conf", 14)
    assert culprit["by"] == (
        f"a loader, before {EXEMPT['path']}:21 overrode this line, or the role os_hardening of dev-sec, which will "
        "write it again on its next run"
    )
    assert document["cures"][0]["title"] == (
        "in sysctl_overwrite, the variable of the role os_hardening of dev-sec, set net.ipv4.conf.all.rp_filter to 0; "
        "the role writes /etc/sysctl.d/90-dev-sec.conf:14 and the kernel on each run"
    )
    assert document["cures"][1]["variables"] == {"rp_filter_state": "present"}
    assert ">> set by                     /etc/sysctl.d/90-dev-sec.conf:14   net.ipv4.conf.all.rp_filter = 1" in lines
    assert not [line for line in lines if "no line" in line]


def overridden(line, count=1):
    """The remediation titles of a node whose pod interfaces have the value of a line that the drop-in overrides."""
    names = [LXC] + [f"lxc{number}" for number in range(1, count)]
    facts = filter_facts(dict.fromkeys(names, line["value"]), EXEMPT, lines=[line, EXEMPT], agent=AGENT)
    document, _lines = told(facts, route_facts(*(endpoint(number, name) for number, name in enumerate(names))))
    assert {culprit["line"] for each in document["stories"] for culprit in each["set_by"]} == {line["line"]}
    return [each["title"] for each in document["cures"]]


@pytest.mark.parametrize("line, first", [
    (GLOB, "exempt Cilium's devices"), (dict(GLOB, path="/etc/sysctl.d/a.conf"), "exempt Cilium's devices"),
    (dict(LITERAL, path="/usr/lib/sysctl.d/a.conf"), "exempt Cilium's devices"),
    (LITERAL, (
        f"if a role or another program writes {LITERAL['path']}:4 ({LITERAL['key']} = 2), have it write 0; it may "
        "write the kernel as well"
    )),
])  # fmt: skip
def test_only_a_line_that_a_program_may_have_written_is_to_be_changed_there(line, first):
    assert overridden(line)[0].startswith(first)


def test_equal_remediation_of_many_interfaces_is_told_once():
    titles = overridden(GLOB, count=10)
    assert len(titles) == len(set(titles)) == 2
    by_all = dict(LITERAL, key="net.ipv4.conf.all.rp_filter")
    names = [LXC] + [f"lxc{number}" for number in range(1, 10)]
    facts = filter_facts(dict.fromkeys(names, 0), EXEMPT, lines=[by_all, EXEMPT], agent=AGENT)
    facts["all"] = {"running": 2, "configured": configured(dict(EXEMPT, key=by_all["key"]), None)}
    for name in names:
        facts["devices"][name]["effective"] = 2
    document, _lines = told(facts, route_facts(*(endpoint(number, name) for number, name in enumerate(names))))
    titles = [each["title"] for each in document["cures"]]
    assert len([title for title in titles if LITERAL["path"] in title]) == 1 and len(titles) == len(set(titles))


ROUTING = "give every pod a route by its own device; agents must be restarted, and then all pods recreated"


def routing(facts=None, every=0, line=None, **endpoint_routes):
    """The title of the remediation by endpoint routes on a node whose pods' replies are dropped; None without it."""
    facts = facts or filter_facts()
    facts["all"] = {"running": every, "configured": configured(line, None)}
    routes = route_facts(endpoint())
    routes["endpoint_routes"].update(endpoint_routes)
    cures = told(facts, routes)[0]["cures"]
    return next((cure["title"] for cure in cures if "endpoint_routes_state" in cure["variables"]), None)


def test_endpoint_routes_that_are_on_are_not_offered():
    assert routing(agent=False) == routing(agent=None) == ROUTING
    assert routing(agent=True) is None


@pytest.mark.parametrize("every, line", [(1, ALL), (0, ALL), (2, None)])
def test_with_all_on_endpoint_routes_need_the_exemption_too(every, line):
    # A filter on `all` is one on Cilium's host interfaces.
    assert routing(every=every, line=line) == f"together with the exemption of Cilium's devices, {ROUTING}"
    assert routing(every=0, line=dict(ALL, value=0)) == ROUTING


def test_a_running_value_of_no_line_and_no_writer_may_come_again():
    facts = filter_facts({LXC: 0}, None)
    facts["all"]["running"] = 2
    facts["devices"][LXC]["effective"] = 2
    document, lines = told(facts, route_facts(endpoint()))
    assert document["stories"][0]["set_by"][0]["path"] is None
    assert "whoever wrote it may write it again" in " ".join(" ".join(lines).split())


@pytest.mark.parametrize("line, is_later", [
    (dict(CIS, path="/etc/sysctl.d/999-sysctl-aks.conf"), True), (dict(CIS, path="/etc/sysctl.d/zz.conf"), True),
    (dict(CIS, path="/etc/sysctl.d/90-cis.conf"), False), (dict(CIS, path="/etc/sysctl.conf"), True),
])  # fmt: skip
def test_harden_is_offered_with_what_makes_it_last(line, is_later):
    facts = filter_facts({LXC: 0}, None)
    facts["all"] = {"running": 1, "configured": configured(None, line)}
    facts["devices"][LXC]["effective"] = 1
    cure = told(facts, route_facts(endpoint()))[0]["cures"][0]
    assert all(("-e rp_filter_conflicts=disable" in command) is is_later for command in cure["commands"])
    assert ("%(path)s:%(line)d" % line in cure["title"]) is is_later


def test_the_health_endpoint_is_called_so_whatever_its_interface():
    health = {"pod": None, "is_health": True}
    _document, lines = told(filter_facts({"lxc9": 2}), route_facts(endpoint(4, "lxc9", **health)))
    assert any(line.startswith("   health endpoint   10.0.0.4") for line in lines)


def test_a_unit_that_is_masked_is_not_said_to_be_set_by_no_line():
    facts = filter_facts({LXC: 0}, GLOB, reload_on_add=None)
    unit = {"state": "masked", "path": "/etc/systemd/system/systemd-sysctl.service", "line": None, "text": None}
    facts["loaders"]["systemd_sysctl"]["unit_file"] = unit
    _document, lines = told(facts, route_facts(endpoint(verdict="accepted")))
    assert "   restart of systemd-sysctl  ok: off (0) as it is now; this sets neither it nor all" in lines
    assert not [line for line in lines if "no line sets it" in line]


def test_dropped_packets_of_the_l7_proxy_are_warned_of_on_a_healthy_node_too():
    off = {"src_valid_mark": 0, "accept_local": 0}
    marks = {"all": {"src_valid_mark": 1, "accept_local": 0}, "default": off, "devices": {LXC: off}}
    rule = {"priority": 9, "mark": "0x200/0xf00", "table": 2004}
    accepted = endpoint(verdict="accepted")
    document, lines = told(filter_facts({LXC: 0}, EXEMPT, source_marks=marks), route_facts(accepted, proxy_rule=rule))
    assert document["state"] == "ok"
    assert lines[-1].startswith("   Warning: packets of Cilium's L7 proxy are dropped for their mark")
    assert f"src_valid_mark without accept_local on default, {LXC} (2 in all)" in lines[-1]
    assert told(filter_facts({LXC: 0}, EXEMPT, source_marks=marks), route_facts(accepted))[0]["warnings"] == []


def test_a_filter_that_is_on_and_not_the_cause_is_not_said_to_be_set_by_nobody():
    martian = {"reason": "its source address is local to the host; this is not rp_filter", "dropped_at": None}
    _document, lines = told(filter_facts({LXC: 2}), route_facts(endpoint(**martian)))
    assert not [line for line in lines if "nobody" in line or "set by" in line]
    assert any(line.startswith("   cause") and "the filter is not why" in line for line in lines)


IMAGE = {"observed": False, "why": "this is a chroot: /proc/sys is the build host's"}


def image(line):
    """Facts of a file tree that does not run."""
    facts = filter_facts({}, line, running_system=IMAGE)
    for name in ("all", "default"):
        facts[name] = dict(facts[name], running=None)
    none = {"in_effect": None, "with_route": 0, "without_route": 0, "agent": None, "disagreement": None}
    return facts, route_facts(source=None, running_system=IMAGE, endpoint_routes=none)


def test_an_image_is_judged_by_its_files_alone():
    document, lines = told(*image(GLOB))
    assert document["state"] == "at_risk"
    assert lines[0] == (
        "node1: judged by its files alone (this is a chroot: /proc/sys is the build host's): the next pod, the next "
        "boot, the next restart of systemd-sysctl and the next 'sysctl --system' will drop replies"
    )
    assert "   next boot                  drops replies: loose (2) by /usr/lib/sysctl.d/50-default.conf:26" in lines
    document, lines = told(*image(EXEMPT))
    assert (document["state"], document["running_system"]) == ("ok", IMAGE)
    assert lines == [
        f"node1: judged by its files alone ({IMAGE['why']}): once booted, no file filters pods' interfaces"
    ]
    assert told(*image(GLOB), pod="a/b")[0]["state"] == "elsewhere"


@pytest.mark.parametrize(
    "version, word", [(None, "an older"), (0, "an older"), (99, "a newer"), ("1", "an older"), (True, "an older")]
)
@pytest.mark.parametrize("fact", ["rp_filter", "cilium_routes"])
def test_facts_of_another_version_are_unknown(version, word, fact):
    facts = {"rp_filter": filter_facts(), "cilium_routes": route_facts(endpoint())}
    facts[fact]["schema_version"] = version
    if version is None:
        # As the first release gathered them: without members that are read today.
        facts[fact] = {key: facts[fact][key] for key in ("devices", "endpoints") if key in facts[fact]}
    document, lines = told(facts["rp_filter"], facts["cilium_routes"])
    assert (document["state"], document["stories"], document["cures"]) == ("unknown", [], [])
    assert lines[0].startswith(f"node1: unknown: the facts were gathered by {word} version") and fact in lines[0]


def test_facts_that_lack_something_are_never_healthy():
    facts = filter_facts({LXC: 0}, EXEMPT)
    del facts["netfilter"]
    document, lines = told(facts, route_facts(endpoint(verdict="accepted")))
    assert document["state"] == "unknown"
    assert lines[0] == "node1: the facts are incomplete: rp_filter.netfilter"


class TestBetweenNodes:
    """With endpoint routes a filter on Cilium's host interfaces drops packets from other nodes."""

    ROUTED = {"in_effect": True, "with_route": 1, "without_route": 0, "agent": True, "disagreement": None}

    def told(self, host=0, every=0, host_line=None, endpoint_routes=ROUTED):
        facts = filter_facts({LXC: 0, "cilium_host": host}, EXEMPT)
        facts["devices"]["cilium_host"].update(configured=configured(host_line, host_line), effective=max(host, every))
        facts["all"] = {"running": every, "configured": configured(ALL, ALL) if every else configured()}
        facts["devices"][LXC]["effective"] = every
        accepted = endpoint(verdict="accepted", route_device=LXC, symmetric=True, dropped_at=[])
        return told(facts, route_facts(accepted, endpoint_routes=endpoint_routes))

    def test_a_filtered_host_interface_cuts_nodes_apart(self):
        document, lines = self.told(host=2, host_line=GLOB)
        assert document["state"] == "dropping"
        assert lines[0] == "node1: packets from other nodes are dropped on cilium_host (endpoint routes are on)"
        assert (
            ">> set by                     /usr/lib/sysctl.d/50-default.conf:26   net.ipv4.conf.*.rp_filter = 2"
            in lines
        )
        assert document["cures"]

    def test_so_does_all(self):
        document, lines = self.told(every=1)
        assert document["state"] == "dropping" and "on cilium_host" in lines[0]
        assert any(line.startswith(">> set by") and "/etc/sysctl.conf:3" in line for line in lines)

    def test_the_role_that_set_all_comes_first(self):
        line = {"value": 1, "path": "/etc/sysctl.d/90-dev-sec.conf", "line": 14, "key": "net.ipv4.conf.all.rp_filter"}
        winner = dict(EXEMPT, key=line["key"])
        facts = filter_facts({LXC: 0, "cilium_host": 0}, EXEMPT, lines=[line, winner], agent=AGENT)
        facts["all"] = {"running": 1, "configured": configured(winner, winner)}
        for device in facts["devices"].values():
            device["effective"] = 1
        accepted = endpoint(verdict="accepted", route_device=LXC, symmetric=True, dropped_at=[])
        document, _lines = told(facts, route_facts(accepted, endpoint_routes=self.ROUTED))
        assert (document["state"], document["stories"]) == ("dropping", [])
        assert document["cures"][0]["title"].startswith("in sysctl_overwrite, ")

    def test_a_line_for_it_threatens(self):
        document, lines = self.told(host_line=dict(GLOB, key="net.ipv4.conf.cilium_host.rp_filter"))
        assert document["state"] == "at_risk"
        assert "the next boot" in lines[0] and "will drop traffic between nodes" in lines[0]
        assert document["between_nodes"]["next"]["boot"]["dropped"] is True

    def test_without_endpoint_routes_it_drops_nothing(self):
        off = {"in_effect": False, "with_route": 0, "without_route": 1, "agent": False, "disagreement": None}
        document, _lines = self.told(host=2, host_line=GLOB, endpoint_routes=off)
        assert (document["state"], document["between_nodes"]) == ("ok", None)

    @pytest.mark.parametrize("agent", [True, None, False])
    def test_endpoint_routes_are_no_way_out(self, agent):
        document, _lines = self.told(host=2, host_line=GLOB, endpoint_routes=dict(self.ROUTED, agent=agent))
        assert [cure["variables"] for cure in document["cures"]] == [{"rp_filter_state": "present"}]

    def test_all_at_0_is_healthy(self):
        document, lines = self.told()
        assert (document["state"], len(lines)) == ("ok", 1)


def test_whether_root_is_needed_is_not_sought_in_words():
    unread = [
        {"what": "/etc/x", "why": "the root of the tree is gone", "needs_root": False},
        {"what": "/etc/y", "why": "Keine Berechtigung", "needs_root": True},
    ]
    document, lines = told(filter_facts({LXC: 0}, EXEMPT), route_facts(endpoint(verdict="accepted"), unread=unread))
    assert [entry["needs_root"] for entry in document["unseen"]] == [False, True]
    assert lines[-2:] == ["   Not seen:", "     /etc/y: Keine Berechtigung"]
