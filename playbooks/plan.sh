#!/usr/bin/env bash
# What `make start-project` would change, in plain words; it changes and builds nothing: check mode,
# read by plugins/callback/plan.py.
#
# INVENTORY and ARGS are make's.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."

exec .venv/bin/python tools/run_ansible.py --callback plan playbook playbooks/site.yml --check --diff
