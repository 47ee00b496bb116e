"""Whether an agent belongs to a node: its socket, its state folder, its CNI configuration."""

from pathlib import Path

import pytest
from agent_server import agent as serving
from agent_server import answering
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import agent
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.files import Reader
from observed_tree import lay

HEALTH = Path(__file__).parent.parent / "fixtures" / "captures" / "1.20-broken" / "agent-healthz.json"
CONFLIST = '{"name": "cilium", "plugins": [{"type": "cilium-cni"}]}\n'
NOBODY = {"seen": False, "by": None, "answers": False, "version": None, "reconciles_after": None}


def presence(root, **options):
    return agent.presence(Reader(str(root)), str(root / "cilium.sock"), 5, **options)


def test_a_node_without_any_sign_of_an_agent(tmp_path):
    assert presence(tmp_path) == NOBODY


@pytest.mark.parametrize(
    ("path", "text", "by"),
    [
        ("/var/run/cilium/state/agent-runtime-config.json", "{}\n", "state"),
        ("/etc/cni/net.d/05-cilium.conflist", CONFLIST, "cni"),
        ("/etc/cni/net.d/10-aws.conflist", CONFLIST, "cni"),
        ("/etc/cni/net.d/10-flannel.conflist", '{"plugins": [{"type": "flannel"}]}\n', None),
        ("/etc/cni/net.d/05-cilium.conflist.cilium_bak", CONFLIST, None),
        ("/var/run/cilium/cilium.pid", "1\n", None),
    ],
)
def test_its_files_tell_of_an_agent_that_does_not_answer(tmp_path, path, text, by):
    lay(tmp_path, {path: text})
    assert presence(tmp_path) == dict(NOBODY, seen=by is not None, by=by)


def test_an_agent_that_answers_tells_its_version(tmp_path):
    with serving(tmp_path / "cilium.sock", answering({"/v1/healthz": HEALTH.read_text()})):
        found = presence(tmp_path)
    assert (found["by"], found["answers"], found["reconciles_after"]) == ("socket", True, 600)
    assert found["version"].startswith("1.20.")


def test_a_chroot_is_judged_by_its_files(tmp_path):
    with serving(tmp_path / "cilium.sock", answering({"/v1/healthz": HEALTH.read_text()})):
        assert presence(tmp_path, ask=False) == NOBODY


@pytest.mark.parametrize(
    ("version", "seconds"),
    [("1.20.0", 600), ("1.16.0-rc.1", 600), ("1.15.19", None), ("2.0.0", 600), ("", None), (None, None)],
)
def test_its_reconciler_came_with_a_version(version, seconds):
    assert agent.reconciles_after(version) == seconds
