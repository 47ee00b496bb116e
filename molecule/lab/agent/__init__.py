"""Stands in for Cilium's agent on a lab node: makes the agent's writes at the agent's times, and answers as it does.

Real:   when it writes which value, as measured on clusters with Cilium 1.19 and 1.20:
        at its start   rp_filter 0 on `all`, `cilium_host`, `cilium_net` and `cilium_vxlan`, after udev's run for them;
                       `lxc_health` is recreated and set to 0 at creation, before udev's run for it
        a new pod      0 at creation, before udev's run (`lab-datapath pod` does it)
        ENDPOINT_ROUTES=yes  a route by its own interface to each pod and to the health endpoint, as captured
        reconciler     0 on `all` and `cilium_*` every 600 s; never on an `lxc…`
        SYSCTLFIX=yes  before its start, Cilium's init container: 99-zzz-override_cilium.conf, and only if its text
                       changed a restart of systemd-sysctl, whose failure is ignored
        The paths and modes of the socket, the state folder and the CNI configuration; the names and nesting of the
        members of every document that are not named below. Pods are named by the API of 1.19, and not by that of 1.20.
Faked:  everything else. Most values in the documents are constants. It is a unit on the node and not a container. It
        loads no BPF program and talks to no Kubernetes. HOST_ROUTING=BPF changes what it answers, and not the way of a
        packet. lxc_health's namespace lives as long as the agent's process.
Left out of the documents, since nothing here needs it:
        agent-runtime-config.json, and daemonConfigurationMap of /v1/config: most members
        /v1/config .status: the GRO and GSO sizes, ipLocalReservedPorts, packetizationLayerPMTUDMode
        /v1/healthz: the state of what the lab does not have (bandwidth-manager, bpf-maps, clock-source, controllers,
                       host-firewall, hubble, ipam, kubernetes, kvstore, proxy, srv6 …), and most features of
                       kube-proxy-replacement
        /v1/endpoint[] .status: controllers[].configuration.error-retry-base, labels.derived, labels.realized.user,
                       policy.proxy-policy-revision; .label-configuration.user of .spec and .status.realized
"""
