import os

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import network, scripts
from observed_tree import lay, node, places

NETWORK = "[Match]\nName=eth0\n[Network]\nIPv4ReversePathFilter=strict\n"
STRICT = "[Network]\nIPv4ReversePathFilter=strict\n"


def test_networkd_units_and_their_drop_ins_are_read_and_others_are_not(tmp_path):
    files = {
        "/etc/systemd/network/10-eth.network": NETWORK,
        "/usr/lib/systemd/network/10-eth.network": NETWORK,  # masked by the one in /etc
        "/usr/lib/systemd/network/20-x.network": "[Match]\nName=x\n",
        "/usr/lib/systemd/network/20-x.network.d/a.conf": "[Network]\nIPv4ReversePathFilter = no\n",
        # A drop-in without its unit counts for nothing.
        "/usr/lib/systemd/network/25-x.network.d/a.conf": "[Network]\nIPv4ReversePathFilter = no\n",
        "/etc/systemd/network/30-x.netdev": NETWORK,
        "/etc/systemd/network/40-x.network": "[Match]\nIPv4ReversePathFilter=strict\n# [Network]\n",
    }
    assert places(network.networkd(node(tmp_path, files))) == [
        ("networkd", "/etc/systemd/network/10-eth.network", 4, "strict"),
        ("networkd", "/usr/lib/systemd/network/20-x.network.d/a.conf", 2, "no"),
    ]


def test_a_networkd_writer_has_every_member(tmp_path):
    path = "/etc/systemd/network/zz-default.network"
    files = {path: "[Match]\nName=*\n\n[Network]\nLinkLocalAddressing=no\nIPv4ReversePathFilter=loose\n"}
    (found,) = network.networkd(node(tmp_path, files, enabled=["systemd-networkd.service"]))
    assert found == {
        "by": "networkd", "path": path, "line": 6, "text": "IPv4ReversePathFilter=loose",
        "unit": "systemd-networkd.service", "when": ["boot", "interface"], "names": ["*"], "value": "loose", "sets": 2,
        "certain": True, "narrowed": False, "not_on": [], "runs": None, "active": True,
    }  # fmt: skip
    assert [each["active"] for each in network.networkd(node(tmp_path))] == [False]
    assert [each["active"] for each in network.networkd(node(tmp_path, running=["systemd-networkd.service"]))] == [True]


@pytest.mark.parametrize("match, names, narrowed", [
    ("Name=eth0", ["eth0"], False), ("Name=en* eth?", ["en*", "eth?"], False),
    ("Name=lxc*\nName=en*", ["lxc*", "en*"], False), ("Name=lxc*\nName=\nName=en*", ["en*"], False),
    ("Type=ether", None, True), ("Name=lxc* \\\n en*", None, True),
    ("Type=ether\nName=e*", ["e*"], True), ("Name=", ["*"], False), ("# Name=x", ["*"], False),
])  # fmt: skip
def test_the_interfaces_that_a_networkd_unit_matches(tmp_path, match, names, narrowed):
    folder = "/etc/systemd/network/10-x.network"
    files = {
        folder: f"[Match]\n{match}\n[Network]\nIPv4ReversePathFilter=loose\n",
        folder + ".d/a.conf": "[Network]\nIPv4ReversePathFilter=yes\n",
    }
    writers = network.networkd(node(tmp_path, files))
    # networkd ignores the value of the drop-in.
    assert [(each["line"], each["value"], each["sets"]) for each in writers] == [
        (len(match.splitlines()) + 3, "loose", 2)
    ]
    assert [(each["names"], each["narrowed"], each["not_on"]) for each in writers] == [(names, narrowed, [])]
    assert [each["certain"] for each in writers] == [not narrowed]


def test_networkd_drop_ins_of_all_folders_are_in_the_order_of_their_names(tmp_path):
    text = "[Match]\nName=%s\n[Network]\nIPv4ReversePathFilter=no\n"
    files = {
        "/etc/systemd/network/x.network": text % "eth0",
        "/etc/systemd/network/x.network.d/z.conf": text % "",
        "/usr/lib/systemd/network/x.network.d/a.conf": text % "eth1",
    }
    # The last takes the names back, so the unit is for every interface.
    assert [(each["path"].split("/")[-1], each["names"]) for each in network.networkd(node(tmp_path, files))] == [
        ("x.network", ["*"]),
        ("a.conf", ["*"]),
        ("z.conf", ["*"]),
    ]


CLAIMED = {
    "/run/systemd/network/05-narrow.network": "[Match]\nName=wl*\nType=wlan\n",
    "/usr/lib/systemd/network/10-cilium.network": "[Match]\nName=lxc* cilium_*\n[Link]\nUnmanaged=yes\n",
    "/etc/systemd/network/20-eth.network": "[Match]\nName=eth0\n" + STRICT,
    "/etc/systemd/network/30-empty.network": "",
    "/etc/systemd/network/99-all.network": "[Match]\nName=*\n" + STRICT,
}


def test_networkd_applies_the_first_unit_that_matches(tmp_path):
    writers = network.networkd(node(tmp_path, CLAIMED))
    assert [(each["names"], each["not_on"], each["certain"]) for each in writers] == [
        (["eth0"], ["lxc*", "cilium_*"], True),
        (["*"], ["lxc*", "cilium_*", "eth0", "wl*"], True),
        # Whether the first unit takes these is not known.
        (["wl*"], ["lxc*", "cilium_*", "eth0"], False),
    ]
    # Before 255 it does not know the setting.
    assert network.networkd(node(tmp_path), 254) == []
    assert network.networkd(node(tmp_path), 255) == writers


def test_a_networkd_unit_matches_by_an_alternative_name(tmp_path):
    files = {
        "/etc/systemd/network/10-alt.network": "[Match]\nName=enp*\n" + STRICT,
        "/etc/systemd/network/20-all.network": "[Match]\nName=*\n" + STRICT,
    }
    altnames = {"eth0": ["enp1s0", "enx0"], "eth1": ["ens2"], "enp9": ["enp9s0"]}
    writers = network.networkd(node(tmp_path, files), altnames=altnames)
    assert [(each["names"], each["not_on"]) for each in writers] == [
        (["enp*", "eth0"], []),
        (["*"], ["enp*", "eth0"]),
    ]


@pytest.mark.parametrize("matches, reached", [
    (["Name=!lxc*"], [(["*"], ["lxc*"], True)]), (["Name=! lxc* cilium_*"], [(["*"], ["lxc*", "cilium_*"], True)]),
    (["Name=l*\nName=!lo"], [(["l*"], ["lo"], True)]), (["Name=!lxc*\nType=ether"], [(["*"], ["lxc*"], False)]),
    # An earlier unit leaves only these.
    (["Name=!lxc*", "Name=*"], [(["lxc*"], [], True)]), (["Name=!lxc*", "Name=eth0"], []),
    (["Name=!lxc*", "Name=lxc_health en*"], [(["lxc_health"], [], True)]),
    (["Name=e*\nName=!eth0", "Name=*"], [(["*"], ["e*"], True), (["e*"], [], False)]),
    # It may take every interface.
    (["Type=ether", "Name=*"], [(["*"], [], False)]), (["Kind=veth", "Name=*"], [(["*"], [], False)]),
    # It takes none of Cilium's.
    (["MACAddress=02:00:00:00:00:01", "Name=*"],
     [(["lxc*", "cilium_*"], [], True), (["*"], ["lxc*", "cilium_*"], False)]),
    (["Type=wlan", "Name=lxc*"], [(["lxc*"], [], True)]), (["Kind=!*", "Name=eth0"], [(["eth0"],
                                                                                     ["lxc*", "cilium_*"], False)]),
    (["Kind=bond\nType=ether"], [(None, ["lxc*", "cilium_*"], False)]), (["Kind=!veth"], [(None, [], False)]),
    (["Name=ve-*\nKind=veth", "Name=lxc*"], [(["lxc*"], [], True)]),
    (["Name=lxc*\nKind=veth", "Name=lxc_health"], [(["lxc_health"], [], False)]),
])  # fmt: skip
def test_the_interfaces_that_earlier_networkd_units_leave(tmp_path, matches, reached):
    files = {f"/etc/systemd/network/{number}.network": f"[Match]\n{match}\n"
             for number, match in enumerate(matches, 1)}  # fmt: skip
    files[f"/etc/systemd/network/{len(matches)}.network"] += STRICT
    writers = network.networkd(node(tmp_path, files))
    assert [(each["names"], each["not_on"], each["certain"]) for each in writers] == reached
    assert [each["narrowed"] for each in writers] == [not each["certain"] for each in writers]


def test_a_doubt_about_interfaces_that_are_not_there_is_left_out(tmp_path):
    # The units that systemd ships for containers.
    folder = "/usr/lib/systemd/network/"
    files = {
        folder + "80-container-ve.network": "[Match]\nKind=veth\nName=ve-*\n",
        folder + "80-wifi-adhoc.network": "[Match]\nType=wlan\nWLANInterfaceType=ad-hoc\n",
        "/etc/systemd/network/zz-default.network": "[Match]\nName=*\n" + STRICT,
    }
    writers = network.networkd(node(tmp_path, files), altnames={"eth0": [], "lxc1": []})
    assert [(each["names"], each["not_on"], each["certain"]) for each in writers] == [
        (["*"], ["ve-*", "wl*"], True),
    ]


def test_an_alternative_name_may_contradict_an_inverted_one(tmp_path):
    files = {"/etc/systemd/network/1.network": "[Match]\nName=!eth*\n" + STRICT}
    (writer,) = network.networkd(node(tmp_path, files), altnames={"eth0": ["enp1s0"], "lxc1": []})
    assert (writer["names"], writer["not_on"], writer["certain"]) == (["*"], [], False)


def test_network_manager_s_connectivity_check_loosens_a_strict_interface(tmp_path):
    files = {
        "/usr/lib/NetworkManager/conf.d/20-connectivity.conf": "[connectivity]\nuri=http://example.invalid/check\n",
        "/etc/NetworkManager/NetworkManager.conf": "[main]\nuri=no\n",
    }
    (found,) = network.network_manager(node(tmp_path, files, enabled=["NetworkManager.service"]))
    assert places([found]) == [
        ("networkmanager", "/usr/lib/NetworkManager/conf.d/20-connectivity.conf", 2, None),
    ]
    assert (found["sets"], found["certain"], found["names"], found["active"]) == (2, False, None, True)


@pytest.mark.parametrize("path, found", [
    ("/etc/NetworkManager/system-connections/eth0.nmconnection", True),
    ("/etc/NetworkManager/system-connections/eth0", True),  # of before 1.14
    ("/run/NetworkManager/system-connections/netplan-eth0.nmconnection", True),
    ("/usr/lib/NetworkManager/system-connections/eth0.nmconnection", True),
    ("/usr/lib/NetworkManager/system-connections/eth0.bak", False),
])  # fmt: skip
@pytest.mark.parametrize("of, names", [("interface-name=eth0\n", ["eth0"]), ("type=ethernet\n", None)])
def test_a_mention_in_a_connection_is_a_writer_that_is_not_certain(tmp_path, path, found, of, names):
    text = f"[connection]\nid=x\n{of}[ipv4]\n# rp_filter=2\nmethod=auto\n%s=0\n"
    for key in ("rp_filter", "rp-filter", "x-IPv4ReversePathFilter"):
        writers = network.network_manager(node(tmp_path, {path: text % key}, enabled=["NetworkManager.service"]))
        assert places(writers) == ([("networkmanager", path, 7, None)] if found else [])
        known = ("sets", "certain", "names", "not_on", "active", "when")
        expected = (None, False, names, ["all", "default"], True, ["boot", "interface"])
        assert [tuple(each[name] for name in known) for each in writers] == ([expected] if found else [])


DISPATCHER = "/etc/NetworkManager/dispatcher.d/30-rpfilter"


@pytest.mark.parametrize("executable, enabled, active", [
    ([DISPATCHER], ["NetworkManager.service"], True), ([], ["NetworkManager.service"], False),
    ([DISPATCHER], [], False),
])  # fmt: skip
def test_a_dispatcher_script_of_network_manager(tmp_path, executable, enabled, active):
    text = '#!/bin/sh\n[ "$2" = up ] && echo 1 > /proc/sys/net/ipv4/conf/$1/rp_filter\n'
    (found,) = network.dispatchers(node(tmp_path, {DISPATCHER: text}, executable, enabled))
    assert places([found]) == [("networkmanager-dispatcher", DISPATCHER, 2, "1")]
    # Which interfaces NetworkManager manages is not known; all and default are none.
    assert (found["names"], found["not_on"], found["certain"]) == (["*"], ["all", "default"], False)
    assert (found["sets"], found["when"], found["active"]) == (1, ["boot", "interface"], active)


def test_a_dispatcher_script_of_etc_masks_that_of_usr_lib_and_comments_write_nothing(tmp_path):
    writes = "#!/bin/sh\n# rp_filter\nsysctl net.ipv4.conf.$1.rp_filter=1\n"
    files = {
        "/etc/NetworkManager/dispatcher.d/10-x": writes,
        "/usr/lib/NetworkManager/dispatcher.d/10-x": writes,
        "/usr/lib/NetworkManager/dispatcher.d/pre-up.d/20-y": writes,
        "/etc/networkd-dispatcher/routable.d/z": "#!/bin/sh\nsysctl -w net.ipv4.conf.$IFACE.rp_filter=2\n",
    }
    assert places(network.dispatchers(node(tmp_path, files))) == [
        ("networkmanager-dispatcher", "/etc/NetworkManager/dispatcher.d/10-x", 3, "1"),
        ("networkmanager-dispatcher", "/usr/lib/NetworkManager/dispatcher.d/pre-up.d/20-y", 3, "1"),
        ("networkd-dispatcher", "/etc/networkd-dispatcher/routable.d/z", 2, "2"),
    ]


INTERFACES = """\
# up sysctl -w net.ipv4.conf.all.rp_filter=9
source interfaces.d/*.cfg
source-directory more.d
auto eth0
iface eth0 inet dhcp
    up sysctl -w net.ipv4.conf.$IFACE.rp_filter=1 \\
        net.ipv4.conf.all.rp_filter=2
    down sysctl -w net.ipv4.conf.all.rp_filter=7
iface eth1 inet manual
\tpost-up echo 0 > /proc/sys/net/ipv4/conf/$IFACE/rp_filter
"""


STANZA = "auto %s\niface %s inet static\npre-up sysctl net.ipv4.conf.%s.rp_filter=2\n"


def test_the_up_lines_of_ifupdown_with_the_interface_of_their_stanza(tmp_path):
    files = {
        "/etc/network/interfaces": INTERFACES,
        "/etc/network/interfaces.d/a.cfg": STANZA % ("br0", "br0", "br0"),
        "/etc/network/interfaces.d/b.off": STANZA % ("br1", "br1", "br1"),
        "/etc/network/more.d/c": "iface eth2 inet dhcp\n  up sysctl net.ipv4.conf.eth2.rp_filter=1\n",
        "/etc/network/more.d/c.bak": "iface eth2 inet dhcp\n  up sysctl net.ipv4.conf.eth2.rp_filter=1\n",
    }
    writers = network.ifupdown(node(tmp_path, files, enabled=["networking.service"]))
    found = [
        (each["path"].split("/")[-1], each["line"], each["names"], each["sets"], each["active"]) for each in writers
    ]
    assert found == [
        ("a.cfg", 3, ["br0"], 2, True),
        ("c", 2, ["eth2"], 1, False),  # nothing brings it up by itself
        ("interfaces", 6, ["eth0"], 1, True),
        ("interfaces", 6, ["all"], 2, True),
        ("interfaces", 10, ["eth1"], 0, False),
    ]
    assert {(each["by"], tuple(each["when"])) for each in writers} == {("ifupdown", ("boot",))}


@pytest.mark.parametrize("name, when", [
    ("eth0", ["boot"]), ("lxcbr0", ["boot", "interface"]), ("*", ["boot", "interface"]),
])  # fmt: skip
def test_a_stanza_and_its_hooks_run_with_the_next_interface_only_if_that_may_be_its_own(tmp_path, name, when):
    hook, line = "/etc/network/if-up.d/a", "sysctl -w net.ipv4.conf.all.rp_filter=1\n"
    files = {"/etc/network/interfaces": f"auto {name}\niface {name} inet dhcp\n up {line}"}
    files[hook] = "#!/bin/sh\n" + line
    writers = network.ifupdown(node(tmp_path, files, [hook], enabled=["networking.service"]))
    assert [each["when"] for each in writers] == [when, when]


def test_the_hooks_of_clients_run_for_no_interface_of_cilium_and_run_again_later(tmp_path):
    hooks = ["/etc/dhcp/dhclient-exit-hooks.d/a", "/etc/ppp/ip-up.d/a"]
    files = dict.fromkeys(hooks, "#!/bin/sh\nsysctl -w net.ipv4.conf.all.rp_filter=1\n")
    writers = network.hooks_of_clients(node(tmp_path, files, hooks))
    assert [each["when"] for each in writers] == [["boot", "periodic"]] * 2


def test_hooks_of_ifupdown_need_a_name_and_a_mode_that_run_parts_takes(tmp_path):
    text = "#!/bin/sh\necho 1 > /proc/sys/net/ipv4/conf/$IFACE/rp_filter\n"
    names = ["/etc/network/if-pre-up.d/a", "/etc/network/if-up.d/b", "/etc/network/if-up.d/c.sh"]
    found = node(tmp_path, dict.fromkeys(names, text), names[::2], enabled=["networking.service"])
    assert [(each["path"], each["names"], each["active"]) for each in network.ifupdown(found)] == [
        (names[0], ["*"], True),
        (names[1], ["*"], False),
    ]


@pytest.mark.parametrize(("interfaces", "names"), [
    ("", ["*"]), ("auto lo\niface lo inet loopback\n", ["lo"]),
    ("iface eth0 inet dhcp\niface eth1 inet dhcp\n", ["eth0", "eth1"]),
    ("mapping eth0\n script /x\niface home inet dhcp\n", ["*"]),
])  # fmt: skip
def test_hooks_of_ifupdown_run_for_the_interfaces_that_have_a_stanza(tmp_path, interfaces, names):
    hook = "/etc/network/if-up.d/a"
    files = {
        hook: "#!/bin/sh\necho 1 > /proc/sys/net/ipv4/conf/$IFACE/rp_filter\n",
        "/etc/network/interfaces": interfaces,
    }
    (writer,) = network.ifupdown(node(tmp_path, files, [hook]))
    assert writer["names"] == names
    by_another = "/etc/NetworkManager/dispatcher.d/01-ifupdown"
    (writer,) = network.ifupdown(node(tmp_path, {by_another: "#!/bin/sh\n"}, [hook, by_another]))
    assert writer["names"] == ["*"]


@pytest.mark.parametrize(
    ("option", "names"), [("", []), (" ip-rp-filter 2\n", [["eth1"]]), (" ip_rp_filter 0\n", [["eth1"]])]
)
def test_the_hook_of_the_package_vlan_writes_if_a_stanza_says_so(tmp_path, option, names):
    hook = "/etc/network/if-up.d/ip"
    text = '#!/bin/sh\nif [ -n "$IF_IP_RP_FILTER" ]; then\n echo 1 > /proc/sys/net/ipv4/conf/$IFACE/rp_filter\nfi\n'
    files = {hook: text, "/etc/network/interfaces": "iface eth0 inet dhcp\niface eth1 inet dhcp\n" + option}
    assert [each["names"] for each in network.ifupdown(node(tmp_path, files, [hook]))] == names


def test_hooks_of_dhclient_are_sourced_and_those_of_ppp_are_executed(tmp_path):
    files = {
        "/etc/dhcp/dhclient-exit-hooks.d/rp": "echo 2 > /proc/sys/net/ipv4/conf/all/rp_filter\n",
        "/etc/ppp/ip-up.d/rp": "#!/bin/sh\necho 0 > /proc/sys/net/ipv4/conf/$1/rp_filter\n",
    }
    assert [each["active"] for each in network.hooks_of_clients(node(tmp_path, files))] == [False, False]
    files.update({"/usr/sbin/dhclient": "", "/usr/sbin/pppd": ""})
    writers = network.hooks_of_clients(node(tmp_path, files))
    assert [(each["by"], each["names"], each["sets"], each["active"]) for each in writers] == [
        ("dhclient", ["all"], 2, None),
        ("ppp", ["*"], 0, False),
    ]


def test_wicked_s_files_are_for_the_interface_of_the_event(tmp_path):
    files = {
        "/etc/sysconfig/network/ifsysctl": "net.ipv4.conf.$SYSCTL_IF.rp_filter = 1\nnet/ipv4/conf/eth0.1/rp_filter=0\n",
        "/etc/sysconfig/network/ifsysctl-eth1": "# rp_filter\nnet/ipv4/conf/${INTERFACE}/rp_filter=2\nnet.x=1\n",
    }
    writers = network.wicked(node(tmp_path, files, enabled=["wickedd.service"]))
    assert [(each["line"], each["names"], each["not_on"], each["sets"], each["certain"]) for each in writers] == [
        (1, ["*"], ["all", "default"], 1, False),
        (2, ["eth0.1"], [], 0, False),
        (2, ["eth1"], [], 2, False),
    ]


def test_a_mention_in_netplan_is_a_writer_that_is_not_certain(tmp_path):
    files = {"/etc/netplan/50.yaml": "network:\n  # rp_filter\n  x: {rp_filter: 1}\n"}
    (found,) = network.netplan(node(tmp_path, files))
    assert (found["line"], found["certain"], found["sets"]) == (3, False, None)


def test_scripts_are_followed_for_one_call(tmp_path):
    hook = "/etc/network/if-up.d/a"
    files = {
        hook: "#!/bin/sh\n/opt/one.sh\n",
        "/opt/one.sh": "#!/bin/sh\n/opt/two.sh\nsysctl -w net.ipv4.conf.all.rp_filter=1\n",
        "/opt/two.sh": "#!/bin/sh\nsysctl --system\n/opt/three.sh\n",
        "/opt/three.sh": "#!/bin/sh\nsysctl -w net.ipv4.conf.all.rp_filter=2\n",
    }
    # A hook, and a script that it calls; whether the hook reaches the call is not known.
    writers = network.ifupdown(node(tmp_path, files, [hook]))
    assert [(each["path"], each["line"], each["certain"]) for each in writers] == [("/opt/one.sh", 3, False)]
    # A command, the script that it runs, and a script that this one calls.
    files["/etc/network/interfaces"] = "auto eth0\niface eth0 inet dhcp\n up /opt/one.sh\n"
    del files[hook]
    (tmp_path / hook[1:]).unlink()
    writers = network.ifupdown(node(tmp_path, files))
    assert sorted((each["path"], each["line"], each["runs"] or "") for each in writers) == [
        ("/opt/one.sh", 3, ""),
        ("/opt/two.sh", 2, "procps"),
    ]


def test_a_command_that_loads_a_file_writes_the_lines_of_that_file(tmp_path):
    files = {
        "/etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n up sysctl -p /etc/my.conf\n up sysctl --system\n",
        "/etc/my.conf": "# x\nnet.ipv4.conf.all.rp_filter = 1\nnet.ipv4.conf.eth0.rp_filter=2\nvm.x=1\n",
    }
    writers = network.ifupdown(node(tmp_path, files))
    assert [(each["path"], each["line"], each["names"], each["sets"], each["runs"]) for each in writers] == [
        ("/etc/my.conf", 2, ["all"], 1, None),
        ("/etc/my.conf", 3, ["eth0"], 2, None),
        ("/etc/network/interfaces", 4, None, None, "procps"),
    ]


@pytest.mark.parametrize("command, runs, certain", [
    ("/usr/lib/systemd/systemd-sysctl", "systemd_sysctl", True),
    ("/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/eth0", None, False),
    ("[ -e /x ] && sysctl --system", "procps", False),
    ("[ -e /x ] && systemctl restart systemd-sysctl", "unit", False),
    ("[ -e /x ] && cp /x /etc/y; sysctl --system", None, False),
    ("chroot /x sysctl --system", None, False),
])  # fmt: skip
def test_only_a_whole_run_of_a_loader_over_the_files_as_they_are_is_predicted(tmp_path, command, runs, certain):
    files = {"/etc/network/interfaces": f"auto eth0\niface eth0 inet dhcp\n up {command}\n"}
    (writer,) = network.ifupdown(node(tmp_path, files))
    assert (writer["runs"], writer["certain"], writer["names"]) == (runs, certain, None)


def test_what_is_not_a_regular_file_is_never_waited_for(tmp_path):
    lay(tmp_path, {"/etc/network/if-up.d/b": ""})
    os.mkfifo(tmp_path / "etc/network/if-up.d/a")
    (tmp_path / "etc/systemd/network/x.network").mkdir(parents=True)
    assert network.networkd(node(tmp_path)) + network.ifupdown(node(tmp_path)) == []


def test_scripts_are_read_within_bounds_and_what_was_left_out_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(scripts, "MAX_FILE_BYTES", 100)
    monkeypatch.setattr(scripts, "MAX_FILES", 2)
    text = "#!/bin/sh\nsysctl -w net.ipv4.conf.all.rp_filter=1\n"
    files = {"/etc/network/if-up.d/a": text + "#" * 100, "/etc/network/if-up.d/b": text, "/etc/network/if-up.d/c": text}
    found = node(tmp_path, files)
    (tmp_path / "etc/network/if-up.d/0").write_bytes(b"\x7fELF\0" + text.encode())
    assert [each["path"] for each in network.ifupdown(found)] == []
    assert [entry["what"] for entry in found.reader.unread] == ["/etc/network/if-up.d/a", "scripts"]
    monkeypatch.setattr(scripts, "MAX_FILES", 9)
    assert [each["path"][-1] for each in network.ifupdown(node(tmp_path))] == ["b", "c"]


def test_a_dot_in_the_name_of_an_interface_may_make_another_key(tmp_path):
    text = "auto eth0.5\niface eth0.5 inet dhcp\n up sysctl -w net.ipv4.conf.$IFACE.rp_filter=1\n"
    (writer,) = network.ifupdown(node(tmp_path, {"/etc/network/interfaces": text}))
    assert (writer["names"], writer["sets"], writer["certain"]) == (["eth0.5"], 1, False)


def test_a_glob_in_a_file_that_a_command_loads_is_not_certain(tmp_path):
    files = {
        "/etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n up sysctl -p /etc/my.conf\n",
        "/etc/my.conf": "net.ipv4.conf.*.rp_filter = 2\nnet.ipv4.conf.eth0.rp_filter = 1\n",
    }
    writers = network.ifupdown(node(tmp_path, files))
    assert [(each["names"], each["certain"]) for each in writers] == [(["*"], False), (["eth0"], True)]
