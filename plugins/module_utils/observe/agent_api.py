# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The local API of Cilium's agent over its unix socket, read only; and what its documents mean.

The parsers are pure, and also read the copies that the agent keeps in its state folder.
"""

import http.client
import io
import ipaddress
import json
import os
import re
import socket
import time

from ansible_collections.nodeward.cilium.plugins.module_utils.devices import HEALTH_DEVICE

SOCKET = "/var/run/cilium/cilium.sock"
STATE = "/var/run/cilium/state"

# The modes of host routing. With "bpf" a pod's packets leave the node before the kernel routes and checks them.
LEGACY, BPF = "legacy", "bpf"

_HEALTH_LABEL = "reserved:health"
_NAMESPACE_LABEL = "k8s:io.kubernetes.pod.namespace="
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?(?=\s|\Z)")

# An endpoint takes about 10 kB in the agent's answer: room for far more pods than a node can hold.
LARGEST_ANSWER = 256 * 1024 * 1024


#: What parse_daemon_config gives of a configuration that says nothing.
UNKNOWN_OPTIONS = {
    "l7_proxy": None,
    "load_balancer_mode": None,
    "egress_gateway": None,
    "ipam": None,
    "devices": None,
}


class AgentError(Exception):
    """The agent did not answer, or its answer cannot be parsed. The message is for people.

    ``needs_root``: whether root could have asked it.
    """

    needs_root = False


class Agent:
    """The agent behind one socket. Each question takes `timeout` seconds at most, whatever the other side does."""

    def __init__(self, path=SOCKET, timeout=5, largest_answer=LARGEST_ANSWER):
        self._path = path
        self._timeout = timeout
        self._largest_answer = largest_answer

    def endpoints(self):
        """See parse_endpoints."""
        return parse_endpoints(self._get("/v1/endpoint"))

    def config(self):
        """See parse_config."""
        return parse_config(self._get("/v1/config"))

    def health(self):
        """See parse_health."""
        return parse_health(self._get("/v1/healthz"))

    def _get(self, resource):
        question = f"GET {resource} on {self._path}"
        try:
            status, body = self._exchange(resource)
        except (OSError, http.client.HTTPException) as error:
            refused = AgentError(f"{question}: {self._why(error)}")
            refused.needs_root = isinstance(error, PermissionError) and os.geteuid() != 0
            raise refused from None
        if status != 200:
            raise AgentError(f"{question}: answered HTTP status {status} instead of 200")
        try:
            return json.loads(body.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise AgentError(f"{question}: the answer is no JSON ({error})") from None

    def _why(self, error):
        if isinstance(error, socket.timeout):
            return f"no complete answer within {self._timeout:g} s; is the agent hanging?"
        if isinstance(error, BlockingIOError):
            return "others wait to be let in already; is the agent hanging?"
        if isinstance(error, FileNotFoundError):
            return "no such socket; no Cilium agent runs here"
        if isinstance(error, PermissionError):
            return "permission denied; the socket is for root only (become)"
        if isinstance(error, ConnectionRefusedError):
            return "connection refused; nobody listens on the socket, the agent is down"
        if isinstance(error, http.client.HTTPException):
            return f"no complete HTTP answer ({type(error).__name__}: {str(error)[:80]})"
        return str(error)

    def _exchange(self, resource):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            bounded = _BoundedSocket(connection, time.monotonic() + self._timeout, self._largest_answer)
            bounded.connect(self._path)
            bounded.sendall(f"GET {resource} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            response = http.client.HTTPResponse(bounded, method="GET")
            response.begin()
            return response.status, response.read()


class _BoundedSocket(io.RawIOBase):
    """A socket with one deadline for the whole conversation (a socket's own timeout starts anew with each byte)."""

    def __init__(self, connection, deadline, largest_answer):
        super().__init__()
        self._connection = connection
        self._deadline = deadline
        self._room = largest_answer

    def _before_waiting(self):
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout()
        self._connection.settimeout(left)

    def connect(self, path):
        self._before_waiting()
        self._connection.connect(path)

    def sendall(self, text):
        self._before_waiting()
        self._connection.sendall(text.encode("ascii"))

    def makefile(self, mode):
        return io.BufferedReader(self, 1 << 16)

    def readable(self):
        return True

    def readinto(self, buffer):
        self._before_waiting()
        received = self._connection.recv_into(buffer)
        self._room -= received
        if self._room < 0:
            raise OSError("the answer is larger than any agent gives; stopped reading")
        return received


def parse_endpoints(document):
    """The endpoints in the answer to /v1/endpoint: a list of dicts, the host's own endpoint left out.

    address, ipv6: text or None; device: the host's side, or None; ifindex: its index; namespace, pod: names or None
    (from Cilium 1.20 on the API names the namespace alone, by a label); is_health: whether it is Cilium's health
    endpoint; peer_device: the pod's side, or None.
    """
    endpoints = []
    for number, entry in enumerate(_expect(list, document, "the list of endpoints")):
        where = f"endpoint {number} of the list"
        status = _member(dict, _expect(dict, entry, where), "status", where)
        networking = _member(dict, status, "networking", where)
        identifiers = _member(dict, status, "external-identifiers", where)
        labels = _labels(status, where)
        for addressing in _member(list, networking, "addressing", where):
            _expect(dict, addressing, where)
            endpoints.append(
                _endpoint(
                    where,
                    ipv4=addressing.get("ipv4"),
                    ipv6=addressing.get("ipv6"),
                    device=networking.get("interface-name"),
                    ifindex=networking.get("interface-index"),
                    namespace=identifiers.get("k8s-namespace") or _namespace(labels),
                    pod=identifiers.get("k8s-pod-name"),
                    peer_device=networking.get("container-interface-name"),
                    is_health=_HEALTH_LABEL in labels,
                )
            )
    return [endpoint for endpoint in endpoints if endpoint["address"] or endpoint["ipv6"]]


def parse_state(document, where):
    """An ep_config.json of the state folder as parse_endpoints gives it, or None for the host's own endpoint."""
    document = _expect(dict, document, where)
    endpoint = _endpoint(
        where,
        ipv4=document.get("IPv4"),
        ipv6=document.get("IPv6"),
        device=document.get("IfName"),
        ifindex=document.get("IfIndex"),
        namespace=document.get("K8sNamespace"),
        pod=document.get("K8sPodName"),
        peer_device=document.get("ContainerIfName"),
        is_health=_is_health(_member(dict, document, "SecLabel", where), where),
    )
    return endpoint if endpoint["address"] or endpoint["ipv6"] else None


def parse_config(document):
    """The answer to /v1/config, as parse_daemon_config gives it."""
    status = _member(dict, _expect(dict, document, "the configuration"), "status", "the configuration")
    return parse_daemon_config(_member(dict, status, "daemonConfigurationMap", "the configuration"))


def parse_daemon_config(document):
    """The agent's options, by their names in its source; agent-runtime-config.json holds the same.

    {'endpoint_routes': True, False, or None where it does not say; 'loosens_uplinks': the mode of Cilium that sets
    uplinks loose itself, in words, or None; 'host_routing': LEGACY, BPF or None; 'ipv4': whether pods have IPv4
    addresses, or None; 'options': those of UNKNOWN_OPTIONS, None where it does not say}.
    """
    _expect(dict, document, "the configuration")

    def said(kind, *names):
        values = [document[name] for name in names if isinstance(document.get(name), kind)]
        return values[0] if values else None

    # The name from 1.18 on, and the one before.
    egress_gateway = said(bool, "EnableEgressGateway", "EnableIPv4EgressGateway")
    ipam = said(str, "IPAM")
    # Cilium 1.18 and newer do not tell it here; see parse_health.
    load_balancer_mode = said(str, "NodePortMode")
    devices = said(list, "Devices")
    loosens_uplinks = None
    if ipam == "eni":
        loosens_uplinks = "Cilium's ENI mode"
    elif egress_gateway:
        loosens_uplinks = "Cilium's egress gateway"
    return {
        "endpoint_routes": said(bool, "EnableEndpointRoutes"),
        "loosens_uplinks": loosens_uplinks,
        # As in effect: the agent falls back to legacy routing before it saves its options, where BPF host routing lacks
        # what it needs. Cilium 1.20 saves neither this option nor its own version (captured: 1.19.4 and 1.20).
        "host_routing": {True: LEGACY, False: BPF}.get(said(bool, "EnableHostLegacyRouting")),
        "ipv4": said(bool, "EnableIPv4"),
        "options": {
            "l7_proxy": said(bool, "EnableL7Proxy"),
            "load_balancer_mode": load_balancer_mode.lower() if load_balancer_mode else None,
            "egress_gateway": egress_gateway,
            "ipam": ipam,
            "devices": None if devices is None else [_text(name, "Devices") for name in devices if name],
        },
    }


def parse_health(document):
    """The answer to /v1/healthz: {'version', 'host_routing', 'load_balancer_mode'}, each None where it is not said.

    version: such as '1.20.0'; host_routing: LEGACY or BPF; load_balancer_mode: 'snat', 'dsr' or 'hybrid'.
    """
    where = "the status"
    _expect(dict, document, where)

    def member(*names):
        value = document
        for name in names[:-1]:
            value = _member(dict, value, name, where)
        return _text(value.get(names[-1]), where) or ""

    version = _VERSION.match(member("cilium", "msg"))
    host_routing = member("routing", "intra-host-routing-mode").lower()
    return {
        # An agent that was built without its version says " (v-)".
        "version": version.group() if version else None,
        "host_routing": host_routing if host_routing in (LEGACY, BPF) else None,
        "load_balancer_mode": member("kube-proxy-replacement", "features", "nodePort", "mode").lower() or None,
    }


def _labels(status, where):
    """The labels of an endpoint's identity."""
    identity = _member(dict, status, "identity", where)
    return [_text(label, where) for label in _member(list, identity, "labels", where)]


def _namespace(labels):
    named = [label[len(_NAMESPACE_LABEL) :] for label in labels if label and label.startswith(_NAMESPACE_LABEL)]
    return next(iter(named), None)


def _is_health(identity, where):
    """The same of a SecLabel, which has the label apart in source and key."""
    label = _member(dict, identity, "labels", where).get("health")
    return isinstance(label, dict) and label.get("source") == "reserved"


def _endpoint(where, ipv4, ipv6, device, ifindex, namespace, pod, peer_device, is_health):
    return {
        "address": _address(ipv4, ipaddress.IPv4Address, where),
        "ipv6": _address(ipv6, ipaddress.IPv6Address, where),
        "device": _text(device, where),
        "ifindex": _expect(int, ifindex, where) if ifindex else None,
        "namespace": _text(namespace, where),
        "pod": _text(pod, where),
        "peer_device": _text(peer_device, where),
        "is_health": is_health or device == HEALTH_DEVICE,
    }


def _address(value, kind, where):
    if not value:
        return None
    try:
        return str(kind(_text(value, where)))
    except ValueError:
        raise AgentError(f"{where}: {json.dumps(value)[:80]} is no IP address") from None


def _text(value, where):
    # The JSON may escape what is no text at all; a name like that must not travel on.
    return _expect(str, value, where).encode("utf-8", "backslashreplace").decode("utf-8") if value else None


def _member(kind, document, name, where):
    value = document.get(name)
    return kind() if value is None else _expect(kind, value, f"{where}, {name}")


def _expect(kind, value, where):
    if not isinstance(value, kind):
        raise AgentError(f"{where}: expected {_JSON_NAMES[kind]}, found {json.dumps(value)[:80]}")
    return value


_JSON_NAMES = {dict: "an object", list: "a list", str: "a string", int: "a number"}
