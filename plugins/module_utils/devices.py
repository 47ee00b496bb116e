# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which device is Cilium's, which is an uplink, and which is neither. Pure.

What this collection knows of Cilium's names stands here and nowhere else.
"""

import fnmatch
import re

#: Devices that Cilium makes: one lxc… for each endpoint, lxc_health, cilium_host, cilium_net, cilium_vxlan, …
CILIUM_PATTERNS = ("lxc*", "cilium_*")
#: The device that holds the host's own address towards its pods.
HOST_DEVICE = "cilium_host"
#: The interface of Cilium's health endpoint, if it is a veth pair.
HEALTH_DEVICE = "lxc_health"
#: Its own devices on the host; an exempt device with another name belongs to a pod.
HOST_DEVICES = "cilium_*"
#: The sysctl.d file that Cilium's own init container writes (99-zzz-override_cilium.conf), in every folder and version.
CILIUM_FILES = "*override_cilium.conf"
#: Not devices, though they stand among them in /proc/sys/net/ipv4/conf.
RESERVED = ("all", "default")

CILIUM, UPLINK, OTHER = "cilium", "uplink", "other"

# What fnmatch, glob(3) and systemd-sysctl read alike, in a full run as in udev's run for one device (so no braces).
_PATTERN = re.compile(r"^[A-Za-z0-9_*?\[][A-Za-z0-9_.:@*?\[\]!+-]*\Z")
_DEVICE = re.compile(r"^[^\s/:\x00]{1,15}\Z")  # the kernel's dev_valid_name()
# In a sysctl.d file these would make a glob, a comment, or end the key; and the file is UTF-8.
_UNWRITABLE = re.compile(r"[*?\[\]{}=\\#;\s\x00-\x1f\x7f\ud800-\udfff]")


def matches(device, patterns):
    """Whether the device's name matches one of the globs."""
    return any(fnmatch.fnmatchcase(device, pattern) for pattern in patterns)


def pattern_error(pattern):
    """What is wrong with a pattern for devices to exempt, as the rest of a sentence; None where it is well."""
    if "/" in pattern or ".." in pattern or not _PATTERN.match(pattern):
        return (
            "is no glob for device names: expected letters, digits, '_', '-', '.', ':', '@' and the wildcards "
            "'*', '?' and '[…]', and no slash, space, newline, brace or '..'"
        )
    if matches("all", [pattern]) or matches("default", [pattern]):
        return "matches 'all' or 'default' and would exempt every device; write the beginning of the names to exempt"
    return None


def device_error(device):
    """What is wrong with the name of a device, as the rest of a sentence; None where it is well."""
    if device in RESERVED:
        return "stands for all devices and is no device; name the device itself"
    if device in (".", "..") or not _DEVICE.match(device):
        return "is no device name: expected 1 to 15 characters without slash, colon or white space"
    return None


def writable_in_a_file(device):
    """Whether a key with this device's name can stand in a sysctl.d file and mean this device alone."""
    return not _UNWRITABLE.search(device)


def to_come(pattern):
    """A name that the pattern matches, for a device that is not there yet; a plain name stands for itself."""
    name = re.sub(r"\[([!^]?)([^\]]).*?\]", lambda found: "z" if found.group(1) else found.group(2), pattern)
    return name.replace("*", "0nodeward").replace("?", "0")[:15]


def kind(device, link_kind, patterns=CILIUM_PATTERNS, uplink=False):
    """The kind of a device: ``cilium``, ``uplink`` or ``other``.

    :arg link_kind: what the kernel says it is (``veth``, ``bridge``, ``dummy``, …), None for a plain interface.
    :arg uplink: whether it has an IPv4 address of global scope or carries a default route, or was listed as an uplink.
    """
    # lxcbr0 is LXC's bridge: it matches lxc* and Cilium never made a bridge.
    if link_kind != "bridge" and matches(device, patterns):
        return CILIUM
    return UPLINK if uplink else OTHER


def found_uplinks(links, addresses, routes, patterns=CILIUM_PATTERNS):
    """Names of the devices by which packets enter the node: with a global IPv4 address, or with a default route.

    A dummy (kube-ipvs0, nodelocaldns) holds addresses of services and no packet ever arrives on it.

    :arg links: dicts with ``ifname`` and ``kind``.
    :arg addresses: device → list of dicts with ``family`` and ``scope``.
    :arg routes: IPv4 routes as ``ip -j route`` prints them.
    """
    default_routes = set()
    for route in routes:
        if route.get("dst") == "default" and route.get("type", "unicast") == "unicast":
            default_routes.update(hop.get("dev") for hop in route.get("nexthops", [route]))
    uplinks = set()
    for link in links:
        name, link_kind = link["ifname"], link.get("kind")
        if name == "lo" or link_kind == "dummy" or kind(name, link_kind, patterns) == CILIUM:
            continue
        has_address = any(
            address.get("family") == "inet" and address.get("scope") == "global" for address in addresses.get(name, ())
        )
        if has_address or name in default_routes:
            uplinks.add(name)
    return uplinks
