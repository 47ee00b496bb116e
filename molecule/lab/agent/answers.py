"""The documents of the agent's API, in the shapes of Cilium 1.19 and of 1.20."""

import datetime
import socket

ROUTER = "10.0.0.253"
POD_CIDR = "10.0.0.0/24"
UPLINK = "eth0"
RELEASES = {"1.19": "1.19.4", "1.20": "1.20.0"}


def now():
    return datetime.datetime.utcnow().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def runtime_config(settings, created):
    """What agent-runtime-config.json holds; /v1/config has the same members and the devices beside."""
    legacy = settings["HOST_ROUTING"] == "Legacy"
    routes = settings["ENDPOINT_ROUTES"] == "yes"
    hidden = {"AllowLocalhost": "always", "EnableHostLegacyRouting": legacy}
    return {
        **({"UnsafeDaemonConfigOption": hidden} if settings["VERSION"] == "1.20" else hidden),
        "CreationTime": created,
        "RunDir": "/var/run/cilium",
        "DatapathMode": "veth",
        "RoutingMode": "tunnel",
        "StateDir": "/var/run/cilium/state",
        "SocketPath": "/var/run/cilium/cilium.sock",
        "ClusterHealthPort": 4240,
        "ClusterName": "default",
        "EnableBPFMasquerade": not legacy,
        "EnableEgressGateway": False,
        "EnableEndpointHealthChecking": True,
        "EnableEndpointRoutes": routes,
        "EnableHealthChecking": True,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "EnableL7Proxy": False,
        # Endpoint routes switch it off, from 1.15.
        "EnableLocalNodeRoute": not routes,
        "IPAM": _ipam(settings),
        "IPv4NodeAddr": "auto",
    }


def config(settings, created):
    """/v1/config."""
    options = _options({"PolicyTracing": "Disabled"}, settings["VERSION"])
    del options["DebugPolicy"]
    return {
        "spec": {"options": options, "policy-enforcement": "default"},
        "status": {
            "addressing": {"ipv4": {"alloc-range": POD_CIDR, "enabled": True, "ip": ROUTER}},
            **({"configuredDatapathMode": "veth"} if settings["VERSION"] == "1.20" else {}),
            "daemonConfigurationMap": {**runtime_config(settings, created), "Devices": [UPLINK]},
            "datapathMode": "veth",
            "deviceMTU": 1500,
            "ipam-mode": _ipam(settings),
            "kvstoreConfiguration": {},
            "masquerade": True,
            "masqueradeProtocols": {"ipv4": True},
            "realized": {"options": options, "policy-enforcement": "default"},
            "routeMTU": 1450,
        },
    }


def healthz(settings):
    """/v1/healthz."""
    release = RELEASES[settings["VERSION"]]
    legacy = settings["HOST_ROUTING"] == "Legacy"
    features = {"nodePort": {}, "sessionAffinity": {"enabled": True}, "socketLB": {}}
    if not legacy:
        features["nodePort"] = {
            "algorithm": "Random",
            "enabled": True,
            "mode": "SNAT",
            "portMax": 32767,
            "portMin": 30000,
        }
        features["socketLB"] = {"enabled": True}
    return {
        "attach-mode": "tcx",
        "cilium": {"msg": f"{release} (v{release}-000000000000)", "state": "Ok"},
        "cluster": {"ciliumHealth": {"state": "Ok"}, "nodes": None, "self": socket.gethostname()},
        "cni-chaining": {"mode": "none"},
        "cni-file": {
            "msg": "successfully wrote CNI configuration file to /host/etc/cni/net.d/05-cilium.conflist",
            "state": "Ok",
        },
        **({"configured-datapath-mode": "veth"} if settings["VERSION"] == "1.20" else {}),
        "datapath-mode": "veth",
        "encryption": {"mode": "Disabled"},
        "kube-proxy-replacement": {
            "devices": [UPLINK],
            "directRoutingDevice": UPLINK,
            "features": features,
            "mode": "False" if legacy else "True",
        },
        "masquerading": {
            "enabled": True,
            "enabledProtocols": {"ipv4": True},
            "mode": "iptables" if legacy else "BPF",
            "snat-exclusion-cidr": POD_CIDR,
            "snat-exclusion-cidr-v4": POD_CIDR,
        },
        "routing": {
            "inter-host-routing-mode": "Tunnel",
            "intra-host-routing-mode": "Legacy" if legacy else "BPF",
            "tunnel-protocol": "vxlan",
        },
    }


def endpoints(settings, saved):
    """/v1/endpoint, of the endpoints as the state folder has them."""
    return [_endpoint(settings["VERSION"], endpoint) for endpoint in saved]


def _endpoint(version, saved):
    labels = sorted(_label(label) for label in saved["SecLabel"]["labels"].values())
    policy = {
        "allowed-egress-identities": [0],
        "allowed-ingress-identities": [0],
        "build": 1,
        "denied-egress-identities": None,
        "denied-ingress-identities": None,
        "id": saved["SecLabel"]["id"],
        "l4": {"egress": [], "ingress": []},
        "policy-enabled": "none",
        "policy-revision": 1,
    }
    desired = {"label-configuration": {}, "options": _options({}, version)}
    address = {"ipv4": saved["IPv4"], "ipv4-pool-name": saved["IPv4IPAMPool"]} if saved["IPv4"] else {}
    inside = saved["ContainerIfName"]
    return {
        "id": saved["ID"],
        "spec": desired,
        "status": {
            "controllers": [
                {
                    "configuration": {"error-retry": True, "interval": "15m0s"},
                    "name": f"sync-policymap-{saved['ID']}",
                    "status": {
                        "last-failure-timestamp": "0001-01-01T00:00:00.000Z",
                        "last-success-timestamp": now(),
                        "success-count": 1,
                    },
                    "uuid": "94f9f5f6-ba5f-4799-abc2-5e22393158a0",
                }
            ],
            "external-identifiers": _identifiers(version, saved),
            "health": {"bpf": "OK", "connected": True, "overallHealth": "OK", "policy": "OK"},
            "identity": {"id": saved["SecLabel"]["id"], "labels": labels},
            "labels": {"realized": {}, "security-relevant": labels},
            "log": [
                {
                    "code": "OK",
                    "message": "Successfully regenerated endpoint program (Reason: periodic endpoint regeneration)",
                    "state": "ready",
                    "timestamp": now(),
                }
            ],
            "networking": {
                "addressing": [address],
                **({"container-interface-name": inside} if inside else {}),
                "host-mac": saved["NodeMAC"],
                "interface-index": saved["IfIndex"],
                "interface-name": saved["IfName"],
                "mac": saved["LXCMAC"],
            },
            "policy": {"proxy-statistics": [], "realized": policy, "spec": policy},
            "realized": desired,
            "state": "ready",
        },
    }


def _identifiers(version, saved):
    """What the endpoint is called outside Cilium: with its pod's name up to 1.19, by the CNI alone from 1.20."""
    container = saved.get("dockerID")
    attached = {"cni-attachment-id": f"{container}:eth0"} if container else {}
    if version == "1.20":
        return attached
    namespace, pod = saved["K8sNamespace"], saved["K8sPodName"]
    named = {"container-id": container, "k8s-namespace": namespace, "k8s-pod-name": pod} if pod else {}
    health = {"container-name": "cilium-health"} if saved["IfName"] == "lxc_health" else {}
    return {**attached, **named, **health, "pod-name": f"{namespace}/{pod}"}


def _options(more, version):
    options = {
        "Debug": "Disabled",
        "DebugLB": "Disabled",
        "DebugPolicy": "Disabled",
        "DropNotification": "Enabled",
        "MonitorAggregationLevel": "Medium",
        "PolicyAuditMode": "Disabled",
        "PolicyVerdictNotification": "Enabled",
        "SourceIPVerification": "Enabled",
        "TraceNotification": "Enabled",
    }
    if version == "1.19":
        options.update({"ConntrackAccounting": "Disabled", "PolicyAccounting": "Enabled"})
    return {**options, **more}


def _label(label):
    return f"{label['source']}:{label['key']}" + (f"={label['value']}" if "value" in label else "")


def _ipam(settings):
    return "cluster-pool" if settings["VERSION"] == "1.19" else "kubernetes"
