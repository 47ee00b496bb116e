#!/bin/bash
# Brings a node into the state that a hardening baseline leaves it in. Run as root inside the node:
#   lay.sh clean                     no baseline, no drop-in, every value 0
#   lay.sh baseline FILE VALUE GLOBS all=VALUE and default=VALUE in FILE, at work; GLOBS yes or no: the vendor's file
#   lay.sh append FILE               the same baseline by one that adds the line it misses, as lineinfile does
#   lay.sh system                    an administrator's, or an installer's, `sysctl --system`
#   lay.sh one-line                  the line that everybody writes against the fault
#   lay.sh cilium                    the file of Cilium's own init container, at work
#   lay.sh boot                      what a boot does with the files, and then `sysctl --system`
set -euo pipefail

conf=/proc/sys/net/ipv4/conf
vendor=/etc/sysctl.d/50-default.conf # of this name in /etc, it masks the vendor's

apply() {
    systemctl reset-failed systemd-sysctl
    systemctl restart systemd-sysctl
}

system() {
    # procps before 4.0 fails at the vendor's globs, and applies the rest.
    sysctl --system > /dev/null 2>&1 || [[ $? == 255 || $? == 1 ]]
}

case $1 in
clean)
    rm -f /etc/sysctl.d/*.conf /run/sysctl.d/*.conf
    : > /etc/sysctl.conf
    for device in all "$conf"/*; do
        echo 0 > "$conf/${device##*/}/rp_filter"
    done
    ;;
baseline)
    [[ $4 == yes ]] || ln -sf /dev/null "$vendor"
    printf '# Written by a baseline\nnet.ipv4.conf.all.rp_filter = %s\nnet.ipv4.conf.default.rp_filter = %s\n' \
        "$3" "$3" > "$2"
    # As on Debian up to 12 and Ubuntu up to 24.04.
    [[ $2 != /etc/sysctl.conf ]] || ln -sf ../sysctl.conf /etc/sysctl.d/99-sysctl.conf
    apply
    ;;
one-line)
    echo '-net.ipv4.conf.lxc*.rp_filter = 0' > /etc/sysctl.d/99-override_cilium_rp_filter.conf
    apply
    ;;
cilium)
    cat > /etc/sysctl.d/99-zzz-override_cilium.conf << 'END'
# Disable rp_filter on Cilium interfaces since it may cause mangled packets to be dropped
-net.ipv4.conf.lxc*.rp_filter = 0
-net.ipv4.conf.cilium_*.rp_filter = 0
# The kernel uses max(conf.all, conf.{dev}) as its value, so we need to set .all. to 0 as well.
net.ipv4.conf.all.rp_filter = 0
END
    apply
    ;;
append)
    grep -q '^net.ipv4.conf.all.rp_filter' "$2" || echo 'net.ipv4.conf.all.rp_filter=1' >> "$2"
    apply
    ;;
system) system ;;
boot)
    apply
    system
    ;;
*)
    echo "lay.sh: unknown command '$1'" >&2
    exit 2
    ;;
esac
