"""Real nodes' facts, and documents made of them."""

import copy
import json

from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import document as audit
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.node import judged, not_judged
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.terms import UNREACHABLE
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.waivers import Waivers
from conftest import FIXTURES

SCHEMA = json.loads((FIXTURES.parents[1] / "roles/audit/files/audit.schema.json").read_text(encoding="utf-8"))
FACTS = {
    name: json.loads((FIXTURES / "audit" / (f"facts-{name}.json")).read_text(encoding="utf-8"))
    for name in ("healthy", "broken")
}
MOMENT = "2026-11-24T10:00:00Z"
TODAY = "2026-11-24"


def facts(name="healthy"):
    return copy.deepcopy(FACTS[name])


def node(name="node1", kind="healthy", before=None, change=None):
    known = facts(kind)
    if change:
        change(known)
    return judged(name, known["rp_filter"], known["cilium_routes"], MOMENT, MOMENT, before)


def document(nodes, waivers=(), baseline=None, fail_on="high", source="run"):
    waivers = Waivers(list(waivers), TODAY)
    sums = audit.Sums()
    nodes = list(audit.annotated(copy.deepcopy(list(nodes)), waivers, baseline, sums))
    return dict(audit.head(sums, waivers, baseline, fail_on, source, MOMENT, "0.1.0"), nodes=nodes)


def three(**options):
    lost = not_judged("lost", UNREACHABLE, "no route to host")
    return document([node("broken", "broken"), node("healthy"), lost], **options)
