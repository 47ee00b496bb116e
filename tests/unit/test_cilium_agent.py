"""The agent's documents, and a real socket behind which anything may sit."""

import json
import os
import socket
import time
from pathlib import Path

import pytest
from agent_server import agent, answering, hanging, saying
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.agent_api import (
    BPF,
    LEGACY,
    UNKNOWN_OPTIONS,
    Agent,
    AgentError,
    parse_config,
    parse_daemon_config,
    parse_endpoints,
    parse_health,
    parse_state,
)
from scratch_node import needs_root, on_scratch_node

CAPTURES = Path(__file__).parent.parent / "fixtures" / "captures"
STATES = {
    "broken": {
        "10.0.0.138": ("lxc8bcd55ee79d3", "web-594c485c8b-fr4sj"),
        "10.0.0.179": ("lxc_health", None),
        "10.0.0.85": ("lxc6166b658b864", "web-594c485c8b-jd7sc"),
    },
    "exempt": {
        "10.0.0.163": ("lxc919b2aa6cd31", "web-594c485c8b-kbm6j"),
        "10.0.0.179": ("lxc_health", None),
        "10.0.0.157": ("lxcbb31c1cf08a8", "web-594c485c8b-7cj4w"),
    },
    "routes-mixed": {
        "10.0.0.179": ("lxc_health", None),
        "10.0.0.180": ("lxc635b12ae37f7", "web-594c485c8b-bxrzx"),
        "10.0.0.85": ("lxc6166b658b864", "web-594c485c8b-jd7sc"),
    },
    "routes": {
        "10.0.0.179": ("lxc_health", None),
        "10.0.0.16": ("lxc9c1b87325905", "web-594c485c8b-684p4"),
        "10.0.0.202": ("lxc8f923c57b321", "web-594c485c8b-6qkxw"),
    },
    "1.20-broken": {
        "10.244.0.44": ("lxcb1209886c6bf", "web-5797b49bdc-4m8z9"),
        "10.244.0.111": ("lxc2b994c9cb8d2", "webds-vvt56"),
        "10.244.0.118": ("lxc_health", None),
        "10.244.0.197": ("lxc888414262350", "web-5797b49bdc-lrxjb"),
    },
    "1.20-routes-mixed": {
        "10.244.0.28": ("lxca4f8b907ac74", "web-5797b49bdc-px6db"),
        "10.244.0.68": ("lxce1a52fca8434", "web-5797b49bdc-xxh5d"),
        "10.244.0.118": ("lxc_health", None),
        "10.244.0.242": ("lxcfcd1ac3cc09a", "webds-dslc5"),
    },
}
STATES["1.20-bpf-host-routing"] = STATES["1.20-broken"]


def names_pods(state):
    """Whether the API of that release does; the state folder of all does."""
    return not state.startswith("1.20")


def captured(state, name):
    return json.loads((CAPTURES / state / name).read_text())


def shown(endpoints):
    return {endpoint["address"]: (endpoint["device"], endpoint["pod"]) for endpoint in endpoints}


@pytest.mark.parametrize("state", STATES)
def test_endpoints_of_a_real_agent(state):
    endpoints = parse_endpoints(captured(state, "agent-endpoint.json"))
    assert shown(endpoints) == {
        address: (device, pod if names_pods(state) else None) for address, (device, pod) in STATES[state].items()
    }
    for endpoint in endpoints:
        is_pod = endpoint["device"] != "lxc_health"
        assert endpoint["namespace"] == ("default" if is_pod else None)
        assert endpoint["peer_device"] == ("eth0" if is_pod else None)
        assert endpoint["is_health"] is not is_pod
        assert endpoint["ipv6"] is None


def test_index_of_a_real_endpoint():
    endpoints = parse_endpoints(captured("broken", "agent-endpoint.json"))
    assert {endpoint["device"]: endpoint["ifindex"] for endpoint in endpoints} == {
        "lxc8bcd55ee79d3": 37,
        "lxc_health": 31,
        "lxc6166b658b864": 39,
    }


@pytest.mark.parametrize("state", STATES)
def test_state_folder_of_a_real_agent(state):
    files = sorted((CAPTURES / state / "state").glob("ep_config-*.json"))
    endpoints = [parse_state(json.loads(path.read_text()), path.name) for path in files]
    assert endpoints.count(None) == 1  # the host's own
    endpoints = [endpoint for endpoint in endpoints if endpoint]
    assert shown(endpoints) == STATES[state]
    by_address = {endpoint["address"]: endpoint for endpoint in endpoints}
    asked = {e["address"]: e for e in parse_endpoints(captured(state, "agent-endpoint.json"))}
    if not names_pods(state):
        asked = {address: dict(e, pod=by_address[address]["pod"]) for address, e in asked.items()}
    assert by_address == asked


@pytest.mark.parametrize(
    ("state", "expected"), [(state, state in ("routes", "routes-mixed", "1.20-routes-mixed")) for state in STATES]
)
def test_config_of_a_real_agent(state, expected):
    is_old = names_pods(state)
    assert parse_config(captured(state, "agent-config.json")) == {
        "endpoint_routes": expected,
        "loosens_uplinks": None,
        "host_routing": LEGACY if is_old else None,  # 1.20 tells it by its status alone
        "ipv4": True,
        "options": {
            "l7_proxy": False,
            "load_balancer_mode": None,
            "egress_gateway": False,
            "ipam": "cluster-pool" if is_old else "kubernetes",
            "devices": ["eth0"],
        },
    }
    saved = captured(state, "state/agent-runtime-config.json")
    assert parse_daemon_config(saved)["endpoint_routes"] is expected


@pytest.mark.parametrize(
    ("options", "endpoint_routes", "loosens_uplinks"),
    [
        ({}, None, None),
        ({"EnableEndpointRoutes": "true"}, None, None),
        ({"EnableEndpointRoutes": True, "IPAM": "eni"}, True, "Cilium's ENI mode"),
        ({"EnableEgressGateway": True, "IPAM": "cluster-pool"}, None, "Cilium's egress gateway"),
        ({"EnableIPv4EgressGateway": True}, None, "Cilium's egress gateway"),
        ({"EnableEgressGateway": False}, None, None),
    ],
)
def test_config(options, endpoint_routes, loosens_uplinks):
    config = parse_daemon_config(options)
    assert (config["endpoint_routes"], config["loosens_uplinks"]) == (endpoint_routes, loosens_uplinks)


def test_options_of_older_agents_and_of_none():
    said = {"EnableL7Proxy": True, "NodePortMode": "DSR", "Devices": ["eth0", "", "eth1"], "IPAM": "eni"}
    assert parse_daemon_config(said)["options"] == {
        "l7_proxy": True,
        "load_balancer_mode": "dsr",
        "egress_gateway": None,
        "ipam": "eni",
        "devices": ["eth0", "eth1"],
    }
    assert parse_daemon_config({"Devices": None, "EnableL7Proxy": "yes"})["options"] == UNKNOWN_OPTIONS
    with pytest.raises(AgentError, match="Devices"):
        parse_daemon_config({"Devices": [7]})


@pytest.mark.parametrize(("option", "expected"), [(True, LEGACY), (False, BPF), (None, None), ("true", None)])
def test_saved_mode_of_host_routing(option, expected):
    assert parse_daemon_config({"EnableHostLegacyRouting": option})["host_routing"] == expected


@pytest.mark.parametrize(("option", "expected"), [(True, True), (False, False), (None, None)])
def test_ipv4(option, expected):
    assert parse_daemon_config({"EnableIPv4": option})["ipv4"] is expected


@pytest.mark.parametrize("state", STATES)
def test_health_of_a_real_agent(state):
    is_bpf = state == "1.20-bpf-host-routing"
    assert parse_health(captured(state, "agent-healthz.json")) == {
        # The one of 1.19 was built without its version.
        "version": None if names_pods(state) else "1.20.0-pre.4",
        "host_routing": BPF if is_bpf else LEGACY,
        "load_balancer_mode": "snat" if is_bpf else None,
    }


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("1.18.2 (v1.18.2-5bd307a8)", "1.18.2"),
        ("1.20.0-rc.1 (v1.20.0-rc.1-1)", "1.20.0-rc.1"),
        ("1.16.0", "1.16.0"),
        (" (v-)", None),
        ("", None),
        (None, None),
        ("latest (v1.18.2)", None),
        ("1.18.2;reboot", None),
    ],
)
def test_version(message, expected):
    assert parse_health({"cilium": {"state": "Ok", "msg": message}})["version"] == expected


@pytest.mark.parametrize("mode", ["Netkit", "", None])
def test_a_mode_of_host_routing_that_is_not_known(mode):
    assert parse_health({"routing": {"intra-host-routing-mode": mode}})["host_routing"] is None


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"nodePort": {"enabled": True, "mode": "DSR", "portMin": 30000}}, "dsr"),
        ({"nodePort": {}}, None),
        (None, None),
    ],
)
def test_load_balancer_mode(features, expected):
    document = {"kube-proxy-replacement": {"mode": "True", "features": features}}
    assert parse_health(document)["load_balancer_mode"] == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], "the status: expected an object"),
        ({"kube-proxy-replacement": ["x"]}, "kube-proxy-replacement: expected an object"),
        ({"routing": "BPF"}, "routing: expected an object"),
        ({"cilium": {"msg": 1}}, "expected a string, found 1"),
    ],
)
def test_a_status_that_is_none(document, expected):
    with pytest.raises(AgentError, match=expected):
        parse_health(document)


def test_the_health_endpoint_is_known_by_its_identity_where_its_interface_has_another_name():
    asked = {"networking": {"addressing": [{"ipv4": "10.0.0.1"}], "interface-name": "eni1"}}
    asked["identity"] = {"labels": ["reserved:health"]}
    saved = {"IPv4": "10.0.0.1", "IfName": "eni1"}
    saved["SecLabel"] = {"labels": {"health": {"key": "health", "source": "reserved"}}}
    assert [each["is_health"] for each in parse_endpoints([{"status": asked}])] == [True]
    assert parse_state(saved, "a file")["is_health"] is True
    saved["SecLabel"]["labels"]["health"]["source"] = "k8s"  # a pod's own label of that name
    assert parse_state(saved, "a file")["is_health"] is False


def test_config_that_says_nothing():
    assert parse_config({})["endpoint_routes"] is None
    assert parse_config({"status": None})["endpoint_routes"] is None


def endpoint(**networking):
    return {"status": {"networking": networking, "external-identifiers": None}}


def test_endpoints_with_several_or_no_addresses():
    document = [
        endpoint(
            **{"interface-name": "lxc1", "addressing": [{"ipv4": "10.0.0.1", "ipv6": "FD00::1"}, {"ipv4": "10.1.0.1"}]}
        ),
        endpoint(**{"interface-name": "lxc2", "addressing": [{"ipv6": "fd00::2"}]}),
        endpoint(**{"interface-name": "lxc3", "addressing": []}),
        endpoint(addressing=[{"ipv4": "10.0.0.4"}]),
        {"status": {"state": "creating"}},
        {"id": 7},
    ]
    assert [(e["address"], e["ipv6"], e["device"]) for e in parse_endpoints(document)] == [
        ("10.0.0.1", "fd00::1", "lxc1"),
        ("10.1.0.1", None, "lxc1"),
        (None, "fd00::2", "lxc2"),
        ("10.0.0.4", None, None),
    ]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, "expected a list, found {}"),
        (None, "expected a list, found null"),
        (["x"], 'endpoint 0.*expected an object, found "x"'),
        ([{"status": []}], r"endpoint 0.*status.*expected an object, found \[\]"),
        ([endpoint(addressing={})], "addressing.*expected a list"),
        ([endpoint(addressing=["10.0.0.1"])], 'expected an object, found "10.0.0.1"'),
        ([endpoint(addressing=[{"ipv4": "10.0.0.1 dev lo"}])], '"10.0.0.1 dev lo" is no IP address'),
        ([endpoint(addressing=[{"ipv4": "fd00::1"}])], '"fd00::1" is no IP address'),
        ([endpoint(addressing=[{"ipv4": 167772161}])], "expected a string, found 167772161"),
        ([endpoint(**{"addressing": [{}], "interface-name": {"a": 1}})], 'expected a string, found {"a": 1}'),
        ([endpoint(**{"addressing": [{}], "interface-index": "4"})], 'expected a number, found "4"'),
    ],
)
def test_endpoints_that_are_none(document, expected):
    with pytest.raises(AgentError, match=expected):
        parse_endpoints(document)


def test_a_name_that_is_no_text_stays_printable():
    (only,) = parse_endpoints(
        json.loads(r'[{"status":{"networking":{"interface-name":"lxc\udcff","addressing":[{"ipv4":"10.0.0.1"}]}}}]')
    )
    assert only["device"] == "lxc\\udcff"


# The socket


def test_a_real_conversation(tmp_path):
    documents = {
        "/v1/endpoint": (CAPTURES / "broken" / "agent-endpoint.json").read_text(),
        "/v1/config": (CAPTURES / "routes" / "agent-config.json").read_text(),
    }
    with agent(tmp_path / "cilium.sock", answering(documents)) as path:
        assert shown(Agent(path).endpoints()) == STATES["broken"]
        assert Agent(path).config()["endpoint_routes"] is True


def test_chunks_in_small_pieces(tmp_path):
    body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[\n\r\n1\r\n]\r\n0\r\n\r\n"
    with agent(tmp_path / "cilium.sock", saying(*[body[i : i + 1] for i in range(len(body))])) as path:
        assert Agent(path).endpoints() == []


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("converse", "expected"),
    [
        (hanging(), "no complete answer within 0.4 s"),
        (hanging(b"HTTP/1.1 20"), "no complete answer within 0.4 s"),
        (hanging(OK + b"Content-Length: 100\r\n\r\n[{"), "no complete answer within 0.4 s"),
        (saying(*[b"X-Header: x\r\n"] * 100, pause=0.05), "no complete"),
        (saying(OK, *[b"X-%d: x\r\n" % i for i in range(90)], pause=0.05), "no complete answer within 0.4 s"),
        (saying(OK + b"\r\n[", *[b" "] * 600, pause=0.02), "no complete answer within 0.4 s"),
        (saying(b""), "no complete HTTP answer"),
        (saying(b"\x00\xff\xfe garbage \r\n\r\n"), "no complete HTTP answer.*BadStatusLine"),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), "no complete HTTP answer"),
        (saying(b"HTTP/1.1 200 OK\r\n" + b"a" * 70000 + b"\r\n\r\n"), "no complete HTTP answer.*LineTooLong"),
        (saying(OK + b"a: b\r\n" * 200 + b"\r\n[]"), "no complete HTTP answer"),
        (saying(OK + b"Content-Length: 100\r\n\r\n[{"), "no complete HTTP answer.*IncompleteRead"),
        (saying(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n[]"), "no complete HTTP answer"),
        (saying(OK + b'\r\n[{"status": {"netw'), "the answer is no JSON"),
        (saying(OK + b"\r\n"), "the answer is no JSON"),
        (saying(OK + b"\r\n\xff\xfe"), "the answer is no JSON"),
        (saying(OK + b"\r\n" + b"[" * 100000), "the answer is no JSON"),
        (saying(OK + b"\r\n{}"), "expected a list"),
        (saying(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"), "HTTP status 503"),
        (saying(OK + b"\r\n" + b" " * 2000000), "larger than any agent gives"),
    ],
)
def test_whatever_the_other_side_says(tmp_path, converse, expected):
    with agent(tmp_path / "cilium.sock", converse) as path:
        started = time.monotonic()
        with pytest.raises(AgentError, match=expected) as caught:
            Agent(path, timeout=0.4, largest_answer=1000000).endpoints()
        assert time.monotonic() - started < 1.5
        if "expected a list" not in expected:
            assert str(caught.value).startswith(f"GET /v1/endpoint on {path}: ")


def test_nobody_accepts(tmp_path):
    """With a full queue, a socket with a time limit is turned away at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "cilium.sock"))
        listener.listen(0)
        waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        waiting.connect(str(tmp_path / "cilium.sock"))
        started = time.monotonic()
        with waiting, pytest.raises(AgentError, match="others wait to be let in already"):
            Agent(str(tmp_path / "cilium.sock"), timeout=0.3).config()
        assert time.monotonic() - started < 1.5


def test_no_socket(tmp_path):
    with pytest.raises(AgentError, match="no such socket; no Cilium agent runs here"):
        Agent(str(tmp_path / "none")).endpoints()


def test_socket_left_behind(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "cilium.sock"))
    with pytest.raises(AgentError, match="connection refused.*the agent is down"):
        Agent(str(tmp_path / "cilium.sock")).endpoints()


def test_a_file_is_no_socket(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AgentError, match="connection refused"):
        Agent(str(tmp_path / "file")).endpoints()


def test_path_too_long(tmp_path):
    with pytest.raises(AgentError, match="too long"):
        Agent(str(tmp_path / ("x" * 120))).endpoints()


@needs_root
def test_socket_for_root_only():
    def body():
        path = "/run/netns/cilium.sock"  # a folder that everybody may enter
        os.chmod("/run/netns", 0o755)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(path)
            os.chmod(path, 0o660)
            listener.listen(1)
            os.setgid(65534)
            os.setuid(65534)
            try:
                Agent(path).endpoints()
            except AgentError as error:
                return str(error)

    assert "permission denied; the socket is for root only" in on_scratch_node(body)
