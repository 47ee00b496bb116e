"""A scratch node for tests of the real kernel: a network and a mount namespace of its own, gone when the test ends."""

import ctypes
import os
import pickle
import select
import signal
import subprocess
import time
import traceback

import pytest

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces of its own, which needs root")


def on_scratch_node(body, *arguments, timeout=60):
    """What body(*arguments) returns when run in a child process on a scratch node; its exceptions fail the test."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        outcome = (False, "the child ended early")
        try:
            _enter()
            outcome = (True, body(*arguments))
        except BaseException:  # noqa: B036 (nothing may leave the child but by the pipe)
            outcome = (False, traceback.format_exc())
        finally:
            with os.fdopen(writer, "wb") as output:
                output.write(pickle.dumps(outcome))
            os._exit(0)
    os.close(writer)
    output = b""
    deadline = time.monotonic() + timeout
    try:
        while select.select([reader], [], [], max(0, deadline - time.monotonic()))[0]:
            chunk = os.read(reader, 1 << 16)
            if not chunk:
                break
            output += chunk
        else:
            pytest.fail(f"not done after {timeout} s")
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    succeeded, result = pickle.loads(output)
    if not succeeded:
        pytest.fail(result)
    return result


def _enter():
    os.makedirs("/run/netns", exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    for done in (
        libc.unshare(CLONE_NEWNET | CLONE_NEWNS),
        libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        libc.mount(b"none", b"/run/netns", b"tmpfs", 0, None),
    ):
        if done != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    ip("link", "set", "lo", "up")


def ip(*words):
    subprocess.run(["ip"] + [os.fsencode(word) for word in words], check=True)


def sysctl(name, value):
    with open("/proc/sys/" + name, "w") as stream:
        stream.write(str(value))


def rp_filter(device, value):
    sysctl(f"net/ipv4/conf/{device}/rp_filter", value)


def cilium_host():
    """Cilium's pair on the host, and the route to pods by it."""
    ip("link", "add", "cilium_host", "type", "veth", "peer", "name", "cilium_net")
    ip("addr", "add", "10.0.0.253/32", "dev", "cilium_host")
    for device in ("cilium_host", "cilium_net"):
        ip("link", "set", device, "up", "arp", "off")
    rp_filter("all", 0)
    ip("route", "add", "10.0.0.253", "dev", "cilium_host", "scope", "link")
    ip("route", "add", "10.0.0.0/24", "via", "10.0.0.253", "dev", "cilium_host", "src", "10.0.0.253")


def pod(namespace, address, device, ipv6=None, value=0):
    ip("netns", "add", namespace)
    ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    ip("link", "set", device, "up")
    rp_filter(device, value)
    ip("-n", namespace, "addr", "add", address + "/32", "dev", "eth0")
    if ipv6:
        ip("-n", namespace, "addr", "add", ipv6 + "/128", "dev", "eth0", "nodad")
    ip("-n", namespace, "link", "set", "eth0", "up")
