# Copyright (c) 2026, nodeward.cilium contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pod is behind which device, learnt from the network namespaces of the devices' peers.

One child process enters one namespace after another and asks the kernel by rtnetlink; the caller's own process never
leaves its namespace. A device and its peer are matched exactly: the host's device names its peer's index and the
kernel's id of the peer's namespace, and the same kernel says which file in the folder has that id.
"""

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import stat
import struct
import time
from collections import namedtuple

from ansible_collections.nodeward.cilium.plugins.module_utils.observe.files import root_helps

FOLDER = "/run/netns"

# peers: a list of dicts, see peers(); unread: [{'what', 'why'}].
Peers = namedtuple("Peers", "peers unread")

_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_GETLINK, _RTM_NEWADDR, _RTM_GETADDR, _RTM_NEWNSID, _RTM_GETNSID = 16, 18, 20, 22, 88, 90
_IFLA_IFNAME, _IFLA_LINK, _IFLA_LINK_NETNSID = 3, 5, 37
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_NETNSA_NSID, _NETNSA_FD = 1, 3
_IFINFOMSG = struct.Struct("=BxHiII")
_IFADDRMSG = struct.Struct("=BBBBi")
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")

# The child's last message.
_DONE = {"done": True}

_Link = namedtuple("_Link", "index name link netnsid")


def peers(folder=FOLDER, timeout=5):
    """Every device of this namespace whose peer is in a namespace under the folder.

    Peers.peers: [{device, ifindex, namespace (the file's path), peer_device, peer_index, ipv4: [..], ipv6: [..]}].
    Takes `timeout` seconds at most; what was learnt by then is returned, and the rest is named in unread.
    """
    try:
        if not os.listdir(folder):
            return Peers([], [])
    except OSError as error:
        return Peers([], [{"what": folder, "why": error.strerror, "needs_root": root_helps(error)}])
    deadline = time.monotonic() + timeout
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _child(folder, reader, writer)
    os.close(writer)
    try:
        output, in_time = _read_until(reader, deadline)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)  # not yet waited for, so the id is still the child's
        os.waitpid(child, 0)
    # A line that was cut short by the end of the time is left out.
    messages = [json.loads(line.decode("ascii")) for line in output.split(b"\n")[:-1]]
    done = bool(messages) and messages[-1] == _DONE
    unread = [message for message in messages if "why" in message]
    if not done:
        why = "the process that read them died" if in_time else f"not all namespaces were read within {timeout:g} s"
        unread.append({"what": folder, "why": why})
    return Peers([message for message in messages if "device" in message], unread)


def _read_until(reader, deadline):
    """(what came, whether the other side closed in time)."""
    output = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            return bytes(output), False
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            return bytes(output), True
        output += chunk


def _child(folder, reader, writer):
    """Never returns: whatever happens, the child must not run on into its parent's code."""
    try:
        os.close(reader)
        with os.fdopen(writer, "wb") as output:

            def tell(**message):
                output.write(json.dumps(message).encode("ascii") + b"\n")
                output.flush()

            try:
                _visit(folder, tell)
            except Exception as error:  # pylint: disable=broad-except
                tell(what=folder, why=f"{type(error).__name__}: {error}")
            tell(**_DONE)
    finally:
        os._exit(0)


def _visit(folder, tell):
    setns = ctypes.CDLL(None, use_errno=True).setns
    with _Netlink() as host:
        waiting = {}  # netnsid: {the peer's index: our device}
        for link in host.links():
            if link.netnsid is not None and link.link:
                waiting.setdefault(link.netnsid, {})[link.link] = link
        seen = set()
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            try:
                # Without O_NONBLOCK a FIFO in the folder would hold us up.
                namespace = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENXIO):
                    tell(what=path, why=error.strerror, needs_root=root_helps(error))
                continue
            try:
                if not _is_network_namespace(namespace):
                    continue
                inode = os.fstat(namespace).st_ino
                ours = waiting.get(host.namespace_id(namespace))
                if inode in seen or not ours:
                    continue
                seen.add(inode)
                if setns(namespace, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    if number in (errno.EPERM, errno.EACCES):
                        tell(what=folder, why="entering a network namespace needs root (become)", needs_root=True)
                        return
                    tell(what=path, why=os.strerror(number))
                    continue
            finally:
                os.close(namespace)
            for peer in _peers_here(ours):
                tell(namespace=path, **peer)


def _is_network_namespace(descriptor):
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    try:
        return fcntl.ioctl(descriptor, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False


def _peers_here(ours):
    """The peers in the namespace that this process is in now."""
    with _Netlink() as here:
        addresses = here.addresses()
        for link in here.links():
            device = ours.get(link.index)
            # A macvlan also names its lower device's index, but is not that one's peer.
            if device is None or link.link != device.index:
                continue
            ipv4, ipv6 = addresses.get(link.index, ([], []))
            yield {
                "device": device.name,
                "ifindex": device.index,
                "peer_device": link.name,
                "peer_index": link.index,
                "ipv4": ipv4,
                "ipv6": ipv6,
            }


class _Netlink:
    """An rtnetlink socket; it stays in the namespace in which it was made."""

    def __enter__(self):
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        return self

    def __exit__(self, *exception):
        self._socket.close()

    def links(self):
        for body in self._dump(_RTM_GETLINK, _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0), _RTM_NEWLINK):
            attributes = _attributes(body, _IFINFOMSG.size)
            netnsid = attributes.get(_IFLA_LINK_NETNSID)
            yield _Link(
                index=_IFINFOMSG.unpack_from(body)[2],
                name=os.fsdecode(attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0")),
                link=_integer(attributes.get(_IFLA_LINK, b"\0\0\0\0")),
                netnsid=None if netnsid is None else _integer(netnsid),
            )

    def addresses(self):
        """{device's index: ([IPv4 addresses], [IPv6 addresses])}."""
        found = {}
        for body in self._dump(_RTM_GETADDR, _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0), _RTM_NEWADDR):
            family, _length, _flags, _scope, index = _IFADDRMSG.unpack_from(body)
            attributes = _attributes(body, _IFADDRMSG.size)
            # With a point-to-point address, IFA_ADDRESS is the other side's.
            address = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if address and family in (socket.AF_INET, socket.AF_INET6):
                both = found.setdefault(index, ([], []))
                both[family == socket.AF_INET6].append(socket.inet_ntop(family, address))
        return found

    def namespace_id(self, descriptor):
        """The id that this socket's namespace has for another one, as in IFLA_LINK_NETNSID; None where it has none."""
        request = struct.pack("=BxxxHHI", socket.AF_UNSPEC, 8, _NETNSA_FD, descriptor)
        for kind, body in self._ask(_RTM_GETNSID, 0, request):
            if kind == _RTM_NEWNSID:
                number = _integer(_attributes(body, 4)[_NETNSA_NSID])
                return number if number >= 0 else None
        return None

    def _dump(self, request, body, wanted):
        return [body for kind, body in self._ask(request, _NLM_F_DUMP, body) if kind == wanted]

    def _ask(self, request, flags, body):
        """Every message of the answer, as (type, body)."""
        size = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(size, request, _NLM_F_REQUEST | flags, 1, 0) + body)
        messages = []
        while True:
            packet = self._socket.recv(1 << 17)
            position = 0
            while position + _HEADER.size <= len(packet):
                length, kind = _HEADER.unpack_from(packet, position)[:2]
                content = packet[position + _HEADER.size : position + length]
                if kind == _NLMSG_ERROR:
                    number = -_integer(content[:4])
                    raise OSError(number, os.strerror(number))
                if kind == _NLMSG_DONE:
                    return messages
                messages.append((kind, content))
                position += (length + 3) & ~3
            if not flags:
                return messages


def _attributes(body, position):
    attributes = {}
    while position + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, position)
        if length < _ATTRIBUTE.size:
            break
        attributes[kind & 0x3FFF] = body[position + _ATTRIBUTE.size : position + length]
        position += (length + 3) & ~3
    return attributes


def _integer(content):
    return struct.unpack("=i", content)[0]
