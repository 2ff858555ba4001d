#!/usr/bin/env bash
# Runs every linter, prints PASS or FAIL for each, and fails when one did.
# The tools are those beside PYTHON (default: .venv/bin/python, else the first python3).
set -uo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3)
bin=$(CDPATH='' cd "$(dirname "$python")" && pwd)
# ansible-lint calls ansible by name.
export PATH="$bin:$PATH"
# What a linter finds is the same in a terminal and in a log.
export NO_COLOR=1 ANSIBLE_NOCOLOR=1

failed=() count=0

# check NAME COMMAND...: the output of a linter that has nothing to say stays unseen.
check() {
  local name=$1 output
  count=$((count + 1))
  shift
  if output=$("$bin/$1" "${@:2}" 2>&1); then
    printf 'PASS  %s\n' "$name"
  else
    printf 'FAIL  %s\n%s\n\n' "$name" "$output"
    failed+=("$name")
  fi
}

# ours NAME...: the project's own files of that name, one a line.
ours() {
  local name
  for name in "$@"; do
    find . \( -name .git -o -name .venv -o -name .cache -o -name dist \) -prune -o -type f -name "$name" -print
  done | sort
}

mapfile -t scripts < <(ours '*.sh')
# Ansible's plugins, and what the roles install on the machine.
mapfile -t programs < <(ours '*.py' | grep -E '^\./(plugins|roles)/')
mapfile -t dockerfiles < <(ours Dockerfile)

check 'ansible-lint' ansible-lint --offline -q
check 'yamllint' yamllint --strict .
check 'ruff check' ruff check .
check 'ruff format' ruff format --check --diff .
check 'mypy' mypy src/gen_model.py src/gen_dashboards.py src/api tests tools bench "${programs[@]}"
# SC2016: a dollar in single quotes is for another shell, or a word of a message.
check 'shellcheck' shellcheck --exclude SC2016 "${scripts[@]}"
# DL3008: packages without a version, on purpose: an image takes today's security fixes, and the
# list of what it got is kept in the image.
# DL3003: a `cd` ends with its RUN, a WORKDIR would stay.
check 'hadolint' hadolint --ignore DL3008 --ignore DL3003 "${dockerfiles[@]}"
# What they are told to leave out stands in the script.
check 'gixy-ng' "${python##*/}" tools/check_nginx.py gixy-ng
check 'gixy-next' "${python##*/}" tools/check_nginx.py gixy-next

if [ ${#failed[@]} -gt 0 ]; then
  printf '%d of %d linters found something: %s\n' "${#failed[@]}" "$count" "${failed[*]}"
  exit 1
fi
