"""The modules of rp_filter as Ansible runs them: what is refused before anything is read, and warnings of a failure."""

import json
import types

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.nodeward.cilium.plugins.module_utils import dropin
from ansible_collections.nodeward.cilium.plugins.module_utils.observe import filter as observe_filter
from ansible_collections.nodeward.cilium.plugins.module_utils.observe.files import Reader
from ansible_collections.nodeward.cilium.plugins.module_utils.write import outcome, plan, transaction
from ansible_collections.nodeward.cilium.plugins.modules import rp_filter, rp_filter_facts


def run(module, capsys, **arguments):
    """What the module says, in this process."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        module.main()
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def requests(monkeypatch):
    """The writer, which does nothing: its ``requests``, and the ``error`` that it is to raise."""
    seen = []
    monkeypatch.setattr(rp_filter.os, "geteuid", lambda: 0)
    # Other tests load Ansible's controller into this process, which shows warnings instead of returning them.
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)

    class Run:
        warnings = ["the first", "the second"]
        error, applying, environment = None, False, types.SimpleNamespace(reader=Reader("/"))

        def __init__(self, request, *_arguments):
            seen.append(request)

        def run(self, _check_mode):
            if self.error:
                raise self.error
            return {"changed": False, "plan": [], "not_applied": None}

    monkeypatch.setattr(transaction, "Transaction", Run)
    Run.requests = seen
    return Run


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (transaction.TransactionError("the drop-in would not last. Nothing was changed", conflicts=[1]), "not last"),
        (dropin.DropinError("the drop-in was edited by hand"), "edited by hand. Nothing was changed."),
        (OSError(13, "Permission denied"), "Permission denied. Nothing was changed."),
    ],
)
def test_a_failure_keeps_its_warnings(capsys, requests, error, words):
    requests.error = error
    result = run(rp_filter, capsys)
    assert result["failed"]
    assert words in result["msg"]
    assert len(result["warnings"]) == 2
    assert all(words in json.dumps(result["warnings"]) for words in ("the first", "the second"))
    assert result.get("conflicts") == getattr(error, "details", {}).get("conflicts")


@pytest.mark.parametrize("module", [rp_filter, rp_filter_facts])
@pytest.mark.parametrize("timeout", [0, -1, "nan", "inf", 3601])
def test_a_timeout_of_no_time_is_refused(capsys, requests, monkeypatch, module, timeout):
    monkeypatch.setattr(observe_filter, "observe", lambda *_arguments, **_more: pytest.fail("observed"))
    result = run(module, capsys, timeout=timeout)
    assert result["failed"]
    assert "is not a time to wait; give seconds from above 0 to 3600" in result["msg"]
    assert requests.requests == []


@pytest.mark.parametrize("listed", [None, []])
def test_no_uplink_devices_means_that_they_are_found(capsys, requests, listed):
    run(rp_filter, capsys, **({} if listed is None else {"uplink_devices": listed}))
    assert requests.requests[0].options.uplink_devices is None


@pytest.mark.parametrize("listed", [None, []])
def test_the_facts_find_uplinks_if_none_is_listed(monkeypatch, listed):
    class Iproute:
        def netconf(self):
            return {"all": 0, "default": 0, "eth0": 1}

        def links(self):
            return [{"ifname": "eth0", "kind": None}]

        def addresses(self):
            return {"eth0": [{"address": "192.0.2.1", "prefixlen": 24, "scope": "global", "family": "inet"}]}

        def routes(self):
            return []

    assert observe_filter.see_devices(Iproute(), ["lxc*", "cilium_*"], listed).kinds == {"eth0": "uplink"}


def test_options_reach_the_writer(capsys, requests):
    run(rp_filter, capsys, edited="adopt", allow_absent_uplinks=True)
    (request,) = requests.requests
    assert (request.edited, request.options.allow_absent) == ("adopt", True)


@pytest.mark.parametrize(
    ("applying", "found", "expected"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_node_without_any_sign_of_cilium_is_a_warning(capsys, monkeypatch, requests, applying, found, expected):
    requests.applying, requests.request = applying, types.SimpleNamespace(options=plan.Options(["lxc*"], "keep", None))
    requests.iproute = None
    seen = types.SimpleNamespace(running={}, kinds={})
    monkeypatch.setattr(observe_filter, "see_devices", lambda *_arguments: seen)
    monkeypatch.setattr(rp_filter.agent, "signs", lambda *_arguments: ["/run/cilium"] if found else [])
    run(rp_filter, capsys)
    assert (outcome.NO_SIGN in requests.warnings) is expected
