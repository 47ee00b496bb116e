"""Every state of states.yml: what is printed there does what it says. And every command and option has a state."""

import ast
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hints
import horizon_lab
import pytest
from ansible_collections.nodeward.cilium.plugins.plugin_utils.judge.catalogue import CATALOGUE

PLUGINS = Path(os.environ["ANSIBLE_COLLECTIONS_PATH"], "ansible_collections/nodeward/cilium/plugins")
NODES_AT_ONCE = 3
#: Options that messages ask for, and why no state of these does.
NOT_HERE = {
    r"endpoint_routes_chart_(ref|repo)=.*": "they name Cilium's own chart, which the tests do not load",
    r"rp_filter_udev=auto": "it needs a systemd before 245, of which no node image can be had",
}
#: The role's names of the module's options, as option_names gives them.
ROLE = "rp_filter_"


@pytest.fixture(scope="session")
def examined(request):
    """Futures of the examinations of the states that were chosen."""
    chosen = {item.callspec.params["name"] for item in request.session.items if hasattr(item, "callspec")}
    collection = horizon_lab.Collection(PLUGINS)
    pool = ThreadPoolExecutor(NODES_AT_ONCE)
    try:
        yield {
            name: pool.submit(hints.Examination, state, collection)
            for name, state in hints.STATES.items()
            if name in chosen
        }
    finally:
        pool.shutdown(cancel_futures=True)
        collection.remove()


@pytest.fixture(params=hints.STATES)
def name(request):
    return request.param


def test_each_hint_does_what_it_says(name, examined):
    examination = examined[name].result()
    assert not examination.problems, "\n".join(examination.problems)
    assert examination.hints


def test_each_command_of_the_catalogue_has_a_state():
    with_command = {rule.id for rule in CATALOGUE.values() if rule.command}
    assert with_command <= {rule for state in hints.STATES.values() for rule in state.get("findings", [])}


def test_each_option_that_a_message_asks_for_has_a_state():
    asked = set(asked_for())
    assert len(asked) > 10
    tried = {
        hint for state in hints.STATES.values() for hints_of in state.get("refusals", {}).values() for hint in hints_of
    }
    tried |= tried_with_a_cluster()
    left = {hint for hint in asked - tried if not any(re.fullmatch(pattern, hint) for pattern in NOT_HERE)}
    assert left == set()


def tried_with_a_cluster():
    """The options that the scenario endpoint_routes tries as printed."""
    tasks = Path(__file__).resolve().parents[2] / "endpoint_routes/tasks"
    texts_of = [path.read_text() for path in tasks.glob("*.yml")]
    return {hint for text in texts_of for hint in re.findall(r"(?:hint: |-e )(endpoint_routes_[a-z_]+=[a-z]+)", text)}


def asked_for():
    """Each NAME=VALUE in a text of the code that messages are made of, as the roles print it."""
    of_module = re.compile(
        r"(?:set|or|say|Set|\(|\A)\s*\(?(?:rp_filter_)?([a-z_]+=(?:true|disable|report|restore|adopt|always|never|auto|fail))\b"
    )
    for path in sorted((PLUGINS / "module_utils").rglob("*.py")):
        for text in texts(path):
            yield from (ROLE + option for option in of_module.findall(text))
    for path in sorted((PLUGINS / "plugin_utils").rglob("*.py")):
        for text in texts(path):
            yield from re.findall(r"\b((?:rp_filter|endpoint_routes)_[a-z_]+=[a-z]+)", text)
    for path in sorted((PLUGINS.parent / "roles").glob("*/tasks/*.yml")):
        yield from re.findall(r"(?:set|say) ((?:rp_filter|endpoint_routes)_[a-z_]+=[a-z]+)", path.read_text())


def texts(path):
    return [
        each.value
        for each in ast.walk(ast.parse(path.read_text()))
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and " " in each.value
    ]
