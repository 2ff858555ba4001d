#!/usr/bin/env bash
# One command of the stack on the machine, its output as it is: playbooks/ask.sh STACK_COMMAND WORD...
#
# STACK_COMMAND is a template ({{ stack_name }}). INVENTORY and ARGS are make's. What `env` prints of
# another machine is put in terms of this one: its CA is fetched into .cache/, and the address is
# GATEWAY_HOST, else STACK_HOST, where the machine has no name of its own.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."

# STACK_COMMAND WORD...
on_machine() {
  local word words=()
  for word; do words+=(--list "ask=$word"); done
  case $* in
    *' certificate'* | *' maintenance'*) words+=(--text ask_changes=yes) ;;
  esac
  .venv/bin/python tools/run_ansible.py --callback ask "${words[@]}" playbook playbooks/ask.yml
}

if [ "${2:-}" != env ] || [ "$INVENTORY" = inventory/localhost.yml ]; then
  on_machine "$@"
  exit
fi
lines=$(on_machine "$@")
machine=${STACK_HOST:-127.0.0.1}
ca=$PWD/.cache/$machine-ca.crt
mkdir -p .cache
on_machine cat "$(sed -n 's/^GATEWAY_CA=//p' <<<"$lines")" >"$ca"
case $machine in
  127.* | ::1) machine=localhost ;;
esac
machine=${GATEWAY_HOST:-$machine}
# Where Vagrant forwards Prometheus and Grafana to; by ssh alone, the addresses are the machine's own.
sed -e "/^GATEWAY_CA=/d" -e "s|^GATEWAY_URL=https://localhost|GATEWAY_URL=https://$machine|" \
  -e "s|^GATEWAY_ADDRESS=127\..*|GATEWAY_ADDRESS=$machine|" \
  ${STACK_PROMETHEUS_PORT:+-e "s|^PROMETHEUS_URL=.*|PROMETHEUS_URL=http://127.0.0.1:$STACK_PROMETHEUS_PORT|"} \
  ${STACK_GRAFANA_PORT:+-e "s|^GRAFANA_URL=http.*|GRAFANA_URL=http://127.0.0.1:$STACK_GRAFANA_PORT|"} <<<"$lines"
# Quoted, for a checkout in a folder of any name.
printf 'GATEWAY_CA=%q\n' "$ca"
