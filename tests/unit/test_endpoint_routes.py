"""What the role endpoint_routes decides, from what a cluster and the nodes say."""

import itertools
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster import agents, caveats, rights, settings
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster import options as options_module
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster import plan as logic
from ansible_collections.nodeward.cilium.plugins.plugin_utils.cluster import report as reports
from ansible_collections.nodeward.cilium.plugins.plugin_utils.plain import on_plain, plain

KEY = settings.KEY
NOW = "2026-11-24T10:00:00Z"
LATER = "2026-11-24T11:00:00Z"
OPTIONS = {
    "state": "enabled",
    "method": "auto",
    "restart": "never",
    "batch": 1,
    "namespace": "kube-system",
    "release": "cilium",
    "chart_ref": "",
    "node_selector": {},
    "node_config_name": "endpoint-routes",
    "force_conflicts": False,
    "allow_filtered": False,
    # Most tests are of what a cluster says, of whose nodes no host tells.
    "allow_unseen": True,
}


def granted(but=()):
    answers = []
    for review in rights.reviews("kube-system"):
        asked = review["spec"]["resourceAttributes"]
        is_allowed = (asked["resource"], asked["verb"]) not in but
        answers.append({"result": dict(review, status={"allowed": is_allowed})})
    return answers


def config_map(value=None, manager="installer", operation="Update", time=NOW, **data):
    fields = {"f:data": {"f:ipam": {}}}
    if value is not None:
        data[KEY] = value
        fields["f:data"]["f:" + KEY] = {}
    return {
        "metadata": {
            "name": "cilium-config",
            "annotations": {},
            "managedFields": [{"manager": manager, "operation": operation, "time": time, "fieldsV1": fields}],
        },
        "data": dict(
            {name.replace("_", "-"): text for name, text in data.items()}, ipam=data.get("ipam", "cluster-pool")
        ),
    }


def of_release(document, name="cilium"):
    document["metadata"]["annotations"]["meta.helm.sh/release-name"] = name
    return document


def daemonset(image="quay.io/cilium/cilium:v1.19.4@sha256:0", annotations=None, desired=0):
    return {
        "metadata": {"uid": "ds"},
        "status": {"desiredNumberScheduled": desired, "updatedNumberScheduled": desired},
        "spec": {
            "template": {
                "metadata": {"annotations": annotations},
                "spec": {
                    "containers": [{"name": "other", "image": "x:v0.1"}, {"name": "cilium-agent", "image": image}]
                },
            }
        },
    }


def agent(node, uid=None, created=NOW, is_ready=True, leaving=False, owner="ds"):
    metadata = {
        "name": "cilium-%s" % (uid or node),
        "uid": uid or "uid-" + node,
        "creationTimestamp": created,
        "ownerReferences": [{"uid": owner}],
    }
    if leaving:
        metadata["deletionTimestamp"] = LATER
    status = {"conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}]}
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": status}


def endpoint(address="10.0.0.1", has_route=True, verdict="accepted", pod="shop/cart-1", device="lxc1"):
    return {
        "address": address,
        "device": device,
        "pod": pod,
        "is_health": device == "lxc_health",
        "endpoint_route": has_route,
        "verdict": verdict,
        "reason": "why not",
    }


def host(node, runs=False, filtered=None, endpoints=(), later=None, name=None, hardening=None):
    line = {"value": 2, "path": "/usr/lib/sysctl.d/50-default.conf", "line": 26, "key": "net.ipv4.conf.*.rp_filter"}
    configured = {"systemd_sysctl": line if later else None, "procps": None}
    return {
        "host": name or node,
        "node": node,
        "hardening": hardening or {},
        "routes": {"endpoint_routes": {"agent": runs}, "endpoints": list(endpoints), "source": "agent"},
        "rp_filter": {
            "all": {
                "running": (filtered or {}).get("all", 0),
                "configured": {"systemd_sysctl": None, "procps": None},
            },
            "devices": {
                name: {"kind": "other" if name == "eth0" else "cilium", "running": value}
                for name, value in (filtered or {}).items()
                if name != "all"
            },
            "patterns": {"lxc*": {"configured": configured}, "cilium_*": {"configured": configured}},
            "loaders": {"systemd_sysctl": {"version": 257}, "procps": None},
            "reload_on_add": {"path": "/usr/lib/udev/rules.d/99-systemd.rules", "line": 72, "cleared_by": None},
            "other_writers": [],
        },
    }


def node_config(name, value, labels, own=False, time=NOW, manager=None, **more):
    fields = {"f:spec": {"f:defaults": {"f:" + KEY: {}}, "f:nodeSelector": {"f:matchLabels": {}}}}
    manager = manager or (settings.MANAGER if own else "m")
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": NOW,
            "labels": dict(settings.OWN_LABEL) if own else {},
            "managedFields": [{"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields}],
        },
        "spec": {"defaults": dict({KEY: value}, **more), "nodeSelector": {"matchLabels": labels}},
    }


def seen(config=None, hosts=(), pods=None, configs=None, **others):
    served = [{"item": "v2alpha1", "api_found": False, "resources": []}]
    if configs is not None:
        served += [{"item": "v2", "api_found": True, "resources": configs}]
    return dict(
        {
            "reviews": granted(),
            "config_map": config or config_map(),
            "daemonsets": [daemonset()],
            "pods": [agent("node1"), agent("node2")] if pods is None else pods,
            "nodes": [
                {"metadata": {"name": "node1", "labels": {"canary": "yes"}}},
                {"metadata": {"name": "node2", "labels": {}}},
            ],
            "node_configs": served,
            "releases": [],
            "helm": {},
            "helm_failed": "",
            "upgrade": {},
            "meant": [],
            "stale": [],
            "hosts": list(hosts),
        },
        **others,
    )


ROLE = Path(__file__).parents[2] / "roles/endpoint_routes"


def variable(name, **given):
    """A variable of the role's own, from others."""
    loader = DataLoader()
    known = loader.load_from_file(str(ROLE / "defaults/main.yml"), trusted_as_template=True)
    own = loader.load_from_file(str(ROLE / "vars/main.yml"), trusted_as_template=True)
    return Templar(loader, variables={**known, **own, **given}).template(own[name])


def secret(version, status="deployed", name="cilium"):
    labels = {"name": name, "version": str(version), "status": status, "owner": "helm"}
    return {"metadata": {"name": f"sh.helm.release.v1.{name}.v{version}", "labels": labels}}


def helm(value=None, **values):
    if value is not None:
        values["endpointRoutes"] = {"enabled": value}
    return {"values": values, "chart": "cilium-1.19.4"}


def planned(given, **options):
    return logic.plan(given, dict(OPTIONS, **options))


def refusals(given, **options):
    return "\n".join(planned(given, **options)["problems"])


BOTH = [host("node1"), host("node2")]
CANARY = {"method": "node_config", "node_selector": {"canary": "yes"}}


# ---- the way Cilium was installed ------------------------------------------------------------------------------------


def test_without_a_release_it_is_the_config_map():
    found = planned(seen(hosts=BOTH), allow_unseen=False)
    assert (found["method"], found["change"], found["problems"]) == ("configmap", "configmap", [])
    assert found["definition"]["data"] == {KEY: "true"}
    assert found["notes"] == []


@pytest.mark.parametrize("by", ["annotation", "secret"])
def test_a_release_is_found_by_either_mark(by):
    config = of_release(config_map()) if by == "annotation" else config_map()
    found = planned(seen(config, releases=[secret(1, "superseded"), secret(2)], helm=helm()), chart_ref="cilium")
    assert (found["method"], found["change"], found["problems"]) == ("helm", "helm", [])
    assert found["values"] == {"endpointRoutes": {"enabled": True}}


def test_the_last_revision_counts_by_its_number():
    releases = [secret(number, "superseded") for number in range(1, 10)] + [secret(10, "pending-upgrade")]
    assert "is pending-upgrade, not deployed" in refusals(seen(releases=releases, helm=helm()))


def test_another_chart_s_release_is_none_of_ours():
    assert planned(seen(releases=[secret(1, name="coredns")]))["method"] == "configmap"


def test_a_release_of_another_name_is_named():
    given = seen(of_release(config_map(), "rke2-cilium"), releases=[secret(1, name="rke2-cilium")])
    assert "endpoint_routes_release=rke2-cilium" in refusals(given)


def test_a_release_that_the_config_map_names_and_that_is_not_there():
    given = seen(of_release(config_map()), helm=helm())
    assert "there is no Helm release 'cilium'" in refusals(given, method="helm")
    given = seen(of_release(config_map(), "rke2-cilium"), helm=helm())
    told = refusals(given, method="helm")
    assert "endpoint_routes_release=rke2-cilium" in told
    assert "there is no Helm release" not in told


def test_asked_for_helm_without_a_release():
    assert "there is no Helm release 'cilium'" in refusals(seen(), method="helm")


def test_the_config_map_of_a_release_on_demand_is_loud():
    found = planned(seen(of_release(config_map()), releases=[secret(1)]), method="configmap")
    assert found["change"] == "configmap"
    assert "belongs to the Helm release cilium" in found["notes"][0]
    assert "undoes it" in found["notes"][0]


def test_the_chart_has_to_be_named_only_where_it_is_needed():
    releases = [secret(1)]
    assert "endpoint_routes_chart_ref: is not set" in refusals(seen(releases=releases, helm=helm()))
    done = seen(config_map("true"), releases=releases, helm=helm(True))
    assert planned(done)["change"] is None
    assert refusals(done) == ""


def test_a_patched_config_map_of_a_release_is_repaired_where_helm_can():
    on = seen(config_map("false"), releases=[secret(1)], helm=helm(True))
    assert planned(on, chart_ref="cilium")["change"] == "helm"
    off = seen(config_map("true", manager="kubectl-edit"), releases=[secret(1)], helm=helm())
    told = refusals(off, state="disabled", chart_ref="cilium")
    assert "written past Helm by kubectl-edit" in told
    assert "endpoint_routes_method=configmap" in told


def test_a_helm_client_that_fails_is_told():
    given = seen(releases=[secret(1)], helm_failed="Failed to find required executable")
    assert "endpoint_routes_helm_binary" in refusals(given)


# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "state", "writes"),
    [
        (None, "enabled", True),
        (None, "disabled", False),
        ("true", "enabled", False),
        ("true", "disabled", True),
        ("false", "enabled", True),
        ("false", "disabled", False),
        # What Python makes of a bool, and what YAML makes of nothing.
        ("True", "enabled", True),
        ("", "disabled", True),
    ],
)
def test_what_needs_writing(value, state, writes):
    found = planned(seen(config_map(value, manager=settings.MANAGER)), state=state)
    assert (found["change"] == "configmap") is writes
    if writes:
        assert found["definition"]["data"][KEY] in ("true", "false")


def test_a_key_of_another_manager_is_not_taken():
    given = seen(config_map("false", manager="argocd-controller", operation="Apply"))
    assert f"argocd-controller (Apply at {NOW})" in refusals(given)
    assert refusals(given, force_conflicts=True) == ""
    assert refusals(seen(config_map("false", manager=settings.MANAGER))) == ""


@pytest.mark.parametrize(("where", "mark", "keeper"), logic._KEEPERS)
def test_what_a_tool_keeps_is_not_written(where, mark, keeper):
    config = config_map()
    canary = node_config("endpoint-routes", "false", {"canary": "yes"}, own=True)
    for document in (config, canary):
        document["metadata"].setdefault(where, {})[mark] = "x"
    release = {"releases": [secret(1)], "helm": helm()}
    for given, options, what in (
        (seen(config), {}, "ConfigMap cilium-config"),
        (seen(config, **release), {"chart_ref": "cilium"}, "ConfigMap cilium-config"),
        (seen(configs=[canary]), CANARY, "CiliumNodeConfig endpoint-routes"),
    ):
        assert f"{what} is kept by {keeper} ({mark})" in refusals(given, **options)
        assert refusals(given, force_conflicts=True, **options) == ""


# ---- chosen nodes ----------------------------------------------------------------------------------------------------


def test_a_canary():
    found = planned(seen(configs=[]), **CANARY)
    assert (found["change"], found["scope"]) == ("node_config", ["node1"])
    assert found["definition"]["apiVersion"] == "cilium.io/v2"
    assert found["definition"]["spec"]["defaults"] == {KEY: "true"}
    assert [agent["node"] for agent in found["agents"]] == ["node1"]
    assert found["after"]["node2"] == (None, None)


def test_the_older_version_of_the_api():
    given = seen(
        node_configs=[{"item": "v2alpha1", "api_found": True, "resources": []}, {"item": "v2", "api_found": False}]
    )
    assert planned(given, **CANARY)["definition"]["apiVersion"] == "cilium.io/v2alpha1"


def test_a_canary_that_is_there_needs_nothing():
    given = seen(configs=[node_config("endpoint-routes", "true", {"canary": "yes"}, own=True)])
    assert planned(given, **CANARY)["change"] is None


def test_another_selector_is_a_change():
    given = seen(configs=[node_config("endpoint-routes", "true", {"pool": "a"}, own=True)])
    found = planned(given, **CANARY)
    assert (found["change"], found["problems"]) == ("node_config", [])


def test_the_end_of_a_canary_is_to_have_none():
    given = seen(configs=[node_config("endpoint-routes", "true", {"canary": "yes"}, own=True)])
    found = planned(given, state="disabled", **CANARY)
    assert (found["change"], found["after"]["node1"], found["problems"]) == ("remove", (None, None), [])
    assert [agent["state"] for agent in found["agents"]] == ["stale"]
    assert planned(seen(configs=[]), state="disabled", **CANARY)["change"] is None


def test_the_end_of_a_canary_leaves_what_others_wrote():
    given = seen(configs=[node_config("endpoint-routes", "true", {"canary": "yes"}, own=True, mtu="1400")])
    found = planned(given, state="disabled", **CANARY)
    assert (found["change"], found["after"]["node1"], found["problems"]) == ("unset", (None, None), [])
    del given["node_configs"][1]["resources"][0]["spec"]["defaults"][KEY]
    assert planned(given, state="disabled", **CANARY)["change"] is None
    assert planned(given, **CANARY)["change"] == "node_config"


def test_the_end_of_a_canary_of_which_no_node_is_left():
    given = seen(configs=[node_config("endpoint-routes", "true", {"pool": "a"}, own=True)])
    found = planned(given, state="disabled", method="node_config", node_selector={"pool": "a"})
    assert (found["change"], found["problems"]) == ("remove", [])


LEFT = (
    "agents run with something else than what is configured, and are meant too, as a CiliumNodeConfig may have left "
    "them: on %s"
)
NOT_LEFT = (
    "agents run with something else than what is configured, and are not meant, as what waits for their restart is "
    "another change than that of CiliumNodeConfig endpoint-routes: on %s. A run recreates them that means every node "
    "(endpoint_routes_method helm or configmap), or that chooses them"
)


def test_nodes_that_a_selector_leaves_are_changed_too():
    config = node_config("endpoint-routes", "true", {"canary": "yes"}, own=True)
    given = seen(configs=[config], hosts=[host("node1", runs=True)])
    given["nodes"][1]["metadata"]["labels"] = {"pool": "a"}
    options = {"method": "node_config", "node_selector": {"pool": "a"}, "restart": "rolling"}
    found = planned(given, **options)
    assert found["scope"] == ["node1", "node2"]
    assert states(given, **options) == {"node1": "stale", "node2": "stale"}
    assert "changes to false for node1 too, which will not be chosen any more" in found["notes"][0]
    assert "tells of node2" in refusals(given, allow_unseen=False, **options)
    # What is to be there differs from node to node.
    config["spec"]["nodeSelector"] = {"matchLabels": {"pool": "a"}}
    hosts = [host("node1", False, endpoints=[endpoint(has_route=True)])]
    hosts += [host("node2", True, endpoints=[endpoint(has_route=True)])]
    given["hosts"] = hosts
    assert planned(given, **options)["scope"] == ["node2"]
    # What an earlier run left, its agent itself tells.
    given["hosts"] = [host("node1", True), host("node2", True)]
    found = planned(given, **options)
    assert (found["change"], order(found), found["notes"]) == (
        None,
        [["node1"]],
        [LEFT % "node1"],
    )
    given["hosts"] = hosts
    given["meant"] = ["node1", "node2", "gone"]
    found = planned(given, **options)
    assert found["scope"] == ["node1", "node2"]
    assert [pod["node"] for pod in reports.report(found, hosts)["pods"]] == ["node1"]


def test_what_a_canary_leaves_goes_on_after_its_end_too():
    given = seen(configs=[], hosts=[host("node1"), host("node2", True)])
    assert order(planned(given, state="disabled", restart="rolling", **CANARY)) == [["node2"]]
    # That of a node which something else switches on is as it has to be.
    given = seen(configs=[node_config("aaa", "true", {})], hosts=[host("node1", True), host("node2", True)])
    assert planned(given, **CANARY)["scope"] == ["node1"]


def test_a_canary_leaves_those_alone_whose_restart_another_change_waits_for():
    hosts = [host(node, False) for node in ("node1", "node2", "node3")]
    nodes = [{"metadata": {"name": "node1", "labels": {"canary": "yes"}}}]
    nodes += [{"metadata": {"name": node, "labels": {}}} for node in ("node2", "node3")]
    config = config_map("true", manager=settings.MANAGER, time=LATER)
    everywhere = node_config("aaa", "true", {}, time=LATER)
    pods = [agent("node1"), agent("node2"), agent("node3", is_ready=False)]
    for given in (
        seen(config, hosts, pods=pods, nodes=nodes, configs=[]),
        seen(config_map(), hosts, pods=pods, nodes=nodes, configs=[everywhere]),
    ):
        found = planned(given, restart="rolling", allow_unseen=False, **CANARY)
        assert (order(found), found["problems"], found["notes"]) == ([["node1"]], [], [NOT_LEFT % "node2, node3"])
        given["hosts"] = [hosts[0], host("node2", filtered={"cilium_host": 2}), hosts[2]]
        assert refusals(given, allow_unseen=False, **CANARY) == ""
    # One that was made since had another reason to read something else.
    pods[1] = agent("node2", created=LATER)
    found = planned(seen(config, hosts, pods=pods, nodes=nodes, configs=[]), restart="rolling", **CANARY)
    assert (order(found), found["notes"][:2]) == ([["node1"], ["node2"]], [LEFT % "node2", NOT_LEFT % "node3"])


def test_of_a_key_that_is_gone_our_own_object_tells_who_may_have_been_left_by_it():
    hosts = [host("node1", True), host("node2", True)]
    ours = node_config("endpoint-routes", "true", {"canary": "yes"}, own=True)
    ours["metadata"]["creationTimestamp"] = LATER
    for configs, created, note in (
        # Older than the object, or there is none: as after a Helm release is disabled.
        ([ours], NOW, NOT_LEFT),
        ([], LATER, NOT_LEFT),
        ([ours], LATER, LEFT),
    ):
        pods = [agent("node1", created=created), agent("node2", created=created)]
        given = seen(configs=configs, hosts=hosts, pods=pods)
        found = planned(given, restart="rolling", **CANARY)
        assert (found["notes"], order(found)) == ([note % "node2"], [["node2"]] if note is LEFT else [])
        # To switch off it makes no odds, and whether the object is gone then.
        found = planned(given, state="disabled", restart="rolling", **CANARY)
        assert [LEFT % "node2" in found["notes"], "node2" in found["scope"]] == [True, True]
    # A node that has no agent has none that is behind.
    given = seen(configs=[ours], hosts=hosts, pods=[agent("node1", created=LATER)])
    found = planned(dict(given, daemonsets=[daemonset(desired=2)]), **CANARY)
    assert (found["scope"], found["notes"]) == (["node1"], [])


def test_an_added_expression_is_another_selector():
    config = node_config("endpoint-routes", "true", {"canary": "yes"}, own=True)
    config["spec"]["nodeSelector"]["matchExpressions"] = []
    assert planned(seen(configs=[config]), **CANARY)["change"] is None
    config["spec"]["nodeSelector"]["matchExpressions"] = [{"key": "a", "operator": "Exists"}]
    found = planned(seen(configs=[config]), **CANARY)
    assert (found["change"], found["problems"]) == ("node_config", [])
    assert found["definition"]["spec"]["nodeSelector"] == {"matchLabels": {"canary": "yes"}, "matchExpressions": []}
    others = {"manager": "kubectl-edit", "operation": "Update", "time": LATER}
    fields = {"f:spec": {"f:nodeSelector": {"f:matchExpressions": {}}}}
    config["metadata"]["managedFields"].append(dict(others, fieldsV1=fields))
    assert "nodeSelector is owned by the field manager kubectl-edit (Update at" in refusals(
        seen(configs=[config]), **CANARY
    )
    assert refusals(seen(configs=[config]), force_conflicts=True, **CANARY) == ""


def test_a_value_of_another_manager_in_our_object_is_not_taken():
    config = node_config("endpoint-routes", "false", {"canary": "yes"}, own=True, manager="kubectl-edit")
    told = refusals(seen(configs=[config]), **CANARY)
    assert KEY + " is owned by the field manager kubectl-edit" in told
    assert "nodeSelector is owned" not in told
    assert refusals(seen(configs=[config]), force_conflicts=True, **CANARY) == ""
    config["spec"]["defaults"][KEY] = "true"
    assert refusals(seen(configs=[config]), **CANARY) == ""
    assert KEY + " is owned" in refusals(seen(configs=[config]), state="disabled", **CANARY)
    # Who else wants the same value does not mind that other nodes are chosen.
    config["metadata"]["managedFields"][0]["fieldsV1"] = {"f:spec": {"f:defaults": {"f:" + KEY: {}}}}
    found = planned(seen(configs=[config]), method="node_config", node_selector={"pool": "a"})
    assert found["change"] == "node_config"
    assert not any("is owned" in problem for problem in found["problems"])


def test_off_for_some_where_all_are_on():
    found = planned(seen(config_map("true"), configs=[]), state="disabled", **CANARY)
    assert found["change"] == "node_config"
    assert found["definition"]["spec"]["defaults"] == {KEY: "false"}


def test_off_for_some_where_another_object_switches_them_on():
    ours = node_config("endpoint-routes", "true", {"canary": "yes"}, own=True)
    earlier = node_config("aaa", "true", {"canary": "yes"})
    for configs in ([earlier], [ours, earlier]):
        found = planned(seen(configs=configs), state="disabled", **CANARY)
        assert (found["change"], found["after"]["node1"]) == ("node_config", ("false", "endpoint-routes"))
        assert found["problems"] == []
        assert found["definition"]["spec"]["defaults"] == {KEY: "false"}
    # It has nothing to do with the nodes that are meant.
    earlier["spec"]["nodeSelector"] = {"matchLabels": {"pool": "a"}}
    assert planned(seen(configs=[ours, earlier]), state="disabled", **CANARY)["change"] == "remove"


def test_to_disable_them_for_some_switches_them_on_for_nobody():
    ours = node_config("endpoint-routes", "false", {"pool": "a"}, own=True)
    given = seen(configs=[ours, node_config("aaa", "true", {"pool": "a"})], hosts=BOTH)
    given["nodes"][1]["metadata"]["labels"] = {"pool": "a"}
    (told,) = planned(given, state="disabled", **CANARY)["problems"]
    assert told.startswith("endpoint_routes_node_selector: what is configured changes to true for node2 too")
    assert "only CiliumNodeConfig endpoint-routes keeps endpoint routes off there" in told
    assert refusals(given, state="disabled", **dict(CANARY, node_config_name="other")) == ""
    assert refusals(given, state="disabled", method="node_config", node_selector={"pool": "a"}) == ""
    # To enable them it is what is wanted.
    found = planned(given, **CANARY)
    assert (found["problems"], found["after"]["node2"]) == ([], ("true", "aaa"))
    assert "changes to true for node2 too" in found["notes"][0]


def test_somebody_else_s_is_not_touched():
    given = seen(configs=[node_config("endpoint-routes", "false", {"pool": "a"})])
    assert "somebody else's" in refusals(given, **CANARY)


def test_one_that_wins_by_its_name_is_named():
    given = seen(configs=[node_config("zzz", "false", {"canary": "yes"})])
    assert "CiliumNodeConfig zzz gives node1 another value, and wins by its name" in refusals(given, **CANARY)
    assert refusals(seen(configs=[node_config("aaa", "false", {"canary": "yes"})]), **CANARY) == ""


def test_nodes_with_a_value_of_their_own_are_left_out():
    found = planned(seen(hosts=BOTH, configs=[node_config("aaa", "false", {"canary": "yes"})]))
    assert found["scope"] == ["node2"]
    assert found["notes"] == ["CiliumNodeConfig aaa gives node1 another value, which stays"]


def test_what_cannot_be_chosen():
    assert "CustomResourceDefinition" in refusals(seen(), **CANARY)
    assert "is empty, which would choose every node" in refusals(seen(configs=[]), method="node_config")
    assert "no node with an agent has the labels pool=a" in refusals(
        seen(configs=[]), method="node_config", node_selector={"pool": "a"}
    )


@pytest.mark.parametrize(
    ("selector", "labels", "chooses"),
    [
        (None, {"a": "b"}, False),
        ({}, {}, True),
        ({"matchLabels": {"a": "b"}}, {"a": "b", "c": "d"}, True),
        ({"matchLabels": {"a": "b"}}, {"a": "c"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}, {"a": "b"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, {"a": "b"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_selectors(selector, labels, chooses):
    assert settings.selects(selector, labels) is chooses


# ---- agents ----------------------------------------------------------------------------------------------------------


def states(given, **options):
    return {agent["node"]: agent["state"] for agent in planned(given, **options)["agents"]}


def test_what_the_agent_says_counts_whatever_the_times_say():
    given = seen(config_map("true", time=LATER), [host("node1", runs=True), host("node2", runs=False)])
    assert states(given) == {"node1": "current", "node2": "stale"}


def test_one_that_is_just_starting_is_not_restarted_for_its_predecessor_s_word():
    config = config_map("true", manager=settings.MANAGER, time=NOW)
    pods = [agent("node1", created=LATER, is_ready=False), agent("node2", created=LATER)]
    given = seen(config, [host("node1", runs=False), host("node2", runs=False)], pods=pods)
    assert states(given) == {"node1": "unknown", "node2": "stale"}
    given["pods"] = [agent("node1", created="2026-11-24T09:59:59Z", is_ready=False)]
    assert states(given) == {"node1": "stale"}


def test_without_its_word_the_times_tell():
    pods = [agent("node1", created=NOW), agent("node2", created=LATER)]
    assert states(seen(config_map("true", time=LATER), pods=pods)) == {"node1": "stale", "node2": "current"}


def test_what_changes_now_is_stale_whatever_the_times_say():
    pods = [agent("node1", created=LATER)]
    assert states(seen(config_map(time=NOW), pods=pods)) == {"node1": "stale"}


def test_without_any_time_nothing_is_restarted():
    config = config_map("true")
    config["metadata"]["managedFields"] = []
    found = planned(seen(config), restart="rolling")
    assert {agent["state"] for agent in found["agents"]} == {"unknown"}
    assert found["batches"] == []


def only_now(found):
    return [agent["node"] for agent in found["agents"] if agent["only_now"]]


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"chart_ref": "cilium"}, {"config": config_map("true"), "releases": [secret(1)], "helm": helm(True)}),
        (CANARY, {"configs": [node_config("endpoint-routes", "true", {"canary": "yes"}, own=True)]}),
    ],
    ids=["helm", "node_config"],
)
def test_an_unseen_agent_of_which_no_later_run_knows_is_told_of(options, given):
    given = seen(pods=[agent("node1")], **given)
    found = planned(given, state="disabled", **options)
    assert only_now(found) == ["node1"]
    told = "nothing tells what the agents on node1 run with, and afterwards nothing in the cluster tells"
    assert told in "".join(found["notes"])
    # That its node was visited does not make it untrue.
    assert told in "".join(planned(dict(given, hosts=[host("node1", None)]), state="disabled", **options)["notes"])
    # A check has written nothing, so that what recreates it now would leave it as it is.
    lines = reports.story(found, reports.report(found, [], is_check=True), OPTIONS, is_check=True)
    assert not any("delete pod" in line or "no later run" in line for line in lines)
    assert any("run again with endpoint_routes_restart=rolling" in line for line in lines)
    # Afterwards this run knows still what no other does.
    after = seen(pods=[agent("node1")], configs=[], meant=found["scope"])
    assert states(after, state="disabled", **options) == {"node1": "unknown"}
    after["stale"] = ["uid-node1"]
    again = planned(after, state="disabled", **options)
    assert only_now(again) == ["node1"]
    # Which may be since an earlier run.
    assert again["agents"][0]["reason"] == "it was stale before, in this run"
    lines = reports.story(again, reports.report(again, []), OPTIONS)
    assert any(line.endswith("kubectl --namespace kube-system delete pod cilium-node1") for line in lines)
    assert not any("run again" in line for line in lines)
    # One that was recreated is another.
    after["pods"] = [agent("node1", "new")]
    assert states(after, state="disabled", **options) == {"node1": "unknown"}
    # Where its host tells, there is nothing to remember.
    given["hosts"] = [host("node1", True)]
    found = planned(given, state="disabled", **options)
    assert (only_now(found), states(given, state="disabled", **options)) == ([], {"node1": "stale"})
    assert not any("nothing in the cluster tells" in note for note in found["notes"])


def test_what_is_written_with_its_time_needs_no_memory():
    old = {"pods": [agent("node1"), agent("node2")]}
    for given, options in (
        (seen(config_map("true"), **old), {"state": "disabled"}),
        (seen(releases=[secret(1)], helm=helm(), **old), {"chart_ref": "cilium"}),
        (seen(configs=[], **old), CANARY),
        (seen(config_map("true", time=LATER), stale=["uid-node1"], **old), {}),
    ):
        found = planned(given, **options)
        if given["stale"]:
            assert "it is older" in found["agents"][0]["reason"]
        assert "node1" in [agent["node"] for batch in found["batches"] for agent in batch]
        assert only_now(found) == []
    # The nodes that are left get their value from elsewhere.
    config = node_config("endpoint-routes", "true", {"canary": "yes"}, own=True)
    given = seen(configs=[config], **old)
    given["nodes"][1]["metadata"]["labels"] = {"pool": "a"}
    assert only_now(planned(given, method="node_config", node_selector={"pool": "a"})) == ["node1"]


OTHER_WRITER = {"manager": "x", "time": "2027-01-01T00:00:00Z", "fieldsV1": {"f:data": {"f:mtu": {}}}}


def test_only_the_writer_of_the_key_makes_agents_stale():
    config = config_map("true", manager=settings.MANAGER, time=NOW)
    config["metadata"]["managedFields"].append(OTHER_WRITER)
    assert states(seen(config, pods=[agent("node1", created=LATER)])) == {"node1": "current"}
    # Of a key that is not there nobody tells when it went.
    config = config_map()
    config["metadata"]["managedFields"].append(OTHER_WRITER)
    assert states(seen(config, pods=[agent("node1", created=LATER)]), state="disabled") == {"node1": "unknown"}


def test_the_time_of_a_node_is_that_of_what_gives_it_its_value():
    configs = [node_config("aaa", "true", {"canary": "yes"}, time=LATER), node_config("bbb", "true", {"pool": "a"})]
    config = config_map("true", manager=settings.MANAGER, time=NOW)
    assert states(seen(config, configs=configs)) == {"node1": "stale", "node2": "current"}
    configs[0]["metadata"]["managedFields"][0]["time"] = NOW
    configs[1]["metadata"]["managedFields"][0]["time"] = LATER
    assert states(seen(config, configs=configs)) == {"node1": "current", "node2": "current"}


def test_foreign_and_leaving_pods_are_no_agents():
    pods = [agent("node1"), agent("node2", owner="other"), agent("node3", leaving=True)]
    assert [agent["node"] for agent in planned(seen(pods=pods))["agents"]] == ["node1"]


def order(found):
    return [[agent["node"] for agent in batch] for batch in found["batches"]]


def test_batches_are_in_order_and_the_unready_come_first_and_alone():
    pods = [agent(f"node{number}", is_ready=number != 4) for number in (3, 1, 2, 4)]
    assert order(planned(seen(pods=pods), batch=2)) == [["node4"], ["node1", "node2"], ["node3"]]


@pytest.mark.parametrize(
    ("pods", "why"),
    [
        ([agent("node1", "new")], None),
        ([], "it has no agent"),
        ([agent("node1", "old")], "the old agent cilium-old does not go"),
        ([agent("node1", "old", leaving=True), agent("node1", "new")], "the old agent cilium-old does not go"),
        ([agent("node1", "new", is_ready=False)], "the agent cilium-new is not ready"),
        ([agent("node1", "new", leaving=True)], "the agent cilium-new is not ready"),
        ([agent("node1", "third", leaving=True), agent("node1", "new")], None),
        ([agent("node2", "new")], "it has no agent"),
        ([agent("node1", "new", owner="other")], "it has no agent"),
    ],
)
def test_waiting(pods, why):
    expected = [{"node": "node1", "why": why}] if why else []
    batches = [[{"node": "node1", "uid": "old", "pod": "cilium-old"}]]
    assert agents.waiting_for({"batches": batches, "scope": ["node1"]}, daemonset(), pods, 0) == expected


def test_a_batch_waits_for_all_but_those_that_were_not_ready_before_and_are_still_to_come():
    pods = [agent(f"node{number}", is_ready=number == 3) for number in (1, 2, 3, 4, 5)]
    turns = (("node3", False), ("node2", False), ("node4", True))
    batches = [[{"node": node, "uid": "old-" + node, "pod": "x", "ready": is_ready}] for node, is_ready in turns]
    found = {"batches": batches, "scope": ["node1", "node2", "node3", "node4"]}
    told = [agents.waiting_for(found, daemonset(), pods, number) for number in (0, 1, 2)]
    everyone = ["node1", "node2", "node4"]
    # node4 was ready when it was planned, and has come to be not since.
    assert [[each["node"] for each in one] for one in told] == [["node1", "node4"], everyone, everyone]


def turns(*batches, lost=(), **more):
    batches = [
        [{"node": node, "uid": "old-" + node, "pod": "x", "ready": True, "only_now": node in lost} for node in batch]
        for batch in batches
    ]
    return dict({"batches": batches, "rollout": None, "scope": ["node1", "node2", "node3"]}, **more)


def told_progress(found, pods, number):
    told = agents.progress(found, daemonset(), pods, number)
    return told["recreated"], told["at"], told["left"], [agent["node"] for agent in told["lost"]]


def test_how_far_a_restart_is():
    found = turns(["node1"], ["node2"], ["node3"], lost=["node1", "node3"])
    old, new, broken_one = (
        [agent(f"node{number}", prefix + f"-node{number}", is_ready=prefix != "bad") for number in (1, 2, 3)]
        for prefix in ("old", "new", "bad")
    )
    assert told_progress(found, [new[0], broken_one[1], old[2]], 1) == (["node1"], ["node2"], ["node3"], ["node3"])
    # It could not be deleted.
    assert told_progress(found, [new[0], old[1], old[2]], 1) == (["node1"], ["node2"], ["node3"], ["node3"])
    # One whose turn is over breaks, and one whose turn has not come.
    assert told_progress(found, [broken_one[0], new[1], old[2]], 1)[:3] == (["node2"], ["node1"], ["node3"])
    broken_one[2]["metadata"]["uid"] = "old-node3"
    assert told_progress(found, [new[0], new[1], broken_one[2]], 1)[:3] == (["node1", "node2"], [], ["node3"])
    assert told_progress(found, None, 1) == (["node1"], ["node2"], ["node3"], ["node3"])
    # The one at which it stops is not forgotten, unless it is gone.
    found = turns(["node1"], ["node2"], ["node3"], lost=["node2"])
    assert told_progress(found, [new[0], old[1], old[2]], 1) == (["node1"], ["node2"], ["node3"], ["node2"])
    assert told_progress(found, None, 1) == (["node1"], ["node2"], ["node3"], ["node2"])
    assert told_progress(found, [new[0], broken_one[1], old[2]], 1)[3] == []
    leaving = agent("node2", "old-node2", leaving=True)
    assert told_progress(found, [new[0], leaving, old[2]], 1)[1:] == (["node2"], ["node3"], [])


def test_how_far_a_daemonset_s_own_restart_is():
    found = turns(["node1", "node2", "node3"], lost=["node3"], rollout={"at_once": 1, "steps": 3})
    pods = [agent("node1", "new"), agent("node2", "bad", is_ready=False), agent("node3", "old-node3")]
    assert told_progress(found, pods, 0) == (["node1"], ["node2"], ["node3"], [])
    pods = [agent(node, "old-" + node) for node in ("node1", "node2", "node3")]
    assert told_progress(found, pods, 0) == ([], [], ["node1", "node2", "node3"], [])
    pods[1]["metadata"]["deletionTimestamp"] = LATER
    assert told_progress(found, pods, 0) == ([], ["node2"], ["node1", "node3"], [])


def broken(**options):
    """Of three agents the second was recreated with the settings and is not ready; the third is left."""
    config = config_map("true", manager=settings.MANAGER, time=LATER)
    pods = [agent("node1", created=LATER), agent("node2", created=LATER, is_ready=False), agent("node3")]
    nodes = [{"metadata": {"name": f"node{number}"}} for number in (1, 2, 3)]
    return planned(seen(config, pods=pods, nodes=nodes, daemonsets=[daemonset(desired=3)]), **options)


def test_a_second_run_does_not_go_on_past_a_broken_agent():
    (told,) = broken(restart="rolling")["problems"]
    assert "node2: the agent cilium-node2 is not ready" in told
    assert "Left to do: node3." in told
    assert "node1" not in told
    assert broken()["problems"] == []


def test_a_broken_agent_is_never_done():
    for pods, why in (
        ([agent("node1", created=LATER), agent("node2", created=LATER, is_ready=False)], "cilium-node2 is not ready"),
        ([agent("node1", created=LATER)], "it has no agent"),
        ([agent("node1", created=LATER), agent("node2", created=LATER, leaving=True)], "is not ready"),
    ):
        config = config_map("true", manager=settings.MANAGER, time=LATER)
        hosts = [host("node1", True), host("node2", True)]
        found = planned(seen(config, hosts, pods=pods, daemonsets=[daemonset(desired=2)]), restart="rolling")
        assert found["problems"] == []
        result = reports.report(found, hosts)
        assert result["state"] == "unready"
        assert [each["node"] for each in result["unready"]] == ["node2"]
        lines = reports.story(found, result, OPTIONS)
        assert "1 agent missing or not ready" in lines[0]
        assert any("node2" in line and why in line for line in lines[1:])


def test_a_node_that_lacks_its_agent_holds_the_others_up():
    pods = [agent("node2", created=NOW)]
    config = config_map("true", manager=settings.MANAGER, time=LATER)
    given = seen(config, pods=pods, daemonsets=[daemonset(desired=2)])
    assert "node1: it has no agent. Left to do: node2" in refusals(given, restart="rolling")
    assert refusals(dict(given, daemonsets=[daemonset(desired=1)]), restart="rolling") == ""


def test_nothing_is_restarted_beside_a_rollout_of_the_daemonset():
    for status, generation, strategy, is_refused in (
        ({"desiredNumberScheduled": 2, "updatedNumberScheduled": 1}, 1, {}, True),
        ({"desiredNumberScheduled": 2, "updatedNumberScheduled": 2}, 1, {}, False),
        ({"desiredNumberScheduled": 2, "updatedNumberScheduled": 1}, 1, {"type": "OnDelete"}, False),
        ({"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "observedGeneration": 1}, 2, {}, True),
        ({"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "observedGeneration": 2}, 2, {}, False),
    ):
        given = seen()
        given["daemonsets"][0]["status"] = dict({"observedGeneration": 1}, **status)
        given["daemonsets"][0]["metadata"]["generation"] = generation
        given["daemonsets"][0]["spec"]["updateStrategy"] = strategy
        told = refusals(given, restart="rolling")
        assert ("the DaemonSet itself is restarting agents" in told) is is_refused
        assert bool(told) is is_refused
        assert refusals(given) == ""


def test_what_broke_an_agent_can_be_taken_back():
    config = config_map("true", manager=settings.MANAGER, time=NOW)
    pods = [agent("node1", created=LATER, is_ready=False), agent("node2", created="2026-11-24T09:00:00Z")]
    # It read true and never started; what it left to be read is false.
    found = planned(seen(config, [host("node1", runs=False)], pods=pods), state="disabled", restart="rolling")
    assert found["problems"] == []
    assert order(found) == [["node1"], ["node2"]]


@pytest.mark.parametrize(
    ("options", "release"),
    [({}, {"releases": [secret(1)], "helm": helm(False)}), (CANARY, {})],
    ids=["helm", "node_config"],
)
def test_a_second_run_does_not_go_past_a_broken_agent_where_the_key_is_gone(options, release):
    """Of three agents the second was recreated, is not ready, and what is there to be read is its predecessor's."""
    pods = [agent("node1", created=LATER), agent("node2", created=LATER, is_ready=False), agent("node3")]
    nodes = [{"metadata": {"name": f"node{number}", "labels": {"canary": "yes"}}} for number in (1, 2, 3)]
    hosts = [host("node1", False), host("node2", True), host("node3", True)]
    given = seen(hosts=hosts, pods=pods, nodes=nodes, configs=[], **release)
    given["daemonsets"] = [daemonset(desired=3)]
    found = planned(given, state="disabled", restart="rolling", **options)
    assert (found["change"], found["problems"]) == (None, [])
    assert order(found) == [["node2"], ["node3"]]
    # It comes back as it was: the run stops there.
    pods[1] = agent("node2", "new", is_ready=False)
    waiting = agents.waiting_for(found, daemonset(), pods, 0)
    assert waiting == [{"node": "node2", "why": "the agent cilium-new is not ready"}]


# ---- caveats ---------------------------------------------------------------------------------------------------------

BPF = {"kube_proxy_replacement": "true", "enable_bpf_masquerade": "true"}


@pytest.mark.parametrize(
    ("image", "data", "is_refused"),
    [
        ("quay.io/cilium/cilium:v1.13.18", BPF, True),
        ("registry:5000/cilium/cilium:v1.12.0-rc1@sha256:0", BPF, True),
        ("quay.io/cilium/cilium:v1.14.0", BPF, False),
        ("quay.io/cilium/cilium:v1.9.1", BPF, True),
        ("quay.io/cilium/cilium:v1.13.18", dict(BPF, enable_host_legacy_routing="true"), False),
        ("quay.io/cilium/cilium:v1.13.18", {"kube_proxy_replacement": "strict"}, False),
        (
            "quay.io/cilium/cilium:v1.13.18",
            {"kube_proxy_replacement": "strict", "enable_ipv4_masquerade": "false"},
            True,
        ),
        ("quay.io/cilium/cilium:v1.13.18", {"enable_bpf_masquerade": "true"}, False),
    ],
)
def test_host_routing(image, data, is_refused):
    told = refusals(seen(config_map(**data), daemonsets=[daemonset(image)]))
    assert ("does not go together with endpoint routes" in told) is is_refused


def test_host_routing_of_an_unknown_version_is_noted():
    found = planned(seen(config_map(**BPF), daemonsets=[daemonset("registry:5000/cilium@sha256:0")]))
    assert found["problems"] == []
    assert "does not tell its version" in found["notes"][0]


@pytest.mark.parametrize("key", ["local-router-ipv4", "local-router-ipv6"])
def test_what_requires_endpoint_routes_keeps_them(key):
    config = config_map("true", manager=settings.MANAGER)
    config["data"][key] = "10.0.0.1"
    assert key in refusals(seen(config), state="disabled")
    assert refusals(seen(config), state="enabled") == ""


def test_what_requires_endpoint_routes_refuses_a_change_alone():
    config = config_map()
    config["data"]["local-router-ipv4"] = "10.0.0.1"
    assert refusals(seen(config), state="disabled") == ""


@pytest.mark.parametrize("mode", ["eni", "azure", "alibabacloud"])
def test_clouds_keep_them(mode):
    config = config_map("true", manager=settings.MANAGER, ipam=mode)
    assert f"mode {mode} needs endpoint routes" in refusals(seen(config), state="disabled")


def test_gke_is_told_by_the_release_s_values():
    given = seen(config_map("true"), releases=[secret(1)], helm=helm(True, gke={"enabled": True}))
    assert "mode gke needs" in refusals(given, state="disabled", chart_ref="cilium")


NODES_APART = "with endpoint routes traffic between its pods and other nodes is dropped"
PODS_APART = "without endpoint routes the replies of its pods are dropped"


@pytest.mark.parametrize(
    ("filtered", "on", "off"),
    [
        ({"cilium_host": 2}, True, False),
        ({"cilium_vxlan": 1}, True, False),
        ({"all": 1}, True, True),
        ({"lxc1": 2}, False, True),
        ({"lxc_health": 1}, False, False),
        ({"eni1": 1}, False, True),
        ({"eth0": 1}, False, False),
        ({"lxc1": 0, "cilium_host": 0, "all": 0}, False, False),
    ],
)
def test_a_filter_that_would_drop_traffic_refuses(filtered, on, off):
    for state, is_refused, harm in (("enabled", on, NODES_APART), ("disabled", off, PODS_APART)):
        given = seen(
            config_map("false" if state == "enabled" else "true", manager=settings.MANAGER),
            [host("node1", state == "disabled", filtered=filtered, name="first")],
        )
        told = refusals(given, state=state)
        assert bool(told) is is_refused
        if is_refused:
            name, value = next((name, value) for name, value in filtered.items() if value)
            assert f"first: rp_filter is on ({name} {value}): {harm}" in told
            assert "endpoint_routes_allow_filtered=true" in told
            found = planned(given, state=state, allow_filtered=True)
            assert found["problems"] == []
            assert harm in found["notes"][0]


def test_a_filter_to_come_refuses_to_disable_and_is_noted_otherwise():
    line = "net.ipv4.conf.*.rp_filter 2 by /usr/lib/sysctl.d/50-default.conf:26"
    found = planned(seen(hosts=[host("node1", later=True)]))
    assert found["problems"] == []
    assert line in found["notes"][0]
    assert NODES_APART in found["notes"][0]
    given = seen(config_map("true", manager=settings.MANAGER), [host("node1", True, later=True)])
    assert line in refusals(given, state="disabled")
    assert PODS_APART in refusals(given, state="disabled")
    assert refusals(given, state="disabled", allow_filtered=True) == ""


def test_of_what_the_agent_sets_to_0_nothing_is_filtered_later():
    agent = {"seen": True, "by": "socket", "answers": True, "version": "1.20.0", "reconciles_after": 600}
    rp_filter = host("node1", later=True)["rp_filter"]
    assert caveats.filtered_later(rp_filter, True) != []
    assert caveats.filtered_later(dict(rp_filter, agent=agent), True) == []
    assert caveats.filtered_later(dict(rp_filter, agent=agent), False) != []


def test_what_cannot_be_predicted_is_filtered_later_by_its_place():
    script = {"by": "networkd-dispatcher", "path": "/etc/x", "line": 4, "text": "x", "names": ["lxc*"], "value": None}
    script.update(sets=None, narrowed=False, not_on=[], certain=False, when=["interface"], active=True)
    rp_filter = dict(host("node1")["rp_filter"], other_writers=[script])
    assert caveats.filtered_later(rp_filter, False) == ["net.ipv4.conf.lxc*.rp_filter unknown, by /etc/x:4"]


def test_lines_that_are_for_other_devices_are_none_of_it():
    hosts = [host("node1", True, later=True), host("node2")]
    hosts[0]["rp_filter"]["patterns"]["lxc*"] = hosts[1]["rp_filter"]["patterns"]["lxc*"]
    given = seen(config_map("true", manager=settings.MANAGER), hosts)
    assert refusals(given, state="disabled") == ""
    assert len(planned(given)["notes"]) == 1
    given["hosts"][0] = host("node1", True, later=True)
    assert refusals(given, state="disabled") != ""


def test_devices_that_udev_leaves_alone_are_not_filtered_later():
    hosts = [host("node1", True, later=True), host("node2")]
    hosts[0]["rp_filter"]["reload_on_add"] = None
    assert refusals(seen(config_map("true", manager=settings.MANAGER), hosts), state="disabled") == ""


def test_the_filter_of_a_node_that_is_not_meant_does_not_refuse():
    hosts = [host("node1"), host("node2", filtered={"cilium_host": 2})]
    assert refusals(seen(hosts=hosts, configs=[]), **CANARY) == ""
    hosts[0] = host("node1", filtered={"cilium_host": 2})
    assert "node1: rp_filter is on" in refusals(seen(hosts=hosts, configs=[]), **CANARY)


def test_in_check_mode_what_the_hardening_would_change_counts():
    filtered = {"all": 2, "cilium_host": 2, "lxc1": 2}
    hosts = [host("node1", filtered=filtered, hardening={"all": 0, "cilium_host": 0}), host("node2")]
    assert planned(seen(hosts=hosts))["problems"] == planned(seen(hosts=hosts))["notes"] == []
    # What it would not change stays: it only names what would be.
    hosts[0]["hardening"] = {"all": 0}
    assert "rp_filter is on (cilium_host 2)" in refusals(seen(hosts=hosts))
    hosts[0]["routes"]["endpoint_routes"]["agent"] = True
    assert "rp_filter is on (lxc1 2)" in refusals(
        seen(config_map("true", manager=settings.MANAGER), hosts), state="disabled"
    )


ON = ("true", settings.MANAGER)


def disabling(*endpoints, runs=True, **options):
    options.setdefault("filtered", {"lxc1": 2, "lxc2": 2, "cilium_host": 2})
    return seen(config_map(*ON), [host("node1", runs, endpoints=endpoints, **options), host("node2", True)])


@pytest.mark.parametrize("later", [False, True])
def test_to_disable_is_not_refused_for_pods_that_are_dropped_already(later):
    old = [
        endpoint(has_route=False, verdict="dropped"),
        endpoint("10.0.0.2", has_route=False, verdict="dropped", device="lxc2"),
    ]
    # The agent makes its health endpoint anew at each start, so that it has a route before the pods have.
    health = endpoint("10.0.0.3", pod=None, device="lxc_health")
    for given in (disabling(*old, later=later), disabling(*old, health, later=later)):
        found = planned(given, state="disabled")
        assert found["problems"] == []
        assert any("lxc1 2" in told and "already" in told for told in found["notes"])


def test_to_disable_is_refused_for_a_pod_that_works_by_its_route_and_names_it_alone():
    given = disabling(endpoint(has_route=False, verdict="dropped"), endpoint("10.0.0.2", device="lxc2"))
    assert "node1: rp_filter is on (lxc2 2): " + PODS_APART in refusals(given, state="disabled")
    # Where it is not known whether a reply is accepted, it may be.
    given = disabling(endpoint("10.0.0.2", device="lxc2", verdict="unknown"))
    assert "lxc2 2" in refusals(given, state="disabled")


def test_to_disable_is_refused_for_all_where_a_pod_works_by_its_route():
    dropped, works = endpoint(has_route=False, verdict="dropped"), endpoint("10.0.0.2", device="lxc2")
    assert refusals(disabling(dropped, filtered={"all": 1}), state="disabled") == ""
    assert "(all 1)" in refusals(disabling(dropped, works, filtered={"all": 1}), state="disabled")


def test_to_disable_is_refused_for_what_a_working_pod_meets_when_it_is_made_anew():
    for has_route in (False, True):
        given = disabling(endpoint(has_route=has_route), filtered={}, later=True)
        assert "will be on with the next device or boot" in refusals(given, state="disabled")


def test_to_disable_is_refused_for_an_interface_of_which_no_pod_is_known():
    given = disabling(endpoint(has_route=False, verdict="dropped"), filtered={"lxc1": 2, "lxcother": 2})
    assert "rp_filter is on (lxcother 2)" in refusals(given, state="disabled")


def test_to_disable_changes_nothing_where_the_agent_runs_without_routes_already():
    found = planned(disabling(endpoint(), runs=False), state="disabled")
    assert found["problems"] == []
    assert any("lxc1 2" in told and "already" in told for told in found["notes"])


def test_to_enable_is_not_refused_where_the_agent_runs_with_routes_already():
    filtered = {"cilium_host": 2}
    given = seen(config_map(*ON), [host("node1", True, filtered=filtered, endpoints=[endpoint()]), host("node2")])
    found = planned(given)
    assert found["problems"] == []
    assert any("cilium_host 2" in told and "already" in told for told in found["notes"])
    # Its pods without a route reach those on other nodes, and get one when they are recreated whatever this run does.
    given["hosts"][0]["routes"]["endpoints"] = [endpoint(has_route=False)]
    assert planned(given)["problems"] == []
    for agent_runs in (False, None):
        given["hosts"][0]["routes"]["endpoint_routes"]["agent"] = agent_runs
        assert "rp_filter is on (cilium_host 2): " + NODES_APART in refusals(given)


def test_what_the_module_rp_filter_would_change():
    def item(name, value, to):
        return {"name": name, "from": value, "to": to, "line": True}

    result = {
        "applied": True,
        "plan": [item("lxc*", None, 0), item("all", 2, 0), item("eth0", 2, 2), item("lxc1", 2, 0)],
        "diff": [
            {"before_header": "/dev/null", "after_header": "/etc/sysctl.d/99-x.conf", "before": "", "after": "a=1\n"},
            {"before_header": "/etc/a.conf", "after_header": "/etc/a.conf", "before": "b=1\n", "after": "# b=1\n"},
            {"before_header": "/etc/b.conf", "after_header": "/dev/null", "before": "c=1\n", "after": ""},
            {"before_header": "running values", "after_header": "running values", "before": "", "after": ""},
        ],
    }
    files = {"/etc/sysctl.d/99-x.conf": "a=1\n", "/etc/a.conf": "# b=1\n", "/etc/b.conf": None}
    assert caveats.hardening(result) == {"running": {"all": 0, "lxc1": 0}, "overlay": files}
    assert caveats.hardening(dict(result, applied=False))["running"] == {}
    assert caveats.hardening({}) == {"running": {}, "overlay": {}}


def test_where_there_is_no_cilium():
    assert "no ConfigMap cilium-config" in refusals(dict(seen(), config_map=None))
    assert "expected one DaemonSet" in refusals(seen(daemonsets=[]))


# ---- nodes that no host tells of -------------------------------------------------------------------------------------


def test_every_node_that_is_meant_has_to_be_seen():
    told = refusals(seen(hosts=BOTH[:1]), allow_unseen=False)
    assert "no host of this run tells of node2" in told
    assert "no --limit" in told
    assert "endpoint_routes_node_name" in told
    assert "endpoint_routes_allow_unseen=true" in told
    assert refusals(seen(hosts=BOTH), allow_unseen=False) == ""


def test_unseen_nodes_by_consent_are_noted():
    found = planned(seen(hosts=BOTH[:1]), allow_unseen=True)
    assert found["problems"] == []
    assert ["no host of this run tells of node2" in note for note in found["notes"]] == [True]


def test_a_filter_that_could_not_be_read_is_not_seen():
    hosts = [host("node1"), host("node2")]
    hosts[1]["rp_filter"]["all"]["running"] = None
    assert "tells of node2" in refusals(seen(hosts=hosts), allow_unseen=False)


def test_a_node_of_the_canary_alone_has_to_be_seen():
    given = seen(hosts=BOTH[:1], configs=[])
    assert refusals(given, allow_unseen=False, **CANARY) == ""
    assert "tells of node1" in refusals(seen(hosts=BOTH[1:], configs=[]), allow_unseen=False, **CANARY)


def test_a_host_of_a_name_that_the_cluster_does_not_know():
    given = seen(hosts=[*BOTH, host("node3", name="node3.example.com")])
    told = refusals(given)
    assert "endpoint_routes_node_name: the cluster has no node 'node3' (of host node3.example.com)" in told


def test_two_hosts_cannot_be_one_node():
    assert "is 'node1' for more than one host (a, b)" in refusals(
        seen(hosts=[host("node1", name="a"), host("node1", name="b")])
    )


def test_a_node_without_an_agent_is_meant_only_where_one_is_missing():
    pods = [agent("node1")]
    assert planned(seen(pods=pods))["scope"] == ["node1"]
    given = seen(pods=pods, daemonsets=[daemonset(desired=2)])
    assert planned(given)["scope"] == ["node1", "node2"]
    given["daemonsets"][0]["spec"]["template"]["spec"]["nodeSelector"] = {"canary": "yes"}
    assert planned(given)["scope"] == ["node1"]


def test_an_agent_that_is_not_scheduled_yet_is_of_the_node_that_it_is_meant_for():
    waiting = agent("node2", is_ready=False)
    field = {"key": "metadata.name", "operator": "In", "values": ["node2"]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    waiting["spec"] = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}
    assert [each["node"] for each in planned(seen(pods=[agent("node1"), waiting]))["agents"]] == ["node1", "node2"]
    waiting["spec"] = {}
    assert [each["node"] for each in planned(seen(pods=[agent("node1"), waiting]))["agents"]] == ["node1"]


# ---- variables -------------------------------------------------------------------------------------------------------


def asked(*hosts, in_play=None):
    hosts = [{"host": f"host{number}", "options": options} for number, options in enumerate(hosts, 1)]
    return "\n".join(options_module.problems(hosts, in_play or len(hosts)))


ASKED = dict(OPTIONS, timeout=300, delegate="localhost", kubeconfig="", context="", chart_repo="", helm_binary="")


def test_a_batch_of_the_play_is_not_the_cluster():
    assert asked(ASKED, ASKED) == ""
    assert "serial: this batch has 1 of the play's 2 hosts" in asked(ASKED, in_play=2)
    assert asked(dict(ASKED, state="unchanged"), in_play=2) == ""


def test_all_hosts_have_to_ask_for_the_same():
    told = asked(ASKED, dict(ASKED, kubeconfig="/b"), ASKED)
    assert "endpoint_routes_kubeconfig: has to be the same" in told
    assert "'' for host1, host3, '/b' for host2" in told
    assert "endpoint_routes_state: has to be the same" in asked(dict(ASKED, state="unchanged"), ASKED)


def test_two_clusters_may_differ_where_nothing_is_asked():
    nothing = dict(ASKED, state="unchanged", kubeconfig="/a", node_selector="no dictionary")
    assert asked(nothing, dict(nothing, kubeconfig="/b", namespace="other")) == ""


@pytest.mark.parametrize(
    ("option", "wrong", "right"),
    [
        ("batch", [0, -1], [1, 1000000]),
        ("timeout", [0, 86401], [1, 86400]),
        ("namespace", ["", 5, "Kube", "a.b", "-x", "x" * 64, "a\n"], ["kube-system", "x" * 63]),
        ("release", ["", 1.16, "a b", "--x", "x" * 54], ["rke2-cilium", "x" * 53]),
        ("node_config_name", ["", True, "a_b", "a/b", "x" * 254], ["endpoint-routes", "x" * 253]),
        ("delegate", ["", None, "a b", "a\n"], ["localhost", "10.0.0.1", "fe80::1%eth0"]),
        ("chart_ref", [1, "--set", "a b", "a\n"], ["", "cilium", "./chart", "oci://quay.io/cilium/charts/cilium"]),
        ("chart_repo", [1], ["", "https://helm.cilium.io"]),
        ("context", [1, ["a"]], ["", "admin@cluster"]),
        ("helm_binary", [3], ["", "helm3"]),
        ("kubeconfig", [1, {}, "admin.conf", "./a", "../a"], ["", "/etc/kubernetes/admin.conf", "~/.kube/config"]),
        ("node_selector", ["canary=yes", ["canary"], {"canary": True}, {1: "yes"}], [{}, {"canary": "yes"}]),
    ],
)
def test_wrong_values_are_told_of_by_the_name_of_the_variable(option, wrong, right):
    for value in wrong:
        told = asked(dict(ASKED, **{option: value}))
        assert told.startswith(f"endpoint_routes_{option}: expected")
        assert "; found " in told
        assert "\n" not in told
    for value in right:
        assert asked(dict(ASKED, **{option: value})) == ""


def test_helm_takes_the_account_from_where_it_runs(monkeypatch):
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", "/of/the/controller")
    there = {"results": [{"stdout": "/of/the/delegate"}, {"stdout": ""}]}
    told = variable("__endpoint_routes_helm_account", __endpoint_routes_environment=there)
    assert told == ["--kubeconfig", "/of/the/delegate"]
    given = {"endpoint_routes_kubeconfig": "/given", "endpoint_routes_context": "c"}
    there = {"results": [{"skipped": True}, {"skipped": True}]}
    told = variable("__endpoint_routes_helm_account", __endpoint_routes_environment=there, **given)
    assert told == ["--kubeconfig", "/given", "--kube-context", "c"]


def test_what_a_lost_host_said_before_acting_is_not_taken_for_what_it_says_after():
    def told(host, run="now", stage="before"):
        return {"__endpoint_routes_host": {"host": host, "run": run, "stage": stage}}

    given = {
        "__endpoint_routes_run": "now",
        "ansible_play_hosts_all": ["a", "lost", "earlier", "nothing"],
        "hostvars": {"a": told("a"), "lost": told("lost"), "earlier": told("earlier", "then"), "nothing": {}},
    }
    assert [each["host"] for each in variable("__endpoint_routes_hosts", **given)] == ["a", "lost"]
    given["hostvars"].update(a=told("a", stage="after"), earlier=told("earlier", "then", "after"))
    found = variable("__endpoint_routes_hosts", **given, __endpoint_routes_stage="after")
    assert [each["host"] for each in found] == ["a"]
    switch = yaml.safe_load((ROLE / "tasks/switch.yml").read_text())
    kept = [task for task in switch if "__endpoint_routes_host" in task.get("ansible.builtin.set_fact", {})]
    assert [task.get("vars", {}).get("__endpoint_routes_stage") for task in kept] == [None, "after"]
    assert kept[0]["ansible.builtin.set_fact"]["__endpoint_routes_host"]["stage"] == "{{ __endpoint_routes_stage }}"
    assert switch[-1]["vars"]["__endpoint_routes_stage"] == "after"


# ---- rights ----------------------------------------------------------------------------------------------------------


def rights_of(manifest):
    found = set()
    for document in yaml.safe_load_all(manifest):
        for rule in document["rules"]:
            for resource, verb in itertools.product(rule["resources"], rule["verbs"]):
                found.add((document["kind"], rule["apiGroups"][0], resource, verb, *rule.get("resourceNames", [])))
    return found


def test_the_missing_rights_and_no_others_are_printed():
    given = seen(reviews=granted(but={("pods", "list"), ("pods", "delete"), ("configmaps", "patch")}))
    told = refusals(given)
    assert rights_of(told[told.index("---") :]) == {
        ("Role", "", "pods", "list"),
        ("Role", "", "configmaps", "patch", "cilium-config"),
    }
    told = refusals(given, restart="rolling")
    assert ("Role", "", "pods", "delete") in rights_of(told[told.index("---") :])


def test_nodes_are_of_the_whole_cluster():
    given = seen(configs=[], reviews=granted(but={("nodes", "list"), ("ciliumnodeconfigs", "patch")}))
    told = refusals(given, **CANARY)
    assert rights_of(told[told.index("---") :]) == {
        ("ClusterRole", "", "nodes", "list"),
        ("Role", "cilium.io", "ciliumnodeconfigs", "patch"),
    }
    assert "create clusterrolebinding" in told


def rendered(**changed):
    """A release's objects as helm tells them; changed: name to what is instead, None to leave it out."""
    documents = {
        "cilium-config": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cilium-config"}},
        "cilium": {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "cilium", "namespace": "kube-system"},
            "spec": {"template": {"metadata": {"annotations": {"checksum": "0"}}}},
        },
        "cilium-operator": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "cilium-operator"}},
        "deny": {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny"}},
        "certs": {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "certs", "namespace": "cilium-secrets"}},
        "role": {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "role"}},
        "class": {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "class"}},
        "nothing": None,
    }
    for name, instead in ((key.replace("_", "-"), value) for key, value in changed.items()):
        documents[name] = dict(documents.get(name) or {}, **instead) if instead else None
    return "---\n".join(yaml.safe_dump(document) if document else "# empty\n" for document in documents.values())


CONFIG_ON = {"data": {KEY: "true"}}
OTHER_TEMPLATE = {"spec": {"template": {"metadata": {"annotations": {"checksum": "1"}}}}}
JOB = {
    "name": "certgen",
    "events": ["post-upgrade"],
    "manifest": "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\n",
}


# As kubernetes.core.k8s_cluster_info tells it.
SERVED = {
    "v1": {
        "ConfigMap": {"name": "configmaps", "namespaced": True},
        "Secret": {"name": "secrets", "namespaced": True},
        "Service": {"name": "services", "namespaced": True},
    },
    "apps/v1": {
        "DaemonSet": {"name": "daemonsets", "namespaced": True},
        "Deployment": {"name": "deployments", "namespaced": True},
    },
    "gateway.networking.k8s.io/v1": {"Gateway": {"name": "gateways", "namespaced": True}},
    "example.com/v1": {"Fleet": {"name": "fleetses", "namespaced": False}},
}


def upgrade(hooks=(), **changed):
    changed.setdefault("cilium_config", CONFIG_ON)
    return {
        "namespace": "kube-system",
        "installed": rendered(),
        "rendered": rendered(**changed),
        "hooks": list(hooks),
        "served": SERVED,
        "looks_up": True,
    }


def rights_for(given):
    found = {}
    for review in rights.reviews("kube-system", given):
        asked = review["spec"]["resourceAttributes"]
        key = (asked["group"], asked["resource"], asked.get("namespace"), asked.get("name"))
        found.setdefault(key, set()).add(asked["verb"])
    return found


def test_what_an_upgrade_needs_for_the_release_s_objects():
    assert rights_for(upgrade()) == {
        ("", "configmaps", "kube-system", "cilium-config"): {"get", "patch"},
        ("apps", "daemonsets", "kube-system", "cilium"): {"get"},
        ("apps", "deployments", "kube-system", "cilium-operator"): {"get"},
        ("networking.k8s.io", "networkpolicies", "kube-system", "deny"): {"get"},
        ("", "secrets", "cilium-secrets", "certs"): {"get"},
        ("rbac.authorization.k8s.io", "clusterroles", None, "role"): {"get"},
        ("networking.k8s.io", "ingressclasses", None, "class"): {"get"},
    }


def test_what_a_chart_makes_anew_each_time_is_to_be_patched():
    found = rights_for(upgrade(certs={"data": {"tls.key": "eA=="}}, cilium=OTHER_TEMPLATE))
    assert found["", "secrets", "cilium-secrets", "certs"] == {"get", "patch"}
    assert found["apps", "daemonsets", "kube-system", "cilium"] == {"get", "patch"}


def test_what_comes_and_goes_is_to_be_created_and_deleted():
    added = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "peer"}}
    found = rights_for(upgrade(deny=None, peer=added))
    assert found["networking.k8s.io", "networkpolicies", "kube-system", "deny"] == {"delete", "get"}
    assert found["", "services", "kube-system", "peer"] == {"get"}
    # A Role that names what is to be created would not allow it.
    assert found["", "services", "kube-system", None] == {"create"}


def test_what_the_hooks_of_an_upgrade_need():
    found = rights_for(upgrade([JOB, dict(JOB, events=["pre-delete"], manifest=JOB["manifest"].replace("j}", "k}"))]))
    assert found["batch", "jobs", "kube-system", "j"] == {"delete", "get", "list", "watch"}
    assert found["batch", "jobs", "kube-system", None] == {"create"}
    assert ("batch", "jobs", "kube-system", "k") not in found


def upgraded(
    restart="rolling", batch=1, strategy=None, all_granted=True, pods=None, hooks=(), manifests=None, **changed
):
    given = seen(releases=[secret(1)], helm=helm(), upgrade=manifests or upgrade(hooks, **changed), pods=pods)
    given["daemonsets"][0]["metadata"]["name"] = "cilium"
    given["daemonsets"][0]["spec"]["updateStrategy"] = strategy
    if all_granted:
        for review in rights.reviews("kube-system", given["upgrade"]):
            given["reviews"].append({"result": dict(review, status={"allowed": True})})
    options = dict(OPTIONS, chart_ref="cilium", restart=restart, batch=batch)
    return logic.plan(given, options), options


def test_a_release_is_not_upgraded_halfway():
    (told,) = upgraded(all_granted=False, certs={"data": {}})[0]["problems"]
    assert "get, patch secrets certs in namespace cilium-secrets" in told
    assert "get clusterroles.rbac.authorization.k8s.io role in the whole cluster" in told
    documents = list(yaml.safe_load_all(told[told.index("---") :]))
    assert [d["metadata"].get("namespace") for d in documents] == ["cilium-secrets", "kube-system", None]
    assert told.count("create rolebinding") == 2
    assert upgraded(certs={"data": {}})[0]["problems"] == []
    # Where nothing is to be written, nothing more is needed.
    done = seen(config_map("true"), releases=[secret(1)], helm=helm(True), upgrade=upgrade())
    assert refusals(done) == ""


def test_the_plan_says_what_else_an_upgrade_changes():
    added = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "peer"}}
    found, options = upgraded(certs={"data": {}}, role=None, peer=added, hooks=[JOB])
    assert found["also"] == [
        "ClusterRole role (of the whole cluster) deleted",
        "Secret certs changed",
        "Service peer created",
        "hook certgen run",
    ]
    told = reports.story(found, None, options)
    assert [line for line in told if "Secret certs changed" in line]
    assert not [line for line in told if "tls" in line]


def test_of_several_that_wrote_a_key_the_last_counts():
    def wrote(manager, time, fields=None):
        fields = {"f:data": {"f:" + KEY: {}}} if fields is None else fields
        return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields}

    def changed(*entries):
        return settings.changed_at({"metadata": {"managedFields": list(entries)}}, settings.KEY_PATH)

    assert changed(wrote("a", LATER), wrote("b", NOW)) == changed(wrote("b", NOW), wrote("a", LATER)) == LATER
    # Who wrote another key did not write this one.
    assert changed(wrote("a", NOW), wrote("b", LATER, {"f:data": {"f:other": {}}})) == NOW
    assert changed(wrote("b", LATER, {"f:data": {"f:other": {}}})) is None


def test_an_upgrade_that_restarts_agents_needs_consent():
    assert upgraded("never")[0]["problems"] == []
    (told,) = upgraded("never", cilium=OTHER_TEMPLATE)[0]["problems"]
    assert "rollOutCiliumPods" in told
    assert "endpoint_routes_restart=rolling" in told
    assert upgraded("never", strategy={"type": "OnDelete"}, cilium=OTHER_TEMPLATE)[0]["problems"] == []


def test_what_the_daemonset_restarts_the_role_does_not():
    found, options = upgraded(cilium=OTHER_TEMPLATE, strategy={"rollingUpdate": {"maxUnavailable": 2}})
    assert [[each["node"] for each in batch] for batch in found["batches"]] == [["node1", "node2"]]
    assert found["rollout"] == {"at_once": 2, "steps": 1}
    (line,) = [line for line in reports.story(found, None, options) if "to restart" in line]
    assert "up to 2 at a time: endpoint_routes_batch (1) cannot be kept" in line
    found, options = upgraded(cilium=OTHER_TEMPLATE, batch=2)
    (line,) = [line for line in reports.story(found, None, options) if "to restart" in line]
    assert line.endswith("up to 1 at a time")
    at_two = {"rollingUpdate": {"maxUnavailable": 2}}
    found, options = upgraded(cilium=OTHER_TEMPLATE, batch=2, strategy=at_two)
    (line,) = [line for line in reports.story(found, None, options) if "to restart" in line]
    assert line.endswith("up to 2 at a time")
    for others in (
        {"strategy": {"type": "OnDelete"}, "cilium": OTHER_TEMPLATE},
        {"cilium": {"metadata": {"name": "cilium", "namespace": "kube-system", "labels": {}}}},
    ):
        found, options = upgraded(**others)
        assert (found["rollout"], len(found["batches"])) == (None, 2)
        assert "cannot be kept" not in "".join(reports.story(found, None, options))


def test_a_rollout_reaches_the_agents_that_are_not_meant_too():
    given = seen(
        releases=[secret(1)],
        helm=helm(),
        upgrade=upgrade(cilium=OTHER_TEMPLATE),
        configs=[node_config("aaa", "false", {"canary": "yes"})],
    )
    given["daemonsets"][0]["metadata"]["name"] = "cilium"
    found = planned(given, chart_ref="cilium", restart="rolling")
    assert found["scope"] == ["node2"]
    assert [[each["node"] for each in batch] for batch in found["batches"]] == [["node1", "node2"]]
    waiting = agents.waiting_for(found, daemonset(), [agent("node1", "old1"), agent("node2", "new")], 0)
    assert waiting == []
    found["batches"][0][0]["uid"] = "old1"
    waiting = agents.waiting_for(found, daemonset(), [agent("node1", "old1"), agent("node2", "new")], 0)
    assert [each["node"] for each in waiting] == ["node1"]


@pytest.mark.parametrize(
    ("most", "count", "at_once", "steps"),
    [(None, 3, 1, 3), (2, 3, 2, 2), ("10%", 25, 3, 9), ("0%", 2, 1, 2), (2, 1, 2, 1)],
)
def test_in_how_many_steps_a_daemonset_restarts(most, count, at_once, steps):
    assert agents.rollout({"rollingUpdate": {"maxUnavailable": most}}, count) == {"at_once": at_once, "steps": steps}
    assert agents.rollout({}, 1) == {"at_once": 1, "steps": 1}


def test_a_resource_is_called_as_the_cluster_calls_it():
    added = {
        "gate": {"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "Gateway", "metadata": {"name": "gate"}},
        "fleet": {"apiVersion": "example.com/v1", "kind": "Fleet", "metadata": {"name": "fleet"}},
        "tray": {"apiVersion": "example.com/v1", "kind": "Tray", "metadata": {"name": "tray"}},
    }
    found = rights_for(upgrade(**added))
    assert found["gateway.networking.k8s.io", "gateways", "kube-system", None] == {"create"}
    assert found["example.com", "fleetses", None, None] == {"create"}
    assert found["example.com", "trays", "kube-system", None] == {"create"}
    (told,) = upgraded(all_granted=False, **added)[0]["problems"]
    guessed = "The cluster does not serve clusterroles.rbac.authorization.k8s.io, ingressclasses.networking.k8s.io"
    assert guessed in told
    assert "trays.example.com" in told[told.index(guessed) :]
    assert "fleetses" not in told[told.index(guessed) : told.index("guessed by their kinds")]
    (told,) = upgraded(all_granted=False, role=None, **{"class": None, "deny": None})[0]["problems"]
    assert "does not serve" in told


def test_the_objects_of_a_list_are_objects():
    secrets = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s{number}"}} for number in (1, 2)]
    for kind, items in (("List", secrets), ("SecretList", [{"metadata": each["metadata"]} for each in secrets])):
        found = rights_for(upgrade(many={"apiVersion": "v1", "kind": kind, "items": items}))
        assert found["", "secrets", "kube-system", "s1"] == found["", "secrets", "kube-system", "s2"] == {"get"}
        assert not [key for key in found if "list" in key[1]]


@pytest.mark.parametrize("text", ["a: =", "a: 2024-99-99", "a: !!python/object:x {}", "- a", "kind: 1", "a: [*b"])
def test_what_yaml_cannot_be_is_refused_with_the_name_of_the_release(text):
    given = upgrade()
    document = f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: secret}}\n{text}\n"
    given["rendered"] += document
    found, _options = upgraded(manifests=given)
    if text == "a: =":
        # That is a text to Kubernetes.
        assert found["problems"] == []
        assert found["also"] == ["Secret secret created"]
        return
    (told,) = found["problems"]
    assert told.startswith("endpoint_routes_release: what helm tells of the release cilium cannot be read (rendered: ")
    assert "2024" not in told
    assert rights.reviews("kube-system", given) == rights.reviews("kube-system")
    # A hook is no different.
    given = upgrade([dict(JOB, manifest=document)])
    assert "cannot be read (hook certgen: " in upgraded(manifests=given)[0]["problems"][0]


def test_what_a_helm_without_lookup_cannot_know_is_said():
    given = dict(upgrade(certs={"data": {}}), looks_up=False)
    found, _options = upgraded(manifests=given)
    assert found["also"] == ["Secret certs may be changed"]
    assert "helm before 3.13 finds nothing by a chart's lookup" in found["notes"][0]
    # Helm that finds out in the middle of an upgrade is worse than a right too many.
    (told,) = upgraded(manifests=given, all_granted=False)[0]["problems"]
    assert "get, patch secrets certs" in told
    assert "3.13 or newer looks it up, and may need less. Apply this" in told
    assert "3.13" not in upgraded(all_granted=False, certs={"data": {}})[0]["problems"][0]
    assert upgraded(manifests=dict(upgrade(), looks_up=False))[0]["notes"] == upgraded()[0]["notes"]


@pytest.mark.parametrize(
    ("said", "looks_up"),
    [("v3.6.2+gee407bd", False), ("v3.12.3+g3a31588", False), ("v3.13.0", True), ("v4.0.1", True), ("", False)],
)
def test_which_helm_looks_up(said, looks_up):
    assert variable("__endpoint_routes_looks_up", __endpoint_routes_helm_version={"stdout": said}) is looks_up


def test_other_rights_do_not_replace_what_was_applied_before():
    names = set()
    for lacking in ({("pods", "list")}, {("configmaps", "patch")}):
        told = refusals(seen(reviews=granted(but=lacking)))
        names |= {document["metadata"]["name"] for document in yaml.safe_load_all(told[told.index("---") :])}
    assert len(names) == 2


def test_who_may_read_nothing_gets_no_other_error():
    every = {
        (r["spec"]["resourceAttributes"]["resource"], r["spec"]["resourceAttributes"]["verb"])
        for r in rights.reviews("x")
    }
    given = dict(seen(reviews=granted(but=every)), config_map=None, daemonsets=[], pods=[])
    assert len(planned(given)["problems"]) == 1


def test_a_served_api_that_may_not_be_read():
    answers = [{"item": "v2alpha1", "api_found": False}, {"item": "v2", "msg": "Forbidden"}]
    given = seen(node_configs=answers, reviews=granted(but={("ciliumnodeconfigs", "list")}))
    assert "list ciliumnodeconfigs" in refusals(given)


# ---- what was reached ------------------------------------------------------------------------------------------------


def reported(hosts, value="true", state="enabled", **options):
    found = planned(seen(config_map(value, manager=settings.MANAGER), hosts), state=state)
    return found, reports.report(found, hosts, **options)


def test_what_is_refused_after_acting_is_reported():
    found = planned(seen(config_map("true", manager=settings.MANAGER), [host("node1", filtered={"all": 1})]))
    assert "all 1" in found["problems"][0]
    assert reports.report(found, [])["problems"] == found["problems"] != []


def test_done_is_said_only_where_all_is_seen_and_agrees():
    both = [host(node, True, endpoints=[endpoint()]) for node in ("node1", "node2")]
    found, result = reported(both)
    assert (result["state"], result["accepted"], result["problems"]) == ("done", 2, [])
    _found, result = reported(both[:1])
    assert (result["state"], result["unseen"]) == ("unknown", ["node2"])


def test_an_agent_of_which_nothing_is_known_is_not_done():
    hosts = [host(node, None, endpoints=[endpoint()]) for node in ("node1", "node2")]
    config = config_map("true", manager=settings.MANAGER)
    config["metadata"]["managedFields"] = []
    found = planned(seen(config, hosts))
    assert reports.report(found, hosts)["state"] == "unknown"


def test_an_agent_that_says_true_proves_nothing():
    hosts = [host(node, True, endpoints=[endpoint(has_route=False, verdict="dropped")]) for node in ("node1", "node2")]
    found, result = reported(hosts)
    assert result["state"] == "pending"
    assert result["commands"] == ["kubectl --namespace shop delete pod cart-1"] * 2
    assert result["problems"] == []
    lines = reports.story(found, result, OPTIONS)
    assert "pending: 0 of 2 agents and 2 pods to be recreated" in lines[0]
    assert all("done" not in line for line in lines)


def test_pods_are_recreated_only_where_the_agent_is_the_new_one():
    old = [endpoint(has_route=False)]
    hosts = [host("node1", True, endpoints=old), host("node2", False, endpoints=old)]
    found, result = reported(hosts)
    assert [pod["once"] for pod in result["pods"]] == [None, "its agent is recreated"]
    assert len(result["commands"]) == 1
    lines = [line for line in reports.story(found, result, OPTIONS) if line.startswith(">> pod")]
    assert lines[0].endswith("on node1 is still on the old path (accepted): kubectl --namespace shop delete pod cart-1")
    assert lines[1].endswith("node2 is still on the old path (accepted): to be recreated once its agent is recreated")
    # A check recreates no agent, whatever is consented to.
    _found, result = reported(hosts, restarted=["node2"], is_check=True)
    assert (result["agents"], len(result["commands"])) == ([], 1)
    assert [pod["once"] for pod in result["pods"]] == [None, "its agent is recreated"]
    for pods, time, once in (
        ([agent("node1", is_ready=False)], NOW, "its agent is ready"),
        ([agent("node1", created=LATER, is_ready=False)], NOW, "it is known what its agent runs with"),
    ):
        config = config_map("true", manager=settings.MANAGER, time=time)
        hosts = [host("node1", pods[0]["metadata"]["creationTimestamp"] == NOW, endpoints=old)]
        found = planned(seen(config, hosts, pods=pods))
        result = reports.report(found, hosts)
        assert ([pod["once"] for pod in result["pods"]], result["commands"]) == ([once], [])


def test_disabled_again_has_pods_pending_too():
    _found, result = reported([host("node1", False, endpoints=[endpoint()])], value="false", state="disabled")
    assert [pod["pod"] for pod in result["pods"]] == ["shop/cart-1"]


@pytest.mark.parametrize("state", ["enabled", "disabled"])
def test_a_reply_that_is_dropped_on_its_path_is_a_failure_in_either_state(state):
    on = state == "enabled"
    hosts = [host("node1", on, endpoints=[endpoint(has_route=on, verdict="dropped")])]
    found, result = reported(hosts, value=settings.as_text(on), state=state)
    assert result["problems"] == [
        "node1: shop/cart-1 is on its path, and its reply is dropped all the same: why not",
    ]
    assert result["state"] == "failed"
    told = reports.story(found, result, OPTIONS)
    assert "not all is as it has to be, as the error below says" in told[0]
    _found, result = reported(hosts, value=settings.as_text(on), state=state, is_check=True)
    assert len(result["problems"]) == 1
    # What would be mended in this run is not known to stay.
    hosts[0]["hardening"] = {"lxc1": 0}
    _found, result = reported(hosts, value=settings.as_text(on), state=state, is_check=True)
    assert (result["state"], result["problems"]) == ("unknown", [])
    assert [pod["pod"] for pod in result["unproven"]] == ["shop/cart-1"]


def test_a_reply_of_unknown_fate_is_not_done():
    fates = [endpoint(), endpoint("10.0.0.2", verdict="unknown", pod="shop/other")]
    found, result = reported([host("node1", True, endpoints=fates), host("node2", True)])
    assert (result["state"], result["accepted"], result["problems"]) == ("unknown", 1, [])
    assert [pod["pod"] for pod in result["unproven"]] == ["shop/other"]
    lines = reports.story(found, result, OPTIONS)
    assert any("shop/other on node1" in line and "why not" in line for line in lines)
    assert "not everything could be seen" in lines[0]


def test_an_endpoint_without_an_ipv4_address_is_none_of_it():
    _found, result = reported([host("node1", True, endpoints=[endpoint(None, False, None)]), host("node2", True)])
    assert (result["state"], result["pods"]) == ("done", [])


def test_a_host_that_knows_of_no_endpoint_is_not_seen_unless_a_source_says_so():
    hosts = [host("node1", True), host("node2", True)]
    hosts[1]["routes"]["source"] = None
    _found, result = reported(hosts)
    assert (result["state"], result["unseen"]) == ("unknown", ["node2"])
    hosts[1]["routes"]["endpoints"] = [endpoint()]
    _found, result = reported(hosts)
    assert (result["state"], result["unseen"]) == ("done", [])


FORGED = "evil\n>> pod  all is well\x1b[2K\u202e\r"


def test_what_nodes_say_is_no_line_of_its_own():
    pods = [
        dict(endpoint(has_route=False, pod=FORGED), verdict=FORGED),
        dict(endpoint(FORGED, has_route=False, pod=None), device=FORGED),
        dict(endpoint(verdict="dropped", pod=FORGED), reason=FORGED),
        dict(endpoint(verdict="unknown", pod=FORGED), reason=FORGED),
    ]
    hosts = [host("node1", True, endpoints=pods), host("node2", True)]
    found, result = reported(hosts)
    told = reports.story(found, result, OPTIONS) + result["problems"]
    # What was asked of whom stays as it was said; only what is shown must be seen.
    assert [pod["pod"] for pod in result["pods"]] == [FORGED, None]
    assert result["commands"] == []
    assert sum("evil" in line for line in told) == 4
    filtered = host("node1", True, filtered={"lxc" + FORGED: 2}, name=FORGED)
    given = seen(config_map("true", manager=settings.MANAGER), [filtered])
    told += planned(given, state="disabled")["problems"]
    told += planned(given, state="disabled", allow_filtered=True)["notes"]
    told += planned(dict(given, hosts=[host(FORGED)]))["problems"]
    told += options_module.problems([{"host": FORGED, "options": dict(ASKED, state=FORGED)}] * 2, 3)
    assert len(told) > 8
    for line in told:
        assert line.isprintable()


def test_an_agent_that_came_back_with_the_old_value_is_a_failure():
    _found, result = reported([host("node1", False)], restarted=["node1"])
    assert "node1: its agent was recreated, but it says that it runs with false" in result["problems"]
    _found, result = reported([host("node1", False)])
    assert result["problems"] == []
    assert [agent["node"] for agent in result["agents"]] == ["node1"]


def test_what_was_written_and_did_not_take_is_a_failure():
    _found, result = reported([host(node, False) for node in ("node1", "node2")], value="false")
    assert "is not what was asked for" in result["problems"][0]
    assert result["state"] == "failed"
    _found, result = reported([], value="false", is_check=True)
    assert result["problems"] == []


def test_an_endpoint_without_a_name_is_named_by_its_address():
    hosts = [host("node1", True, endpoints=[endpoint(has_route=False, pod=None)])]
    found, result = reported(hosts)
    assert result["commands"] == []
    (line,) = [line for line in reports.story(found, result, OPTIONS) if "old path" in line]
    assert line.endswith("10.0.0.1 on node1 is still on the old path (accepted): no source names its pod, on lxc1")


def kubernetes_pod(name, address, node="node1", phase="Running", **spec):
    return {
        "metadata": {"namespace": "shop", "name": name},
        "spec": dict(spec, nodeName=node),
        "status": {"phase": phase, "podIP": address, "podIPs": [{"ip": address}]},
    }


def test_pods_that_no_fact_names_are_named_by_kubernetes():
    lacking = endpoint(has_route=False, pod=None)
    hosts = [host("node1", True, endpoints=[lacking, endpoint("10.0.0.2", has_route=False, pod="shop/known")])]
    pods = [kubernetes_pod("cart-1", "10.0.0.1"), kubernetes_pod("another", "10.0.0.2")]
    found, result = reported(hosts, pods=pods)
    assert [pod["pod"] for pod in result["pods"]] == ["shop/cart-1", "shop/known"]
    assert result["commands"] == [
        "kubectl --namespace shop delete pod cart-1",
        "kubectl --namespace shop delete pod known",
    ]
    assert lacking["pod"] is None


@pytest.mark.parametrize(
    "other",
    [
        kubernetes_pod("of-another-node", "10.0.0.1", node="node2"),
        kubernetes_pod("ended", "10.0.0.1", phase="Succeeded"),
        kubernetes_pod("failed", "10.0.0.1", phase="Failed"),
        kubernetes_pod("of-the-host", "10.0.0.1", hostNetwork=True),
        kubernetes_pod("of-another-address", "10.0.0.9"),
        {"metadata": {"namespace": "shop", "name": "pending"}, "spec": {}, "status": {}},
    ],
)
def test_other_pods_of_kubernetes_name_nothing(other):
    hosts = [host("node1", True, endpoints=[endpoint(has_route=False, pod=None)])]
    _found, result = reported(hosts, pods=[other])
    assert [pod["pod"] for pod in result["pods"]] == [None]
    assert result["commands"] == []


def test_the_health_endpoint_is_called_so_and_has_no_command():
    health = endpoint("10.0.0.3", has_route=False, verdict="dropped", pod=None, device="lxc_health")
    hosts = [host("node1", True, endpoints=[health])]
    found, result = reported(hosts, pods=[kubernetes_pod("cart-1", "10.0.0.3")])
    assert result["commands"] == []
    (line,) = [line for line in reports.story(found, result, OPTIONS) if "old path" in line]
    assert line.endswith(
        "health endpoint on node1 is still on the old path (dropped): its agent makes it anew when it restarts"
    )
    health["endpoint_route"] = True
    _found, result = reported(hosts)
    assert result["problems"] == [
        "node1: health endpoint is on its path, and its reply is dropped all the same: why not"
    ]


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ([host("node1", endpoints=[endpoint(pod=None)])], True),
        ([host("node1", endpoints=[endpoint()])], False),
        ([host("node1", endpoints=[endpoint(pod=None, device="lxc_health")])], False),
        ([host("node1", endpoints=[endpoint(None, pod=None)])], False),
        ([], False),
    ],
)
def test_kubernetes_is_asked_where_a_pod_lacks_its_name(hosts, expected):
    template = variable("__endpoint_routes_lacks_names", __endpoint_routes_hosts=hosts)
    assert template in (expected, str(expected))


def test_a_command_that_would_not_be_whole_is_left_out():
    lost = dict(agent("node1"), metadata=dict(agent("node1")["metadata"], name="Cilium one"))
    config = config_map("true", manager=settings.MANAGER)
    found = planned(seen(config, [host("node1", False)], pods=[lost]))
    found["agents"][0]["only_now"] = True
    told = reports.story(found, reports.report(found, []), OPTIONS)
    (line,) = [line for line in told if "no later run knows that" in line]
    assert line.endswith("unless the agent says it itself")


def test_check_mode_names_who_would_restart_in_order():
    options = dict(OPTIONS, restart="rolling", batch=1)
    found = logic.plan(seen(), options)
    (line,) = [line for line in reports.story(found, None, options, is_check=True) if "would restart" in line]
    assert line.endswith("cilium-node1 on node1, then cilium-node2 on node2")
    result = reports.report(found, [], restarted=["node1", "node2"], is_check=True)
    assert (result["state"], result["agents"], result["problems"]) == ("unknown", [], [])
    assert "would be enabled in the cluster; what else" in reports.story(found, result, options, is_check=True)[0]
    result = reports.report(found, [], is_check=True)
    told = reports.story(found, result, OPTIONS, is_check=True)
    assert "would be enabled in the cluster; then there are 2 of 2 agents and 0 pods" in told[0]


def test_a_check_of_what_is_done_says_so():
    hosts = [host(node, True, endpoints=[endpoint()]) for node in ("node1", "node2")]
    found, result = reported(hosts, is_check=True)
    assert result["state"] == "done"
    assert "would be enabled in the cluster; nothing is left" in reports.story(found, result, OPTIONS, is_check=True)[0]


def test_a_bare_pod_is_not_made_anew():
    hosts = [host("node1", True, endpoints=[endpoint(has_route=False)])]
    found, result = reported(hosts)
    assert any("of a bare pod keep the manifest first" in line for line in reports.story(found, result, OPTIONS))
    hosts[0]["routes"]["endpoints"] = []
    found, result = reported(hosts)
    assert not any("bare pod" in line for line in reports.story(found, result, OPTIONS))


def test_a_filter_is_given_what_only_looks_like_python_s_own():
    class Text(str):
        pass

    class Mapping(dict):
        def items(self):
            return ((key, self[key]) for key in self)

    namespace = Text("kube-system")
    given = seen(reviews=granted(but={("pods", "list")}))
    told = on_plain(logic.plan)(Mapping(given), Mapping(OPTIONS, namespace=namespace))["problems"][0]
    assert rights_of(told[told.index("---") :]) == {("Role", "", "pods", "list")}
    assert type(plain([Mapping({Text("a"): (True, 1, 1.5, None, namespace)})])[0]) is dict
    assert plain((Text("a"), True, 1, None)) == ["a", True, 1, None]
