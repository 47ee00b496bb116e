"""Peers of devices, on network namespaces of our own."""

import os
import time
from pathlib import Path

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import netns
from scratch_node import cilium_host, ip, needs_root, on_scratch_node, pod

FOLDER = Path("/run/netns")


def by_device(found):
    return {peer["device"]: peer for peer in found.peers}


def test_folder_missing(tmp_path):
    found = netns.peers(str(tmp_path / "none"))
    assert found == ([], [{"what": str(tmp_path / "none"), "why": "No such file or directory", "needs_root": False}])


def test_folder_empty(tmp_path):
    assert netns.peers(str(tmp_path)) == ([], [])


@needs_root
def test_pods():
    def body():
        cilium_host()
        pod("cni-1", "10.0.0.11", "lxc1", ipv6="fd00::11")
        pod("cni-2", "10.0.0.12", "lxc2")
        ip("-n", "cni-2", "addr", "add", "10.0.0.99", "peer", "10.0.0.1/32", "dev", "eth0")
        before = os.readlink("/proc/self/ns/net")
        found = netns.peers()
        assert os.readlink("/proc/self/ns/net") == before
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, 0)
        return found

    found = on_scratch_node(body)
    assert found.unread == []
    peers = by_device(found)
    assert set(peers) == {"lxc1", "lxc2"}
    assert peers["lxc1"]["namespace"] == "/run/netns/cni-1"
    assert peers["lxc1"]["peer_device"] == "eth0"
    assert peers["lxc1"]["ipv4"] == ["10.0.0.11"]
    assert "fd00::11" in peers["lxc1"]["ipv6"]
    # the pod's own address, not the other side's
    assert peers["lxc2"]["ipv4"] == ["10.0.0.12", "10.0.0.99"]


@needs_root
def test_same_indices_in_a_namespace_that_is_no_pods():
    """Indices agree in both directions with a device of a third namespace; only the kernel's id tells them apart."""

    def body():
        for name in ("a-world", "pod", "elsewhere"):
            ip("netns", "add", name)
        ip("link", "add", "lxc1", "index", "71", "type", "veth", "peer", "name", "eth0", "index", "2", "netns", "pod")
        ip(
            *("-n", "a-world", "link", "add", "w0", "index", "2"),
            *("type", "veth", "peer", "name", "x0", "index", "71", "netns", "elsewhere"),
        )
        # a link between a-world and us, so that it has an id here and is looked at
        ip(
            "link",
            "add",
            "other",
            "index",
            "72",
            "type",
            "veth",
            "peer",
            "name",
            "w1",
            "index",
            "9",
            "netns",
            "a-world",
        )
        ip("-n", "pod", "addr", "add", "10.0.0.11/32", "dev", "eth0")
        ip("-n", "a-world", "addr", "add", "203.0.113.1/32", "dev", "w0")
        return netns.peers()

    peers = by_device(on_scratch_node(body))
    assert (peers["lxc1"]["namespace"], peers["lxc1"]["ipv4"]) == ("/run/netns/pod", ["10.0.0.11"])
    assert peers["other"]["peer_device"] == "w1"
    assert len(peers) == 2


@needs_root
def test_a_lower_device_elsewhere_is_no_peer():
    """A macvlan, too, names an index in another namespace: its lower device's."""

    def body():
        ip("netns", "add", "below")
        ip("-n", "below", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        ip("-n", "below", "link", "add", "lxcmac", "link", "v0", "type", "macvlan")
        ip("-n", "below", "link", "set", "lxcmac", "netns", str(os.getpid()))
        return netns.peers()

    try:
        found = on_scratch_node(body)
    except pytest.fail.Exception as failure:
        if "macvlan" in str(failure):
            pytest.skip("this kernel has no macvlan")
        raise
    assert found == ([], [])


@needs_root
def test_what_is_no_namespace_is_passed_over():
    def body():
        pod("cni-1", "10.0.0.11", "lxc1")
        (FOLDER / "00-text").write_text("no namespace")
        (FOLDER / "01-folder").mkdir()
        os.mkfifo(str(FOLDER / "02-fifo"))
        (FOLDER / "03-dangling").symlink_to("/no/such/file")
        (FOLDER / "04-self").symlink_to("/proc/self/ns/net")
        (FOLDER / "05-uts").symlink_to("/proc/self/ns/uts")
        (FOLDER / "06-again").symlink_to(FOLDER / "cni-1")
        (FOLDER / os.fsdecode(b"07-\xff\n")).write_text("")
        started = time.monotonic()
        return netns.peers(), time.monotonic() - started

    found, took = on_scratch_node(body)
    assert [(peer["device"], peer["ipv4"]) for peer in found.peers] == [("lxc1", ["10.0.0.11"])]
    assert found.unread == []
    assert took < 2


@needs_root
def test_names_that_are_no_text():
    def body():
        ip("netns", "add", "cni-1")
        ip("link", "add", "lxc\udcff", "type", "veth", "peer", "name", 'e"\udcfe\n'.strip(), "netns", "cni-1")
        return netns.peers()

    (peer,) = on_scratch_node(body).peers
    assert (peer["device"], peer["peer_device"], peer["ipv4"]) == ("lxc\udcff", 'e"\udcfe', [])


@needs_root
def test_unprivileged():
    def body():
        pod("cni-1", "10.0.0.11", "lxc1")
        pod("cni-2", "10.0.0.12", "lxc2")
        os.setgid(65534)
        os.setuid(65534)
        return netns.peers()

    found = on_scratch_node(body)
    why = "entering a network namespace needs root (become)"
    assert found == ([], [{"what": "/run/netns", "why": why, "needs_root": True}])


@needs_root
def test_namespaces_vanish_meanwhile():
    def body():
        pod("cni-1", "10.0.0.11", "lxc1")
        pod("cni-3", "10.0.0.13", "lxc3")
        listed = os.listdir
        netns.os.listdir = lambda folder: [*listed(folder), "cni-2"]
        return netns.peers()

    found = on_scratch_node(body)
    assert set(by_device(found)) == {"lxc1", "lxc3"}
    assert found.unread == []


@needs_root
def test_timeout_keeps_what_was_learnt():
    def body():
        pod("cni-1", "10.0.0.11", "lxc1")
        visit = netns._visit

        def visit_and_hang(folder, tell):
            visit(folder, tell)
            time.sleep(60)

        netns._visit = visit_and_hang
        started = time.monotonic()
        found = netns.peers(timeout=0.5)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, 0)
        return found, time.monotonic() - started

    found, took = on_scratch_node(body)
    assert set(by_device(found)) == {"lxc1"}
    assert found.unread == [{"what": "/run/netns", "why": "not all namespaces were read within 0.5 s"}]
    assert took < 5


def test_a_child_that_fails_says_so(tmp_path, monkeypatch):
    (tmp_path / "something").touch()

    def fail(folder, tell):
        raise AttributeError("no setns here")

    monkeypatch.setattr(netns, "_visit", fail)
    assert netns.peers(str(tmp_path)) == ([], [{"what": str(tmp_path), "why": "AttributeError: no setns here"}])


def test_a_child_that_dies_is_no_hang(tmp_path, monkeypatch):
    (tmp_path / "something").touch()

    def die(folder, tell):
        tell(device="half")
        os.kill(os.getpid(), 9)

    monkeypatch.setattr(netns, "_visit", die)
    found = netns.peers(str(tmp_path))
    assert found.peers == [{"device": "half"}]
    assert found.unread == [{"what": str(tmp_path), "why": "the process that read them died"}]


@needs_root
def test_hundreds_by_one_child():
    def body():
        for number in range(150):
            ip("netns", "add", f"p{number}")
        for number in range(150):
            ip("link", "add", f"lxc{number}", "type", "veth", "peer", "name", "eth0", "netns", f"p{number}")
        forks = []
        fork = os.fork
        netns.os.fork = lambda: forks.append(1) or fork()
        return len(netns.peers().peers), len(forks)

    assert on_scratch_node(body) == (150, 1)
