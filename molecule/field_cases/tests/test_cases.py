"""Each case of cases.yml on a node of its own, without an agent, and on a second one with it.

The facts predict the horizons, then each event is caused and the prediction compared with what then stands.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import horizon_lab
import pytest
import yaml
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.diagnosis import diagnosis
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.findings import findings
from ansible_collections.nodeward.cilium.plugins.plugin_utils.render.story import story

CASES = yaml.safe_load((Path(__file__).with_name("cases.yml")).read_text())["cases"]
LAID = {case["id"]: case for case in CASES if "not_laid" not in case}
PLUGINS = Path(os.environ["ANSIBLE_COLLECTIONS_PATH"], "ansible_collections/nodeward/cilium/plugins")
POD = "lxc3c160d6c7aa0"
SECOND_POD = "lxc91f0b62d1e57"
NODES_AT_ONCE = 3


# ---- what is done to the nodes ---------------------------------------------------------------------------------------


def lay(case):
    """The steps that bring a booted node into the state of the case."""
    hardened = [["module", "rp_filter", case["hardened"]]] if "hardened" in case else []
    state = hardened + [["shell", command] for command in case.get("state", [])]
    devices = ["network", case.get("devices", [])]
    return ["booted", devices, "base", ["pod", "first", "10.0.0.113", POD]], state


def without_agent(case, collection):
    """A round of predictions and events; then harden, and what stands after it."""
    seen = SimpleNamespace(hardened=[])
    interfaces, state = lay(case)
    with horizon_lab.Node(f"case-{case['id']}", case["suite"], collection, files_of(case)) as node:
        node.run(*interfaces, *state)
        seen.round = horizon_lab.Round(node, agent=False, devices=case.get("devices", []))
        node.run(["pod", "first", "10.0.0.113", POD], *state)
        watched = [["shell", command] for command in case.get("unchanged", [])]
        before = node.run(*watched)
        for number, run in enumerate(case.get("harden", [])):
            new_pod = ["event", ["interface", f"lxcafter{number}"]]
            result, values, (later,) = node.run(["module", "rp_filter", run.get("options", {})], "values", new_pod)
            seen.hardened.append(SimpleNamespace(result=result, values=values, next_pod=later[f"lxcafter{number}"]))
        seen.changed = [(old, new) for old, new in zip(before, node.run(*watched)) if old != new]
        if case.get("harden") and case["harden"][-1]["ends"] == "ok":
            seen.after = horizon_lab.Round(node, agent=False, devices=case.get("devices", []))
    return seen


def with_agent(case, collection):
    """A round on the same node with an agent."""
    interfaces, state = lay(case)
    version = "1.20" if case["suite"] == "trixie" else "1.19"
    with horizon_lab.Node(f"agent-{case['id']}", case["suite"], collection, files_of(case)) as node:
        node.run(*interfaces, ["agent", f"VERSION={version}", "RECONCILE_SECONDS=0"], *state)
        return horizon_lab.Round(node, agent=True, devices=case.get("devices", []))


def files_of(case):
    return {"files": case.get("files", {}), "boot": case.get("boot", [])}


@pytest.fixture(scope="session")
def measured(request):
    """Futures of what is done to the nodes of the tests that were chosen."""
    chosen = {item.callspec.params["case"] for item in request.session.items if hasattr(item, "callspec")}
    collection = horizon_lab.Collection(PLUGINS)
    pool = ThreadPoolExecutor(NODES_AT_ONCE)
    try:
        yield {
            (way.__name__, name): pool.submit(way, case, collection)
            for name, case in LAID.items()
            if name in chosen
            for way in (without_agent, with_agent)
        }
    finally:
        pool.shutdown(cancel_futures=True)
        collection.remove()


@pytest.fixture(params=LAID)
def case(request):
    return LAID[request.param]


@pytest.fixture
def seen(case, measured):
    return measured["without_agent", case["id"]].result()


@pytest.fixture
def agents_round(case, measured):
    return measured["with_agent", case["id"]].result()


# ---- what must be ----------------------------------------------------------------------------------------------------


def test_the_horizons_without_an_agent(case, seen):
    assert seen.round.wrong() == []
    assert seen.round.unknown() == places_of(case.get("unknown", {}))


def test_the_horizons_with_an_agent(case, agents_round):
    assert agents_round.facts["agent"]["seen"]
    assert agents_round.wrong() == []
    assert agents_round.unknown() == places_of(case.get("unknown_with_agent", {}))


def places_of(unknown):
    return {horizon: set(places) for horizon, places in unknown.items()}


def test_the_horizons_after_harden(seen):
    if hasattr(seen, "after"):
        assert seen.after.wrong() == []


def test_the_right_answer(case, seen, agents_round):
    assert differences(case["right"], seen.round) == []
    assert differences(case.get("with_agent", {}), agents_round) == []


def differences(right, lap):
    """What was predicted or measured otherwise than the case says."""
    found = []
    for horizon, answer in right.items():
        again = horizon in ("interface", "boot")  # the pod's interface is a new one
        subjects = {"pod": "lxc*" if again else POD, "host": "cilium_*" if horizon == "interface" else "cilium_host"}
        shown = {"lxc*": horizon_lab.NEXT_POD, "cilium_*": horizon_lab.TUNNEL}
        for name, value in answer.items():
            if name == "by":
                continue
            subject = subjects.get(name, name)
            predicted = lap.predicted(horizon, subject)["effective"]
            stands = horizon_lab.effective(lap.values[horizon], shown.get(subject, subject))
            if (predicted, stands) != (value, value):
                found.append(f"{horizon}, {name}: {value} is right, {predicted} was predicted, {stands} stands")
        sources = lap.predicted(horizon, subjects["pod"])["sources"]
        lines = {f"{source['path']}:{source['line']}" for source in sources}
        if not lines >= set(answer.get("by", [])):
            found.append(f"{horizon}: {answer['by']} decide, {sorted(lines)} were predicted")
    return found


def test_diagnose(case, seen):
    right = case["diagnose"]
    found = diagnosis(seen.round.facts, seen.round.routes, node="node")
    text = "\n".join(story(found))
    if "state" in right:
        assert found["state"] == right["state"], text
    assert [words for words in right.get("names", []) if words not in text] == [], text
    assert [words for words in right.get("never", []) if words in text] == [], text
    rules = {finding["id"] for finding in findings(seen.round.facts, seen.round.routes)}
    assert [rule for rule in right.get("findings", []) if rule not in rules] == [], rules


def test_harden(case, seen):
    for right, hardened in zip(case.get("harden", []), seen.hardened):
        result = hardened.result
        text = json.dumps(result)
        if right["ends"] == "refused":
            assert result.get("failed"), f"harden was not refused: {text}"
            assert "Nothing was changed" in result["msg"]
            text = result["msg"]
        else:
            assert not result.get("failed"), result.get("msg")
            assert run_is_rollback(right) or not result["unhealed"]
            assert stands(hardened.values, right["after"], POD) == right["after"]
            assert max(hardened.values["all"], hardened.next_pod) == right["after"]["pod"]
        assert [words for words in right.get("names", []) if words not in text] == [], text
    assert seen.changed == []
    if hasattr(seen, "after"):
        last = case["harden"][-1]
        boot = last.get("after_boot", last["after"])
        assert stands(seen.after.values["boot"], boot, horizon_lab.NEXT_POD) == boot
        for horizon in ("interface", "restart", "sysctl_system"):
            lasts = {"pod": last["after"]["pod"]}
            assert stands(seen.after.values[horizon], lasts, horizon_lab.NEXT_POD) == lasts, horizon


def run_is_rollback(run):
    return run.get("options", {}).get("state") == "absent"


def stands(values, wanted, pod):
    return {name: horizon_lab.effective(values, pod if name == "pod" else name) for name in wanted}


def test_a_case_that_is_not_laid_says_why():
    assert all(isinstance(case["not_laid"], str) for case in CASES if "not_laid" in case)
