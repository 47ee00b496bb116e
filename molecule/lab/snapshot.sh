#!/bin/bash
# lab-snapshot: what must not change on a node. Run as root inside the node:
#   lab-snapshot save NAME           keeps all views under NAME
#   lab-snapshot compare NAME VIEW…  prints what differs now from what was kept; exits 1 if anything does
# Views: tree       every file under /etc and in each sysctl.d and udev rules folder, with owner, mode and hash
#        sysctl     every sysctl but rp_filter
#        rp_filter  every rp_filter
#        listed     those of "all", "default", Cilium's devices and eth0, which a drop-in has lines for
#        protected  the effective rp_filter of every device that is not Cilium's
set -euo pipefail

view_tree() {
    local folder
    for folder in /etc /run/sysctl.d /usr/local/lib/sysctl.d /usr/lib/sysctl.d /run/udev/rules.d /usr/lib/udev/rules.d; do
        [[ ! -d $folder ]] || find "$folder" \
            \( -type l -printf '%p -> %l\n' \) -o \
            \( -type f -printf '%p %U:%G %m ' -exec sh -c 'sha256sum < "$1"' sh {} \; \)
    done | sort
}

view_sysctl() {
    # sysctl fails on the keys that can only be written. What the kernel counts, or makes up anew at each reading, is
    # nobody's setting.
    { sysctl --all --ignore 2> /dev/null || true; } | grep -v -E \
        -e '\.rp_filter =' \
        -e '^kernel\.(random\.|ns_last_pid|pty\.nr|perf_event_max_sample_rate|perf_cpu_time_max_percent)' \
        -e '^fs\.(binfmt_misc\.|dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota\.|epoll\.)' \
        -e '^net\.netfilter\.nf_conntrack_count' | sort
}

view_rp_filter() {
    (cd /proc/sys/net/ipv4/conf && grep . -- */rp_filter | sort)
}

view_listed() {
    view_rp_filter | grep -E '^(all|default|eth0|lxc[^/]*|cilium_[^/]*)/'
}

view_protected() {
    local all own device
    all=$(< /proc/sys/net/ipv4/conf/all/rp_filter)
    for device in /sys/class/net/*; do
        device=${device##*/}
        case $device in
        lxcbr*) ;;
        lxc* | cilium_*) continue ;;
        esac
        own=$(< "/proc/sys/net/ipv4/conf/$device/rp_filter")
        echo "$device $((own > all ? own : all))"
    done
}

command=${1:?save or compare}
folder=/var/lib/lab/${2:?a name}
shift 2
case $command in
save)
    mkdir -p "$folder"
    for view in tree sysctl rp_filter listed protected; do
        "view_$view" > "$folder/$view"
    done
    ;;
compare)
    code=0
    for view in "$@"; do
        # Without this, a reading that failed would compare as empty with empty.
        [[ -s $folder/$view ]] || { echo "nothing was kept as $folder/$view" >&2; exit 2; }
        diff -u --label "$view before" --label "$view now" "$folder/$view" <("view_$view") || code=1
    done
    exit $code
    ;;
*)
    echo "lab-snapshot: unknown command '$command': expected save or compare" >&2
    exit 2
    ;;
esac
