"""A restart of the real systemd-sysctl.service, with drop-ins, masks and credentials, against what UnitRun predicts.

One node of each suite is booted once. The prediction reads the node's own files, in the node's root.
"""

import os
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import sysctl_d, unit_run
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import files, units

IMAGE = Path(__file__).resolve().parents[2] / "molecule/lab/node-image"
LOADER = "/usr/lib/systemd/systemd-sysctl"
DROPIN = "/etc/systemd/system/systemd-sysctl.service.d/50-test.conf"
VENDOR_DROPIN = "/usr/lib/systemd/system/systemd-sysctl.service.d/50-test.conf"
SUITES = {"bookworm": 252, "trixie": 257}
START = -77777  # no file sets it
NAMES = ("default", "all", "lxcabc")  # default first: it reaches interfaces that were never written


def key(name, value):
    return f"net.ipv4.conf.{name}.rp_filter = {value}\n"


def service(*lines):
    return {DROPIN: "\n".join(["[Service]", *lines, ""])}


TREE = {"/etc/sysctl.d/50-default.conf": key("lxc*", 5)}
BOOT = {"/boot/sysctl.conf-X": key("all", 1) + key("lxc*", 6)}
OTHER = {"/etc/other.conf": key("all", 3) + key("lxcabc", 4)}

# case: (files beside TREE, a path without text is a link to /dev/null; state; all, lxcabc after a restart;
# whether a place makes it unknown)
CASES = {
    "vendor": ({}, "runs", None, 5, False),
    "masked": ({"/etc/systemd/system/systemd-sysctl.service": None}, "masked", None, None, False),
    "disabled": ({"/etc/systemd/system/sysinit.target.wants/systemd-sysctl.service": None}, "disabled", None, 5, False),
    "condition": ({DROPIN: "[Unit]\nConditionPathExists=/none\n"}, "skipped", None, None, False),
    "assertion": ({DROPIN: "[Unit]\nAssertPathExists=/none\n"}, "skipped", None, None, False),
    "condition that holds": ({DROPIN: "[Unit]\nConditionPathExists=!/none\n"}, "runs", None, 5, False),
    "conditions reset": (
        {DROPIN: "[Unit]\nConditionPathExists=/none\nConditionVirtualization=\n"},
        "runs",
        None,
        5,
        False,
    ),
    "one of several": (
        {DROPIN: "[Unit]\nConditionPathExists=|/none\nConditionPathExists=|/etc/passwd\n"},
        "runs",
        None,
        5,
        False,
    ),
    "none of several": (
        {DROPIN: "[Unit]\nConditionPathExists=|/none\nConditionPathExists=|!/etc/passwd\n"},
        "skipped",
        None,
        None,
        False,
    ),
    "a file that has text": ({DROPIN: "[Unit]\nConditionFileNotEmpty=/etc/passwd\n"}, "runs", None, 5, False),
    "no word of the kernel": (
        {DROPIN: "[Unit]\nConditionKernelCommandLine=nosuchword\n"},
        "skipped",
        None,
        None,
        False,
    ),
    "a file before": ({**BOOT, **service(f"ExecStartPre=-{LOADER} /boot/sysctl.conf-X")}, "runs", 1, 5, False),
    "a file of the kernel": (
        {
            "/boot/sysctl.conf-" + os.uname().release: key("all", 1),
            **service(f"ExecStartPre=-{LOADER} /boot/sysctl.conf-%v"),
        },
        "runs",
        1,
        5,
        False,
    ),
    "no file before": (service(f"ExecStartPre=-{LOADER} /boot/none"), "runs", None, 5, False),
    "no file before, not optional": (service(f"ExecStartPre={LOADER} /boot/none"), "runs", None, None, True),
    "a file after": ({**BOOT, **service(f"ExecStartPost={LOADER} /boot/sysctl.conf-X")}, "runs", 1, 6, False),
    "another file": ({**OTHER, **service("ExecStart=", f"ExecStart={LOADER} /etc/other.conf")}, "runs", 3, 4, False),
    "two files": (
        {**OTHER, **BOOT, **service("ExecStart=", f"ExecStart={LOADER} /etc/other.conf /boot/sysctl.conf-X")},
        "runs",
        1,
        4,
        False,
    ),
    "no command": (service("ExecStart="), "skipped", None, None, False),
    "a prefix": (
        {
            "/etc/sysctl.d/60.conf": key("all", 1),
            **service("ExecStart=", f"ExecStart={LOADER} --prefix=/net/ipv4/conf/all"),
        },
        "runs",
        1,
        None,
        False,
    ),
    "the prefix of all interfaces": (
        {"/etc/sysctl.d/60.conf": key("all", 1), **service("ExecStart=", f"ExecStart={LOADER} --prefix=net.ipv4.conf")},
        "runs",
        1,
        5,
        False,
    ),
    "a prefix elsewhere": (service("ExecStart=", f"ExecStart={LOADER} --prefix=/kernel"), "runs", None, None, False),
    "a continued line": (
        {**OTHER, **service("ExecStart=", f"ExecStart={LOADER} \\", "# comment", "  /etc/other.conf")},
        "runs",
        3,
        4,
        False,
    ),
    "sysctl after": (service("ExecStartPost=/sbin/sysctl -q -w net.ipv4.conf.all.rp_filter=1"), "runs", 1, 5, False),
    "a shell after": (
        service("ExecStartPost=/bin/sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter'"),
        "runs",
        1,
        5,
        False,
    ),
    "sysctl -p after": ({**OTHER, **service("ExecStartPost=/sbin/sysctl -q -p /etc/other.conf")}, "runs", 3, 4, False),
    "a line that fails before the rest": (
        {"/etc/sysctl.d/60.conf": "nonsense\n", **BOOT, **service(f"ExecStartPost={LOADER} /boot/sysctl.conf-X")},
        "runs",
        None,
        5,
        True,
    ),
    "a stored credential": ({"/etc/credstore/sysctl.extra": key("all", 1) + key("lxc*", 7)}, "runs", 1, 7, False),
    "a loaded credential": (
        {"/etc/extra": key("all", 1), **service("LoadCredential=sysctl.extra:/etc/extra")},
        "runs",
        1,
        5,
        False,
    ),
    "a loaded credential without its file": (
        service("LoadCredential=sysctl.extra:/etc/extra"),
        "skipped",
        None,
        None,
        False,
    ),
    "a loaded credential without its file, and a set one": (
        service("LoadCredential=sysctl.extra:/etc/extra", "SetCredential=sysctl.extra:net.ipv4.conf.all.rp_filter=2"),
        "runs",
        2,
        5,
        False,
    ),
    "a second set credential": (
        service(
            "SetCredential=sysctl.extra:net.ipv4.conf.all.rp_filter=1",
            "SetCredential=sysctl.extra:net.ipv4.conf.all.rp_filter=2",
        ),
        "runs",
        2,
        5,
        False,
    ),
    "a command that may not write": (service("ProtectKernelTunables=yes"), "unknown", None, None, True),
    "a network namespace of its own": (service("PrivateNetwork=yes"), "unknown", None, None, True),
    "a set credential": (
        service(r"SetCredential=sysctl.extra:net.ipv4.conf.all.rp_filter=1\nnet.ipv4.conf.lxcabc.rp_filter=2"),
        "runs",
        1,
        2,
        False,
    ),
    "a stored and a set credential": (
        {
            "/etc/credstore/sysctl.extra": key("all", 1),
            **service("SetCredential=sysctl.extra:net.ipv4.conf.all.rp_filter=2"),
        },
        "runs",
        1,
        5,
        False,
    ),
    "a loaded and a stored credential": (
        {
            "/etc/credstore/sysctl.extra": key("all", 1),
            "/etc/extra": key("all", 2),
            **service("LoadCredential=sysctl.extra:/etc/extra"),
        },
        "runs",
        2,
        5,
        False,
    ),
    "a credential and a named file": (
        {
            "/etc/credstore/sysctl.extra": key("all", 1),
            **OTHER,
            **service("ExecStart=", f"ExecStart={LOADER} /etc/other.conf"),
        },
        "runs",
        3,
        4,
        False,
    ),
    "a drop-in of the alias": (
        {
            "/etc/systemd/system/procps.service.d/50.conf": f"[Service]\nExecStartPre={LOADER} /boot/sysctl.conf-X\n",
            **BOOT,
        },
        "runs",
        1,
        5,
        False,
    ),
    "a drop-in of the prefix": (
        {
            "/etc/systemd/system/systemd-.service.d/50.conf": f"[Service]\nExecStartPre={LOADER} /boot/sysctl.conf-X\n",
            **BOOT,
        },
        "runs",
        1,
        5,
        False,
    ),
    "a drop-in of all services": (
        {"/etc/systemd/system/service.d/50.conf": f"[Service]\nExecStartPre=-{LOADER} /boot/sysctl.conf-X\n", **BOOT},
        "runs",
        1,
        5,
        False,
    ),
    "a masked drop-in": (
        {
            VENDOR_DROPIN: f"[Service]\nExecStartPre={LOADER} /boot/sysctl.conf-X\n",
            DROPIN: None,
            **BOOT,
        },
        "runs",
        None,
        5,
        False,
    ),
}


class Node:
    """A booted node; its files are seen in the root of its first process."""

    def __init__(self, suite):
        self.name = f"nodeward-sysctl-unit-{suite}-{os.getpid()}"
        image = command([str(IMAGE), "build", suite])
        command(
            [
                "podman",
                "run",
                "--detach",
                "--rm",
                "--name",
                self.name,
                "--network",
                "none",
                "--privileged",
                "--systemd=always",
                image,
                "/sbin/init",
            ]
        )
        self.root = Path("/proc", command(["podman", "inspect", "--format", "{{.State.Pid}}", self.name]), "root")
        deadline = time.monotonic() + 60
        while self.run("systemctl is-system-running; true") not in ("running", "degraded"):
            assert time.monotonic() < deadline, "systemd of the node is not up after 60 seconds"
            time.sleep(0.2)
        # As systemd does at the boot of a host, and not in a container: credentials are mounted by a child.
        self.run("mount --make-rshared /")
        self.run("ip link add lxcabc type veth peer name lxcabd && rm -f /etc/sysctl.d/* && mkdir -p /boot")

    def run(self, script):
        return command(["podman", "exec", self.name, "sh", "-c", script])

    def path(self, name):
        return self.root / name.lstrip("/")

    def write(self, content):
        for name, text in content.items():
            path = self.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.symlink_to("/dev/null")
            else:
                path.write_text(text)

    def restart(self):
        """The values after a restart of the unit, None for those that it left as they were."""
        conf = "/proc/sys/net/ipv4/conf"
        write = "; ".join(f"echo {START} > {conf}/{name}/rp_filter" for name in NAMES)
        read = "; ".join(f"cat {conf}/{name}/rp_filter" for name in NAMES)
        values = self.run(
            f"{write}; systemctl daemon-reload; systemctl reset-failed; "
            f"systemctl restart systemd-sysctl.service >&2; {read}"
        ).split()
        return {name: None if int(value) == START else int(value) for name, value in zip(NAMES, values)}

    def close(self):
        command(["podman", "rm", "--force", "--time", "0", self.name])


def command(arguments):
    return subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, timeout=600).stdout.strip()


@pytest.fixture(scope="module", params=SUITES)
def node(request):
    started = Node(request.param)
    started.version = SUITES[request.param]
    started.procps = tuple(map(int, started.run("sysctl --version").split()[-1].split(".")))
    yield started
    started.close()


def predicted(node):
    reader = files.Reader(str(node.root))
    unit = units.Units(reader).sysctl_unit("")
    run = unit_run.UnitRun(unit, sysctl_d.read_tree(str(node.root)), node.version, reader, node.procps)
    runs = unit["state"] not in ("masked", "skipped")
    winners = {name: run.winner(sysctl_d.conf_key(name)) if runs else None for name in NAMES}
    return unit, run.unknown, winners


@pytest.mark.parametrize("case", CASES)
def test_a_restart_of_the_unit(case, node):
    content, state, every, pod, unknown = CASES[case]
    content = {**TREE, **content}
    node.write(content)
    try:
        unit, places, winners = predicted(node)
        real = node.restart()
    finally:
        for name in content:
            node.path(name).unlink()
    assert (real["all"], real["lxcabc"]) == (every, pod), "the node did not do what the case says"
    assert unit["state"] == state
    assert bool(places) == unknown
    for name, winner in winners.items():
        if not unknown:
            assert (sysctl_d.kernel_integer(winner.value) if winner else None) == real[name], name
        if winner:
            text = content[winner.path].splitlines()[winner.line - 1]
            assert winner.value in text, f"{winner.path}:{winner.line} is not the line of {name}"


def test_a_program_that_cannot_be_predicted(node):
    content = {
        **TREE,
        **service("ExecStartPost=/etc/script"),
        "/etc/script": "#!/bin/sh\nsysctl -w net.ipv4.conf.$X=1\n",
    }
    node.write(content)
    try:
        _unit, places, _winners = predicted(node)
    finally:
        for name in content:
            node.path(name).unlink()
    assert places == [{"path": DROPIN, "line": 2, "text": "ExecStartPost=/etc/script"}]
