"""The module as Ansible runs it, and its documentation against what it takes and returns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import routes as observe_routes
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.iproute import Answer, IpRoute
from ansible_collections.nodeward.cilium.plugins.modules import route_facts
from scratch_node import cilium_host, ip, needs_root, on_scratch_node, pod

COLLECTIONS = Path(route_facts.__file__).parents[5]


def run(capsys, **arguments):
    """What the module says, in this process, on whatever system this is."""
    arguments = dict({"running_system": "always"}, **arguments)
    with patch_module_args(arguments), pytest.raises(SystemExit):
        route_facts.main()
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def options_seen(monkeypatch):
    """The options with which the facts were gathered; nothing is."""
    seen = {}

    def observe(iproute, **options):
        seen.update(options)
        return {"endpoints": [{"device": "lxc\udcff"}]}

    monkeypatch.setattr(observe_routes, "observe", observe)
    return seen


def test_defaults(capsys, options_seen):
    result = run(capsys)
    assert options_seen == {
        "agent_path": "/var/run/cilium/cilium.sock",
        "netns_dir": "/run/netns",
        "state_dir": "/var/run/cilium/state",
        "sources": ["agent", "state", "netns", "routes"],
        "verdicts": True,
        "timeout": 5.0,
        "outside": "203.0.113.1",
    }
    assert set(result) - {"changed", "invocation"} == {"ansible_facts"}
    assert not result.get("changed")


def test_facts_are_text_that_any_reader_takes(capsys, options_seen):
    assert run(capsys)["ansible_facts"] == {"cilium_routes": {"endpoints": [{"device": "lxc\\xff"}]}}


def test_options(capsys, options_seen):
    paths = {"agent_socket": "/a", "netns_dir": "/b", "state_dir": "/c"}
    run(capsys, verdicts=False, sources=["netns"], timeout="1.5", outside="198.51.100.7", **paths)
    assert options_seen == {
        "agent_path": "/a",
        "netns_dir": "/b",
        "state_dir": "/c",
        "sources": ["netns"],
        "verdicts": False,
        "timeout": 1.5,
        "outside": "198.51.100.7",
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"sources": []}, "sources: is empty; name at least one of agent, state, netns, routes"),
        ({"sources": ["kubelet"]}, "value of sources must be one or more of: agent, state, netns, routes"),
        ({"agent_socket": "cilium.sock"}, "agent_socket: 'cilium.sock' is no absolute path"),
        ({"netns_dir": "./netns"}, "netns_dir: './netns' is no absolute path"),
        ({"state_dir": "state"}, "state_dir: 'state' is no absolute path"),
        ({"outside": "world"}, "outside: 'world' is no IPv4 address"),
        ({"outside": "2001:db8::1"}, "outside: '2001:db8::1' is no IPv4 address"),
        ({"timeout": 0}, "timeout: 0 is not a time to wait; give seconds from above 0 to 3600"),
        ({"timeout": -1}, "timeout: -1 is not a time to wait"),
        ({"timeout": "nan"}, "timeout: nan is not a time to wait"),
        ({"timeout": "inf"}, "timeout: inf is not a time to wait"),
        ({"timeout": "soon"}, "timeout"),
        ({"gather_subset": "all"}, "Unsupported parameters"),
    ],
)
def test_bad_options(capsys, options_seen, arguments, expected):
    result = run(capsys, **arguments)
    assert result["failed"] is True
    assert expected in result["msg"]
    assert options_seen == {}


def test_ip_missing(capsys, monkeypatch):
    monkeypatch.setattr(route_facts, "IpRoute", lambda run_command: IpRoute(run_command, ip="no-ip"))
    result = run(capsys)
    assert result["failed"] is True
    assert "cannot run 'no-ip'" in result["msg"]


def test_an_image_is_asked_nothing(capsys, monkeypatch, options_seen):
    monkeypatch.setattr(observe_filter, "why_not_observed", lambda observe_it: "no systemd runs here")
    facts = run(capsys, running_system="auto")["ansible_facts"]["cilium_routes"]
    assert facts["running_system"] == {"observed": False, "why": "no systemd runs here"}
    assert facts["endpoints"] == [] and options_seen == {}


def test_documentation_has_the_options(monkeypatch):
    taken = {}

    class Seen(Exception):
        pass

    def module(argument_spec, supports_check_mode):
        taken.update(argument_spec, check=supports_check_mode)
        raise Seen

    monkeypatch.setattr(route_facts, "AnsibleModule", module)
    with pytest.raises(Seen):
        route_facts.main()
    assert taken.pop("check") is True
    documented = yaml.safe_load(route_facts.DOCUMENTATION)["options"]
    for option in documented.values():
        assert option.pop("description")
    assert documented == taken


def test_documentation_has_what_is_returned():
    facts = yaml.safe_load(route_facts.RETURN)["ansible_facts"]["contains"]["cilium_routes"]["contains"]
    observed = observe_routes.observe(_StandIn(), agent_path="/none", netns_dir="/none", state_dir="/none")
    assert set(facts) == set(observed)
    assert set(facts["endpoint_routes"]["contains"]) == set(observed["endpoint_routes"])
    assert set(facts["proxy_rule"]["contains"]) == set(observed["proxy_rule"])
    (endpoint,) = observed["endpoints"]
    assert set(facts["endpoints"]["contains"]) == set(endpoint)
    assert set(facts["endpoints"]["contains"]["peer"]["contains"]) == set(endpoint["peer"])
    assert set(facts["endpoints"]["contains"]["leaves"]["contains"]) == set(endpoint["leaves"])


def test_an_image_has_no_pods_and_the_same_members():
    why = "this is a chroot: /proc/sys is the build host's"
    observed = observe_routes.observe(_StandIn(), agent_path="/none", netns_dir="/none", state_dir="/none")
    facts = observe_routes.not_observed(why)
    assert facts["running_system"] == {"observed": False, "why": why}
    assert set(facts) == set(observed) and set(facts["endpoint_routes"]) == set(observed["endpoint_routes"])
    assert facts["endpoints"] == facts["unread"] == [] and facts["source"] is None


class _StandIn:
    """One endpoint with its route, whatever is asked."""

    def netconf(self):
        return {"lxc1": 0, "all": 0}

    def links(self):
        return [{"ifname": "lxc1", "ifindex": 5, "kind": "veth", "link_index": 2, "link_netnsid": 0}]

    def addresses(self):
        return {}

    def routes(self):
        return [{"dst": "10.0.0.11", "dev": "lxc1"}]

    def rules(self):
        return [{"priority": 9, "fwmark": "0x200", "fwmask": "0xf00", "table": "2004"}]

    def verdicts(self, questions):
        return [Answer({"dev": "lxc1"}, None) for _question in questions]

    matches = verdicts


PLAYBOOK = """
- hosts: localhost
  gather_facts: true
  vars:
    ansible_facts_modules: [nodeward.cilium.rp_filter_facts, nodeward.cilium.route_facts]
    ansible_facts_parallel: false
  module_defaults:  # no systemd runs here
    nodeward.cilium.rp_filter_facts: {running_system: always}
    nodeward.cilium.route_facts: {running_system: always}
  tasks:
    - ansible.builtin.copy:
        content: "{{ ansible_facts | to_json }}"
        dest: "{{ folder }}/gathered.json"
        mode: "0600"
    - nodeward.cilium.route_facts:
        verdicts: false
      check_mode: true
      register: checked
    - ansible.builtin.copy:
        content: "{{ checked | to_json }}"
        dest: "{{ folder }}/checked.json"
        mode: "0600"
"""


@needs_root
def test_gather_facts(tmp_path):
    """A plain gather_facts that names both modules, on a scratch node."""
    (tmp_path / "play.yml").write_text(PLAYBOOK)

    def body():
        cilium_host()
        pod("cni-1", "10.0.0.11", "lxc1", value=2)
        pod("cni-2", "10.0.0.12", "lxc2", value=2)
        ip("route", "add", "10.0.0.12/32", "dev", "lxc2")
        result = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", "localhost,", "-c", "local", "-e", f"folder={tmp_path}"),
                *("-e", f"ansible_python_interpreter={sys.executable}", str(tmp_path / "play.yml")),
            ],
            env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(COLLECTIONS), ANSIBLE_HOME=str(tmp_path / "home")),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout

    on_scratch_node(body, timeout=180)
    facts = json.loads((tmp_path / "gathered.json").read_text())
    assert facts["rp_filter"]["devices"]["lxc1"]["effective"] == 2
    routes = facts["cilium_routes"]
    assert routes["source"] == "netns"
    assert {endpoint["device"]: endpoint["verdict"] for endpoint in routes["endpoints"]} == {
        "lxc1": "dropped",
        "lxc2": "accepted",
    }
    assert "distribution" not in facts  # Ansible's own facts were not gathered

    checked = json.loads((tmp_path / "checked.json").read_text())
    assert set(checked) - {"changed", "failed", "warnings", "deprecations"} == {"ansible_facts"}
    assert checked["changed"] is False
    assert set(checked["ansible_facts"]) == {"cilium_routes"}
    assert {e["verdict"] for e in checked["ansible_facts"]["cilium_routes"]["endpoints"]} == {"unknown"}
