"""Pods, routes and verdicts: of a real cluster's node in four states, and of a scratch node with the real kernel."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from agent_server import agent, answering, hanging
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import netns
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import routes as observe_routes
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import IpRoute
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import CommandError, bounded_runner
from scratch_node import cilium_host, ip, needs_root, on_scratch_node, pod, rp_filter, sysctl

CAPTURES = Path(__file__).parent.parent / "fixtures" / "captures"

# address: (device, route device, verdict), as the capture's own files have it
EXPECTED = {
    "broken": {
        "10.0.0.85": ("lxc6166b658b864", "cilium_host", "dropped"),
        "10.0.0.138": ("lxc8bcd55ee79d3", "cilium_host", "dropped"),
        "10.0.0.179": ("lxc_health", "cilium_host", "dropped"),
    },
    "exempt": {
        "10.0.0.157": ("lxcbb31c1cf08a8", "cilium_host", "accepted"),
        "10.0.0.163": ("lxc919b2aa6cd31", "cilium_host", "accepted"),
        "10.0.0.179": ("lxc_health", "cilium_host", "accepted"),
    },
    "routes-mixed": {
        "10.0.0.85": ("lxc6166b658b864", "cilium_host", "dropped"),
        "10.0.0.179": ("lxc_health", "lxc_health", "accepted"),
        "10.0.0.180": ("lxc635b12ae37f7", "lxc635b12ae37f7", "accepted"),
    },
    "routes": {
        "10.0.0.16": ("lxc9c1b87325905", "lxc9c1b87325905", "accepted"),
        "10.0.0.179": ("lxc_health", "lxc_health", "accepted"),
        "10.0.0.202": ("lxc8f923c57b321", "lxc8f923c57b321", "accepted"),
    },
    "1.20-broken": {
        "10.244.0.44": ("lxcb1209886c6bf", "cilium_host", "dropped"),
        "10.244.0.111": ("lxc2b994c9cb8d2", "cilium_host", "dropped"),
        "10.244.0.118": ("lxc_health", "cilium_host", "dropped"),
        "10.244.0.197": ("lxc888414262350", "cilium_host", "dropped"),
    },
    "1.20-bpf-host-routing": {
        "10.244.0.44": ("lxcb1209886c6bf", "cilium_host", "dropped"),
        "10.244.0.111": ("lxc2b994c9cb8d2", "cilium_host", "dropped"),
        "10.244.0.118": ("lxc_health", "cilium_host", "accepted"),
        "10.244.0.197": ("lxc888414262350", "cilium_host", "dropped"),
    },
    "1.20-routes-mixed": {
        "10.244.0.28": ("lxca4f8b907ac74", "lxca4f8b907ac74", "accepted"),
        "10.244.0.68": ("lxce1a52fca8434", "cilium_host", "dropped"),
        "10.244.0.118": ("lxc_health", "lxc_health", "accepted"),
        "10.244.0.242": ("lxcfcd1ac3cc09a", "cilium_host", "dropped"),
    },
}
PODS_OF_1_20 = {
    "10.244.0.28": "default/web-5797b49bdc-px6db",
    "10.244.0.44": "default/web-5797b49bdc-4m8z9",
    "10.244.0.68": "default/web-5797b49bdc-xxh5d",
    "10.244.0.111": "default/webds-vvt56",
    "10.244.0.118": None,
    "10.244.0.197": "default/web-5797b49bdc-lrxjb",
    "10.244.0.242": "default/webds-dslc5",
}
LACKS = (
    "the agent is configured for endpoint routes, but they are missing for %d of %d endpoints: "
    "a pod that is older than the option gets its route when it is recreated"
)
ROUTES = {
    "broken": {"in_effect": False, "with_route": 0, "without_route": 3, "agent": False, "disagreement": None},
    "exempt": {"in_effect": False, "with_route": 0, "without_route": 3, "agent": False, "disagreement": None},
    "routes-mixed": {
        "in_effect": None,
        "with_route": 2,
        "without_route": 1,
        "agent": True,
        "disagreement": LACKS % (1, 3),
    },
    "routes": {"in_effect": True, "with_route": 3, "without_route": 0, "agent": True, "disagreement": None},
    "1.20-broken": {"in_effect": False, "with_route": 0, "without_route": 4, "agent": False, "disagreement": None},
    "1.20-routes-mixed": {
        "in_effect": None,
        "with_route": 2,
        "without_route": 2,
        "agent": True,
        "disagreement": LACKS % (2, 4),
    },
}
ROUTES["1.20-bpf-host-routing"] = ROUTES["1.20-broken"]
STATES = list(EXPECTED)


def is_1_20(state):
    return state.startswith("1.20")


class Replay:
    """A run_command that says what `ip` said on the captured node; anything else asked of it fails the test."""

    DUMPS = {
        ("ip", "-4", "-j", "netconf", "show"): "ip-netconf.json",
        ("ip", "-j", "-d", "link", "show"): "ip-link.json",
        ("ip", "-j", "addr", "show"): "ip-addr.json",
        ("ip", "-4", "-j", "route", "show", "table", "all"): "ip-route.json",
        ("ip", "-4", "-j", "rule", "show"): "ip-rule.json",
    }

    def __init__(self, state):
        self.folder = CAPTURES / state
        self.verdicts = {}
        for line in (self.folder / "verdicts.txt").read_text().splitlines():
            question, rc, answer = re.match(r"ip (route get .*?) -> (\d+) (.*)", line).groups()
            self.verdicts[question] = (int(rc), answer)
        self.runs = []

    def __call__(self, argv, data=None):
        self.runs.append((tuple(argv), data))
        if tuple(argv) in self.DUMPS:
            return 0, (self.folder / self.DUMPS[tuple(argv)]).read_text(), ""
        assert argv == ["ip", "-j", "-force", "-batch", "-"]
        stdout, stderr = "", ""
        for number, question in enumerate(data.splitlines(), 1):
            rc, answer = self.verdicts[self.as_captured(question)]
            if rc:
                stderr += f"{answer}\nCommand failed -:{number}\n"
            else:
                stdout += json.dumps([self.as_json(answer)]) + "\n"
        return 1 if stderr else 0, stdout, stderr

    def as_captured(self, question):
        """The captured question that has the same answer."""
        # To the world: the packet comes in by the same check.
        for captured in self.verdicts:
            if question == re.sub(r"get \S+ from (\S+)", f"get {observe_routes.OUTSIDE} from \\1", captured):
                return captured
        return question

    @staticmethod
    def as_json(answer):
        words = answer.split("|")[0].split()
        route = {"type": "local"} if words[0] == "local" else {}
        words = words[words[0] == "local" :]
        route["dst"] = words[0]
        for name, key in (("dev", "dev"), ("src", "prefsrc")):
            if name in words:
                route[key] = words[words.index(name) + 1]
        return route


def state_folder(state, folder):
    """The captured state folder as it lay on the node."""
    for source in (CAPTURES / state / "state").iterdir():
        name = source.name
        if name.startswith("ep_config-"):
            target = folder / re.search(r"\d+", name).group() / "ep_config.json"
            target.parent.mkdir()
        else:
            target = folder / name
        shutil.copy(str(source), str(target))
    (folder / "templates").mkdir()
    return str(folder)


def agent_documents(state):
    return answering(
        {
            "/v1/endpoint": (CAPTURES / state / "agent-endpoint.json").read_text(),
            "/v1/config": (CAPTURES / state / "agent-config.json").read_text(),
            "/v1/healthz": (CAPTURES / state / "agent-healthz.json").read_text(),
        }
    )


def observe(replay, tmp_path, **options):
    options.setdefault("agent_path", str(tmp_path / "no.sock"))
    options.setdefault("state_dir", str(tmp_path / "no-state"))
    options.setdefault("netns_dir", str(tmp_path / "no-netns"))
    return observe_routes.observe(IpRoute(replay), **options)


def test_the_status_is_asked_once(tmp_path):
    asked = []

    def converse(connection, resource, ended):
        asked.append(resource)
        agent_documents("1.20-bpf-host-routing")(connection, resource, ended)

    with agent(tmp_path / "cilium.sock", converse) as path:
        facts = observe(Replay("1.20-bpf-host-routing"), tmp_path, agent_path=path)
    assert sorted(asked) == ["/v1/config", "/v1/endpoint", "/v1/healthz"]
    assert facts["agent_options"]["load_balancer_mode"] == "snat"


def test_a_status_that_cannot_be_had_is_named(tmp_path):
    config = json.loads((CAPTURES / "exempt" / "agent-config.json").read_text())
    config["status"]["daemonConfigurationMap"]["Devices"] = ["eth0", "eth1"]
    documents = {
        "/v1/endpoint": (CAPTURES / "exempt" / "agent-endpoint.json").read_text(),
        "/v1/config": json.dumps(config),
        "/v1/healthz": "no JSON",
    }
    with agent(tmp_path / "cilium.sock", answering(documents)) as path:
        facts = observe(Replay("exempt"), tmp_path, agent_path=path)
    assert facts["agent_options"]["devices"] == ["eth0", "eth1"]
    assert facts["host_routing"] == "legacy"  # by the configuration of 1.19
    assert [entry["what"] for entry in facts["unread"]] == [path]


def shown(facts):
    return {e["address"]: (e["device"], e["route_device"], e["verdict"]) for e in facts["endpoints"]}


@pytest.mark.parametrize("state", STATES)
def test_a_real_node_by_its_agent(state, tmp_path):
    replay = Replay(state)
    (tmp_path / "state").mkdir()
    folder = state_folder(state, tmp_path / "state")
    with agent(tmp_path / "cilium.sock", agent_documents(state)) as path:
        facts = observe(replay, tmp_path, agent_path=path, state_dir=folder)
    is_bpf = state == "1.20-bpf-host-routing"
    assert facts["source"] == "agent"
    assert facts["host_routing"] == ("bpf" if is_bpf else "legacy")
    assert facts["ipv4"] is True
    assert facts["proxy_rule"] is None
    assert facts["unread"] == []
    assert shown(facts) == EXPECTED[state]
    assert list(shown(facts)) == list(EXPECTED[state])  # in the order of addresses
    assert facts["endpoint_routes"] == ROUTES[state]
    assert facts["loosens_uplinks"] is None
    assert facts["agent_options"] == {
        "l7_proxy": False,
        "load_balancer_mode": "snat" if is_bpf else None,
        "egress_gateway": False,
        "ipam": "kubernetes" if is_1_20(state) else "cluster-pool",
        "devices": ["eth0"],
    }
    if is_1_20(state):
        assert {e["address"]: e["pod"] for e in facts["endpoints"]}.items() <= PODS_OF_1_20.items()
    for endpoint in facts["endpoints"]:
        own = endpoint["route_device"] == endpoint["device"]
        assert endpoint["symmetric"] is own
        assert endpoint["endpoint_route"] is own
        assert (endpoint["pod"] or "default/web-").startswith("default/web")
        assert (endpoint["pod"] is None) is (endpoint["device"] == "lxc_health")
        assert endpoint["namespace"] == (None if endpoint["is_health"] else "default")
        assert endpoint["is_health"] is (endpoint["device"] == "lxc_health")
        assert endpoint["dropped_at"] == ([] if own else [1, 2])
        assert set(endpoint) == {
            *("address", "ipv6", "device", "pod", "peer", "endpoint_route", "route_device", "symmetric"),
            *("verdict", "reason", "dropped_at", "leaves", "received", "namespace", "is_health"),
        }
        assert endpoint["leaves"]["verdict"] == ("accepted" if is_bpf else endpoint["verdict"])
        if is_bpf and endpoint["verdict"] == "dropped":
            assert endpoint["leaves"]["reason"].startswith("with BPF host routing it leaves the node before")
    assert len(replay.runs) == 7


@pytest.mark.parametrize("state", STATES)
def test_a_real_node_by_its_state_folder(state, tmp_path):
    (tmp_path / "state").mkdir()
    facts = observe(Replay(state), tmp_path, state_dir=state_folder(state, tmp_path / "state"))
    assert facts["source"] == "state"
    assert shown(facts) == EXPECTED[state]
    assert facts["endpoint_routes"] == ROUTES[state]
    assert [entry["what"] for entry in facts["unread"]] == [str(tmp_path / "no.sock")]
    assert facts["host_routing"] == (None if is_1_20(state) else "legacy")
    for endpoint in facts["endpoints"]:
        assert (endpoint["pod"] is None) is endpoint["is_health"]
        dropped = "unknown" if is_1_20(state) else "dropped"
        assert endpoint["leaves"]["verdict"] == (dropped if endpoint["verdict"] == "dropped" else "accepted")


def test_names_are_of_the_endpoint_whose_interface_agrees(tmp_path):
    """The address may have been another pod's when the file was written."""
    (tmp_path / "state").mkdir()
    folder = Path(state_folder("1.20-broken", tmp_path / "state"))
    document = json.loads((folder / "153" / "ep_config.json").read_text())
    (folder / "153" / "ep_config.json").write_text(json.dumps(dict(document, IfName="lxcanother")))
    with agent(tmp_path / "cilium.sock", agent_documents("1.20-broken")) as path:
        facts = observe(Replay("1.20-broken"), tmp_path, agent_path=path, state_dir=str(folder))
    endpoints = {endpoint["address"]: endpoint for endpoint in facts["endpoints"]}
    assert (endpoints["10.244.0.44"]["pod"], endpoints["10.244.0.44"]["namespace"]) == (None, "default")
    assert endpoints["10.244.0.197"]["pod"] == PODS_OF_1_20["10.244.0.197"]


def test_without_the_state_folder_the_lack_of_names_is_told(tmp_path):
    with agent(tmp_path / "cilium.sock", agent_documents("1.20-broken")) as path:
        facts = observe(Replay("1.20-broken"), tmp_path, agent_path=path)
        assert [entry["what"] for entry in facts["unread"]] == [str(tmp_path / "no-state")]
        alone = observe(Replay("1.20-broken"), tmp_path, agent_path=path, sources=["agent"])
    assert {endpoint["pod"] for endpoint in facts["endpoints"]} == {None}
    assert {e["namespace"] for e in facts["endpoints"] if not e["is_health"]} == {"default"}
    assert alone["unread"] == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"fwmark": "0x200", "fwmask": "0xf00"}, "0x200/0xf00"),
        ({"fwmark": "0x200/0xf00"}, "0x200/0xf00"),
        ({"fwmark": 512, "fwmask": 3840}, "0x200/0xf00"),
        ({"fwmark": "512/3840"}, "0x200/0xf00"),
        ({"fwmark": "0x200"}, None),
        ({"fwmark": "0xa00", "fwmask": "0xf00"}, None),
        ({"fwmark": "0x200", "fwmask": "0xf00", "not": None}, None),
        ({"fwmark": "nonsense", "fwmask": "0xf00"}, None),
        ({}, None),
    ],
)
def test_the_rule_of_the_proxy(rule, expected):
    rules = [{"priority": 0, "src": "all", "table": "local"}, dict(rule, priority=9, src="all", table="2004")]
    found = observe_routes.find_proxy_rule(rules)
    assert found == (expected and {"priority": 9, "mark": expected, "table": "2004"})


@pytest.mark.parametrize("state", STATES)
def test_a_real_node_by_its_namespaces(state, tmp_path, monkeypatch):
    """From what the pods' namespaces held; the health endpoint's is not under the folder."""
    peers = []
    links = {link["ifindex"]: link["ifname"] for link in json.loads((CAPTURES / state / "ip-link.json").read_text())}
    text = (CAPTURES / state / "netns-addr.txt").read_text()
    for name, dump in re.findall(r"^== (\S+)\n(\[.*\])$", text, re.M):
        for link in json.loads(dump):
            if link.get("link_index") in links:
                addresses = {"inet": [], "inet6": []}
                for address in link["addr_info"]:
                    addresses[address["family"]].append(address["local"])
                peers.append(
                    {
                        "device": links[link["link_index"]],
                        "ifindex": link["link_index"],
                        "namespace": "/run/netns/" + name,
                        "peer_device": link["ifname"],
                        "peer_index": link["ifindex"],
                        "ipv4": addresses["inet"],
                        "ipv6": addresses["inet6"],
                    }
                )
    monkeypatch.setattr(netns, "peers", lambda folder, timeout: netns.Peers(peers, []))
    facts = observe(Replay(state), tmp_path)
    assert facts["source"] == "netns"
    assert shown(facts) == {a: seen for a, seen in EXPECTED[state].items() if seen[0] != "lxc_health"}
    for endpoint in facts["endpoints"]:
        assert endpoint["ipv6"] is None  # only link-local there
        assert endpoint["peer"]["device"] == "eth0"
        assert endpoint["peer"]["namespace"].startswith("/run/netns/cni-")
        assert endpoint["is_health"] is False
        assert isinstance(endpoint["peer"]["index"], int)


@pytest.mark.parametrize("state", STATES)
def test_a_real_node_by_its_routes(state, tmp_path):
    facts = observe(Replay(state), tmp_path, sources=["routes"])
    routed = {a: seen for a, seen in EXPECTED[state].items() if seen[1] == seen[0]}
    assert facts["source"] == ("routes" if routed else None)
    assert shown(facts) == routed
    # What no route tells of is seen by the devices all the same.
    assert facts["endpoint_routes"] == dict(ROUTES[state], agent=None, disagreement=None)
    unknown = sorted(seen[0] for a, seen in EXPECTED[state].items() if a not in routed)
    if unknown:
        assert facts["unread"] == [
            {
                "what": f"pods behind {', '.join(unknown)}",
                "why": "no source tells their addresses",
                "needs_root": False,
            }
        ]
    else:
        assert facts["unread"] == []


def test_reasons_of_a_real_node(tmp_path):
    with agent(tmp_path / "cilium.sock", agent_documents("routes-mixed")) as path:
        facts = observe(Replay("routes-mixed"), tmp_path, agent_path=path)
    assert {endpoint["device"]: endpoint["reason"] for endpoint in facts["endpoints"]} == {
        "lxc6166b658b864": (
            "the filter is loose (2) on lxc6166b658b864, which has no IPv4 address, "
            "and the route back leaves by cilium_host"
        ),
        "lxc_health": "the route back leaves by lxc_health",
        "lxc635b12ae37f7": "the route back leaves by lxc635b12ae37f7",
    }


def test_without_verdicts_nothing_is_asked_by_device(tmp_path):
    replay = Replay("broken")
    with agent(tmp_path / "cilium.sock", agent_documents("broken")) as path:
        facts = observe(replay, tmp_path, agent_path=path, verdicts=False)
    assert not [data for _argv, data in replay.runs if data and "iif" in data]
    assert {endpoint["verdict"] for endpoint in facts["endpoints"]} == {"unknown"}
    assert {endpoint["route_device"] for endpoint in facts["endpoints"]} == {"cilium_host"}
    assert "verdicts is off" in facts["endpoints"][0]["reason"]
    assert "verdicts is off" in facts["endpoints"][0]["leaves"]["reason"]


def test_a_hanging_agent_costs_one_time_limit_and_the_next_source_answers(tmp_path):
    (tmp_path / "state").mkdir()
    state = state_folder("routes", tmp_path / "state")
    with agent(tmp_path / "cilium.sock", hanging()) as path:
        facts = observe(Replay("routes"), tmp_path, agent_path=path, state_dir=state, timeout=0.3)
    assert facts["source"] == "state"
    assert len(facts["unread"]) == 1
    assert "within 0.3 s" in facts["unread"][0]["why"]
    assert facts["endpoint_routes"]["agent"] is True


NO_ROUTES = {"in_effect": None, "with_route": 0, "without_route": 0, "agent": None, "disagreement": None}


@pytest.mark.parametrize(
    ("state", "configured", "expected"),
    [
        ("broken", True, LACKS % (3, 3)),
        ("routes-mixed", True, LACKS % (1, 3)),
        ("routes", True, None),
        ("broken", False, None),
        ("broken", None, None),
        (
            "routes-mixed",
            False,
            "the agent is not configured for endpoint routes, but they stand for 2 of 3 endpoints: "
            "a pod that is older than that keeps its route until it is recreated",
        ),
    ],
)
def test_configuration_and_routes_that_disagree(tmp_path, state, configured, expected):
    config = {"status": {"daemonConfigurationMap": {"EnableEndpointRoutes": configured}}}
    documents = {
        "/v1/endpoint": (CAPTURES / state / "agent-endpoint.json").read_text(),
        "/v1/config": json.dumps(config),
    }
    with agent(tmp_path / "cilium.sock", answering(documents)) as path:
        facts = observe(Replay(state), tmp_path, agent_path=path)
    assert facts["endpoint_routes"]["agent"] is configured
    assert facts["endpoint_routes"]["disagreement"] == expected


def test_an_agent_without_endpoints_is_believed(tmp_path):
    documents = answering({"/v1/endpoint": "[]", "/v1/config": "{}"})
    with agent(tmp_path / "cilium.sock", documents) as path:
        facts = observe(Replay("broken"), tmp_path, agent_path=path)
    assert (facts["source"], facts["endpoints"]) == ("agent", [])
    assert facts["endpoint_routes"] == NO_ROUTES


def test_no_cilium_at_all(tmp_path):
    facts = observe(lambda argv, data=None: (0, "", ""), tmp_path)
    assert (facts["source"], facts["endpoints"]) == (None, [])
    assert facts["endpoint_routes"] == NO_ROUTES
    assert [entry["what"] for entry in facts["unread"]] == [
        str(tmp_path / name) for name in ("no.sock", "no-state", "no-netns")
    ]


class TestStateFolder:
    def read(self, tmp_path):
        return observe(Replay("broken"), tmp_path, state_dir=str(tmp_path / "state"), sources=["state"])

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        (tmp_path / "state").mkdir()
        state_folder("broken", tmp_path / "state")
        return tmp_path / "state"

    def test_a_file_missing_for_a_moment(self, tmp_path, folder):
        (folder / "68" / "ep_config.json").unlink()
        facts = self.read(tmp_path)
        assert set(shown(facts)) == {"10.0.0.138", "10.0.0.179"}
        assert [entry["what"] for entry in facts["unread"]] == [str(folder / "68" / "ep_config.json")]

    def test_folders_of_other_names(self, tmp_path, folder):
        shutil.copytree(str(folder / "68"), str(folder / "68_next"))
        shutil.copytree(str(folder / "68"), str(folder / "68_next_fail"))
        facts = self.read(tmp_path)
        assert [endpoint["address"] for endpoint in facts["endpoints"]] == list(EXPECTED["broken"])
        assert facts["unread"] == []

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ('{"IPv4": "10.0.', "is no JSON"),
            ("[]", "expected an object, found \\[\\]"),
            ('{"IPv4": "nonsense"}', '"nonsense" is no IP address'),
        ],
    )
    def test_a_file_that_is_broken(self, tmp_path, folder, content, expected):
        (folder / "68" / "ep_config.json").write_text(content)
        facts = self.read(tmp_path)
        assert set(shown(facts)) == {"10.0.0.138", "10.0.0.179"}
        (entry,) = facts["unread"]
        assert entry["what"] == str(folder / "68" / "ep_config.json")
        assert re.search(expected, entry["why"])

    def test_a_fifo_and_a_folder_and_a_giant(self, tmp_path, folder, monkeypatch):
        monkeypatch.setattr(observe_routes, "LARGEST_STATE_FILE", 5000)
        for number in ("68", "1736", "2064"):
            (folder / number / "ep_config.json").unlink()
        os.mkfifo(str(folder / "68" / "ep_config.json"))
        (folder / "1736" / "ep_config.json").mkdir()
        (folder / "2064" / "ep_config.json").write_text(" " * 5001)
        facts = self.read(tmp_path)
        assert facts["endpoints"] == []
        assert [re.sub(r".*: ", "", entry["why"]) for entry in facts["unread"] if "2064" in entry["what"]] == [
            "is larger than 5000 bytes"
        ]
        assert len([entry for entry in facts["unread"] if entry["what"].endswith("ep_config.json")]) == 3

    def test_an_older_cilium(self, tmp_path, folder):
        for path in folder.glob("*/ep_config.json"):
            path.rename(path.with_name("ep_config.h"))
        facts = self.read(tmp_path)
        assert facts["source"] is None
        assert facts["unread"][0] == {
            "what": str(folder),
            "why": "no endpoint's ep_config.json in it (Cilium writes it since 1.16)",
            "needs_root": False,
        }
        assert facts["endpoint_routes"]["agent"] is False


def fake_learner(monkeypatch, *endpoints):
    found = [{"address": None, **endpoint} for endpoint in endpoints]
    monkeypatch.setattr(observe_routes._Learner, "endpoints", lambda self, sources: ("agent", found))


def test_endpoints_that_cannot_be_judged(tmp_path, monkeypatch):
    fake_learner(
        monkeypatch,
        {"ipv6": "fd00::1", "device": "lxc_health"},
        {"address": "10.0.0.85", "device": None},
        {"address": "10.0.0.138", "device": "lxcgone"},
    )
    facts = observe(Replay("broken"), tmp_path)
    seen = {endpoint["device"]: endpoint for endpoint in facts["endpoints"]}
    assert {endpoint["verdict"] for endpoint in seen.values()} == {"unknown"}
    assert seen["lxc_health"]["reason"] == "it has no IPv4 address, and rp_filter is for IPv4 only"
    assert seen["lxc_health"]["dropped_at"] == []
    assert "None" not in json.dumps(list(seen.values()))
    assert seen[None]["reason"] == "no source names its device"
    assert seen[None]["symmetric"] is None
    assert seen[None]["route_device"] == "cilium_host"
    assert seen["lxcgone"]["reason"] == "the device lxcgone is gone"
    assert seen["lxcgone"]["dropped_at"] is None


def test_a_batch_that_fails_is_named_and_the_rest_returned(tmp_path):
    replay = Replay("broken")

    def failing(argv, data=None):
        if "-batch" in argv:
            raise CommandError("it did not finish")
        return replay(argv, data)

    with agent(tmp_path / "cilium.sock", agent_documents("broken")) as path:
        facts = observe(failing, tmp_path, agent_path=path)
    assert [(entry["what"], entry["why"]) for entry in facts["unread"]] == [
        ("routes to endpoints", "it did not finish"),
        ("verdicts on endpoints", "it did not finish"),
    ]
    assert {(e["verdict"], e["reason"]) for e in facts["endpoints"]} == {("unknown", "the kernel could not be asked")}
    assert facts["endpoint_routes"] == ROUTES["broken"]


def test_without_ip_there_are_no_facts(tmp_path):
    with pytest.raises(CommandError, match="cannot run 'no-ip'"):
        observe_routes.observe(IpRoute(bounded_runner(5), ip="no-ip"))


@needs_root
class TestKernel:
    """The stand-in of a lab, and the real kernel's answers."""

    NOWHERE = {"agent_path": "/run/netns/no.sock", "state_dir": "/run/netns/no-state"}

    def see(self, prepare, **options):
        def body():
            cilium_host()
            prepare()
            return observe_routes.observe(IpRoute(bounded_runner(10)), **dict(self.NOWHERE, **options))

        return on_scratch_node(body)

    def see_with_legacy_routing(self, prepare):
        def prepare_with_state():
            os.mkdir("/run/netns/state")
            with open("/run/netns/state/agent-runtime-config.json", "w") as stream:
                stream.write('{"EnableHostLegacyRouting": true}')
            prepare()

        return self.see(prepare_with_state, state_dir="/run/netns/state")

    def test_the_proxys_rule_as_this_ip_prints_it(self):
        def prepare():
            ip("rule", "add", "fwmark", "0x200/0xf00", "lookup", "2004", "priority", "9")

        assert self.see(prepare)["proxy_rule"] == {"priority": 9, "mark": "0x200/0xf00", "table": "2004"}

    @pytest.mark.parametrize("batch", [1, 2])
    def test_a_pod_deleted_meanwhile(self, batch):
        """After the devices were listed and before the kernel is asked: pods come and go all the time."""

        def body():
            cilium_host()
            for number in (1, 2):
                pod(f"cni-{number}", f"10.0.0.1{number}", f"lxc{number}", value=2)
            run, batches = bounded_runner(10), []

            def deleting(argv, data=None):
                if "-batch" in argv:
                    batches.append(data)
                    if len(batches) == batch:
                        ip("link", "delete", "lxc1")
                return run(argv, data)

            return observe_routes.observe(IpRoute(deleting), **self.NOWHERE)

        gone, present = on_scratch_node(body)["endpoints"]
        assert (gone["verdict"], gone["reason"]) == ("unknown", "the device lxc1 is gone")
        assert gone["leaves"]["reason"] == "the device lxc1 is gone"
        assert present["verdict"] == "dropped"

    @pytest.mark.parametrize("name", ["lxc'", 'lxc"', "lxc[*]", "lxcé", "lxc{}", "lxc\\", "lxc#;", "lxc\udcff"])
    def test_odd_names_are_judged_too(self, name):
        def prepare():
            pod("cni-1", "10.0.0.11", name, value=2)

        (endpoint,) = self.see(prepare)["endpoints"]
        assert (endpoint["device"], endpoint["verdict"]) == (name, "dropped")
        assert isinstance(endpoint["received"], int)

    def test_the_fault_and_both_cures(self):
        def prepare():
            for number, value in ((1, 2), (2, 0), (3, 2), (4, 1)):
                pod(f"cni-{number}", f"10.0.0.1{number}", f"lxc{number}", value=value)
            ip("route", "add", "10.0.0.13/32", "dev", "lxc3", "scope", "link")

        facts = self.see(prepare)
        assert facts["source"] == "netns"
        assert shown(facts) == {
            "10.0.0.11": ("lxc1", "cilium_host", "dropped"),
            "10.0.0.12": ("lxc2", "cilium_host", "accepted"),
            "10.0.0.13": ("lxc3", "lxc3", "accepted"),
            "10.0.0.14": ("lxc4", "cilium_host", "dropped"),
        }
        assert [endpoint["reason"] for endpoint in facts["endpoints"]] == [
            "the filter is loose (2) on lxc1, which has no IPv4 address, and the route back leaves by cilium_host",
            "the filter is off on lxc2",
            "the route back leaves by lxc3",
            "the filter is strict (1) on lxc4 and the route back leaves by cilium_host",
        ]
        assert [endpoint["dropped_at"] for endpoint in facts["endpoints"]] == [[1, 2], [1, 2], [], [1, 2]]
        assert facts["endpoint_routes"] == dict(NO_ROUTES, with_route=1, without_route=3)

    def test_all_decides_where_the_device_is_off(self):
        def prepare():
            pod("cni-1", "10.0.0.11", "lxc1", value=0)
            rp_filter("all", 1)

        (endpoint,) = self.see(prepare)["endpoints"]
        assert (endpoint["verdict"], "strict (1)" in endpoint["reason"]) == ("dropped", True)

    def test_an_address_on_the_device_makes_loose_pass(self):
        def prepare():
            pod("cni-1", "10.0.0.11", "lxc1", value=2)
            ip("addr", "add", "192.0.2.7/32", "dev", "lxc1")

        (endpoint,) = self.see(prepare)["endpoints"]
        assert (endpoint["verdict"], endpoint["dropped_at"]) == ("accepted", [1])
        assert "which has an IPv4 address" in endpoint["reason"]

    def test_another_martian_is_not_the_filters(self):
        def prepare():
            pod("cni-1", "10.0.0.11", "lxc1", value=0)
            ip("addr", "add", "10.0.0.11/32", "dev", "lo")  # the pod's address is local to the host, too

        (endpoint,) = self.see(prepare)["endpoints"]
        assert endpoint["verdict"] == "dropped"
        assert "this is not rp_filter" in endpoint["reason"]
        assert endpoint["dropped_at"] is None

    def test_packets_to_the_world(self):
        def prepare():
            sysctl("net/ipv4/ip_forward", 1)
            ip("link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
            ip("addr", "add", "192.0.2.1/24", "dev", "eth0")
            ip("link", "set", "eth0", "up")
            ip("link", "set", "peer0", "up")
            ip("route", "add", "default", "via", "192.0.2.10")
            for number, value in ((1, 0), (2, 1), (3, 0)):
                pod(f"cni-{number}", f"10.0.0.1{number}", f"lxc{number}", value=value)
            sysctl("net/ipv4/conf/lxc3/forwarding", 0)

        assert [endpoint["leaves"] for endpoint in self.see_with_legacy_routing(prepare)["endpoints"]] == [
            {"device": "eth0", "verdict": "accepted", "reason": "the filter is off on lxc1"},
            {
                "device": None,
                "verdict": "dropped",
                "reason": "the filter is strict (1) on lxc2 and the route back leaves by cilium_host",
            },
            {
                "device": None,
                "verdict": "unknown",
                "reason": "no route leads to 203.0.113.1, or lxc3 does not forward "
                "(RTNETLINK answers: No route to host)",
            },
        ]

    def test_a_rule_for_the_hosts_own_address_counts(self):
        """From cilium_host's address the pod is reached by its own device, from all others not."""

        def prepare():
            pod("cni-1", "10.0.0.11", "lxc1", value=1)
            ip("rule", "add", "from", "10.0.0.253", "lookup", "77")
            ip("route", "add", "10.0.0.11/32", "dev", "lxc1", "table", "77")

        (endpoint,) = self.see(prepare)["endpoints"]
        assert (endpoint["route_device"], endpoint["symmetric"]) == ("cilium_host", False)  # of an unbound connection
        assert (endpoint["verdict"], endpoint["reason"]) == ("accepted", "the route back leaves by lxc1")

    def test_every_next_hop_counts(self):
        def prepare():
            for number in range(1, 9):
                pod(f"cni-{number}", f"10.0.0.1{number}", f"lxc{number}", value=1)
                hops = f"nexthop dev cilium_host nexthop dev lxc{number}"
                ip("route", "add", f"10.0.0.1{number}/32", *hops.split())

        facts = self.see(prepare)
        assert {endpoint["verdict"] for endpoint in facts["endpoints"]} == {"accepted"}
        assert {endpoint["route_device"] for endpoint in facts["endpoints"]} > {"cilium_host"}  # the hash chose so
        for endpoint in facts["endpoints"]:
            assert endpoint["reason"] == f"the route back leaves by {endpoint['device']}"

    def test_the_difference_is_said(self):
        """On a packet's way out the kernel heeds rules for the device it leaves by; our reason knows the host's."""

        def prepare():
            sysctl("net/ipv4/ip_forward", 1)
            ip("link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
            ip("link", "set", "eth0", "up")
            ip("link", "set", "peer0", "up")
            ip("route", "add", "default", "dev", "eth0")
            pod("cni-1", "10.0.0.11", "lxc1", value=1)
            ip("rule", "add", "iif", "eth0", "lookup", "77")
            ip("route", "add", "10.0.0.11/32", "dev", "lxc1", "table", "77")

        (endpoint,) = self.see(prepare)["endpoints"]
        assert endpoint["verdict"] == "dropped"
        assert endpoint["leaves"] == {
            "device": "eth0",
            "verdict": "accepted",
            "reason": "the kernel accepts it, against what was expected: "
            "the filter is strict (1) on lxc1 and the route back leaves by cilium_host",
        }

    def test_martians(self):
        def prepare():
            pod("cni-1", "127.0.0.11", "lxc1", value=0)

        (endpoint,) = self.see(prepare)["endpoints"]
        assert (endpoint["verdict"], endpoint["dropped_at"]) == ("dropped", None)
        assert "(a martian); this is not rp_filter" in endpoint["reason"]

    def test_a_local_source_that_is_welcome(self):
        def prepare():
            pod("cni-1", "10.0.0.11", "lxc1", value=2)
            ip("addr", "add", "10.0.0.11/32", "dev", "lo")
            ip("addr", "add", "192.0.2.7/32", "dev", "lxc1")
            sysctl("net/ipv4/conf/lxc1/accept_local", 1)

        (endpoint,) = self.see(prepare)["endpoints"]
        assert endpoint["verdict"] == "accepted"
        assert "expected" not in endpoint["reason"]

    def test_predictions_come_true(self):
        """dropped_at at every value, for every kind of endpoint, against the kernel set to that value."""

        def body():
            cilium_host()
            for number in (1, 2, 3):
                pod(f"cni-{number}", f"10.0.0.1{number}", f"lxc{number}")
            ip("route", "add", "10.0.0.12/32", "dev", "lxc2")
            ip("addr", "add", "192.0.2.7/32", "dev", "lxc3")
            real, results = IpRoute(bounded_runner(10)), []
            for value in (0, 1, 2):
                for number in (1, 2, 3):
                    rp_filter(f"lxc{number}", value)
                for endpoint in observe_routes.observe(real, **self.NOWHERE)["endpoints"]:
                    results.append((endpoint["device"], value, endpoint["verdict"], endpoint["dropped_at"]))
            return results

        results = on_scratch_node(body)
        assert len(results) == 9
        for device, value, seen, dropped_at in results:
            assert (seen == "dropped") is (value in dropped_at), (device, value)
        assert {device: dropped_at for device, _v, _s, dropped_at in results} == {
            "lxc1": [1, 2],
            "lxc2": [],
            "lxc3": [1],
        }

    def test_without_cilium_host_the_routes_own_source_is_asked_for(self):
        def body():
            ip("link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
            ip("addr", "add", "192.0.2.1/24", "dev", "eth0")
            ip("link", "set", "eth0", "up")
            pod("cni-1", "10.0.0.11", "lxc1", value=1)
            ip("route", "add", "10.0.0.11/32", "dev", "lxc1", "src", "192.0.2.1")
            return observe_routes.observe(IpRoute(bounded_runner(10)), **self.NOWHERE)

        (endpoint,) = on_scratch_node(body)["endpoints"]
        assert (endpoint["verdict"], endpoint["symmetric"]) == ("accepted", True)

    def test_no_host_address_at_all(self):
        def body():
            pod("cni-1", "10.0.0.11", "lxc1", value=1)
            return observe_routes.observe(IpRoute(bounded_runner(10)), **self.NOWHERE)

        (endpoint,) = on_scratch_node(body)["endpoints"]
        assert (endpoint["verdict"], endpoint["route_device"], endpoint["symmetric"]) == ("unknown", None, False)
        assert "cilium_host has no IPv4 address" in endpoint["reason"]

    def test_bridges_and_strangers_are_no_endpoints(self):
        def prepare():
            pod("cni-1", "10.0.0.11", "lxc1", value=0)
            pod("stranger", "10.0.0.12", "veth1", value=0)
            ip("link", "add", "lxcbr0", "type", "bridge")
            ip("link", "set", "lxcbr0", "up")
            ip("route", "add", "10.0.0.99/32", "dev", "lxcbr0")
            ip("route", "add", "default", "dev", "lxc1")
            ip("route", "add", "10.7.0.0/16", "dev", "lxc1")

        assert list(shown(self.see(prepare))) == ["10.0.0.11"]
        assert list(shown(self.see(prepare, sources=["routes"]))) == []

    def test_two_addresses_and_ipv6(self):
        def prepare():
            pod("cni-1", "10.0.0.11", "lxc1", ipv6="fd00::11", value=0)
            ip("-n", "cni-1", "addr", "add", "10.0.0.12/32", "dev", "eth0")
            ip("netns", "add", "cni-2")
            ip("link", "add", "lxc2", "type", "veth", "peer", "name", "eth0", "netns", "cni-2")
            ip("-n", "cni-2", "addr", "add", "fd00::22/128", "dev", "eth0", "nodad")

        facts = self.see(prepare)
        assert [(e["address"], e["ipv6"], e["device"], e["verdict"]) for e in facts["endpoints"]] == [
            ("10.0.0.11", "fd00::11", "lxc1", "accepted"),
            ("10.0.0.12", "fd00::11", "lxc1", "accepted"),
            (None, "fd00::22", "lxc2", "unknown"),
        ]
        assert facts["endpoint_routes"]["without_route"] == 2

    def test_unprivileged(self):
        def body():
            cilium_host()
            for number in (1, 2):
                pod(f"cni-{number}", f"10.0.0.1{number}", f"lxc{number}")
            ip("route", "add", "10.0.0.12/32", "dev", "lxc2")
            run = bounded_runner(10)
            os.setgid(65534)
            os.setuid(65534)
            return observe_routes.observe(IpRoute(run), **self.NOWHERE)

        facts = on_scratch_node(body)
        assert facts["source"] == "routes"
        assert shown(facts) == {"10.0.0.12": ("lxc2", "lxc2", "accepted")}
        assert facts["endpoint_routes"]["in_effect"] is None
        why = {entry["what"]: entry["why"] for entry in facts["unread"]}
        assert why["/run/netns"] == "entering a network namespace needs root (become)"
        assert why["pods behind lxc1"] == "no source tells their addresses"

    def test_a_hundred_pods_by_seven_processes(self):
        def body():
            cilium_host()
            for number in range(100):
                pod(f"p{number}", f"10.0.0.{number + 1}", f"lxc{number}", value=number % 3)
            runs = []
            run = bounded_runner(30)

            def counting(argv, data=None):
                runs.append(argv)
                return run(argv, data)

            return observe_routes.observe(IpRoute(counting), **self.NOWHERE), len(runs)

        facts, runs = on_scratch_node(body)
        assert runs == 7
        assert [e["verdict"] for e in facts["endpoints"]] == [
            "dropped" if number % 3 else "accepted" for number in range(100)
        ]
