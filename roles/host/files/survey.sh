#!/usr/bin/env bash
# Looks at what a dedicated machine has of its own and changes nothing. Prints a word a line.
set -uo pipefail

[ -x /usr/bin/unattended-upgrade ] && echo unattended-upgrades
timers=on
for unit in apt-daily apt-daily-upgrade; do
  systemctl --quiet is-enabled "$unit.timer" 2>/dev/null && systemctl --quiet is-active "$unit.timer" &&
    [ "$(systemctl is-enabled "$unit.service" 2>/dev/null)" != masked ] || timers=off
done
[ "$timers" = off ] || echo update-timers
# The clock of a container is its host's.
systemd-detect-virt --quiet --container 2>/dev/null && echo clock
for clock in systemd-timesyncd chrony ntpsec ntp openntpd; do
  systemctl --quiet is-active "$clock" 2>/dev/null && echo clock
done
[ "$(wc -l </proc/swaps)" -gt 1 ] && echo swap
command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] && echo sshd
# The account that this run came in by.
home=$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)
[ -s "$home/.ssh/authorized_keys" ] && echo key
exit 0
