#!/usr/bin/env bash
# Makes the virtual environment VENV and installs the pinned packages of the requirement files in it.
# Usage: tools/venv.sh VENV REQUIREMENTS...   (PYTHON=/path/to/python3 names the Python to use)
set -euo pipefail

readonly OLDEST=3.11
unset PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONOPTIMIZE PYTHONUSERBASE

die() {
  printf 'venv.sh: %s\n' "$*" >&2
  exit 1
}

# A version manager's shim may be on the path and still run nothing: only what answers counts. The
# base interpreter, since an activated VENV would be deleted under its own feet.
interpreter() {
  "$1" -c 'import sys
if sys.version_info[:2] < tuple(map(int, sys.argv[1].split("."))): sys.exit(1)
print(getattr(sys, "_base_executable", None) or sys.executable)' "$OLDEST" 2>/dev/null
}

can_make_venv() {
  "$1" -c 'import ensurepip, venv' 2>/dev/null
}

# Print the first Python that is new enough, and prefer one that needs nothing installed. The
# system's comes first: a version manager's is built slower and other users may not run it.
find_python() {
  local candidate path incomplete=
  for candidate in ${PYTHON:+"$PYTHON"} /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    if ! path=$(interpreter "$candidate"); then
      [ "$candidate" != "${PYTHON:-}" ] ||
        printf 'venv.sh: PYTHON=%s is no Python %s or newer; looking for another\n' "$PYTHON" "$OLDEST" >&2
    elif can_make_venv "$path"; then
      printf '%s\n' "$path"
      return
    else
      : "${incomplete:=$path}"
    fi
  done
  [ -n "$incomplete" ] || die "no Python $OLDEST or newer here. Debian 12, Ubuntu 24.04 and later: apt-get install python3 python3-venv. Elsewhere: PYTHON=/path/to/python3 make …, or run make on another machine and reach this one by ssh (INVENTORY=inventory/vm.yml)"
  printf '%s\n' "$incomplete"
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Debian and Ubuntu ship the module that puts pip into a venv as a package of its own.
install_venv_module() {
  local package log
  package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  command -v apt-get >/dev/null ||
    die "$1 has no module ensurepip: install your system's package for Python's venv, or name another Python by PYTHON=/path/to/python3"
  as_root true 2>/dev/null || die "$1 cannot make virtual environments. Run: sudo apt-get install --yes $package"
  printf 'venv.sh: installing %s\n' "$package" >&2
  log=$({ as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$package" ||
    { as_root apt-get update &&
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$package"; }; } 2>&1 </dev/null) ||
    { printf '%s\n' "$log" | tail -n 5 >&2; die "apt-get could not install $package (its last lines are above)"; }
  can_make_venv "$1" || die "$package is installed and $1 still has no module ensurepip: name another Python by PYTHON=/path/to/python3"
}

# Sound: runs, is new enough, its commands point at itself (a moved checkout's do not), and no
# installation was cut off in the middle.
sound() {
  local prefix
  [ ! -e "$venv/.installing" ] && interpreter "$venv/bin/python" >/dev/null || return 1
  prefix=$(cd "$venv" && pwd -P)
  "$venv/bin/pip" --version 2>/dev/null | grep -qF "from $prefix/"
}

[ $# -ge 2 ] || die "usage: tools/venv.sh VENV REQUIREMENTS..."
venv=$1
shift
requirements=()
for file in "$@"; do
  [ -r "$file" ] || die "there is no requirement file $file"
  requirements+=(--requirement "$file")
done

if ! sound; then
  # Never empty a folder that only shares the name.
  [ ! -e "$venv" ] || [ -e "$venv/pyvenv.cfg" ] || [ -z "$(ls -A "$venv")" ] ||
    die "$venv exists and is no virtual environment: move it away, or name another with VENV=…"
  python=$(find_python)
  can_make_venv "$python" || install_venv_module "$python"
  "$python" -m venv --clear "$venv" || die "$python could not make $venv (its message is above)"
fi

# Of the user's settings of pip, only how to reach an index: the others would install elsewhere or something else.
for name in $(compgen -e PIP_); do
  [[ $name =~ ^PIP_(INDEX_URL|EXTRA_INDEX_URL|NO_INDEX|FIND_LINKS|TRUSTED_HOST|PROXY|CERT|CLIENT_CERT|KEYRING_PROVIDER|TIMEOUT|DEFAULT_TIMEOUT|RETRIES|CACHE_DIR|NO_CACHE_DIR|CONFIG_FILE)$ ]] ||
    unset "$name"
done

: >"$venv/.installing"
done=0
# Not compiled beforehand: that takes three times as long as the rest, and most of Ansible's files are
# never run. Python compiles the others at their first use.
"$venv/bin/python" -m pip install -qq --no-user --no-compile --disable-pip-version-check --no-input "${requirements[@]}" || done=$?
# It stays only where pip was killed: one that gives up by itself leaves things in order.
rm "$venv/.installing"
[ "$done" = 0 ] || die "pip could not install $* (its message is above)"
