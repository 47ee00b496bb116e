"""systemd-sysctl.service and the services that write rp_filter, as unit files in a scratch root say."""

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import sysctl_d, unit_run
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import files, units

SYSCTL = "usr/lib/systemd/system/systemd-sysctl.service"
VENDOR = """[Unit]
DefaultDependencies=no
ConditionPathIsReadWrite=/proc/sys/net/
[Service]
Type=oneshot
ExecStart=/usr/lib/systemd/systemd-sysctl
ImportCredential=sysctl.*
"""
ETC = "etc/systemd/system/"
DROPIN = ETC + "systemd-sysctl.service.d/50-test.conf"
ALL = sysctl_d.conf_key("all")


class Link(str):
    """A symbolic link to this path."""


def plant(root, content):
    content = {
        SYSCTL: VENDOR,
        "usr/lib/systemd/system/sysinit.target.wants/systemd-sysctl.service": Link("../systemd-sysctl.service"),
        **content,
    }
    for name, text in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, Link):
            path.symlink_to(str(text))
        else:
            path.write_text(text)
    return units.Units(files.Reader(str(root)), release="6.4.0-default")


def service(exec_start, unit=""):
    return f"[Unit]\n{unit}\n[Service]\nExecStart={exec_start}\n"


def run_of(root, found, version=257, cmdline=""):
    unit = found.sysctl_unit(cmdline)
    return unit, unit_run.UnitRun(unit, sysctl_d.read_tree(str(root)), version, found.reader, (4, 0, 4))


def test_the_vendors_unit(tmp_path):
    unit = plant(tmp_path, {}).sysctl_unit()
    assert (unit["state"], unit["path"], unit["credential"]) == ("runs", None, None)
    assert [(step["loader"], step["files"], step["line"]) for step in unit["steps"]] == [("systemd_sysctl", None, 6)]


@pytest.mark.parametrize(
    ("content", "state", "place"),
    [
        (
            {ETC + "systemd-sysctl.service": Link("/dev/null")},
            "masked",
            ("/etc/systemd/system/systemd-sysctl.service", None),
        ),
        ({ETC + "systemd-sysctl.service": ""}, "masked", ("/etc/systemd/system/systemd-sysctl.service", None)),
        (
            {ETC + "sysinit.target.wants/systemd-sysctl.service": Link("/dev/null")},
            "disabled",
            ("/etc/systemd/system/sysinit.target.wants/systemd-sysctl.service", None),
        ),
        ({DROPIN: "[Unit]\nConditionPathExists=/none\n"}, "skipped", ("/" + DROPIN, 2)),
        ({DROPIN: "[Unit]\nConditionKernelCommandLine=!quiet\n"}, "skipped", ("/" + DROPIN, 2)),
        ({DROPIN: "[Unit]\nConditionKernelCommandLine=quiet\n"}, "runs", (None, None)),
        ({DROPIN: "[Unit]\nConditionKernelCommandLine=root=/dev/sda\n"}, "skipped", ("/" + DROPIN, 2)),
        ({DROPIN: "[Unit]\nConditionDirectoryNotEmpty=/etc/systemd\n"}, "runs", (None, None)),
        ({DROPIN: "[Unit]\nConditionVirtualization=vm\n"}, "unknown", ("/" + DROPIN, 2)),
        # A file in /run says nothing of the next boot.
        ({DROPIN: "[Unit]\nConditionPathExists=/run/flag\n"}, "unknown", ("/" + DROPIN, 2)),
        ({DROPIN: "[Service]\nPrivateNetwork=yes\n"}, "unknown", ("/" + DROPIN, 2)),
        ({DROPIN: "[Service]\nPrivateNetwork=no\n"}, "runs", (None, None)),
    ],
)
def test_the_state_and_the_deciding_place(content, state, place, tmp_path):
    unit = plant(tmp_path, content).sysctl_unit("quiet root=/dev/vda")
    assert (unit["state"], (unit["path"], unit["line"])) == (state, place)


def test_a_file_of_the_running_kernel(tmp_path):
    found = plant(
        tmp_path,
        {
            SYSCTL + ".d/50.conf": "[Service]\nExecStartPre=-/usr/lib/systemd/systemd-sysctl /boot/sysctl.conf-%v\n",
            "boot/sysctl.conf-6.4.0-default": "net.ipv4.conf.all.rp_filter = 1\n",
        },
    )
    _unit, run = run_of(tmp_path, found)
    assert run.winner(ALL) == ("net.ipv4.conf.all.rp_filter", "1", "/boot/sysctl.conf-6.4.0-default", 1)
    assert run.unknown == []
    # The drop-in of this collection comes later, and wins.
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    (tmp_path / "etc/sysctl.d/99.conf").write_text("net.ipv4.conf.all.rp_filter = 0\n")
    assert run_of(tmp_path, found)[1].winner(ALL).path == "/etc/sysctl.d/99.conf"


def test_a_credential_needs_a_loader_that_reads_it(tmp_path):
    found = plant(tmp_path, {"etc/credstore/sysctl.extra": "net.ipv4.conf.all.rp_filter = 1\n"})
    assert run_of(tmp_path, found, 252)[1].winner(ALL).path == "/etc/credstore/sysctl.extra"
    assert run_of(tmp_path, found, 251)[1].winner(ALL) is None


def test_an_encrypted_credential_is_unknown(tmp_path):
    found = plant(tmp_path, {"etc/credstore.encrypted/sysctl.extra": "k6iUCUh0RJCQyvL8k8q1UyAAAAABAAAADAAAAB"})
    unit, run = run_of(tmp_path, found)
    assert unit["credential"]["unknown"]
    assert run.unknown == [{"path": "/etc/credstore.encrypted/sysctl.extra", "line": None, "text": None}]


def test_a_set_credential_is_reported_by_its_line_in_the_unit(tmp_path):
    text = r"SetCredential=sysctl.extra:# first\nnet.ipv4.conf.all.rp_filter=2"
    _unit, run = run_of(tmp_path, plant(tmp_path, {DROPIN: f"[Service]\n{text}\n"}))
    assert run.winner(ALL)[1:] == ("2", "/" + DROPIN, 2)


@pytest.mark.parametrize(
    "line",
    [
        "ExecStartPost=/opt/tool",  # not a script
        "ExecStartPost=/opt/script",
        "ExecStartPost=/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/*",
        "ExecStartPost=/bin/sh -c 'sysctl -w net.ipv4.conf.$X.rp_filter=1'",
    ],
)
def test_what_cannot_be_predicted_is_named(line, tmp_path):
    found = plant(
        tmp_path,
        {
            DROPIN: f"[Service]\n{line}\n",
            "opt/tool": "\x7fELF\0",
            "opt/script": "#!/bin/sh\nsysctl -w net.ipv4.conf.$1.rp_filter=1\n",
        },
    )
    assert [place["line"] for place in run_of(tmp_path, found)[1].unknown] == [2]


@pytest.mark.parametrize(
    "line",
    [
        "ExecStartPost=/bin/true",
        "ExecStartPost=/opt/script",
        "ExecStartPost=-/opt/none",
        "ExecStartPost=/usr/lib/systemd/systemd-sysctl /none",
    ],
)
def test_what_writes_nothing_is_not_unknown(line, tmp_path):
    found = plant(tmp_path, {DROPIN: f"[Service]\n{line}\n", "opt/script": "#!/bin/sh\necho done > /var/log/x\n"})
    assert run_of(tmp_path, found)[1].unknown == []


WRITES = "/usr/sbin/sysctl -q -w net.ipv4.conf.all.rp_filter=1"


def test_a_service_that_is_linked_writes_at_boot(tmp_path):
    found = plant(
        tmp_path,
        {ETC + "cis.service": service(WRITES), ETC + "multi-user.target.wants/cis.service": Link("../cis.service")},
    )
    (writer,) = found.writers()
    wanted = {
        "by": "unit",
        "unit": "cis.service",
        "names": ["all"],
        "sets": 1,
        "certain": True,
        "when": ["boot"],
        "active": True,
        "path": "/etc/systemd/system/cis.service",
        "line": 4,
        "before_loader": False,
    }
    assert {name: writer[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("content", "active", "when", "by"),
    [
        ({}, False, ["boot"], "unit"),
        (
            {
                ETC + "cis.timer": "[Timer]\nOnCalendar=daily\n",
                ETC + "timers.target.wants/cis.timer": Link("../cis.timer"),
            },
            True,
            ["periodic"],
            "timer",
        ),
        (
            {
                ETC + "other.timer": "[Timer]\nOnBootSec=1min\nUnit=cis.service\n",
                ETC + "timers.target.wants/other.timer": Link("../other.timer"),
            },
            True,
            ["boot"],
            "unit",
        ),
        ({ETC + "cis.timer": "[Timer]\nOnCalendar=daily\n"}, False, ["periodic"], "timer"),
        (
            {
                ETC + "alias.service": Link("cis.service"),
                ETC + "multi-user.target.wants/alias.service": Link("../alias.service"),
            },
            True,
            ["boot"],
            "unit",
        ),
        ({ETC + "multi-user.target": "[Unit]\nWants=cis.service\n"}, True, ["boot"], "unit"),
        (
            {
                ETC + "multi-user.target.wants/cis.service": Link("/dev/null"),
                "usr/lib/systemd/system/multi-user.target.wants/cis.service": Link("../cis.service"),
            },
            False,
            ["boot"],
            "unit",
        ),
        (
            {ETC + "sys-subsystem-net-devices-eth0.device.wants/cis.service": Link("../cis.service")},
            True,
            ["interface"],
            "unit",
        ),
    ],
)
def test_what_starts_a_service(content, active, when, by, tmp_path):
    found = plant(tmp_path, {ETC + "cis.service": service(WRITES), **content})
    (writer,) = found.writers()
    assert (writer["active"], writer["when"], writer["by"]) == (active, when, by)


def test_a_target_that_the_boot_does_not_reach_starts_nothing(tmp_path):
    lib = "usr/lib/systemd/system/"
    content = {
        lib + "cis.service": service(WRITES),
        # As Debian 13's storage-target-mode.target names systemd-networkd.service.
        lib + "storage.target": "[Unit]\nWants=cis.service\n",
        lib + "multi-user.target": "[Unit]\nRequires=basic.target\n",
        lib + "basic.target": "[Unit]\nWants=base.service\n",
        lib + "base.service": service(WRITES),
        lib + "default.target": Link("multi-user.target"),
    }
    found = plant(tmp_path / "a", content)
    assert not found.active("cis.service")
    assert found.active("base.service")
    content[lib + "default.target"] = Link("storage.target")
    assert plant(tmp_path / "b", content).active("cis.service")


def test_conditions_of_a_service(tmp_path):
    wants = {ETC + "multi-user.target.wants/cis.service": Link("../cis.service")}
    found = plant(tmp_path / "a", {ETC + "cis.service": service(WRITES, "ConditionPathExists=/none"), **wants})
    assert [writer["active"] for writer in found.writers()] == [False]
    found = plant(tmp_path / "b", {ETC + "cis.service": service(WRITES, "ConditionHost=x"), **wants})
    assert [writer["active"] for writer in found.writers()] == [None]


def test_a_masked_service_writes_nothing(tmp_path):
    found = plant(
        tmp_path, {"usr/lib/systemd/system/cis.service": service(WRITES), ETC + "cis.service": Link("/dev/null")}
    )
    assert found.writers() == []
    assert not found.active("cis.service")


def test_a_drop_in_of_another_service(tmp_path):
    found = plant(
        tmp_path,
        {
            "usr/lib/systemd/system/kubelet.service": service("/usr/bin/kubelet"),
            ETC + "kubelet.service.d/10.conf": f"[Service]\nExecStartPre=-{WRITES}\n",
        },
    )
    assert [(writer["path"], writer["line"]) for writer in found.writers()] == [
        ("/etc/systemd/system/kubelet.service.d/10.conf", 2)
    ]


def test_a_script_is_reported_by_its_own_line(tmp_path):
    found = plant(
        tmp_path,
        {
            ETC + "cis.service": service("/opt/harden.sh --all"),
            "opt/harden.sh": "#!/bin/sh\n# rp_filter\necho 1 > /proc/sys/net/ipv4/conf/all/rp_filter\n",
        },
    )
    (writer,) = found.writers()
    assert (writer["path"], writer["line"], writer["names"], writer["certain"]) == ("/opt/harden.sh", 3, ["all"], False)


@pytest.mark.parametrize("call", ["/opt/lib.sh", ". /opt/lib.sh", "sh /opt/lib.sh --all"])
def test_a_script_that_a_script_calls_is_read(tmp_path, call):
    called = "apply() {\n  echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter\n}\napply\n"
    files = {
        ETC + "cis.service": service("/opt/harden.sh"),
        "opt/harden.sh": f"#!/bin/sh\n{call}\n",
        "opt/lib.sh": called,
    }
    (writer,) = plant(tmp_path, files).writers()
    assert (writer["path"], writer["line"], writer["names"], writer["certain"]) == ("/opt/lib.sh", 2, ["all"], False)


def test_scripts_that_call_each_other_are_read_once_in_turn(tmp_path):
    files = {
        ETC + "a.service": service("/opt/a.sh"),
        "opt/a.sh": "#!/bin/sh\n/opt/b.sh\n",
        "opt/b.sh": "#!/bin/sh\n/opt/a.sh\n",
    }
    assert plant(tmp_path, files).writers() == []


@pytest.mark.parametrize("command", ["/usr/bin/python3 -u /opt/harden", "/usr/bin/perl /opt/harden", "/opt/harden"])
def test_a_script_of_an_interpreter_is_read(tmp_path, command):
    text = "#!/usr/bin/python3\nopen('/proc/sys/net/ipv4/conf/all/rp_filter', 'w').write('1')\n"
    found = plant(tmp_path, {ETC + "cis.service": service(command), "opt/harden": text})
    (writer,) = found.writers()
    assert (writer["path"], writer["line"], writer["sets"], writer["certain"]) == ("/opt/harden", 2, None, False)


def test_a_service_that_runs_a_loader(tmp_path):
    found = plant(
        tmp_path,
        {
            ETC + "a.service": service("/sbin/sysctl --system"),
            ETC + "b.service": service("/usr/lib/systemd/systemd-sysctl"),
            ETC + "c.service": service("/sbin/sysctl -p /etc/c.conf"),
            "etc/c.conf": "kernel.x = 1\nnet.ipv4.conf.default.rp_filter = 2\n",
        },
    )
    seen = [
        (writer["unit"], writer["runs"], writer["names"], writer["sets"], writer["path"], writer["line"])
        for writer in found.writers()
    ]
    assert seen == [
        ("a.service", "procps", None, None, "/etc/systemd/system/a.service", 4),
        ("b.service", "systemd_sysctl", None, None, "/etc/systemd/system/b.service", 4),
        ("c.service", None, ["default"], 2, "/etc/c.conf", 2),
    ]


def test_a_service_that_perhaps_runs_a_loader(tmp_path):
    found = plant(
        tmp_path,
        {
            ETC + "a.service": service("/opt/load"),
            ETC + "b.service": service("/usr/bin/systemctl restart systemd-sysctl"),
            ETC + "c.service": service("/opt/change"),
            ETC + "d.service": service("/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/eth0"),
            ETC + "e.service": service("/opt/file"),
            "opt/load": "#!/bin/sh\nmodprobe br_netfilter; sysctl --system\n",
            "opt/change": "#!/bin/sh\necho x > /etc/sysctl.d/x.conf\nsysctl --system\n",
            "opt/file": "#!/bin/sh\nsysctl -p /etc/c.conf\n",
        },
    )
    assert [(each["unit"], each["runs"], each["names"], each["certain"]) for each in found.writers()] == [
        ("a.service", "procps", None, False),
        ("b.service", "unit", None, False),
        ("c.service", None, None, False),
        ("d.service", None, ["eth0"], False),
        ("e.service", None, None, False),
    ]


def test_an_instance_writes_its_own_interface(tmp_path):
    template = service("/sbin/sysctl -w net.ipv4.conf.%i.rp_filter=1")
    found = plant(
        tmp_path,
        {
            ETC + "strict@.service": template,
            ETC + "multi-user.target.wants/strict@eth0.service": Link("../strict@.service"),
        },
    )
    assert [(writer["unit"], writer["names"], writer["active"]) for writer in found.writers()] == [
        ("strict@.service", None, None),
        ("strict@eth0.service", ["eth0"], True),
    ]


def test_the_order_is_that_of_the_start(tmp_path):
    found = plant(
        tmp_path,
        {
            ETC + "a.service": service(WRITES, "After=b.service"),
            ETC + "b.service": service(WRITES),
            ETC + "c.service": service(WRITES, "DefaultDependencies=no\nBefore=systemd-sysctl.service"),
        },
    )
    assert [(writer["unit"], writer["before_loader"]) for writer in found.writers()] == [
        ("c.service", True),
        ("b.service", False),
        ("a.service", False),
    ]


@pytest.mark.parametrize("starts, late", [
    ({"cis.timer": "[Timer]\nOnBootSec=1min\n", "timers.target.wants/cis.timer": Link("../cis.timer")}, True),
    ({"multi-user.target.wants/cis.service": Link("../cis.service")}, None),
])  # fmt: skip
def test_what_a_timer_alone_starts_after_a_boot_is_late(tmp_path, starts, late):
    content = {ETC + name: text for name, text in starts.items()}
    content[ETC + "cis.service"] = service("/sbin/sysctl -w net.ipv4.conf.all.rp_filter=1")
    (writer,) = plant(tmp_path, content).writers()
    assert (writer["when"], writer.get("late")) == (["boot"], late)


def test_a_transient_service_counts_only_if_a_timer_starts_it(tmp_path):
    path = "run/systemd/transient/once.service"
    content = {path: service("/usr/sbin/sysctl -w net.ipv4.conf.all.rp_filter=1")}
    assert plant(tmp_path / "once", content).writers() == []
    content["run/systemd/transient/once.timer"] = "[Timer]\nOnCalendar=hourly\n"
    (writer,) = plant(tmp_path / "timed", content).writers()
    assert (writer["by"], writer["when"]) == ("timer", ["periodic"])


@pytest.mark.parametrize(("unit", "kind", "when"), [
    ("PartOf=systemd-sysctl.service", "RemainAfterExit=yes", ["boot", "restart"]),
    ("Requires=systemd-sysctl.service", "RemainAfterExit=yes", ["boot", "restart"]),
    ("Wants=systemd-sysctl.service", "RemainAfterExit=yes", ["boot"]),
    ("PartOf=systemd-sysctl.service", "", ["boot"]),  # it is inactive once it has run
    ("PartOf=systemd-sysctl.service\nBefore=systemd-sysctl.service", "RemainAfterExit=yes", ["boot"]),
])  # fmt: skip
def test_a_service_that_restarts_with_the_loader(unit, kind, when, tmp_path):
    text = f"[Unit]\n{unit}\n[Service]\nType=oneshot\n{kind}\nExecStart={WRITES}\n"
    (writer,) = plant(tmp_path, {ETC + "bound.service": text}).writers()
    assert writer["when"] == when


@pytest.mark.parametrize(("commands", "written"), [
    ('/bin/bash -c "for i in /proc/sys/net/ipv4/conf/*/rp_filter ; do echo 0 > $i; done"', [["*"]]),
    ("/bin/sh -c 'true ; sysctl -w net.ipv4.conf.all.rp_filter=1'", [["all"]]),
    ("/bin/true ; /sbin/sysctl -w net.ipv4.conf.all.rp_filter=1", [["all"]]),
    ("/bin/echo 'a ; /sbin/sysctl -w net.ipv4.conf.all.rp_filter=1'", []),
])  # fmt: skip
def test_a_semicolon_in_quotes_ends_no_command(commands, written, tmp_path):
    found = plant(tmp_path, {ETC + "loop.service": service(commands)}).writers()
    assert [writer["names"] for writer in found] == written


def test_bytes_of_a_unit_that_are_not_utf_8_are_printable_in_its_writer(tmp_path):
    units_found = plant(tmp_path, {ETC + "a.service": service("/usr/sbin/sysctl -w net.ipv4.conf.all.rp_filter=1 x")})
    text = b"[Service]\nExecStart=/usr/sbin/sysctl -w net.ipv4.conf.all.rp_filter=1 \xff\n"
    (tmp_path / ETC / "a.service").write_bytes(text)
    (writer,) = units_found.writers()
    assert writer["names"] == ["all"]
    assert writer["text"].encode("utf-8").endswith(b"\\xff")
