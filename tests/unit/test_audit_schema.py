"""Our reading of the published schema, against a complete validator."""

import copy
import functools
import json

import jsonschema
import pytest
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import schema as audit_schema
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.baseline import Baseline, parsed
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import AuditError
from audit_nodes import SCHEMA, document, node, three
from hypothesis import given, settings
from hypothesis import strategies as st

WAIVER = {"id": "RPF003", "hosts": "*", "justification": "agreed", "expires": "2026-12-31"}
EARLIER = json.dumps(document([node("broken"), node("healthy", "broken")]))
WHOLE = json.loads(json.dumps(three(waivers=[WAIVER], baseline=Baseline.read(EARLIER))))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ODD = [..., None, "", "x", "high", "ok", "unknown", False, -1, 0, 2**70, True, 1.5, [], {}, [None], {"x": 1}, [1] * 6]


def paths_of(value, path=()):
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield path + (key,)
        yield from paths_of(entry, path + (key,))


# Of the rules one does for all.
PATHS = [path for path in paths_of(WHOLE) if path[0] != "rules" or path[1:2] in ((), ("RPF001",))]


def changed(path, odd):
    made = copy.deepcopy(WHOLE)
    inner = functools.reduce(lambda value, key: value[key], path[:-1], made)
    if odd is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = odd
    return made


def is_taken(made):
    try:
        _head, nodes = parsed(json.dumps(made), "earlier.json")
        list(nodes)
    except AuditError as error:
        assert str(error).startswith("earlier.json: "), error
        return False
    return True


def test_what_the_audit_writes_is_taken():
    assert is_taken(WHOLE)


@pytest.mark.parametrize("odd", [True, False, None])
@pytest.mark.parametrize("number", range(3))
def test_whether_facts_are_there_and_what_is_said_of_them_go_together(number, odd):
    for name, value in ("state", "ok"), ("reason", None), ("endpoints", None), ("horizons", None), ("reason", "gone"):
        made = changed(("nodes", number, "gathered"), odd)
        made["nodes"][number][name] = value
        assert is_taken(made) == VALIDATOR.is_valid(made), (name, value)
        if made["nodes"][number]["state"] != "unknown" and odd is not True:
            assert not is_taken(made)


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(PATHS), st.sampled_from(ODD))
def test_it_takes_what_a_complete_validator_takes(path, odd):
    made = changed(path, odd)
    if VALIDATOR.is_valid(made):
        # Beyond the schema: a finding is of a rule that the document has.
        assert is_taken(made) or path[0] == "rules" or path[-1] == "id"
    else:
        assert not is_taken(made)


@pytest.mark.parametrize("path, odd, told", [
    (("nodes", 0, "findings", 0, "severity"), "severe",
     "node 'broken': findings[0].severity: expected one of \"high\", \"medium\", \"low\", found 'severe'. It was"),
    (("nodes", 0, "endpoints", "dropping"), ..., "node 'broken': endpoints.dropping: expected a value, found nothing"),
    (("totals", "ok"), -1, "totals.ok: expected 0 or more, found -1"),
    (("nodes", 1, "odd"), 1, "node 'healthy': odd: expected no such member, found 1"),
    (("nodes", 1), 7, "nodes[1]: expected object, found 7"),
    (("nodes", 0, "findings", 0, "id"), "RPF999", "node 'broken': has the finding RPF999, which is none of its rules"),
    (("totals", "ok"), "1", "totals.ok: expected integer, found '1'"),
    (("odd",), 1, "odd: expected no such member, found 1"),
    (("nodes", 0, "gathered_at"), "noon", "gathered_at: expected text such as ^[0-9]{4}-"),
    (("nodes", 0, "gathered_at"), "2026-02-30T10:00:00Z",
     "node 'broken': gathered_at: expected a time in UTC, found '2026-02-30T10:00:00Z'"),
    (("nodes", 2, "state"), "ok", "node 'lost': state: expected \"unknown\", found 'ok'. Of a node whose facts are "
     "not there nothing is known but why. It was changed, or another"),
    (
        ("nodes", 2, "attestation", "state"),
        "met",
        "node 'lost': attestation.state: expected \"unknown\", found 'met'. Of a node",
    ),
    (("nodes", 2, "gathered"), True, "node 'lost': reason: expected null, found 'unreachable: no route to host'. A "
     "node whose facts are there has horizons, and no reason why not. It"),
    (("nodes", 1, "gathered"), False, "node 'healthy': state: expected \"unknown\", found 'ok'. Of a node whose"),
    (("nodes", 1, "horizons"), None, "node 'healthy': horizons: expected object, found None. A node whose facts are"),
])  # fmt: skip
def test_it_says_where_and_what(path, odd, told):
    with pytest.raises(AuditError) as raised:
        list(parsed(json.dumps(changed(path, odd)), "earlier.json")[1])
    assert str(raised.value).startswith("earlier.json: ")
    assert told in str(raised.value)


def test_a_word_that_it_does_not_know_is_no_pass():
    with pytest.raises(AttributeError):
        audit_schema._Compiled({}).of({"maximum": 1})
    with pytest.raises(NotImplementedError):
        audit_schema._Compiled({}).of({"oneOf": [{"type": "string"}, {"type": "integer"}]})
