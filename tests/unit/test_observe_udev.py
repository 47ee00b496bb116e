"""What udev's rules write to rp_filter. tests/differential/test_udev_rules.py compares the same with real udev."""

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import udev, udev_rules
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.files import Reader
from observed_tree import lay

ETC = "/etc/udev/rules.d/"
LIB = "/usr/lib/udev/rules.d/"
VENDOR = (
    "# Apply sysctl variables to network devices (and only to those) as they appear.\n"
    'ACTION=="add", SUBSYSTEM=="net", KERNEL!="lo", RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/$name'
    ' --prefix=/net/ipv4/neigh/$name --prefix=/net/ipv6/conf/$name --prefix=/net/ipv6/neigh/$name"\n'
)
OURS = 'ACTION=="add", SUBSYSTEM=="net", ENV{DEVTYPE}!="bridge", KERNEL=="lxc*|cilium_*", RUN{builtin}:="path_id"\n'
STRICT = "# strict for all that comes\n" + (
    'ACTION=="add", SUBSYSTEM=="net", RUN+="/bin/sh -c \'echo 1 > /proc/sys/net/ipv4/conf/%k/rp_filter\'"\n'
)


def rules(root, files, overlay=None):
    lay(root, files)
    return udev.Rules(Reader(str(root)), overlay)


def adding(text):
    return f'ACTION=="add", SUBSYSTEM=="net", {text}\n'


def written(steps):
    """(value or loader, certain) of each step."""
    return [(step["runs"] or step["sets"], step["certain"]) for step in steps]


def test_the_vendors_rule(tmp_path):
    found = rules(tmp_path, {LIB + "99-systemd.rules": VENDOR})
    (step,) = found.on_add("lxc1")
    assert step == {
        "path": LIB + "99-systemd.rules",
        "line": 2,
        "text": VENDOR.split("\n")[1][:200],
        "runs": "systemd_sysctl",
        "names": ["lxc1"],
        "value": None,
        "sets": None,
        "certain": True,
    }
    assert found.on_add("lo") == []
    assert found.reload_on_add() == {"path": LIB + "99-systemd.rules", "line": 2, "cleared_by": None}
    assert found.writers() == []


@pytest.mark.parametrize("bracket, rest", [("[0-9]", "[!0-9]"), ("[!0-9]", "[0-9]"), ("[^a-f]", "[a-f]")])
def test_what_a_bracket_leaves_out_is_written_by_a_later_rule(tmp_path, bracket, rest):
    first = adding(f'KERNEL=="lxc{bracket}*", GOTO="end"') + adding(
        'KERNEL=="lxc*", SYSCTL{net.ipv4.conf.%k.rp_filter}="1"'
    )
    (found,) = rules(tmp_path, {ETC + "50-x.rules": first + 'LABEL="end"\n'}).writers()
    assert f"lxc{rest}*" in found["names"] and f"lxc{bracket}*" not in found["names"]


@pytest.mark.parametrize("mask", ["link", "empty"])
def test_a_masked_rules_file(tmp_path, mask):
    lay(tmp_path, {LIB + "99-systemd.rules": VENDOR, ETC + "other.rules": ""})
    here = tmp_path / (ETC + "99-systemd.rules")[1:]
    here.symlink_to("/dev/null") if mask == "link" else here.write_text("")
    found = udev.Rules(Reader(str(tmp_path)))
    assert (found.on_add("lxc1"), found.reload_on_add(), found.writers()) == ([], None, [])


def test_a_rule_that_sorts_after_the_vendors(tmp_path):
    found = rules(tmp_path, {LIB + "99-systemd.rules": VENDOR, ETC + "99-zz-rpfilter.rules": STRICT})
    assert written(found.on_add("lxc1")) == [("systemd_sysctl", True), (1, True)]
    (writer,) = found.writers()
    assert (writer["by"], writer["path"], writer["line"]) == ("udev", ETC + "99-zz-rpfilter.rules", 2)
    assert (writer["names"], writer["not_on"], writer["sets"]) == (["*"], ["all", "default"], 1)
    assert (writer["when"], writer["certain"], writer["active"]) == (["boot", "interface"], True, True)


@pytest.mark.parametrize(("name", "action", "before"), [
    ("zz-x.rules", 'SYSCTL{net/ipv4/conf/$name/rp_filter}="1"', True),  # written while the rules are read
    ("50-x.rules", 'RUN+="/sbin/sysctl -q -w net.ipv4.conf.%k.rp_filter=1"', True),
    ("zz-x.rules", 'RUN+="/sbin/sysctl -q -w net.ipv4.conf.%k.rp_filter=1"', False),
    ("50-x.rules", 'RUN+="/sbin/sysctl -q -w net.ipv4.conf.all.rp_filter=1"', False),  # the run is for the interface
])  # fmt: skip
def test_a_rule_whose_write_the_loader_replaces(tmp_path, name, action, before):
    (writer,) = rules(tmp_path, {LIB + "99-systemd.rules": VENDOR, ETC + name: adding(action)}).writers()
    assert writer.get("before_loader", False) is before
    (writer,) = rules(tmp_path / "without", {ETC + name: adding(action)}).writers()
    assert not writer.get("before_loader")


@pytest.mark.parametrize("later", ["99-zz.rules", "99-zzz.rules", "zz-x.rules", "50-x.rules"])
@pytest.mark.parametrize("operator", ["+=", "="])
def test_the_collections_rule_is_final(tmp_path, later, operator):
    files = {LIB + "99-systemd.rules": VENDOR, udev.UDEV_RULE: OURS, ETC + later: STRICT.replace("+=", operator)}
    found = rules(tmp_path, files)
    assert found.on_add("lxc1") == []
    assert found.on_add("cilium_host", "veth") == []
    assert (1, True) in written(found.on_add("lxcbr0", "bridge"))
    assert (1, True) in written(found.on_add("eth0"))
    (writer,) = found.writers()
    assert (writer["names"], writer["not_on"]) == (["*"], ["lxc*", "cilium_*", "all", "default"])


def test_what_the_collections_rule_does_not_hold_against(tmp_path):
    files = {
        LIB + "99-systemd.rules": VENDOR,
        udev.UDEV_RULE: OURS,
        ETC + "10-x.rules": STRICT.replace("RUN+=", "RUN:="),
        ETC + "zz-x.rules": adding('SYSCTL{net/ipv4/conf/$name/rp_filter}="2"'),
    }
    found = rules(tmp_path, files)
    assert written(found.on_add("lxc1")) == [(2, True), (1, True)]
    assert found.reload_on_add()["cleared_by"] == {"path": ETC + "10-x.rules", "line": 2}


def test_the_place_of_the_rule_that_clears(tmp_path):
    files = {LIB + "99-systemd.rules": VENDOR, udev.UDEV_RULE: "# ours\n" + OURS}
    found = rules(tmp_path, files)
    assert found.reload_on_add() == {
        "path": LIB + "99-systemd.rules",
        "line": 2,
        "cleared_by": {"path": udev.UDEV_RULE, "line": 2},
    }


def test_files_as_they_will_be(tmp_path):
    files = {LIB + "99-systemd.rules": VENDOR, ETC + "zz-x.rules": STRICT}
    assert rules(tmp_path, files, {udev.UDEV_RULE: OURS}).on_add("lxc1") == []
    gone = rules(tmp_path, {udev.UDEV_RULE: OURS}, {udev.UDEV_RULE: None, ETC + "zz-x.rules": None})
    assert written(gone.on_add("lxc1")) == [("systemd_sysctl", True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('KERNEL=="eth*|lxc*", {}', [(1, True)]),
        ('KERNEL=="eth*|ens*", {}', []),
        ('KERNEL!="lxc*|cilium_*", {}', []),
        ('KERNEL=="lxc[^a]*", {}', [(1, True)]),
        ('KERNEL=="LXC*", {}', []),
        ('KERNEL==i"LXC*", {}', [(1, False)]),
        ('KERNEL==e"\\x6cxc*", {}', [(1, True)]),
        ('KERNEL=="lx\\c*", {}', [(1, True)]),
        ('ENV{{DEVTYPE}}=="", {}', [(1, True)]),
        ('ENV{{DEVTYPE}}=="bridge", {}', []),
        ('ENV{{INTERFACE}}=="lxc*", {}', [(1, True)]),
        ('ENV{{OTHER}}!="1", {}', [(1, True)]),
        ('ENV{{OTHER}}=="1", {}', []),
        ('ENV{{OTHER}}=="|1", {}', [(1, True)]),
        ('ENV{{OTHER}}=="*", {}', [(1, False)]),
        ('SUBSYSTEMS=="net|pci", {}', [(1, True)]),
        ('SUBSYSTEMS=="pci", {}', []),
        ('DRIVERS=="?*", {}', []),
        ('DEVPATH=="/devices/virtual/*", {}', [(1, True)]),
        ('ATTR{{mtu}}=="1500", {}', [(1, False)]),
        ('ATTR{{mtu}}=="1500", KERNEL=="eth*", {}', []),
        ('TEST=="/etc/passwd", {}', [(1, False)]),
        ('PROGRAM="/bin/true", {}', [(1, False)]),
        ('IMPORT{{builtin}}="net_id", {}', [(1, False)]),
        ('{}, ACTION=="add"', [(1, True)]),
        ('{} ACTION=="add",', [(1, True)]),
        ('ACTION=="change", {}', []),
        ('SUBSYSTEM=="block", {}', []),
        # One invalid token, and udev ignores the line.
        ('RUN-="x", {}', []),
        ('RUN=="x", {}', []),
        ('KERNEL="lxc1", {}', []),
        ('NOSUCH=="1", {}', []),
        ('ENV{{}}=="1", {}', []),
        ('ENV{{DEVTYPE}}="1", {}', []),
        ('KERNEL{{x}}=="lxc*", {}', []),
        ('RUN{{builtin}}+="nosuch", {}', []),
        ("{} # comment", []),
        ('KERNEL==e"\\q", {}', []),
        ('KERNEL=="lxc*, {}', []),
        ('OPTIONS+="nonsense", {}', [(1, True)]),
        ('TAG-="x", {}', [(1, True)]),
        ('SYMLINK-="x", {}', [(1, False)]),
    ],
)
def test_matches(tmp_path, text, expected):
    action = "RUN+=\"/bin/sh -c 'echo 1 > /proc/sys/net/ipv4/conf/%k/rp_filter'\""
    found = rules(tmp_path, {ETC + "50-x.rules": text.format(action) + "\n"})
    assert written(found.on_add("lxc1")) == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ('SYSCTL{net/ipv4/conf/%k/rp_filter}="1"', [(1, True)]),
        ('SYSCTL{net.ipv4.conf.$name.rp_filter}+="0x2"', [(2, True)]),
        ('SYSCTL{net.ipv4.conf.all.rp_filter}="1"', [(1, True)]),
        ('SYSCTL{net.ipv4.conf.eth0.rp_filter}="1"', []),
        ('SYSCTL{net/ipv4/conf/%k/rp_filter}="x"', []),
        ('SYSCTL{net/ipv4/conf/%k/rp_filter}=="1"', []),
        ('SYSCTL{net/ipv4/conf/lxc*/rp_filter}="1"', []),
        ('SYSCTL{net/ipv4/conf/%k/rp_filter}="$attr{mtu}"', [(None, False)]),
        ('SYSCTL{net/ipv4/conf/%k/forwarding}="1"', []),
        ('RUN+="/sbin/sysctl -w net.ipv4.conf.%k.rp_filter=1"', [(1, True)]),
        ('RUN{program}+="/sbin/sysctl -w net/ipv4/conf/$env{INTERFACE}/rp_filter=1"', [(1, True)]),
        ('RUN+="sysctl -w net.ipv4.conf.%k.rp_filter=1"', []),
        ('RUN+="/sbin/sysctl -w net.ipv4.conf.$$INTERFACE.rp_filter=1"', []),
        ("RUN+=\"/bin/sh -c 'echo 1 > /proc/sys/net/ipv4/conf/$$INTERFACE/rp_filter'\"", [(1, True)]),
        ("RUN+=\"/bin/sh -c 'printf %s 1 > /proc/sys/net/ipv4/conf/%k/rp_filter'\"", [(None, False)]),
        ('RUN+="/sbin/sysctl --system"', [("procps", True)]),
        ('RUN+="/usr/lib/systemd/systemd-sysctl"', [("systemd_sysctl", True)]),
        ('RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv6/conf/%k"', []),
        ('RUN{builtin}+="kmod load x"', []),
        ("PROGRAM==\"/bin/sh -c 'echo 1 > /proc/sys/net/ipv4/conf/%k/rp_filter'\"", [(1, True)]),
    ],
)
def test_actions(tmp_path, action, expected):
    found = rules(tmp_path, {ETC + "50-x.rules": adding(action)})
    assert written(found.on_add("lxc1")) == expected


def test_keys_are_written_while_the_rules_are_read(tmp_path):
    files = {
        ETC + "10-x.rules": adding('RUN+="/sbin/sysctl -w net.ipv4.conf.%k.rp_filter=1"'),
        ETC + "20-x.rules": adding('SYSCTL{net/ipv4/conf/%k/rp_filter}="2"'),
    }
    assert written(rules(tmp_path, files).on_add("lxc1")) == [(2, True), (1, True)]


def test_a_builtin_of_a_rule_comes_before_its_programs(tmp_path):
    write = 'RUN+="/sbin/sysctl -w net.ipv4.conf.%k.rp_filter=$env{MARK}"'
    text = adding(f'{write}, RUN{{builtin}}="path_id", ENV{{MARK}}="1"')
    assert written(rules(tmp_path, {ETC + "10-x.rules": text}).on_add("lxc1")) == [(1, True)]
    text = text.replace('="path_id"', ':="path_id"')
    assert rules(tmp_path, {ETC + "10-x.rules": text}).on_add("lxc1") == []


@pytest.mark.parametrize(
    ("operator", "expected"),
    [("=", [("systemd_sysctl", False), (1, True)]), (":=", [("systemd_sysctl", False), (1, False)])],
)
def test_what_a_rule_that_may_match_would_clear_is_not_certain(tmp_path, operator, expected):
    files = {
        LIB + "99-systemd.rules": VENDOR,
        ETC + "99-z.rules": adding(f'ATTR{{mtu}}=="1500", RUN{{builtin}}{operator}"path_id"'),
        ETC + "99-zz.rules": STRICT,
    }
    found = rules(tmp_path, files)
    assert written(found.on_add("lxc1")) == expected
    assert found.reload_on_add()["cleared_by"] is None


def test_goto_and_label(tmp_path):
    text = (
        'LABEL="end"\n'
        'KERNEL!="lxc*", GOTO="end"\n'
        'KERNEL=="lxc9", GOTO="none"\n'
        'ATTR{mtu}=="1500", GOTO="perhaps"\n'
        'SYSCTL{net/ipv4/conf/%k/rp_filter}="1"\n'
        'LABEL="perhaps", SYSCTL{net/ipv4/conf/%k/rp_filter}="2"\n'
        'LABEL="end"\n'
    )
    found = rules(tmp_path, {ETC + "10-x.rules": text})
    assert written(found.on_add("lxc9")) == [(1, False), (2, True)]
    assert found.on_add("eth0") == []


def test_properties_that_rules_set(tmp_path):
    text = (
        'KERNEL=="lxc*", ENV{MARK}="1"\n'
        'KERNEL=="lxc*", ENV{MARK}+="$kernel"\n'
        'ENV{MARK}=="1 lxc1", SYSCTL{net/ipv4/conf/%k/rp_filter}="1"\n'
        'IMPORT{program}="/usr/bin/tool"\n'
        'ENV{MARK}=="1 lxc1", SYSCTL{net/ipv4/conf/%k/rp_filter}="2"\n'
    )
    assert written(rules(tmp_path, {ETC + "10-x.rules": text}).on_add("lxc1")) == [(1, True), (2, False)]


def test_continued_lines_and_the_order_of_files(tmp_path):
    text = 'ACTION=="add", \\\n# between\n  SYSCTL{net/ipv4/conf/%k/rp_filter}="%d"\n'
    files = {
        ETC + "b.rules": text.replace("%d", "4"),
        LIB + "B.rules": text.replace("%d", "3"),
        "/run/udev/rules.d/10.rules": text.replace("%d", "1"),
        LIB + "10.rules": text.replace("%d", "9"),
        LIB + "10-a.rules": text.replace("%d", "0"),
        LIB + ".hidden.rules": text.replace("%d", "9"),
        LIB + "x.rule": text.replace("%d", "9"),
    }
    steps = rules(tmp_path, files).on_add("lxc1")
    assert [step["sets"] for step in steps] == [0, 1, 3, 4]
    assert {step["line"] for step in steps} == {3}


@pytest.mark.parametrize("command", ["/usr/local/sbin/strict %k", "/bin/sh /usr/local/sbin/strict %k", "strict %k"])
def test_a_script(tmp_path, command):
    script = '#!/bin/sh\n[ "$1" = lo ] && exit\necho 1 > "/proc/sys/net/ipv4/conf/$1/rp_filter"\n'
    path = "/usr/local/sbin/strict" if "/" in command else "/usr/lib/udev/strict"
    (step,) = rules(tmp_path, {ETC + "50-x.rules": adding(f'RUN+="{command}"'), path: script}).on_add("lxc1")
    assert (step["path"], step["line"], step["certain"], step["names"], step["sets"]) == (path, 3, False, None, None)


def test_a_script_that_a_script_calls(tmp_path):
    files = {
        ETC + "50-x.rules": adding('RUN+="/usr/libexec/a.sh"'),
        "/usr/libexec/a.sh": "#!/bin/sh\n/usr/libexec/b.sh $INTERFACE\n",
        "/usr/libexec/b.sh": "# b\necho 1 > /proc/sys/net/ipv4/conf/$1/rp_filter\n",
    }
    (step,) = rules(tmp_path, files).on_add("lxc1")
    assert (step["path"], step["line"], step["certain"]) == ("/usr/libexec/b.sh", 2, False)


def test_a_file_that_sysctl_reads(tmp_path):
    files = {
        ETC + "50-x.rules": adding('RUN+="/sbin/sysctl -p /etc/pods.conf"'),
        "/etc/pods.conf": "# x\nnet.ipv4.conf.lxc1.rp_filter = 1\nnet.ipv4.conf.eth0.rp_filter = 2\n",
    }
    (step,) = rules(tmp_path, files).on_add("lxc1")
    assert (step["path"], step["line"], step["sets"]) == ("/etc/pods.conf", 2, 1)


def test_a_unit_that_systemd_starts_for_the_interface(tmp_path):
    files = {
        LIB + "99-systemd.rules": VENDOR,
        udev.UDEV_RULE: OURS,
        ETC + "50-x.rules": adding('TAG+="systemd", ENV{SYSTEMD_WANTS}+="strict@%k.service"'),
        "/etc/systemd/system/strict@.service": "[Service]\nType=oneshot\n"
        "ExecStart=/sbin/sysctl -w net.ipv4.conf.%i.rp_filter=1\n",
    }
    found = rules(tmp_path, files)
    (step,) = found.on_add("lxc1")
    assert (step["path"], step["line"]) == ("/etc/systemd/system/strict@.service", 3)
    assert (step["names"], step["sets"], step["certain"]) == (["lxc1"], 1, False)
    (writer,) = found.writers()
    assert (writer["path"], writer["names"], writer["certain"]) == (step["path"], ["*"], False)


def test_writers_of_some_interfaces(tmp_path):
    text = (
        adding('KERNEL=="eth*|ens*", SYSCTL{net/ipv4/conf/%k/rp_filter}="1"')
        + adding('KERNEL!="lxc*", SYSCTL{net/ipv4/conf/%k/rp_filter}="2"')
        + adding('ENV{DEVTYPE}=="bridge", SYSCTL{net/ipv4/conf/%k/rp_filter}="3"')
        + adding('ATTR{mtu}=="1500", SYSCTL{net/ipv4/conf/all/rp_filter}="4"')
        + 'ACTION=="move", SUBSYSTEM=="net", SYSCTL{net/ipv4/conf/%k/rp_filter}="5"\n'
        + 'ACTION=="add", SUBSYSTEM=="module", KERNEL=="br_netfilter", RUN+="/sbin/sysctl --system"\n'
        + 'SUBSYSTEM=="block", RUN+="/sbin/sysctl -w net.ipv4.conf.%k.rp_filter=6"\n'
    )
    found = rules(tmp_path, {ETC + "50-x.rules": text}).writers()
    both = ["boot", "interface"]
    assert [(each["sets"], each["names"], each["not_on"], each["certain"], each["when"]) for each in found] == [
        (1, ["eth*", "ens*"], [], True, both),
        (2, ["*"], ["lxc*", "all", "default"], True, both),
        (3, ["*"], ["all", "default"], True, both),
        (4, ["all"], [], False, both),
        (5, ["*"], ["all", "default"], False, ["interface"]),
        (None, None, [], False, ["boot"]),
    ]


def test_a_writer_that_another_rule_always_clears_is_left_out(tmp_path):
    files = {ETC + "50-x.rules": STRICT, ETC + "60-x.rules": 'SUBSYSTEM=="net", RUN="/bin/true"\n'}
    assert rules(tmp_path, files).writers() == []


@pytest.mark.parametrize("text", ["\0" * 100, "KERNEL", 'A="' * 1000, "\\\n" * 1000, "x" * 100000, "\ud800", '{="'])
def test_hostile_text(tmp_path, text):
    lay(tmp_path, {ETC + "10-x.rules": ""})
    (tmp_path / ETC[1:] / "10-x.rules").write_bytes(text.encode("utf-8", "surrogatepass"))
    found = udev.Rules(Reader(str(tmp_path)))
    assert (found.on_add("lxc1"), found.writers(), found.reload_on_add()) == ([], [], None)


def test_a_long_line_does_not_take_long(tmp_path):
    text = adding('KERNEL=="' + "*a" * 2000 + '", SYSCTL{net/ipv4/conf/%k/rp_filter}="1"')
    assert rules(tmp_path, {ETC + "10-x.rules": text}).on_add("a" * 15) == []


def test_a_token_of_many_lines_names_its_own_line():
    rows = list(enumerate(['ACTION=="add", \\', 'KERNEL=="x", \\', 'RUN+="y"'], 1))
    (line,) = udev_rules.parse(rows, "x.rules")
    assert [(token.key, token.line, token.row) for token in line.tokens] == [
        ("ACTION", 1, 'ACTION=="add", \\'),
        ("KERNEL", 2, 'KERNEL=="x", \\'),
        ("RUN", 3, 'RUN+="y"'),
    ]
