#!/usr/bin/env bash
# Runs every tier of tests, or those that the arguments name, the fast ones first, and sums them up:
# `make test`, `make test-security`.
#
# A failed tier does not hide the next; a tier without a test counts as a failure. INVENTORY and ARGS
# are make's: host tests go to the machines of that inventory, and Ansible says what name and ports
# the stack has (-e stack_name=…, inventory/host_vars/). PYTHON names the Python of the tests (.venv/bin/python).
set -uo pipefail
CDPATH='' cd "$(dirname "$0")/.." || exit 2

python=${PYTHON:-.venv/bin/python}
"$python" -c 'import pytest' 2>/dev/null ||
  { printf 'run_all.sh: %s has no pytest; make test installs it\n' "$python" >&2; exit 2; }
bin=$(CDPATH='' cd "$(dirname "$python")" && pwd)
export PATH="$bin:$PATH" PYTHON="$bin/${python##*/}" ANSIBLE_NOCOLOR=1 NO_COLOR=1
export INVENTORY=${INVENTORY:-inventory/localhost.yml} ARGS=${ARGS:-}

# The machine's own engine, whatever the user's environment names.
unset "${!DOCKER_@}"
export DOCKER_HOST=unix:///var/run/docker.sock

# TEXT: it, with its templates filled in, a line for each machine of the inventory.
filled_in() { "$python" tools/run_ansible.py --no-become --callback ask --text "ask_text=$1" playbook playbooks/ask.yml; }
stack=$(filled_in '{{ stack_name }} {{ stack_http_port }} {{ stack_bind_address }}') || exit 2
read -r name port bind <<<"$stack"
export STACK_NAME=${STACK_NAME:-$name} HTTP_PORT=${HTTP_PORT:-$port} STACK_BIND_ADDRESS=${STACK_BIND_ADDRESS:-$bind}

# Not in TMPDIR: ssh keeps the socket of its shared connection in there, and refuses where the name of one gets
# longer than the kernel takes; macOS' TMPDIR alone is most of that.
work=$(mktemp -d /tmp/tests.XXXXXX)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0 bad=()

heading() { printf '\n==== %s\n' "$1"; started=$SECONDS; }

# NAME PASSED FAILED SKIPPED EXIT_CODE: add a tier up and say how it went.
result() {
  local broken=$3
  # These may skip as a whole: they need Chromium, or root on the very machine of the stack.
  if [ $(($2 + $3)) = 0 ] && ! { [[ $1 =~ ^(page|security|faults)$ ]] && [ "$4" -gt 0 ]; }; then
    printf '%s: no test ran (exit code %d)\n' "$1" "$5"
    broken=1
  elif [ "$3" = 0 ] && [ "$5" != 0 ]; then
    printf '%s: every test passed and yet it ended with exit code %d\n' "$1" "$5"
    broken=1
  fi
  printf -- '---- %s: %d passed, %d failed, %d skipped in %d s\n' "$1" "$2" "$broken" "$4" $((SECONDS - started))
  passed=$((passed + $2)) failed=$((failed + broken)) skipped=$((skipped + $4))
  [ "$broken" = 0 ] || bad+=("$1")
}

# NAME: the tier is asked for, or none is.
tiers=" $* "
wanted() { [ "$tiers" = '  ' ] || [[ $tiers == *" $1 "* ]]; }

lines() { grep -cE "^$1\b" "$work/output"; }

# NAME COMMAND...: a script that prints a line with PASS, FAIL or SKIP for each test.
script_tier() {
  local name=$1 code
  wanted "$name" || return 0
  shift
  heading "$name"
  # Its own sum is part of ours.
  "$@" 2>&1 | tee "$work/output" | grep --line-buffered -vE '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$'
  code=${PIPESTATUS[0]}
  result "$name" "$(lines PASS)" "$(lines FAIL)" "$(lines SKIP)" "$code"
}

# NAME ARGUMENTS...: a folder of pytest's.
pytest_tier() {
  local name=$1 code counts
  wanted "$name" || return 0
  shift
  heading "$name"
  rm -f "$work/report.xml"
  "$python" -m pytest --quiet -rfE --color=no -p no:cacheprovider --junitxml="$work/report.xml" "tests/$name" "$@" 2>&1
  code=$?
  counts=$("$python" - "$work/report.xml" <<'PYTHON'
import collections, sys
import xml.etree.ElementTree as tree

try:
    cases = list(tree.parse(sys.argv[1]).iter("testcase"))
except (OSError, tree.ParseError):
    cases = []
reasons = collections.Counter(s.get("message") for c in cases for s in c.iter("skipped"))
# A test that fails and then fails to clean up is one.
failed = sum(c.find("failure") is not None or c.find("error") is not None for c in cases)
skipped = sum(reasons.values())
for reason, count in reasons.items():
    print(f"SKIP {count} times: {reason}" if count > 1 else f"SKIP {reason}", file=sys.stderr)
print(len(cases) - failed - skipped, failed, skipped)
PYTHON
  ) || counts='0 0 0'
  # shellcheck disable=SC2086 # three words
  result "$name" $counts "$code"
}

# The machines of another inventory, with its templates filled in, which testinfra does not do.
hosts=()
if [ "$INVENTORY" != inventory/localhost.yml ] && wanted host; then
  address="ssh://{{ansible_user|default('$(id -un)')}}@{{ansible_host|default(inventory_hostname)}}:{{ansible_port|default(22)}}"
  machines=$(filled_in "$address" | paste -sd, -)
  # Without one testinfra would look at this machine.
  [ -n "$machines" ] || { printf 'run_all.sh: Ansible finds no machine in %s\n' "$INVENTORY" >&2; exit 2; }
  # One connection for all: a test asks several times, and each login takes its time. In a file, since
  # testinfra takes --ssh-extra-args and hands them to nobody.
  {
    printf 'ControlPath %s/%%C\n' "$work"
    [ "${ANSIBLE_HOST_KEY_CHECKING:-True}" != False ] || printf '%s\n' 'StrictHostKeyChecking no' 'UserKnownHostsFile /dev/null' 'LogLevel ERROR'
    [ -z "${ANSIBLE_PRIVATE_KEY_FILE:-}" ] || printf 'IdentityFile "%s"\n' "$ANSIBLE_PRIVATE_KEY_FILE"
    # The user's own and the system's, which ssh leaves out where a file is named.
    printf '%s\n' 'Include ~/.ssh/config' 'Include /etc/ssh/ssh_config'
  } >"$work/ssh_config"
  hosts=("--hosts=$machines" "--ssh-config=$work/ssh_config")
fi

script_tier linters bash tests/lint.sh
pytest_tier unit
pytest_tier templates
pytest_tier policy
script_tier fuzz env PYTHONPATH=src "$python" tests/fuzz_api.py
pytest_tier host ${hosts[@]+"${hosts[@]}"}
script_tier behaviour bash tests/run_tests.sh
! wanted page || "$python" tests/page/supplies.py
pytest_tier page
pytest_tier security
pytest_tier faults

[ ${#bad[@]} = 0 ] || printf '\nNot well: %s\n' "${bad[*]}"
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
