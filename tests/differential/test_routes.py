"""Generated topologies: what route_facts says of a packet, and what the kernel does with that packet when it is sent.

Each topology is a network namespace of its own. Every device's other end lies in a second one, from which a raw packet
is sent for each verdict: to the host's own address, and to the world. The kernel's deed is read from its counter TcpExt
IPReversePathFilter and from who got the packet.

TOPOLOGIES=500 sets their number (100); SEED=… repeats a run, and with ONLY=7 its seventh topology alone.
"""

import ctypes
import ipaddress
import json
import os
import random
import re
import select
import socket
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

import pytest  # noqa: E402
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import routes as observe_routes  # noqa: E402
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import IpRoute
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import bounded_runner  # noqa: E402
from scratch_node import CLONE_NEWNET, needs_root, on_scratch_node, sysctl  # noqa: E402

TOPOLOGIES = int(os.environ.get("TOPOLOGIES", "100"))
SEED = os.environ.get("SEED", str(random.SystemRandom().getrandbits(32)))
ONLY = os.environ.get("ONLY")

ROUTER = "10.0.0.253"  # the host's address on cilium_host
LO = "192.0.2.99"
PORT = 9999
BELL = 0x88B5  # an Ethernet type for experiments

# ---- topologies ------------------------------------------------------------------------------------------------------


class Topology:
    """What to build, as lines for `ip -batch` and values for sysctls, and the endpoints: [(address, device)]."""

    def __init__(self, rng):
        self.rng = rng
        self.all, self.default = rng.choice([0, 0, 0, 1, 2]), rng.choice([0, 1, 2])
        self.forward = rng.random() < 0.9
        self.uplinks = [f"eth{number}" for number in range(rng.choice([0, 1, 1, 2, 3]))]
        self.pods = [f"lxc{number}" for number in range(1, rng.randint(3, 6))]
        self.sysctls = []  # (device, name, value), in this order
        self.lines = []
        self.endpoints = []
        self._host()
        self._ways_out()
        for device in self.pods + self.uplinks:
            self._device(device)
        for number, device in enumerate(self.pods * 2 + self.uplinks * 2):
            self._endpoint(device, number)

    def _host(self):
        self.lines += [
            f"addr add {ROUTER}/32 dev cilium_host",
            f"addr add {LO}/32 dev lo",
            f"route add {ROUTER} dev cilium_host scope link",
            f"route add 10.0.0.0/24 via {ROUTER} dev cilium_host src {ROUTER}",
        ]
        for number, device in enumerate(self.uplinks):
            self.lines += [
                f"addr add 192.168.{number}.1/24 dev {device}",
                f"neigh replace 192.168.{number}.254 lladdr 02:00:00:00:00:01 dev {device} nud permanent",
            ]

    def _ways_out(self):
        gateways = ["via 192.168.%d.254 dev %s" % pair for pair in enumerate(self.uplinks)]
        kind = self.rng.choice(["first", "first", "all", "none", "rule"]) if gateways else "none"
        if kind == "first":
            self.lines.append(f"route add default {gateways[0]}")
        elif kind == "all":
            self.lines.append(f"route add default {' '.join('nexthop ' + gateway for gateway in gateways)}")
        elif kind == "rule":
            self.lines += [
                f"route add default {gateways[-1]} table 50",
                "rule add %s lookup 50 pref 500" % self.rng.choice(["to 203.0.113.0/24", "from all", "iif lxc1"]),
            ]
        self.several_ways_out = kind == "all" and len(gateways) > 1

    def _device(self, device):
        if self.rng.random() < 0.75:
            self.sysctls.append((device, "rp_filter", self.rng.choice([0, 1, 2])))
        if self.rng.random() < 0.2:
            self.sysctls.append((device, "accept_local", 1))
        if self.rng.random() < 0.1:
            self.sysctls.append((device, "forwarding", 0))
        if device in self.pods and self.rng.random() < 0.3:
            self.lines.append(f"addr add 172.16.0.{self.rng.randint(1, 254)}/32 dev {device}")

    def _endpoint(self, device, number):
        """One more source of packets by the device, and the way back to it."""
        rng = self.rng
        source = rng.choice(["pod"] * 6 + ["foreign"] * 2 + ["local", "martian", "neighbour"])
        address = {
            "pod": f"10.0.0.{10 + number}",
            "foreign": f"198.51.100.{10 + number}",
            "neighbour": f"192.168.{rng.randint(0, 2)}.{rng.choice([77, 255])}",
            "local": rng.choice([ROUTER, LO, "192.168.0.1"]),
            "martian": rng.choice(["127.0.0.5", "0.0.0.9", "224.0.0.5", "255.255.255.255", "240.0.0.5"]),
        }[source]
        self.endpoints.append((address, device))
        if source in ("pod", "foreign"):
            self._way_back(address, device, 100 + number)

    def _way_back(self, address, device, table):
        rng = self.rng
        other = rng.choice([name for name in [*self.pods, *self.uplinks, "cilium_host"] if name != device])
        kind = rng.choice(
            ["covering"] * 3 + ["own", "other", "dead", "hops", "strange hops", "metric", "table", "table own", "two"]
        )
        if kind == "own":
            self.lines.append(f"route add {address} dev {device}")
        elif kind == "other":
            self.lines.append(f"route add {address} dev {other}")
        elif kind == "dead":
            dead = rng.choice(["blackhole", "unreachable", "prohibit", "throw"])
            self.lines.append(f"route add {dead} {address}")
        elif kind == "hops":
            self.lines.append(f"route add {address} nexthop dev {other} nexthop dev {device}")
        elif kind == "strange hops":
            self.lines.append(f"route add {address} nexthop dev cilium_host nexthop dev {self.pods[0]}")
        elif kind == "metric":
            own, others = rng.sample([10, 20], 2)
            self.lines += [
                f"route add {address} dev {device} metric {own}",
                f"route add {address} dev {other} metric {others}",
            ]
        elif kind in ("table", "table own", "two"):
            selector = rng.choice(
                [f"to {address}", f"from {ROUTER}", "from 203.0.113.1", "iif lo", f"iif {other}"]
                + [f"iif {device}", f"to {address} from {ROUTER}", "fwmark 7", f"not from {ROUTER}"]
            )
            way = rng.choice([f"blackhole {address}", f"{address} dev {other}"])
            self.lines += [
                "route add %s table %d" % (way if kind == "table" else f"{address} dev {device}", table),
                f"rule add {selector} lookup {table} pref {1000 + table}",
            ]
            if kind == "two":
                self.lines.append(f"route add {way}")

    def __str__(self):
        values = [("all", "rp_filter", self.all), ("default", "rp_filter", self.default), *self.sysctls]
        return "\n".join(["%s.%s = %d" % value for value in values] + [f"ip_forward = {self.forward}", *self.lines])


# ---- the kernel ------------------------------------------------------------------------------------------------------

libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Node:
    """The topology, built of real devices in the namespace that this process is in now; their far ends in another."""

    def __init__(self, topology):
        checked(libc.unshare(CLONE_NEWNET))
        far = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        checked(libc.unshare(CLONE_NEWNET))
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.inbox = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inbox.bind(("0.0.0.0", PORT))
        self.bell = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(BELL))
        self.bell.settimeout(10)
        sysctl("net/ipv4/ip_forward", int(topology.forward))
        for name in ("all", "default"):
            sysctl(f"net/ipv4/conf/{name}/log_martians", 0)
            sysctl(f"net/ipv4/conf/{name}/accept_local", 0)
        sysctl("net/ipv4/conf/all/rp_filter", topology.all)
        sysctl("net/ipv4/conf/default/rp_filter", topology.default)
        batch(
            "link set lo up",
            "link add cilium_host type veth peer name cilium_net",
            *(
                f"link add {device} type veth peer name far-{device} netns /proc/{os.getpid()}/fd/{far}"
                for device in topology.pods + topology.uplinks
            ),
            *(f"link set {d} arp off up" for d in ["cilium_host", "cilium_net", *topology.pods, *topology.uplinks]),
        )
        for device, name, value in topology.sysctls:
            sysctl(f"net/ipv4/conf/{device}/{name}", value)
        batch(*topology.lines)
        checked(libc.setns(far, CLONE_NEWNET))
        batch(*(f"link set far-{device} up" for device in topology.pods + topology.uplinks))
        checked(libc.setns(here, CLONE_NEWNET))
        os.close(far)
        os.close(here)
        links = json.loads(subprocess.run(["ip", "-j", "link"], stdout=subprocess.PIPE, check=True).stdout)
        self.hardware = {link["ifname"]: bytes.fromhex(link["address"].replace(":", "")) for link in links}
        self.sent = 0

    def close(self):
        for each in (self.wire, self.inbox, self.bell):
            each.close()

    def send(self, source, destination, device):
        """Send one packet in by the device: (how many the filter counted, who got it: 'host', a device or None)."""
        self.sent += 1
        mark = b"nodeward %d" % self.sent
        ethernet = self.hardware[device] + b"\x02\0\0\0\0\x02"
        before = filtered()
        self.wire.sendto(ethernet + b"\x08\x00" + packet(source, destination, mark), ("far-" + device, 0x0800))
        # One processor's queue keeps the order. When a second frame has come through, the packet has been judged; when
        # a third has, it has also gone on to where it was forwarded.
        for _turn in range(2):
            self.wire.sendto(ethernet + struct.pack("!H", BELL), ("far-" + device, BELL))
            self.bell.recv(100)
        got = None
        while select.select([self.inbox], [], [], 0)[0]:
            got = "host" if self.inbox.recv(100) == mark else got
        while select.select([self.wire], [], [], 0)[0]:
            content, (name, _protocol, kind, *_rest) = self.wire.recvfrom(200)
            if kind != socket.PACKET_OUTGOING and content.endswith(mark) and content[23] == socket.IPPROTO_UDP:
                got = name[len("far-") :]
        return filtered() - before, got


def batch(*lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def packet(source, destination, content):
    udp = struct.pack("!HHHH", 1234, PORT, 8 + len(content), 0) + content
    addresses = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(destination).packed
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:] + udp


def filtered():
    """TcpExt IPReversePathFilter of this namespace."""
    with open("/proc/thread-self/net/netstat") as netstat:
        names, values = netstat.readline().split(), netstat.readline().split()
    return int(values[names.index("IPReversePathFilter")])


# ---- what is said, and what is done ----------------------------------------------------------------------------------


def said(topology):
    """The facts of this namespace; the endpoints are told as the agent's state folder tells them."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (address, device) in enumerate(topology.endpoints):
            place = Path(folder) / str(number)
            place.mkdir()
            (place / "ep_config.json").write_text(json.dumps({"IPv4": address, "IfName": device}))
        # No BPF program is here, so the kernel decides about traffic that leaves the node too.
        (Path(folder) / "agent-runtime-config.json").write_text(json.dumps({"EnableHostLegacyRouting": True}))
        facts = observe_routes.observe(IpRoute(bounded_runner(20)), sources=["state"], state_dir=folder, timeout=20)
    assert [entry for entry in facts["unread"] if "runtime" not in entry["what"]] == []
    return facts["endpoints"]


def expected(verdict, reason, receiver):
    """What the kernel must then do: (counted by the filter, who gets it)."""
    if verdict == "accepted":
        return 0, receiver
    # A packet that no way leads on for is dropped before it is checked, and some sources without being counted.
    return int(verdict == "dropped" and not re.search("not rp_filter|broadcast address", reason)), None


def examine(topology):
    """(how many packets were sent of which kind, the disagreements as text)."""
    node = Node(topology)
    kinds, disagreements = Counter(), []
    try:
        for endpoint in said(topology):
            source, device, leaves = endpoint["address"], endpoint["device"], endpoint["leaves"]
            for what, destination, told, receiver in (
                ("to the host", ROUTER, endpoint, "host"),
                ("to the world", observe_routes.OUTSIDE, leaves, leaves["device"]),
            ):
                done = node.send(source, destination, device)
                if topology.several_ways_out and done[1] and done[1] != "host":
                    done = done[0], receiver  # which of them is the hash's to choose
                kinds[kind_of(what, told)] += 1
                if done != expected(told["verdict"], told["reason"], receiver):
                    disagreements.append(
                        "%s from %s by %s: said %s, %s (%s); counted %d, got by %s"
                        % (what, source, device, told["verdict"], receiver, told["reason"], *done)
                    )
    finally:
        node.close()
    return kinds, disagreements


def kind_of(what, told):
    """The reason without its names, for the tally."""
    reason = re.sub(r"\b(lxc\d+|eth\d+|cilium_host)(, \w+)*", "DEVICE", told["reason"]).partition(" (RTNETLINK")[0]
    if "against what was expected" in reason:
        reason = "against what was expected"
    return f"{what}: {told['verdict']}: {reason}"


@needs_root
def test_the_kernel_does_what_is_said(capsys):
    def run():
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        kinds, disagreements = Counter(), []
        for number in [int(ONLY)] if ONLY else range(1, TOPOLOGIES + 1):
            topology = Topology(random.Random(f"{SEED}/{number}"))
            seen, wrong = examine(topology)
            kinds += seen
            if wrong:
                disagreements.append("topology %d\n%s\n%s" % (number, "\n".join(wrong), topology))
        return kinds, disagreements

    kinds, disagreements = on_scratch_node(run, timeout=60 + 5 * TOPOLOGIES)
    with capsys.disabled():
        print("\n%d topologies, seed %s: %d packets sent" % (1 if ONLY else TOPOLOGIES, SEED, sum(kinds.values())))
        for kind, count in sorted(kinds.items()):
            print(f"  {count:6d} {kind}")
    if disagreements:
        told = "SEED=%s: %d of the topologies disagree; the first:\n%s"
        pytest.fail(told % (SEED, len(disagreements), "\n\n".join(disagreements[:3])), pytrace=False)
    # A generator that no longer reaches these cases would agree too easily.
    told = " ".join(kinds)
    for wanted in ("accepted", "dropped", "strict", "loose", "no IPv4 address", "no route back", "martian", "local"):
        assert ONLY or wanted in told
