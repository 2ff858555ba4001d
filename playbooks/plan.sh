#!/usr/bin/env bash
# What `make start-project` would change, in plain words; it changes and builds nothing: check mode,
# read by plugins/callback/plan.py.
#
# INVENTORY, BECOME and ARGS are make's.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck disable=SC2086 # ARGS are words
ANSIBLE_STDOUT_CALLBACK=plan exec .venv/bin/ansible-playbook -i "$INVENTORY" ${BECOME:-} ${ARGS:-} playbooks/site.yml --check --diff
