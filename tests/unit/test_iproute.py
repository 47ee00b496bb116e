"""`ip`: its recorded answers through the parsers, and the real one on devices of our own."""

import json
import os
import time
from pathlib import Path

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import Answer, IpRoute
from ansible_collections.nodeward.cilium.plugins.module_utils.runner import CommandError, bounded_runner
from ansible_collections.nodeward.cilium.plugins.module_utils.text import printable, printable_tree
from scratch_node import cilium_host, ip, needs_root, on_scratch_node, pod, rp_filter

CAPTURES = Path(__file__).parent.parent / "fixtures" / "captures"


def said(expected_argv, stdout, stderr="", rc=0, expected_data=None):
    """A run_command for one exact command line."""

    def run_command(argv, data=None):
        assert argv == expected_argv
        assert data == expected_data
        return rc, stdout, stderr

    return IpRoute(run_command)


def captured(state, name, *argv):
    return said(["ip", *argv], (CAPTURES / state / name).read_text())


def test_netconf_of_a_real_node():
    assert captured("broken", "ip-netconf.json", "-4", "-j", "netconf", "show").netconf() == {
        "lo": 2,
        "eth0": 2,
        "cilium_net": 0,
        "cilium_host": 0,
        "cilium_vxlan": 0,
        "lxc_health": 2,
        "lxc8bcd55ee79d3": 2,
        "lxc6166b658b864": 2,
        "all": 0,
        "default": 2,
    }


def test_links_of_a_real_node():
    links = captured("broken", "ip-link.json", "-j", "-d", "link", "show").links()
    seen = {
        link["ifname"]: tuple(link[key] for key in ("ifindex", "kind", "link_index", "link_netnsid")) for link in links
    }
    assert seen == {
        "lo": (1, None, None, None),
        "eth0": (2, "veth", 2, 0),
        "cilium_net": (3, "veth", 4, None),  # named by `link` there, since its peer is in the same namespace
        "cilium_host": (4, "veth", 3, None),
        "cilium_vxlan": (5, "vxlan", None, None),
        "lxc_health": (31, "veth", 30, 1),
        "lxc8bcd55ee79d3": (37, "veth", 36, 2),
        "lxc6166b658b864": (39, "veth", 38, 3),
    }


def test_addresses_of_a_real_node():
    addresses = captured("broken", "ip-addr.json", "-j", "addr", "show").addresses()
    assert addresses["eth0"] == [
        {"address": "192.168.250.10", "prefixlen": 24, "scope": "global", "family": "inet"},
        {"address": "fe80::dcb3:e5ff:feba:6d4f", "prefixlen": 64, "scope": "link", "family": "inet6"},
    ]
    assert [entry["address"] for entry in addresses["cilium_host"] if entry["family"] == "inet"] == ["10.0.0.181"]


def test_routes_and_rules_of_a_real_node():
    routes = captured("routes-mixed", "ip-route.json", "-4", "-j", "route", "show", "table", "all").routes()
    assert {"10.0.0.179", "10.0.0.180"} == {route["dst"] for route in routes if route.get("dev", "").startswith("lxc")}
    rules = captured("broken", "ip-rule.json", "-4", "-j", "rule", "show").rules()
    assert [rule["table"] for rule in rules] == ["local", "main", "default"]


@pytest.mark.parametrize("nothing", ["", "\n", "[]", "[ ]\n", "[{},{}]"])
def test_nothing_there(nothing):
    run = IpRoute(lambda argv, data=None: (0, nothing, ""))
    assert (run.netconf(), run.links(), run.addresses(), run.routes(), run.rules()) == ({}, [], {}, [], [])


def test_a_number_that_ip_has_no_word_for_is_loose():
    dump = '[{"family":"inet","interface":"eth0","rp_filter":"unknown mode"},{"family":"inet","interface":"x"}]'
    assert said(["ip", "-4", "-j", "netconf", "show"], dump).netconf() == {"eth0": 2}


def test_apostrophes_of_older_releases():
    r"""iproute2 5.9 writes \' for an apostrophe, which JSON does not know."""
    dump = (
        r"""[{"ifindex":3,"link":"x1","ifname":"q\'z"},{"ifindex":4,"ifname":"a\\\'b"},{"ifindex":5,"ifname":"c\\"}]"""
    )
    links = said(["ip", "-j", "-d", "link", "show"], dump).links()
    assert [link["ifname"] for link in links] == ["q'z", "a\\'b", "c\\"]


@pytest.mark.parametrize(
    ("rc", "stdout", "stderr", "expected"),
    [
        (2, "[", "Error: ipv4: FIB table does not exist.\nDump terminated", "exit 2.*FIB table"),
        (255, "", 'Object "netconf" is unknown, try "ip help".', "exit 255.*netconf"),
        (0, "1: lo: <LOOPBACK>", "", "did not answer in JSON.*1: lo: <LOOPBACK>"),
        (0, '[{"dst":"default"', "", "did not answer in JSON"),
        (0, '{"dst":"default"}', "", "did not answer in JSON"),
        (0, "[1]", "", "did not answer in JSON"),
    ],
)
def test_failures_are_sentences(rc, stdout, stderr, expected):
    with pytest.raises(CommandError, match=expected):
        said(["ip", "-4", "-j", "route", "show", "table", "all"], stdout, stderr, rc).routes()


BATCH = ["ip", "-j", "-force", "-batch", "-"]


def test_batch_answers_go_to_their_questions():
    answers = said(
        BATCH,
        '[{"dst":"10.9.0.5","dev":"eth0","flags":[]}]\n[{"type":"local","dst":"10.9.0.1","dev":"lo"}]\n',
        "RTNETLINK answers: Network is unreachable\nCommand failed -:2\n"
        "Error: first words.\nSecond words.\nCommand failed -:4\nCommand failed -:5\n",
        1,
        "route get 10.9.0.5\nroute get 1.2.3.4\nroute get 10.9.0.1 from 10.9.0.7 iif eth1\n"
        "route get 10.9.0.1 from 10.9.0.7 iif no-such\nroute get 10.9.0.2\n",
    ).verdicts(
        [
            ("10.9.0.5",),
            ("1.2.3.4", None, None),
            ("10.9.0.1", "10.9.0.7", "eth1"),
            ("10.9.0.1", "10.9.0.7", "no-such"),
            ("10.9.0.2",),
        ]
    )
    assert answers == [
        Answer({"dst": "10.9.0.5", "dev": "eth0", "flags": []}, None),
        Answer(None, "RTNETLINK answers: Network is unreachable"),
        Answer({"type": "local", "dst": "10.9.0.1", "dev": "lo"}, None),
        Answer(None, "Error: first words. Second words."),
        Answer(None, "refused without a word"),
    ]


@pytest.mark.parametrize(
    ("rc", "stdout", "stderr"),
    [
        (1, '[{"dst":"10.9.0.5"}]', "Error: it stopped in the middle"),
        (0, '[{"dst":"1"}][{"dst":"2"}][{"dst":"3"}]', ""),
        (1, '[{"dst":"10.9.0.5"}]', "Command failed -:7"),
        (255, '[{"dst":"1"}][{"dst":"2"}]', "Option is unknown"),
    ],
)
def test_a_batch_that_lost_count_is_an_error(rc, stdout, stderr):
    with pytest.raises(CommandError, match="of 2 questions"):
        IpRoute(lambda argv, data=None: (rc, stdout, stderr)).verdicts([("10.9.0.5",), ("10.9.0.6",)])


def test_no_question_runs_nothing():
    assert IpRoute(None).verdicts([]) == []


@pytest.mark.parametrize("address", ["10.0.0.1 dev eth0", "10.0.0.1\nlink del eth0", "default", "", "-h", "10.0.0.1/8"])
def test_only_addresses_reach_a_batch(address):
    for question in ((address, None, None), ("10.0.0.1", address, "eth0")):
        with pytest.raises(CommandError, match="no IP address"):
            IpRoute(None).verdicts([question])


def test_printable():
    assert printable("lxc3c160d6c7aa0-ü") == "lxc3c160d6c7aa0-ü"
    tree = {"a\udcff": [os.fsdecode(b"\xfe"), 1, None, {"b": "c"}]}
    assert printable_tree(tree) == {"a\\xff": ["\\xfe", 1, None, {"b": "c"}]}
    json.dumps(printable_tree(tree), ensure_ascii=False).encode("utf-8")


class TestRunner:
    def test_program_missing(self):
        with pytest.raises(CommandError, match="cannot run 'no-such-ip'.*[Ii]nstall iproute2"):
            bounded_runner(5)(["no-such-ip", "link"])

    def test_program_that_hangs(self):
        started = time.monotonic()
        with pytest.raises(CommandError, match=r"'sleep 60' did not finish within 0.2 s"):
            bounded_runner(0.2)(["sleep", "60"])
        assert time.monotonic() - started < 5

    def test_large_question_and_large_answer(self):
        """Writing all before reading would hang here: both are larger than a pipe holds."""
        text = "x" * 80 + "\n"
        assert bounded_runner(30)(["cat"], text * 20000) == (0, text * 20000, "")

    def test_locale_and_path(self, monkeypatch):
        monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        out = bounded_runner(5)(["env"])[1].splitlines()
        assert "LC_ALL=C" in out
        assert "PATH=/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin" in out

    def test_bytes_that_are_no_text(self):
        assert bounded_runner(5)(["printf", r"\377"])[1] == "\udcff"


@needs_root
class TestKernel:
    def test_dumps(self):
        def body():
            cilium_host()
            pod("p1", "10.0.0.11", "lxc1", value=2)
            rp_filter("cilium_host", 1)
            real = IpRoute(bounded_runner(10))
            return real.netconf(), real.links(), real.addresses(), real.routes(), real.rules()

        netconf, links, addresses, routes, rules = on_scratch_node(body)
        assert (netconf["lxc1"], netconf["cilium_host"], netconf["cilium_net"], netconf["all"]) == (2, 1, 0, 0)
        assert set(netconf) == {link["ifname"] for link in links} | {"all", "default"}
        by_name = {link["ifname"]: link for link in links}
        assert by_name["lxc1"]["kind"] == "veth"
        assert by_name["lxc1"]["link_netnsid"] == 0
        assert by_name["cilium_host"]["link_index"] == by_name["cilium_net"]["ifindex"]
        assert addresses["cilium_host"][0]["address"] == "10.0.0.253"
        assert {"10.0.0.0/24", "10.0.0.253", "127.0.0.0/8"} <= {route["dst"] for route in routes}
        assert len(rules) == 3

    @pytest.mark.parametrize(("value", "accepted"), [(0, True), (1, False), (2, False)])
    def test_verdicts_of_off_strict_and_loose(self, value, accepted):
        def body():
            cilium_host()
            pod("p1", "10.0.0.11", "lxc1", value=value)
            pod("p2", "10.0.0.12", "lxc2", value=value)
            ip("route", "add", "10.0.0.12/32", "dev", "lxc2")
            return IpRoute(bounded_runner(10)).verdicts(
                [
                    ("10.0.0.253", "10.0.0.11", "lxc1"),
                    ("10.0.0.253", "10.0.0.12", "lxc2"),
                    ("10.0.0.253", "10.0.0.11", "gone"),
                    ("10.0.0.11",),
                    ("203.0.113.1",),
                ]
            )

        plain, routed, gone, route, unreachable = on_scratch_node(body)
        assert (plain.error is None) is accepted
        assert plain.error is None or "Invalid" in plain.error
        assert routed.error is None
        assert gone == Answer(None, 'Cannot find device "gone"')
        assert route.route["dev"] == "cilium_host"
        assert route.route["prefsrc"] == "10.0.0.253"
        assert "unreachable" in unreachable.error

    def test_names_that_could_spoil_a_batch(self):
        """Each device is at another value than its neighbours, so that a wrong device gives a wrong verdict."""
        names = [
            'a"b',
            "-x",
            "[x]",
            "\udcff\udcfe",
            "é€",
            "#c",
            "b\\n",
            "q'z",
            "a\\'b",
            "\x01c",
            "x+y",
            "from",
            "iif",
            "a@b",
        ]

        def body():
            cilium_host()
            # Whoever takes if<index> for granted meets a device with that very name and the opposite value.
            ip("link", "add", "name", "if70", "index", "60", "type", "veth", "peer", "name", "all-others")
            ip("link", "add", "name", 'lxc"70', "index", "70", "type", "veth", "peer", "name", "if071")
            for number, name in enumerate(names):
                ip("link", "add", "name", name, "type", "veth", "peer", "name", f"peer{number}")
            for number, name in enumerate(["if70", 'lxc"70'] + names):
                ip("link", "set", "dev", name, "up")
                rp_filter(name, 1 if number % 2 else 0)
            real = IpRoute(bounded_runner(10))
            everyone = ["if70", 'lxc"70'] + names
            return (
                real.netconf(),
                [link["ifname"] for link in real.links()],
                real.verdicts([("10.0.0.253", f"10.0.0.{i + 1}", name) for i, name in enumerate(everyone)]),
                real.verdicts([("10.0.0.253", "10.0.0.1", 'gone"too')]),
            )

        netconf, links, verdicts, gone = on_scratch_node(body)
        assert {"if70", 'lxc"70', *names} <= set(links)
        assert [netconf[name] for name in names] == [i % 2 for i in range(len(names))]
        assert [answer.error is None for answer in verdicts] == [i % 2 == 0 for i in range(len(names) + 2)]
        assert gone[0].error is not None
        assert "No such device" in gone[0].error

    def test_thousands_in_one_batch(self):
        def body():
            cilium_host()
            pod("p1", "10.0.0.11", "lxc1", value=1)
            runs = []
            run = bounded_runner(30)

            def counting(argv, data=None):
                runs.append(argv)
                return run(argv, data)

            questions = [
                (f"10.0.0.{i % 200 + 1}",) if i % 3 else ("10.0.0.253", "10.0.0.11", "lxc1") for i in range(5000)
            ]
            return [answer.error is None for answer in IpRoute(counting).verdicts(questions)], runs

        accepted, runs = on_scratch_node(body)
        assert accepted == [i % 3 != 0 for i in range(5000)]
        assert len(runs) == 1
