# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel does with a packet's source address (fib_validate_source), as a function. Pure.

Verdicts themselves are asked of the kernel; this says why it gave one, and which it would give at another value.
"""

import ipaddress
from collections import namedtuple

ACCEPTED, DROPPED, UNKNOWN = "accepted", "dropped", "unknown"
OFF, STRICT, LOOSE = 0, 1, 2

# verdict: one of the three above; reason: a sentence for people.
Verdict = namedtuple("Verdict", "verdict reason")

# The kernel's route to the packet's source. kind: 'unicast', 'local', 'none' (no route, blackhole, unreachable,
# prohibit), MARTIAN, or another type of route ('broadcast'); devices: those of its next hops.
RouteBack = namedtuple("RouteBack", "kind devices")
MARTIAN = "martian"

# How `ip` words a refused source: EXDEV up to Linux 6.12, EINVAL from 6.14.
_REFUSED = ("Invalid cross-device link", "Invalid argument")
_GONE = ("Cannot find device", "No such device")


def predict(effective, route_back, device, has_address, accept_local=False):
    """What becomes of a packet that came in by the device.

    effective: the larger of `all` and the device's own rp_filter; route_back: RouteBack; has_address: whether the
    device has an IPv4 address; accept_local: the device's sysctl of that name.
    """
    if route_back.kind == MARTIAN:
        return Verdict(DROPPED, "no packet may come from such an address (a martian); this is not rp_filter")
    if route_back.kind == "local" and not accept_local:
        return Verdict(
            DROPPED,
            f"its source address is local to the host and accept_local is off on {device}; this is not rp_filter",
        )
    if effective == OFF:
        return Verdict(ACCEPTED, f"the filter is off on {device}")
    if route_back.kind in ("unicast", "local") and device in route_back.devices:
        return Verdict(ACCEPTED, f"the route back leaves by {device}")
    back = _words_for(route_back)
    if effective == STRICT:
        return Verdict(DROPPED, f"the filter is strict (1) on {device} and {back}")
    if not has_address:
        return Verdict(DROPPED, f"the filter is loose ({effective}) on {device}, which has no IPv4 address, and {back}")
    if route_back.kind not in ("unicast", "local"):
        return Verdict(DROPPED, f"the filter is loose ({effective}) on {device} and {back}")
    return Verdict(ACCEPTED, f"the filter is loose ({effective}) on {device}, which has an IPv4 address, and {back}")


def is_martian(source):
    """Whether the kernel takes no packet from this IPv4 address, whatever the routes and the filter."""
    if not source.startswith(("0", "127.", "22", "23", "255.")):
        return False  # by far the most; a node may have thousands of pods
    address = ipaddress.IPv4Address(source)
    # 127/8 would pass with the device's route_localnet. Before Linux 5.3 all of 0/8 was refused.
    return address.is_multicast or address.is_loopback or address.packed in (b"\0" * 4, b"\xff" * 4)


def explain(error, effective, route_back, device, has_address, accept_local=False):
    """The kernel's answer to a question with a source and a device, with the reason.

    error: None where it accepted, else its words; effective and route_back: None where not known. Where the kernel's
    answer is not what its rules make of the rest, the answer stands and the difference is said.
    """
    known = effective is not None and route_back is not None
    expected = predict(effective, route_back, device, has_address, accept_local) if known else None
    if error is None:
        if expected and expected.verdict == DROPPED:
            return Verdict(ACCEPTED, f"the kernel accepts it, against what was expected: {expected.reason}")
        return expected or Verdict(ACCEPTED, "the kernel accepts it")
    if any(words in error for words in _REFUSED):
        if expected and expected.verdict == DROPPED:
            return expected
        if effective == OFF:
            return Verdict(
                DROPPED,
                f"the kernel takes it for a martian for another reason, not rp_filter, which is off on {device}",
            )
        refused = f"the kernel refuses its source address on {device}"
        return Verdict(DROPPED, refused + (f", against what was expected: {expected.reason}" if expected else ""))
    if any(words in error for words in _GONE):
        return Verdict(UNKNOWN, f"the device {device} is gone")
    return Verdict(UNKNOWN, f"the kernel has no answer, and not because of the filter: {error}")


def leaving(answer, host_routing):
    """What the kernel's answer about a packet that leaves the node says of the pod, by Cilium's mode of host routing.

    host_routing: 'legacy', 'bpf' or None (not known). With BPF host routing such a packet never reaches the kernel's
    check (measured: Cilium 1.20 with lxc at 2); the reply to the own host does, in either mode.
    """
    if answer.verdict != DROPPED or host_routing == "legacy":
        return answer
    if host_routing == "bpf":
        return Verdict(ACCEPTED, "with BPF host routing it leaves the node before the kernel's check")
    return Verdict(
        UNKNOWN,
        f"the mode of host routing is not known: with legacy routing it is dropped ({answer.reason}), with BPF host "
        "routing it leaves the node before the kernel's check",
    )


def _words_for(route_back):
    if route_back.kind == "local":
        return "its source address is local to the host"
    if route_back.kind not in ("none", "unicast"):
        return f"its source address is a {route_back.kind} address"
    if route_back.kind == "none" or not route_back.devices:
        return "there is no route back"
    return f"the route back leaves by {', '.join(route_back.devices)}"
