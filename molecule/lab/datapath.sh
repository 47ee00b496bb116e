#!/bin/bash
# lab-datapath: stands in for Cilium's datapath on a lab node. Run as root inside the node.
#
# Faked:  Cilium's BPF programs. `from-host` on cilium_net, which hands a packet for a pod to that pod's lxc device, is a
#         tc filter here. The pod's default route and neighbour entry, which Cilium's CNI plugin and ARP responder give,
#         are set by hand. Where lab-agent.service is enabled, lab-agent stands in for the agent; see its own header.
# Real:   the devices and their order of creation, network namespaces, routes, udev and its rules, systemd-sysctl, the
#         kernel's filter and counters, and the HTTP server that answers the probe.
set -euo pipefail

router=10.0.0.253       # the address of cilium_host
pod_cidr=10.0.0.0/24
node_address=192.0.2.1  # of the node on its uplink eth0
outside=192.0.2.10      # of the host behind the uplink
port=8181

usage() {
    cat << END
usage: lab-datapath COMMAND

  base                       start the agent where one is enabled, which makes Cilium's host interfaces and lxc_health;
                             otherwise make cilium_host and cilium_net, and the route to the pods by them
  unbase                     take Cilium off the node: the agent, its files and all of its interfaces
  pod NAME ADDRESS LXC       add a pod as Cilium does: make LXC, set its rp_filter to 0 (udev resets it), start its server
  unpod NAME LXC             delete that pod and its device
  probe ADDRESS              what the kubelet does: GET http://ADDRESS:$port/ within 2 s, or as many as
                             PATIENCE says; prints the pod's name
  examine ADDRESS LXC        probe it, and print as JSON: answer, dropped (packets), own, all, effective (rp_filter),
                             verdict (the kernel's answer for the pod's reply: accepted or its error)
  endpoint-route ADDRESS LXC give the pod a route by its own device, as Cilium's enable-endpoint-routes does
  uplink                     make the uplink eth0 ($node_address) and an outside host ($outside) behind it
  foreign                    make another's devices, foreign0 and foreign1: neither Cilium's nor an uplink
  spoof SOURCE               send one packet from the outside host with the address SOURCE; prints how many the
                             reverse-path filter dropped
  devices COUNT              make COUNT devices named lxc…, each set to 0 as Cilium does, with no servers behind them
  flood ADDRESS              begin to ping ADDRESS as fast as it answers
  flood-end                  end that; prints as JSON: sent, missing (answers), dropped (by the reverse-path filter)
  watch                      begin to look at every device's rp_filter, over and over
  watch-end                  end that; prints as JSON the effective values that each device was seen with
  drops                      print the counter TcpExt IPReversePathFilter
  settle                     wait until udev has handled every device

The agent calls these at its start:
  host-interfaces ROUTE TUNNEL  make Cilium's host interfaces unless they stand; ROUTE, the pods' by cilium_host, and
                             TUNNEL, cilium_vxlan, are yes or no
  health PID ADDRESS         make lxc_health anew, with its other end in the network namespace of PID
END
}

fail() {
    echo "lab-datapath: $*" >&2
    exit 1
}

expect() {
    (($1 == $2)) || fail "found $2 arguments, expected $1; 'lab-datapath help' lists the commands"
}

set_to_zero() { # as Cilium does with every device that it makes
    local device
    for device in "$@"; do
        echo 0 > "/proc/sys/net/ipv4/conf/$device/rp_filter"
    done
}

# On a real node Cilium and udev race. Here udev always comes second, as it mostly does: the lab shows the fault each time.
hold_udev() {
    # Two of these at once, the agent's and a pod's, must not release each other's.
    mkdir -p /run/lab
    exec {lock}> /run/lab/udev.lock
    flock "$lock"
    udevadm control --stop-exec-queue
    trap release_udev EXIT
}

release_udev() {
    udevadm control --start-exec-queue
    exec {lock}>&-
    trap - EXIT
}

settle() {
    udevadm settle --timeout=60
}

drops() {
    nstat -asz TcpExtIPReversePathFilter | awk '/IPReversePathFilter/ { print $2 }'
}

agent_is_enabled() {
    systemctl is-enabled --quiet lab-agent.service 2> /dev/null
}

base() {
    agent_is_enabled || {
        host_interfaces yes no
        return
    }
    systemctl start lab-agent.service || {
        journalctl --no-pager --lines=40 --unit=lab-agent.service >&2
        fail "the agent did not start; its journal stands above"
    }
}

host_interfaces() {
    local route=$1 tunnel=$2
    echo 1 > /proc/sys/net/ipv4/ip_forward
    ip link set lo up
    hold_udev
    [[ -e /sys/class/net/cilium_host ]] || {
        ip link add cilium_host type veth peer name cilium_net
        set_to_zero cilium_host cilium_net
    }
    [[ $tunnel == no || -e /sys/class/net/cilium_vxlan ]] || {
        ip link add cilium_vxlan type vxlan external dstport 8472
        set_to_zero cilium_vxlan
    }
    release_udev
    ip address replace $router/32 dev cilium_host
    ip link set cilium_host up arp off
    ip link set cilium_net up arp off
    [[ $tunnel == no ]] || ip link set cilium_vxlan up
    settle
    ip route replace $router dev cilium_host scope link
    [[ $route == no ]] || ip route replace $pod_cidr via $router dev cilium_host src $router
    [[ $(tc qdisc show dev cilium_net) == *clsact* ]] || tc qdisc add dev cilium_net clsact
}

unbase() {
    local device
    systemctl disable --quiet --now lab-agent.service
    for device in /sys/class/net/*; do
        device=${device##*/}
        case $device in
        # A peer goes with its other end.
        lxc* | cilium_*) ip link delete "$device" 2> /dev/null || [[ ! -e /sys/class/net/$device ]] ;;
        esac
    done
    rm -rf /var/run/cilium /etc/cni/net.d/05-cilium.conflist
}

# The pod reaches everything by the router's address, which its lxc device answers for.
wire() { # ADDRESS LXC INSIDE COMMAND…: the other end is INSIDE, and COMMAND is `ip` in its namespace
    local address=$1 lxc=$2 inside=$3
    "${@:4}" -batch - << END
link set lo up
link set $inside address $(cat /sys/class/net/cilium_host/address)
address add $address/32 dev $inside
link set $inside up
route add $router dev $inside
route add default via $router
neighbour replace $router lladdr $(cat "/sys/class/net/$lxc/address") dev $inside nud permanent
END
}

redirect() { # ADDRESS LXC PRIORITY, 0 for the next one
    tc filter add dev cilium_net ingress protocol ip prio "$3" u32 match ip dst "$1/32" \
        action mirred egress redirect dev "$2"
}

pod() {
    local name=$1 address=$2 lxc=$3
    ip netns add "$name"
    hold_udev
    ip link add "$lxc" type veth peer name eth0 netns "$name"
    set_to_zero "$lxc"
    release_udev
    ip link set "$lxc" up
    # A probe that failed must not count drops for a minute more, by answers sent again.
    ip netns exec "$name" sh -c 'echo 0 > /proc/sys/net/ipv4/tcp_synack_retries'
    wire "$address" "$lxc" eth0 ip -n "$name"
    redirect "$address" "$lxc" 0
    ! agent_is_enabled || lab-agent add "$name" "$address" "$lxc"
    serve "$name" "$address"
    settle
}

health() {
    local pid=$1 address=$2
    ip link delete lxc_health 2> /dev/null || [[ ! -e /sys/class/net/lxc_health ]]
    tc filter delete dev cilium_net ingress prio 1 2> /dev/null || true
    hold_udev
    ip link add lxc_health type veth peer name cilium netns "$pid"
    set_to_zero lxc_health
    release_udev
    ip link set lxc_health up
    wire "$address" lxc_health cilium nsenter --target "$pid" --net ip
    redirect "$address" lxc_health 1
    settle
}

serve() {
    local name=$1 address=$2 tries=600
    mkdir -p "/run/lab/$name"
    echo "$name" > "/run/lab/$name/index.html"
    systemd-run --quiet --collect --unit="lab-pod-$name" \
        ip netns exec "$name" python3 -m http.server $port --bind "$address" --directory "/run/lab/$name"
    until ip netns exec "$name" bash -c "< /dev/tcp/$address/$port" 2> /dev/null; do
        ((tries-- > 0)) || fail "the server of pod $name does not answer inside its own namespace"
        sleep 0.1
    done
}

unpod() {
    systemctl stop "lab-pod-$1"
    ! agent_is_enabled || lab-agent remove "$2"
    ip link delete "$2"
    ip netns delete "$1"
}

probe() {
    python3 - "$1" $port << 'END'
import os
import sys
import urllib.request

try:
    answer = urllib.request.urlopen("http://%s:%s/" % tuple(sys.argv[1:]), timeout=float(os.environ.get("PATIENCE", "2")))
except OSError as error:
    sys.exit("no answer from %s: %s" % (sys.argv[1], error))
print(answer.read().decode().strip())
END
}

examine() {
    local before answer='' own all verdict=accepted refusal
    before=$(drops)
    answer=$(probe "$1" 2> /dev/null) || true
    own=$(< "/proc/sys/net/ipv4/conf/$2/rp_filter")
    all=$(< /proc/sys/net/ipv4/conf/all/rp_filter)
    refusal=$(ip route get $router from "$1" iif "$2" 2>&1 > /dev/null) || verdict=${refusal#RTNETLINK answers: }
    printf '{"answer": "%s", "dropped": %d, "own": %d, "all": %d, "effective": %d, "verdict": "%s"}\n' \
        "$answer" $(($(drops) - before)) "$own" "$all" $((own > all ? own : all)) "$verdict"
}

uplink() {
    ip netns add outside
    ip link add eth0 type veth peer name up0 netns outside
    settle
    ip address add $node_address/24 dev eth0
    ip link set eth0 up
    ip route replace default via $outside
    ip -n outside -batch - << END
link set lo up
address add $outside/24 dev up0
link set up0 up
route add $pod_cidr via $node_address
END
}

foreign() {
    ip link add foreign0 type veth peer name foreign1
    ip link set foreign0 up
    ip link set foreign1 up
    settle
}

spoof() {
    local before after
    ip -n outside address replace "$1/32" dev lo
    # One packet that does arrive first, so that none is lost or counted while neighbours get to know each other.
    ip netns exec outside ping -c 1 -W 2 $node_address > /dev/null || fail "the outside host does not reach the node"
    before=$(drops)
    # No answer is expected: it would go to the real owner of SOURCE. ping says so with its exit code.
    ip netns exec outside ping -c 1 -W 1 -I "$1" $node_address > /dev/null 2>&1 || [[ $? == 1 ]]
    after=$(drops)
    ip -n outside address delete "$1/32" dev lo
    echo $((after - before))
}

devices() {
    local number
    ip netns add idle
    hold_udev
    for ((number = 1; number <= $1; number++)); do
        printf 'link add lxc%08x type veth peer name peer%d netns idle\n' "$number" "$number"
    done | ip -batch -
    for ((number = 1; number <= $1; number++)); do
        set_to_zero "$(printf 'lxc%08x' "$number")"
    done
    release_udev
    settle
}

flood() {
    rm -rf /run/lab/flood
    mkdir -p /run/lab/flood
    drops > /run/lab/flood/before
    systemd-run --quiet --collect --unit=lab-flood bash -c '
        cd /run/lab/flood
        # Runs of a fixed count, so that the end never cuts off an answer that is on its way.
        until [[ -e end ]]; do ping -q -f -c 2000 -W 2 '"$1"' >> summaries; done
        touch ended'
}

flood_end() {
    cd /run/lab/flood
    touch end
    until [[ -e ended ]]; do sleep 0.1; done
    awk -v dropped=$(($(drops) - $(< before))) '
        /packets transmitted/ { sent += $1; received += $4 }
        END { printf "{\"sent\": %d, \"missing\": %d, \"dropped\": %d}\n", sent, sent - received, dropped }' summaries
}

watch() {
    rm -rf /run/lab/watch
    mkdir -p /run/lab/watch
    systemd-run --quiet --collect --unit=lab-watch python3 -c '
import collections, glob, json, os

seen = collections.defaultdict(set)
files = {path.split("/")[-2]: open(path) for path in glob.glob("/proc/sys/net/ipv4/conf/*/rp_filter")}
looks = 0

def value(name):
    files[name].seek(0)
    return int(files[name].read())

os.chdir("/run/lab/watch")
open("begun", "w").close()
while not os.path.exists("end"):
    for name in files:
        # The own value is read between two readings of all: if those agree, the three held at one time.
        every = value("all")
        own = value(name)
        if every == value("all"):
            seen[name].add(max(own, every))
    looks += 1
with open("seen.new", "w") as out:
    json.dump({"looks": looks, "seen": {name: sorted(values) for name, values in seen.items()}}, out)
os.rename("seen.new", "seen")
'
    until [[ -e /run/lab/watch/begun ]]; do sleep 0.1; done
}

watch_end() {
    touch /run/lab/watch/end
    until [[ -e /run/lab/watch/seen ]]; do sleep 0.1; done
    cat /run/lab/watch/seen
}

command=${1:-help}
shift || true
case $command in
base | unbase | uplink | foreign | drops | settle | flood-end | watch | watch-end) expect 0 $# ;;
probe | spoof | devices | flood) expect 1 $# ;;
endpoint-route | examine | unpod | host-interfaces | health) expect 2 $# ;;
pod) expect 3 $# ;;
help | -h | --help)
    usage
    exit 0
    ;;
*) fail "unknown command '$command'; 'lab-datapath help' lists the commands" ;;
esac
case $command in
endpoint-route) ip route replace "$1/32" dev "$2" scope link ;;
*) "${command//-/_}" "$@" ;;
esac
