#!/usr/bin/env bash
# The whole life of the stack on a real machine, slow under emulation: `make test-vm`.
#
# Usage: tests/vm/run.sh [--keep] [vagrant | ssh]     which half; one after the other when none is named
#        tests/vm/run.sh --keep --only PATTERN vagrant | ssh     some steps again, on the machine that was kept
#
# vagrant: makes a box of Debian 12 from its packages, runs the project's own Vagrantfile on it, looks
# at the machine from outside and inside, restarts the engine under load, reboots, cuts the power,
# moves the clock, fills the disk, halts and destroys it. ssh: the same on a plain Debian 13, with the
# roles by ssh, from an account that is not root and from a second controller. Runs as root on a host
# where the stack is up: the boxes get its images, else each guest builds its own for an hour. One
# half at a time and nothing beside it, else an emulated guest is too slow for the stack's own
# time-outs; and QEMU 10, which Debian 12 has among its backports: its 7.2 starts processes half as
# fast (docs/benchmarks/vm.md). Prints PASS or FAIL and the time of each step, and writes docs/benchmarks/vm.md.
set -uo pipefail
CDPATH='' cd "$(dirname "$0")/../.." || exit 2

readonly CACHE=$PWD/.cache/vm REPORT=docs/benchmarks/vm.md
declare -rA TITLES=([vagrant]='Vagrant, Debian 12' [ssh]='By ssh, Debian 13')
readonly BOOT=300 # seconds from power to the first answer, under emulation
half='' keep='' only=''
while [ $# -gt 0 ]; do
  case $1 in
    --keep) keep=--keep ;;
    --only) only=${2:?run.sh: --only wants a pattern of names of steps} && shift ;;
    vagrant | ssh) half=$1 ;;
    *) sed -n '2,14p' "$0" >&2 && exit 2 ;;
  esac
  shift
done
[ -z "$only" ] || { [ -n "$keep" ] && [ -n "$half" ]; } || { echo 'run.sh: --only goes with --keep and one half' >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo 'run.sh: it mounts disks and starts an engine: run it as root' >&2; exit 2; }

# What make hands on of this host's own stack; the guests' tools look for Ansible.
unset INVENTORY ARGS TARGET MAKEFLAGS MAKELEVEL
export PATH="$PWD/.venv/bin:$PATH"
.venv/bin/python -c 'import pytest' 2>/dev/null || { echo 'run.sh: the tools of the tests are missing: make test-vm installs them' >&2; exit 2; }

if [ -z "$half" ]; then
  code=0
  for half in vagrant ssh; do
    printf '==== %s\n' "$half"
    "$0" ${keep:+"$keep"} "$half" || code=1
  done
  exit "$code"
fi

mkdir -p "$CACHE"
work=$(mktemp -d)
chmod 755 "$work"
readonly ROWS=$CACHE/$half.rows
passed=0 failed=0 note='' https=8443

# ---- results -------------------------------------------------------------------------------------

# STEP COMMAND...: run it, remember how it went, how long it took and what it noted.
step() {
  local name=$1 started=$SECONDS mark=PASS
  shift
  note=''
  [ -z "$only" ] || [[ $name =~ $only|make\ env ]] || return 0
  if "$@" >"$work/log" 2>&1; then
    passed=$((passed + 1))
  else
    mark=FAIL failed=$((failed + 1))
  fi
  printf '%s %s (%d s)%s\n' "$mark" "$name" $((SECONDS - started)) "${note:+: $note}"
  [ "$mark" = PASS ] || tail -n 30 "$work/log" | sed 's/^/     | /'
  printf '| %s | %s | %d | %s |\n' "$name" "$mark" $((SECONDS - started)) "$note" >>"$ROWS"
  report
  [ "$mark" = PASS ]
}

# HALF: its table, of this checkout's last run, else as the report has it.
table() {
  if [ -e "$CACHE/$1.rows" ]; then cat "$CACHE/$1.rows"; else awk -v title="## ${TITLES[$1]}" '/^## / {on = $0 == title} on' "$REPORT"; fi
}

# Both halves as last seen; each writes its own table. What stands below them was written by hand.
report() {
  local by_hand name found
  by_hand=$(sed -n '/^## What/,$p' "$REPORT" 2>/dev/null)
  {
    printf '# A real machine, as last seen\n\n'
    # shellcheck disable=SC2016 # marks of Markdown
    printf 'Written by `make test-vm`. The guests run under software emulation on %s cores: all times, in seconds, are upper bounds.\n' "$(nproc)"
    for name in vagrant ssh; do
      found=$(table "$name")
      [ -z "$found" ] || printf '\n%s\n' "$found"
    done
    [ -z "$by_hand" ] || printf '\n%s\n' "$by_hand"
  } >"$work/report"
  cp "$work/report" "$REPORT"
}

begin() {
  [ -z "$only" ] || return 0
  printf '## %s\n\n%s, at %s.\n\n| step | result | s | noted |\n|---|---|---:|---|\n' \
    "${TITLES[$half]}" "$(date -u +%Y-%m-%d)" "$(git rev-parse --short HEAD)" >"$ROWS"
}

finish() {
  touch "$work/done"
  [ -n "$keep" ] || destroy >/dev/null 2>&1
  rm -rf "$work"
}
trap finish EXIT

# ---- the machine of this half --------------------------------------------------------------------

if [ "$half" = vagrant ]; then
  emulator() { pgrep -u vmtest -f qemu-system; }
  provision() { tests/vm/vagrant.sh provision; }
  # From out here, with what the Vagrantfile wrote down for it.
  controller() { make "$1" TARGET=vm ARGS='-e @/var/tmp/vmtest/project/.vagrant/stack.yml -e @tests/vm/emulated.yml'; }
  boot() { tests/vm/vagrant.sh up --no-provision; }
  halt() { tests/vm/vagrant.sh halt; }
  cut_power() {
    local pid
    pid=$(emulator) && [ "$(wc -w <<<"$pid")" = 1 ] && kill -KILL "$pid"
  }
  destroy() { tests/vm/vagrant.sh destroy -f; }
else
  plain() { MACHINE=$CACHE/plain tests/vm/machine.sh "$@"; }
  emulator() { plain status; }
  provision() { controller start-project; }
  controller() { make "$1" ARGS="-e stack_public_https_port=$https -e @tests/vm/emulated.yml"; }
  boot() { plain start; }
  halt() { plain stop; }
  cut_power() { plain kill; }
  destroy() { plain destroy; }
fi

# ---- a machine from outside ------------------------------------------------------------------------

# SCRIPT: in the guest, as its user. By plain ssh: Vagrant's own takes seconds to start, and waits for
# more than ssh after a reboot.
guest() {
  ssh -q -i "$ANSIBLE_PRIVATE_KEY_FILE" -p "$STACK_SSH_PORT" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o IdentitiesOnly=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 "$STACK_USER@$STACK_HOST" "$1" </dev/null
}

credentials() {
  make -s env TARGET=vm >"$work/env"
  grep -q '^API_PASSWORD=.' "$work/env"
}

# COMMAND...: with what `make env` says of the guest in its environment.
knowing() (
  set -a
  # shellcheck source=/dev/null
  . "$work/env"
  "$@"
)

predicts() {
  # shellcheck disable=SC2016 # for the inner shell
  knowing bash -c '[ "$(curl -s --noproxy "*" -o /dev/null -w "%{http_code}" --max-time 10 --cacert "$GATEWAY_CA" --user "$API_USER:$API_PASSWORD" \
    -H "Content-Type: application/json" -d "{\"sentence\": \"what a wonderful morning\"}" "$GATEWAY_URL/predict")" = 200 ]'
}

answers_within() { # SECONDS
  local started=$SECONDS
  until predicts; do
    [ $((SECONDS - started)) -lt "$1" ] || return 1
    sleep 0.5
  done
  note="${note:+$note, }200 after $((SECONDS - started)) s"
}

# SCRIPT: run it in the guest while a client out here asks and asks.
under_load() {
  rm -f "$work/done"
  knowing .venv/bin/python tests/knock.py "$work/done" >"$work/knock" 2>&1 &
  local knocker=$! code=0
  guest "$1" || code=1
  answers_within 60
  touch "$work/done"
  wait "$knocker" || code=1
  cat "$work/knock"
  note=$(head -n 1 "$work/knock")
  return "$code"
}

# ---- steps -----------------------------------------------------------------------------------------

# Once for a commit: the other half takes the same.
save_images() {
  local references commit
  commit=$(git rev-parse HEAD)
  [ "$(cat "$CACHE/images.commit" 2>/dev/null)" != "$commit" ] || { note='saved before' && return 0; }
  references=$(docker ps --filter label=stack=emotions --format '{{.Image}}' | sort -u)
  [ -n "$references" ] || { echo 'The stack does not run here: make start-project'; return 1; }
  make start-project TARGET=localhost ARGS=--check >"$work/check" 2>&1
  grep -q 'changed=0 .*failed=0' "$work/check" || { echo 'What runs here is not what this checkout says: make start-project'; return 1; }
  # shellcheck disable=SC2086 # words
  docker save --output "$work/images.tar" emotions-base:trixie $references && mv "$work/images.tar" "$CACHE/images.tar" &&
    echo "$commit" >"$CACHE/images.commit"
}

refuses_a_taken_port() {
  python3 -m http.server "$https" --bind 127.0.0.1 >/dev/null 2>&1 &
  local holder=$! output
  output=$(tests/vm/vagrant.sh up 2>&1)
  local code=$?
  kill "$holder"
  echo "$output"
  [ "$code" != 0 ] && grep -q "Port $https of this host is taken" <<<"$output"
}

comes_up() {
  local code=0
  tests/vm/vagrant.sh up >"$work/up" 2>&1 || code=1
  tail -n 40 "$work/up"
  note="the run in the guest: $(grep -oE 'ok=[0-9]+ +changed=[0-9]+' "$work/up" | tail -n 1 | tr -s ' ')"
  return "$code"
}

without_a_change() { # COMMAND...
  "$@" >"$work/provision" 2>&1
  local code=$?
  grep -A1 'PLAY RECAP' "$work/provision" || tail -n 30 "$work/provision"
  [ "$code" = 0 ] && grep -q 'changed=0 .*failed=0' "$work/provision"
}

contract() { # COMMAND...
  "$@" >"$work/contract" 2>&1
  local code=$?
  grep -v ^PASS "$work/contract"
  note=$(tail -n 1 "$work/contract")
  return "$code"
}

# Without the trials of the rules, which are Prometheus' own arithmetic: the machine has no part in them, and they are
# half a minute of a processor's work outside emulation.
host_tests() {
  knowing env INVENTORY=inventory/vm.yml .venv/bin/python -m pytest --quiet --ignore=tests/host/test_rules.py tests/host >"$CACHE/$half.host.log" 2>&1
  local code=$?
  # More than the end of it is needed where one cause fails many: the file stays.
  tail -n 30 "$CACHE/$half.host.log"
  note=$(tail -n 1 "$CACHE/$half.host.log")
  return "$code"
}

# shellcheck disable=SC2016 # scripts for the guest
place_to_work() {
  guest 'set -e
    # An emulated machine may say that the engine took too long; not every time.
    for _ in 1 2 3; do said=$(sudo run-parts /etc/update-motd.d); ! grep -E "emotions: ([0-9]+) of \1 containers healthy" <<<"$said" || break; done
    grep -E "emotions: ([0-9]+) of \1 containers healthy" <<<"$said"
    for unit in emotions emotions-certificate.timer emotions-firewall; do systemctl is-active $unit; systemctl is-enabled $unit; done
    sudo journalctl STACK=emotions -n 200 -o cat | grep -q . && sudo journalctl CONTAINER_NAME=emotions-api-v1-1 -n 1
    id viewer 2>/dev/null || sudo useradd --create-home --groups adm viewer
    sudo -u viewer emotions status --brief
    sudo -u viewer emotions logs 1 >/dev/null
    if sudo -n -u viewer sudo -n emotions env; then exit 1; fi
    cat /etc/emotions/README | grep -q "systemctl status emotions"
    # Udev hands the bridges of the engine to ifupdown as well, which may fail on the first boot; nothing of the stack uses it.
    [ -z "$(systemctl --failed --no-legend --plain | grep -v ^ifup@)" ] || { systemctl --failed; exit 1; }'
}

# shellcheck disable=SC2016
hardened() {
  guest 'set -e
    sudo sshd -T | grep -x "passwordauthentication no"
    sudo swapon --show | grep swapfile-emotions
    apt-config dump | grep "APT::Periodic::Unattended-Upgrade \"1\""
    systemctl is-active systemd-timesyncd
    sudo docker info --format "{{.LiveRestoreEnabled}}" | grep true
    gateway=$(sudo docker inspect --format "{{.State.Pid}}" emotions-nginx-1)
    replica=$(sudo docker inspect --format "{{.State.Pid}}" emotions-api-v1-1)
    [ "$(cat /proc/$gateway/oom_score_adj)" -lt "$(cat /proc/$replica/oom_score_adj)" ]'
}

# Which of the given ADDRESS:PORT take a connection; all are asked at once, since most let one wait.
readonly OPEN='
import asyncio, sys

async def is_open(address):
    # Silence is a firewall; a slow guest answers later than a second.
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(*address.split(":")), 15)
    except OSError:
        return False
    writer.close()
    return True

async def main():
    for address, found in zip(sys.argv[1:], await asyncio.gather(*map(is_open, sys.argv[1:]))):
        if found:
            print(address)

asyncio.run(main())'

# From a network namespace of the guest's, which is a neighbour to it: what is open, on its address
# (where a stray server listens, and a stray container's port is published) and, routed through it, on the stack's own subnet.
# shellcheck disable=SC2016
scanned() {
  guest "sudo OPEN=$(printf %q "$OPEN")"' bash -ec "
    trap \"ip netns del neighbour; docker rm --force stray >/dev/null\" EXIT
    ip netns add neighbour
    ip link add outside type veth peer name inside netns neighbour
    ip addr add 198.51.100.1/24 dev outside; ip link set outside up
    ip -n neighbour addr add 198.51.100.2/24 dev inside; ip -n neighbour link set inside up
    ip -n neighbour route add 172.28.10.0/24 via 198.51.100.1
    python3 -m http.server 8765 --bind 198.51.100.1 >/dev/null 2>&1 & stray=\$!
    # Not of the stack, whose label the image hands on.
    docker run --detach --rm --name stray --label stack= --publish 8766:8766 --entrypoint python3 \
      \$(docker inspect --format {{.Config.Image}} emotions-api-v1-1) -m http.server 8766 >/dev/null
    # Until both answer.
    for port in 8765 8766; do
      # A second of a slow guest at a time.
      for _ in {1..60}; do ! curl --silent --noproxy \"*\" --output /dev/null --max-time 5 http://198.51.100.1:\$port/ || break; sleep 1; done
      curl --silent --noproxy \"*\" --output /dev/null --max-time 15 http://198.51.100.1:\$port/
    done
    found=\$(ip netns exec neighbour python3 -c \"\$OPEN\" \
      198.51.100.1:{22,25,53,80,111,443,2375,2376,3000,5355,8000,8080,8081,8443,8765,8766,9090,9093,9100,23000,29090} \
      172.28.10.{3,4,5,6,7,8,9,10,21,22,23,41}:{80,443,8000,8081,9090,9100} | paste -sd \" \")
    kill \$stray
    echo \"open: \$found\"
    [ \"\$found\" = \"198.51.100.1:22 198.51.100.1:80 198.51.100.1:443\" ]"'
}

# Vagrant's libvirt provider forwards ports by an ssh that a reboot from inside ends, and only its
# own reload starts it again: the step has one of its own.
forward_again() {
  : 2>/dev/null <"/dev/tcp/127.0.0.1/$https" || ssh -q -f -N -M -S "$work/forward" -L "127.0.0.1:$https:127.0.0.1:443" \
    -i "$ANSIBLE_PRIVATE_KEY_FILE" -p "$STACK_SSH_PORT" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o IdentitiesOnly=yes -o ExitOnForwardFailure=yes "$STACK_USER@$STACK_HOST"
}
forward_no_more() { [ ! -S "$work/forward" ] || ssh -q -S "$work/forward" -O exit "$STACK_HOST"; }

# The share of imports and start-up is what lies between ssh and the first answer.
reboots() {
  local code=0
  reboots_to_the_first_answer || code=1
  forward_no_more
  return "$code"
}
reboots_to_the_first_answer() {
  local started=$SECONDS
  guest 'sudo systemctl reboot' || :
  until guest true 2>/dev/null && [ "$(guest 'cut -d. -f1 /proc/uptime' | tr -dc 0-9)" -lt $((SECONDS - started)) ]; do
    [ $((SECONDS - started)) -lt "$BOOT" ] || return 1
    sleep 0.5
  done
  note="ssh after $((SECONDS - started)) s"
  forward_again
  answers_within "$BOOT" || return 1
  # The unit is done when every container is well.
  guest 'timeout 300 sudo systemctl start emotions; sudo emotions status --brief && [ -z "$(systemctl --failed --no-legend)" ]' || return 1
  note="$note more; $(guest "sudo python3 -c $(printf %q "$STARTUP") emotions-api-v1-1" | tr -d '\r')"
}

# How long a replica took from its start to its first line, which follows the imports and the model.
readonly STARTUP='
import datetime, json, subprocess, sys
name = sys.argv[1]
state = json.loads(subprocess.check_output(["docker", "inspect", name]))[0]["State"]["StartedAt"]
lines = subprocess.check_output(["journalctl", "--boot", "--output=cat", f"CONTAINER_NAME={name}"], text=True).splitlines()
loaded = next(json.loads(line)["time"] for line in lines if "loaded" in line)
begun, loaded = (datetime.datetime.fromisoformat(t[:19] + "+00:00") for t in (state, loaded))
print(f"of it a replica took {(loaded - begun).seconds} s for its imports and the model")'

loses_power() {
  guest 'sudo find /etc/emotions -type f -exec sha256sum {} + | sort | sudo tee /var/tmp/before >/dev/null; sync'
  cut_power && boot && answers_within "$BOOT" &&
    guest 'sudo find /etc/emotions -type f -exec sha256sum {} + | sort | sudo diff - /var/tmp/before &&
      timeout 300 sudo systemctl start emotions && sudo emotions status --brief &&
      ! sudo journalctl -b -k | grep -iE "ext4.*error" &&
      [ "$(curl -s --noproxy "*" "http://127.0.0.1:9090/api/v1/query?query=count_over_time(up%5B1h%5D)" | grep -c "\"value\"")" = 1 ]'
}

# By the uptime, which the clock does not move: a guest that is ahead signs what is not yet valid here.
# shellcheck disable=SC2016
renews_by_the_timer() {
  guest 'sudo bash -ec "
    uptime() { cut -d. -f1 /proc/uptime; }
    systemctl stop systemd-timesyncd
    boot=\$((\$(date +%s) - \$(uptime)))
    set_back() { date --set=@\$((boot + \$(uptime))) >/dev/null; systemctl start systemd-timesyncd; }
    trap set_back EXIT
    before=\$(openssl x509 -noout -serial -in /etc/emotions/tls/server.crt)
    date --set=@\$((boot + \$(uptime) + 340 * 86400)) >/dev/null
    systemctl start emotions-certificate.service
    after=\$(openssl x509 -noout -serial -in /etc/emotions/tls/server.crt)
    emotions status --brief
    journalctl -u emotions-certificate -n 3 --no-pager
    [ \"\$before\" != \"\$after\" ]"'
}

# What is of the year to come: a certificate, and figures that Prometheus refuses those of today for.
back_in_time() {
  guest 'sudo emotions certificate --renew-days 400' && predicts || return 1
  controller verify && echo 'Prometheus is said to take figures.' && return 1
  controller forget-future && controller verify
}

# shellcheck disable=SC2016
fills_the_disk() {
  guest 'sudo bash -ec "fallocate --length \$((\$(df --output=avail -B1 / | tail -n 1) - 80000000)) /filler; df -h /"'
  answers_within 30
  local code=$?
  if controller start-project >"$work/full" 2>&1; then code=1; fi
  guest 'sudo rm /filler'
  grep -o '[0-9]* MB are free where the engine keeps its data' "$work/full" || code=1
  predicts || code=1
  return "$code"
}

# What the provisioner wrote down in the guest for its own runs outlives the copy that `up` makes of the project.
halts_and_comes_up() {
  halt && boot && answers_within "$BOOT" || return 1
  [ "$half" = ssh ] || guest 'grep stack_dedicated emotions/inventory/host_vars/localhost/vagrant.yml'
}
leaves_nothing() { destroy && ! emulator && [ ! -e /var/tmp/vmtest/project/.vagrant/target.mk ]; }

# ---- by ssh ------------------------------------------------------------------------------------------

# An account of this host that is neither root nor has anything of root's.
unprivileged_controller() {
  local home=/var/tmp/vmtest
  id vmtest >/dev/null 2>&1 || useradd --system --home-dir "$home" --shell /bin/bash --user-group vmtest
  rm -rf "$home/controller"
  install -d -o vmtest -g vmtest "$home" "$home/controller"
  git archive HEAD | tar -x -C "$home/controller"
  install -m 0600 "$CACHE/plain/key" "$home/key"
  chown -R vmtest:vmtest "$home/controller" "$home/key"
  (cd "$home/controller" && setpriv --reuid vmtest --regid vmtest --init-groups env HOME="$home" \
    ANSIBLE_PRIVATE_KEY_FILE="$home/key" PATH=/usr/local/bin:/usr/bin:/bin make start-project ARGS="-e stack_public_https_port=$https -e @tests/vm/emulated.yml") >"$work/ssh" 2>&1
  local code=$?
  tail -n 30 "$work/ssh"
  ! find "$home/controller" -path '*/.venv' -prune -o -type f \( -name '*.key' -o -name 'user-*' \) -print | grep . || code=1
  return "$code"
}

# ---- the run -------------------------------------------------------------------------------------------

if [ "$half" = vagrant ]; then
  begin
  # The stack of this host holds the usual ones.
  export STACK_PROMETHEUS_PORT=19091 STACK_GRAFANA_PORT=13001
  step 'images of the stack of this host' save_images || exit 1
  step 'a box of Debian 12 from its packages' tests/vm/box.sh bookworm --images "$CACHE/images.tar" || exit 1
  step '`vagrant up` where a port is taken says so' refuses_a_taken_port
  step '`vagrant up`' comes_up || exit 1
  # How to reach the guest, as the Vagrantfile wrote it down for make.
  # shellcheck source=/dev/null
  . <(sed 's/ = /=/' /var/tmp/vmtest/project/.vagrant/target.mk)
  install -m 0600 "$ANSIBLE_PRIVATE_KEY_FILE" "$work/key"
  export ANSIBLE_PRIVATE_KEY_FILE=$work/key
  step '`make env TARGET=vm`' credentials || exit 1
  step 'a prediction through the forwarded port' answers_within 60
  step '`vagrant provision` changes nothing' without_a_change provision
  step '`make start-project TARGET=vm` of the host changes nothing' without_a_change controller start-project
  step 'the contract, in the guest' contract guest 'cd emotions && tests/run_tests.sh'
else
  begin
  https=18445
  export TARGET=vm STACK_HOST=127.0.0.1 STACK_SSH_PORT=22023 STACK_USER=vagrant HTTP_PORT=18085 ANSIBLE_HOST_KEY_CHECKING=False
  export ANSIBLE_PRIVATE_KEY_FILE=$CACHE/plain/key
  step 'images of the stack of this host' save_images || exit 1
  step 'a disk of Debian 13 from its packages' tests/vm/box.sh trixie --images "$CACHE/images.tar" || exit 1
  step 'it boots' plain start --disk "$CACHE/trixie.qcow2" --ssh 22023 --http 18085 --https "$https" || exit 1
  step 'the stack by ssh, from an account without privileges; no secret stays there' unprivileged_controller || exit 1
  step '`make env TARGET=vm`' credentials || exit 1
  step 'a prediction from the host' answers_within 60
  step 'a second controller changes nothing' without_a_change provision
fi
step 'the contract, from the host' contract knowing env TARGET=vm tests/run_tests.sh
step 'the machine, by ssh' host_tests
step 'login, units, journal, a look without sudo' place_to_work
step 'hardening' hardened
step 'open from a neighbour: 22, 80, 443' scanned
step 'the engine restarts under load' under_load 'sudo systemctl restart docker'
step 'reboot' reboots
[ "$half" = ssh ] || step '`vagrant up` says so, too, where the reboot ended the forwarding' refuses_a_taken_port
step 'power cut' loses_power
step "the clock 340 days on: the timer's service renews" renews_by_the_timer
step 'the clock back' back_in_time
step 'the disk full but for 80 MB' fills_the_disk
step 'halt and up' halts_and_comes_up
step 'destroy' leaves_nothing

printf '\n%d passed, %d failed\n' "$passed" "$failed" >"$work/sum"
cat "$work/sum"
[ -n "$only" ] || cat "$work/sum" >>"$ROWS"
report
[ "$failed" = 0 ]
