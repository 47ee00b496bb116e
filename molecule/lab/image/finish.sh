#!/bin/sh
# Runs inside the new root file system of a node: finish.sh SUITE
set -eu

# Debian 13 has the filter's globs in a package. On the older suites stands what that package writes, and nothing else.
case $1 in
bullseye | bookworm)
    cat > /usr/lib/sysctl.d/50-default.conf << 'END'
# The reverse-path filter as Debian 13's linux-sysctl-defaults sets it.
net.ipv4.conf.default.rp_filter = 2
net.ipv4.conf.*.rp_filter = 2
-net.ipv4.conf.all.rp_filter
END
    ;;
esac

# What belongs to a machine and not to a node that lives for minutes.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-firstboot.service systemd-networkd-wait-online.service systemd-timesyncd.service \
    console-getty.service getty.target; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
# The log must be readable after a failure, and /dev/console goes nowhere.
mkdir -p /var/log/journal
ln -sf /usr/lib/systemd/system/multi-user.target /etc/systemd/system/default.target
: > /etc/machine-id
rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/* /var/cache/apt/*.bin
