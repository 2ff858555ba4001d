#!/usr/bin/env bash
# What `make start-project` would change, in plain words; it changes and builds nothing.
#
# INVENTORY and ARGS are make's.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! .venv/bin/python tools/run_ansible.py playbook playbooks/site.yml --check -e "plan_file=$work/plan" >"$work/log" 2>&1; then
  # Its first failure says why.
  grep -m 1 -A 12 -E '^fatal|FAILED!|\[ERROR\]' "$work/log" >&2 || tail -n 30 "$work/log" >&2
  exit 1
fi
cat "$work/plan"
