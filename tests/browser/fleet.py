"""Audit documents of any size, made after the schema: a fleet whose nodes are in every state."""

import hashlib
import json

from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit import document as audit
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.baseline import Baseline
from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.waivers import Waivers
from conftest import FIXTURES

SAMPLE = FIXTURES / "audit" / "sample.json"
MOMENT, TODAY = "2026-11-24T10:00:00Z", "2026-11-24"
VENDOR = {"path": "/usr/lib/sysctl.d/50-default.conf", "line": 26, "key": "net.ipv4.conf.*.rp_filter", "value": 2}
DROP_IN = {
    "path": "/etc/sysctl.d/99-override_cilium_rp_filter.conf",
    "line": 16,
    "key": "-net.ipv4.conf.[l]xc*.rp_filter",
    "value": 0,
}
BASELINE = {"path": "/etc/sysctl.d/zz-cis.conf", "line": 4, "key": "net.ipv4.conf.all.rp_filter", "value": 1}
HARDEN = {"variable": "rp_filter_state", "command": "ansible-playbook -i INVENTORY nodeward.cilium.harden"}
HORIZONS = ("now", "pod", "boot", "restart", "sysctl_system")
LASTING = {"ends": None, "before": None, "unknown": []}
FILTERED = {"effective": 2, "dropped": True, "lines": [VENDOR], **LASTING}
EXEMPT = {"effective": 0, "dropped": False, "lines": [DROP_IN], **LASTING}
OVERRULED = {"effective": 1, "dropped": True, "lines": [BASELINE], **LASTING}
LOOSE = "loose (2) on %s, which has no IPv4 address, and the route back leaves by cilium_host"


def sample():
    return json.loads(SAMPLE.read_text(encoding="utf-8"))


def document(nodes, waivers=(), compared=True):
    """A document that the audit itself would make of such nodes, and of a baseline that had what is not new."""
    given = Waivers(list(waivers), TODAY)
    kept = {each["name"]: {"findings": _before(each), "counters": each["counters"], "is_known": True} for each in nodes}
    baseline = Baseline("2026-11-23T10:00:00Z", kept) if compared else None
    sums = audit.Sums()
    laid = list(audit.annotated(sorted(nodes, key=lambda each: each["name"]), given, baseline, sums))
    return dict(audit.head(sums, given, baseline, "high", "run", MOMENT, "0.1.0"), nodes=laid)


def _before(node):
    known = [each for each in node["findings"] if each["change"] != "new"] + node["gone"]
    return {(each["id"], each["subject"]): each["severity"] for each in known}


def fleet(size=2000, devices=100):
    """One node in ten drops the replies of all its pods, one in ten is at risk, one in fifty was not reached."""
    makers = {0: dropping, 5: at_risk}
    nodes = []
    for number in range(size):
        name = f"worker-{number:04d}.rack{number % 40:02d}.fra1.example.net"
        if number % 50 == 7:
            nodes.append(unreachable(name))
        else:
            nodes.append(makers.get(number % 10, ok)(name, devices))
    return document(nodes)


def _hex(name, number, length):
    return hashlib.sha256((f"{name} {number}").encode()).hexdigest()[:length]


def pod(name, number):
    return f"team-{number % 20:02d}/service-{_hex(name, number, 10)}-{_hex(name, -number - 1, 5)}"


def device(name, number):
    return "lxc" + _hex(name, number, 12)


def finding(rule, severity, subject, expected, observed, path=None, line=None, text="", **more):
    evidence = {"path": path, "line": line, "text": text, "value": observed, "counter": None}
    return {
        "id": rule,
        "severity": severity,
        "subject": subject,
        "expected": expected,
        "observed": observed,
        "evidence": evidence,
        "remedy": HARDEN,
        "waived": None,
        "change": "unchanged",
        **more,
    }


def way(name, number, dropped, symmetric=False):
    own = device(name, number)
    told = (LOOSE if dropped else "off (0) on %s") % own
    set_by = {
        "key": own,
        "value": 2,
        "path": VENDOR["path"],
        "line": VENDOR["line"],
        "text": "net.ipv4.conf.*.rp_filter = 2",
        "by": "systemd-sysctl, which udev runs for every new device (/usr/lib/udev/rules.d/99-systemd.rules:72)",
    }
    then = FILTERED if dropped else EXEMPT
    return {
        "name": pod(name, number),
        "pod": pod(name, number),
        "address": f"10.{len(name)}.{number % 250}.{number % 200 + 2}",
        "device": own,
        "route_device": own if symmetric else "cilium_host",
        "symmetric": symmetric,
        "verdict": "dropped" if dropped else "accepted",
        "reason": "the route back leaves by the same device" if symmetric else "the filter is " + told,
        "leaves": {
            "device": "eth0",
            "verdict": "dropped" if dropped else "accepted",
            "reason": "the filter is " + told,
        },
        "effective": 2 if dropped else 0,
        "decided_by": "own" if dropped else "both",
        "set_by": [set_by] if dropped else [],
        "next": {"pod": then, "boot": then, "restart": then, "sysctl_system": then},
    }


def node(name, state, summary, **more):
    text = (
        "Reverse-path filter of %s, 2026-11-24T10:00:00Z\n"
        "CIS Benchmarks and STIGs require net.ipv4.conf.all.rp_filter = 1.\n"
        "Its intent, that no packet with a spoofed source comes in by an uplink, is met:\n"
        "  uplink eth0: loose (2) now and after the next boot, by %s:18\nExempt are Cilium's devices alone."
    )
    uplink = {
        "device": "eth0",
        "effective": 2,
        "boot": 2,
        "restart": 2,
        "sysctl_system": 2,
        "lines": [{**DROP_IN, "line": 18, "key": "-net.ipv4.conf.eth0.rp_filter", "value": 2}],
    }
    return {
        "name": name,
        "state": state,
        "summary": summary,
        "gathered": True,
        "gathered_at": MOMENT,
        "reason": None,
        "endpoints": {"total": 0, "accepted": 0, "dropped": 0, "unknown": 0, "dropping": 0},
        "horizons": dict.fromkeys(HORIZONS, EXEMPT),
        "paths": [],
        "uplinks": [uplink],
        "findings": [],
        "gone": [],
        "running_system": {"observed": True, "why": None},
        "attestation": {"state": "partially_met", "text": text % (name, DROP_IN["path"])},
        "counters": {"ip_reverse_path_filter": 0, "boot_id": None},
        "cures": [],
        **more,
    }


def cures(name):
    return [
        {
            "title": "exempt Cilium's devices from the filter, and keep it on all others",
            "commands": [f"ansible-playbook -i INVENTORY nodeward.cilium.harden --limit {name}"],
            "variables": {"rp_filter_state": "present"},
        }
    ]


def ok(name, devices=3):
    found = []
    if int(_hex(name, 0, 2), 16) % 4 == 0:
        found.append(
            finding(
                "RPF009",
                "low",
                "networkd",
                "nothing",
                "no",
                "/etc/systemd/network/10-bond.network",
                9,
                "IPv4ReversePathFilter=no",
            )
        )
    return node(
        name,
        "ok",
        f"healthy: the kernel accepts the reply of all {devices} endpoints",
        findings=found,
        paths=[way(name, 0, False)],
        endpoints={"total": devices, "accepted": devices, "dropped": 0, "unknown": 0, "dropping": 0},
    )


def at_risk(name, devices=3):
    found = [
        finding("RPF003", "high", "lxc*", "0", "1", BASELINE["path"], 4, f"{BASELINE['path']}:4 {BASELINE['key']}"),
        finding("RPF004", "medium", "lxc*", "0", "1", BASELINE["path"], 4, f"{BASELINE['path']}:4 {BASELINE['key']}"),
    ]
    return node(
        name,
        "at_risk",
        "the kernel accepts the replies of all endpoints now, but the next boot will drop replies",
        findings=found,
        paths=[way(name, 0, False)],
        cures=cures(name),
        horizons=dict(dict.fromkeys(HORIZONS, OVERRULED), now=EXEMPT, pod=EXEMPT),
        endpoints={"total": devices, "accepted": devices, "dropped": 0, "unknown": 0, "dropping": 0},
    )


def dropping(name, devices=3):
    here = (VENDOR["path"], VENDOR["line"])
    found = [
        finding(
            "RPF001",
            "high",
            device(name, number),
            "0",
            "2",
            *here,
            text="its own value is 2, all is 0",
            change="new" if number % 3 == 0 else "unchanged",
        )
        for number in range(devices)
    ]
    found += [
        finding(rule, "high", "lxc*", "0", "2", *here, text=f"{VENDOR['path']}:26 {VENDOR['key']}")
        for rule in ("RPF002", "RPF003")
    ]
    found += [
        finding(
            "RPF006",
            "high",
            pod(name, number),
            "accepted",
            "dropped",
            text="the filter is " + LOOSE % device(name, number),
        )
        for number in range(devices)
    ]
    return node(
        name,
        "dropping",
        f"the kernel drops packets of {devices} of {devices} endpoints",
        findings=found,
        cures=cures(name),
        paths=[way(name, number, True) for number in range(min(devices, 5))],
        horizons=dict.fromkeys(HORIZONS, FILTERED),
        endpoints={"total": devices, "accepted": 0, "dropped": devices, "unknown": 0, "dropping": devices},
        counters={"ip_reverse_path_filter": 41200 + devices, "boot_id": None},
    )


def unreachable(name):
    return node(
        name,
        "unknown",
        "not reached",
        gathered=False,
        gathered_at=None,
        endpoints=None,
        horizons=None,
        uplinks=[],
        running_system=None,
        attestation={"state": "unknown", "text": "Nothing can be said of it."},
        counters=None,
        reason=(
            f"unreachable: Failed to connect to the host via ssh: ssh: connect to host {name} port 22: No route to host"
        ),
    )
