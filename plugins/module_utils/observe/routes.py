# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observe the pods of a node, the routes to them, and the kernel's own verdict on each pod's reply.

Changes nothing and judges nothing. The facts module shows what is gathered here; the writer heeds the verdicts.
"""

import functools
import ipaddress
import json
import os
import stat

from ansible_collections.nodeward.cilium.plugins.module_utils import devices, facts_version
from ansible_collections.nodeward.cilium.plugins.module_utils.endpoints import is_health
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import agent_api as cilium_agent
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import netns, verdict
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.agent_api import AgentError
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.files import root_helps
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import Question
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import CommandError

SOURCES = ("agent", "state", "netns", "routes")

_NO_ROUTES = {"in_effect": None, "with_route": 0, "without_route": 0, "disagreement": None}

# Stands for the world outside the node: an address for documentation, which no rule or route means in particular.
OUTSIDE = "203.0.113.1"

_PROXY_MARK, _PROXY_MASK = 0x200, 0xF00

# A pod with many DNS names has an ep_config.json of a few megabytes.
LARGEST_STATE_FILE = 16 * 1024 * 1024


def observe(
    iproute,
    agent_path=cilium_agent.SOCKET,
    netns_dir=netns.FOLDER,
    sources=SOURCES,
    verdicts=True,
    timeout=5,
    state_dir=cilium_agent.STATE,
    outside=OUTSIDE,
):
    """The facts `cilium_routes`, in the shape that the module's RETURN block describes.

    Device names are the kernel's own (see iproute). Raises CommandError where `ip` cannot be used at all.
    """
    unread = []
    node = _Node(iproute)
    learner = _Learner(node, agent_path, state_dir, netns_dir, timeout, unread)
    source, learnt = learner.endpoints(sources)
    config = learner.config(sources)
    learner.add_names(source, learnt, sources)
    endpoints = [_record(endpoint, node) for endpoint in _in_order(learnt)]
    _ask_routes(iproute, node, endpoints, unread)
    if verdicts:
        _ask_verdicts(iproute, node, endpoints, unread, outside, config["host_routing"])
    for endpoint in endpoints:
        del endpoint["_back"], endpoint["_host"]
    return _facts(
        {"observed": True, "why": None},
        config,
        source=source,
        endpoints=endpoints,
        endpoint_routes=_endpoint_routes(source, endpoints, node, unread, config["endpoint_routes"]),
        proxy_rule=node.proxy_rule,
        unread=unread,
    )


def not_observed(why):
    """The facts of a file tree that does not run, such as an image: there are no pods and no routes in it."""
    return _facts(
        {"observed": False, "why": why},
        cilium_agent.parse_daemon_config({}),
        source=None,
        endpoints=[],
        endpoint_routes=dict(_NO_ROUTES, agent=None),
        proxy_rule=None,
        unread=[],
    )


def _facts(running_system, config, **found):
    for entry in found["unread"]:
        entry.setdefault("needs_root", False)
    return dict(
        found,
        schema_version=facts_version.CILIUM_ROUTES,
        running_system=running_system,
        loosens_uplinks=config["loosens_uplinks"],
        agent_options=config["options"],
        host_routing=config["host_routing"],
        ipv4=config["ipv4"],
    )


class _Node:
    """The host's devices, addresses, routes and rules: five dumps, however many pods there are."""

    def __init__(self, iproute):
        self.filters = iproute.netconf()
        self.links = {link["ifname"]: link for link in iproute.links()}
        self.addresses = {
            device: [entry["address"] for entry in entries if entry["family"] == "inet"]
            for device, entries in iproute.addresses().items()
        }
        routes = iproute.routes()
        self.has_multipath = any("nexthops" in route for route in routes)
        # The three that are always there are of these priorities.
        rules = iproute.rules()
        self.has_rules = any(rule.get("priority") not in (0, 32766, 32767) for rule in rules)
        self.proxy_rule = find_proxy_rule(rules)
        self.pod_routes = {
            (route.get("dst"), route.get("dev"))
            for route in routes
            if route.get("type", "unicast") == "unicast" and "/" not in route["dst"] and route["dst"] != "default"
        }
        self.received = _packets_received()
        # Cilium's devices with a peer in another namespace: one for each pod. cilium_host's peer is in ours.
        self.endpoint_devices = {
            name
            for name, link in self.links.items()
            if devices.kind(name, link["kind"]) == devices.CILIUM
            and link["link_index"] is not None
            and link["link_netnsid"] is not None
        }

    def effective(self, device):
        """The value that the kernel filters the device with, or None."""
        own = self.filters.get(device)
        return None if own is None else max(own, self.filters.get("all", 0))

    def accepts_local(self, device):
        """Whether the device takes packets from the host's own addresses; asked for the odd endpoint alone."""
        try:
            return any(_read_sysctl(f"net/ipv4/conf/{name}/accept_local") for name in ("all", device))
        except (OSError, ValueError):
            return False

    def host_address(self):
        return next(iter(self.addresses.get(devices.HOST_DEVICE, ())), None)


class _Learner:
    """Who the endpoints are, from the first source that can tell."""

    def __init__(self, node, agent_path, state_dir, netns_dir, timeout, unread):
        self._node = node
        self._agent = cilium_agent.Agent(agent_path, timeout)
        self._agent_path = agent_path
        self._state_dir = state_dir
        self._netns_dir = netns_dir
        self._timeout = timeout
        self._unread = unread
        self._agent_answers = False
        self._from_state = functools.lru_cache(maxsize=None)(self._read_state)

    def endpoints(self, sources):
        """(source, endpoints); (None, []) where no source knows of any."""
        read = {
            "agent": self._from_agent,
            "state": self._from_state,
            "netns": self._from_namespaces,
            "routes": self._from_routes,
        }
        for source in SOURCES:
            if source in sources:
                endpoints = read[source]()
                if endpoints is not None:
                    return source, endpoints
        return None, []

    def config(self, sources):
        """What the agent's configuration says; nothing where it cannot be read."""
        config = self._saved_or_running_config(sources)
        if self._agent_answers:
            try:
                health = self._agent.health()
            except AgentError as error:
                self._miss(self._agent_path, error)
            else:
                config["host_routing"] = health["host_routing"] or config["host_routing"]
                config["options"]["load_balancer_mode"] = (
                    config["options"]["load_balancer_mode"] or health["load_balancer_mode"]
                )
        return config

    def _saved_or_running_config(self, sources):
        # An agent that did not answer once is not waited for a second time.
        if self._agent_answers:
            try:
                return self._agent.config()
            except AgentError as error:
                self._miss(self._agent_path, error)
        if "state" in sources:
            path = os.path.join(self._state_dir, "agent-runtime-config.json")
            try:
                return cilium_agent.parse_daemon_config(_read_json(path))
            except FileNotFoundError:
                pass
            except (OSError, AgentError) as error:
                self._miss(path, error)
        return cilium_agent.parse_daemon_config({})

    def add_names(self, source, endpoints, sources):
        """Complete what the source does not tell of pods by the agent's state folder, if that may be read.

        Names are taken of an endpoint whose addresses and interface agree: an address may have been another pod's.
        """
        lacking = [endpoint for endpoint in endpoints if not endpoint.get("pod") and not is_health(endpoint)]
        if not lacking or source == "state" or "state" not in sources:
            return
        known = {}
        for saved in self._from_state() or ():
            for key in ("address", "ipv6"):
                if saved[key]:
                    known[saved[key]] = saved
        for endpoint in lacking:
            saved = known.get(endpoint["address"] or endpoint.get("ipv6"))
            if saved and endpoint.get("device") in (None, saved["device"]):
                for key in ("namespace", "pod", "device", "peer_device", "ipv6"):
                    endpoint[key] = endpoint.get(key) or saved[key]
                endpoint["is_health"] = saved["is_health"]

    def _from_agent(self):
        try:
            endpoints = self._agent.endpoints()
        except AgentError as error:
            self._miss(self._agent_path, error)
            return None
        self._agent_answers = True
        return endpoints

    def _read_state(self):
        try:
            numbers = sorted(name for name in os.listdir(self._state_dir) if name.isdigit())
        except OSError as error:
            self._miss(self._state_dir, error)
            return None
        endpoints, read, missing = [], 0, []
        for number in numbers:
            path = os.path.join(self._state_dir, number, "ep_config.json")
            try:
                endpoint = cilium_agent.parse_state(_read_json(path), path)
            except FileNotFoundError:
                missing.append(path)
                continue
            except (OSError, AgentError) as error:
                self._miss(path, error)
                continue
            read += 1
            if endpoint:
                endpoints.append(endpoint)
        if not read:
            self._miss(self._state_dir, "no endpoint's ep_config.json in it (Cilium writes it since 1.16)")
            return None
        for path in missing:
            self._miss(path, "not there; the agent may be writing it, or the endpoint is going away")
        return endpoints

    def _from_namespaces(self):
        found = netns.peers(self._netns_dir, self._timeout)
        self._unread.extend(found.unread)
        endpoints = []
        for peer in found.peers:
            if peer["device"] not in self._node.endpoint_devices:
                continue
            ipv6 = [address for address in peer["ipv6"] if not ipaddress.ip_address(address).is_link_local]
            for address in peer["ipv4"] or [None]:
                if address or ipv6:
                    endpoints.append(
                        {
                            "address": address,
                            "ipv6": ipv6[0] if ipv6 else None,
                            "device": peer["device"],
                            "peer_device": peer["peer_device"],
                            "peer_namespace": peer["namespace"],
                        }
                    )
        return endpoints or None

    def _from_routes(self):
        endpoints = [
            {"address": address, "device": device}
            for address, device in self._node.pod_routes
            if device in self._node.endpoint_devices
        ]
        return endpoints or None

    def _miss(self, what, why):
        if isinstance(why, OSError):
            entry = {"what": what, "why": why.strerror, "needs_root": root_helps(why)}
        else:
            entry = {"what": what, "why": str(why), "needs_root": getattr(why, "needs_root", False)}
        self._unread.append(entry)


def find_proxy_rule(rules):
    """The policy rule by which Cilium's proxy for layer 7 gets its packets: {priority, mark, table}, or None.

    It selects mark 0x200 in 0xf00 (Cilium's pkg/datapath/linux/linux_defaults: MagicMarkIsToProxy, MagicMarkHostMask).
    """
    for rule in rules:
        # `ip` prints the mask apart or behind a slash, in hexadecimal as text or as a number.
        mark, _slash, mask = str(rule.get("fwmark", "")).partition("/")
        numbers = [_number(text) for text in (mark, mask or str(rule.get("fwmask", "")))]
        if numbers == [_PROXY_MARK, _PROXY_MASK] and "not" not in rule:
            table = rule.get("table")
            return {
                "priority": rule.get("priority"),
                "mark": "0x%x/0x%x" % tuple(numbers),
                "table": None if table is None else str(table),
            }
    return None


def _number(text):
    try:
        return int(text, 0)
    except ValueError:
        return None


def _record(endpoint, node):
    """An endpoint as the facts show it, with nothing asked of the kernel yet."""
    device = endpoint.get("device")
    namespace, pod = endpoint.get("namespace"), endpoint.get("pod")
    return {
        "address": endpoint["address"],
        "ipv6": endpoint.get("ipv6"),
        "device": device,
        "pod": f"{namespace}/{pod}" if namespace and pod else None,
        "namespace": namespace,
        "is_health": is_health(endpoint),
        "peer": {
            "device": endpoint.get("peer_device"),
            "index": node.links.get(device, {}).get("link_index"),
            "namespace": endpoint.get("peer_namespace"),
        },
        "received": node.received.get(device),
        "endpoint_route": (endpoint["address"], device) in node.pod_routes,
        "route_device": None,
        "symmetric": None,
        "verdict": verdict.UNKNOWN,
        "reason": "the kernel was not asked (verdicts is off)",
        # Nothing of a pod without IPv4 meets rp_filter.
        "dropped_at": None if endpoint["address"] else [],
        "leaves": {"device": None, "verdict": verdict.UNKNOWN, "reason": "the kernel was not asked (verdicts is off)"},
        "_back": None,
        "_host": node.host_address(),
    }


def _ask_routes(iproute, node, endpoints, unread):
    """By which device the host reaches each endpoint: one batch for all."""
    asked = [endpoint for endpoint in endpoints if endpoint["address"]]
    questions = [Question(endpoint["address"]) for endpoint in asked]
    unclear = []
    for endpoint, answer in _ask(iproute.verdicts, asked, questions, "routes to endpoints", unread):
        route = answer.route or {"type": "none"}
        device = endpoint["device"]
        endpoint["route_device"] = route.get("dev")
        endpoint["symmetric"] = route.get("dev") == device if device else None
        endpoint["_host"] = endpoint["_host"] or route.get("prefsrc")
        endpoint["_back"] = _route_back(endpoint["address"], route)
        if endpoint["_back"].kind == "local" or node.has_rules or (node.has_multipath and not endpoint["symmetric"]):
            unclear.append(endpoint)
    # The check heeds every next hop, and the device of a local address: the answers above name one hop, and lo. And it
    # looks up the way from the very address that the reply is for, which policy rules may tell from others.
    questions = [Question(endpoint["address"], endpoint["_host"]) for endpoint in unclear]
    for endpoint, answer in _ask(iproute.matches, unclear, questions, "next hops to endpoints", unread):
        endpoint["_back"] = _route_back(endpoint["address"], answer.route or {"type": "none"})
    for endpoint in asked:
        device, back = endpoint["device"], endpoint["_back"]
        # With a local source it depends on accept_local too; a martian is no matter of the filter.
        if back and device in node.links and back.kind not in ("local", verdict.MARTIAN):
            has_address = bool(node.addresses.get(device))
            endpoint["dropped_at"] = [
                value
                for value in (verdict.OFF, verdict.STRICT, verdict.LOOSE)
                if verdict.predict(value, back, device, has_address).verdict == verdict.DROPPED
            ]


def _route_back(address, route):
    if verdict.is_martian(address):
        return verdict.RouteBack(verdict.MARTIAN, ())
    hops = route.get("nexthops", [route])
    kind = route.get("type", "unicast")
    return verdict.RouteBack(
        "none" if kind in ("blackhole", "unreachable", "prohibit", "throw") else kind,
        tuple(hop["dev"] for hop in hops if "dev" in hop),
    )


def _ask_verdicts(iproute, node, endpoints, unread, outside, host_routing):
    """Whether the kernel would take each endpoint's reply to the host, and its packets to the world: one batch."""
    asked, questions = [], []
    for endpoint in endpoints:
        device, leaves = endpoint["device"], endpoint["leaves"]
        reason = None
        if not endpoint["address"]:
            reason = "it has no IPv4 address, and rp_filter is for IPv4 only"
        elif not device:
            reason = "no source names its device"
        elif device not in node.links:
            reason = f"the device {device} is gone"
        endpoint["reason"] = leaves["reason"] = reason or "the kernel could not be asked"
        if reason:
            continue
        asked.append((endpoint, leaves))
        questions.append(Question(outside, endpoint["address"], device))
        if endpoint["_host"]:
            asked.append((endpoint, endpoint))
            questions.append(Question(endpoint["_host"], endpoint["address"], device))
        else:
            endpoint["reason"] = f"{devices.HOST_DEVICE} has no IPv4 address, and no route to the endpoint names one"
    for (endpoint, told), answer in _ask(iproute.verdicts, asked, questions, "verdicts on endpoints", unread):
        device, back = endpoint["device"], endpoint["_back"]
        said = verdict.explain(
            answer.error,
            node.effective(device),
            back,
            device,
            bool(node.addresses.get(device)),
            bool(back) and back.kind == "local" and node.accepts_local(device),
        )
        if told is endpoint["leaves"]:
            if said.verdict == verdict.ACCEPTED:
                told["device"] = answer.route.get("dev")
            elif said.verdict == verdict.UNKNOWN and "gone" not in said.reason:
                reason = f"no route leads to {outside}, or {device} does not forward ({answer.error})"
                said = verdict.Verdict(verdict.UNKNOWN, reason)
            said = verdict.leaving(said, host_routing)
        told["verdict"], told["reason"] = said


def _ask(ask, asked, questions, what, unread):
    """Pairs of (asked, answer); none where the batch failed as a whole."""
    if not questions:
        return []
    try:
        return list(zip(asked, ask(questions)))
    except CommandError as error:
        unread.append({"what": what, "why": str(error)})
        return []


def _endpoint_routes(source, endpoints, node, unread, agent):
    """Whether endpoints have a route of their own by their own device, beside what the agent is configured to do."""
    with_route = sum(endpoint["endpoint_route"] for endpoint in endpoints)
    without = len([endpoint for endpoint in endpoints if endpoint["address"]]) - with_route
    if source in ("routes", None):
        # These sources know only of endpoints that have their route; the devices tell of the others.
        unknown = sorted(node.endpoint_devices - {endpoint["device"] for endpoint in endpoints})
        without += len(unknown)
        if unknown:
            named = ", ".join(unknown[:5]) + (f", … ({len(unknown)} in all)" if len(unknown) > 5 else "")
            unread.append({"what": f"pods behind {named}", "why": "no source tells their addresses"})
    disagreement = None
    if agent is True and without:
        disagreement = (
            f"the agent is configured for endpoint routes, but they are missing for {without} of "
            f"{with_route + without} endpoints: a pod that is older than the option gets its route when it is "
            "recreated"
        )
    elif agent is False and with_route:
        disagreement = (
            f"the agent is not configured for endpoint routes, but they stand for {with_route} of "
            f"{with_route + without} endpoints: a pod that is older than that keeps its route until it is recreated"
        )
    return {
        "in_effect": None if bool(with_route) == bool(without) else bool(with_route),
        "with_route": with_route,
        "without_route": without,
        "agent": agent,
        "disagreement": disagreement,
    }


def _in_order(endpoints):
    return sorted(
        endpoints,
        key=lambda endpoint: (
            ipaddress.ip_address(endpoint["address"] or endpoint.get("ipv6")).packed,
            endpoint.get("device") or "",
        ),
    )


def _packets_received():
    """{device: how many packets came in by it}, of this network namespace."""
    try:
        with open("/proc/net/dev", "rb") as stream:
            rows = [line.rpartition(b":") for line in stream][2:]
        # os.fsdecode makes of a name that is no UTF-8 the same as iproute does.
        return {os.fsdecode(name.strip()): int(counts.split()[1]) for name, _colon, counts in rows}
    except (OSError, ValueError, IndexError):
        return {}


def _read_sysctl(name):
    with open(os.path.join("/proc/sys", name)) as stream:
        return int(stream.read())


def _read_json(path):
    # Opening a FIFO would wait for a writer without O_NONBLOCK.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise AgentError(f"{path}: is no regular file")
        content = stream.read(LARGEST_STATE_FILE + 1)
    if len(content) > LARGEST_STATE_FILE:
        raise AgentError(f"{path}: is larger than {LARGEST_STATE_FILE} bytes")
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise AgentError(f"{path}: is no JSON ({error})") from None
