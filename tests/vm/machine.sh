#!/usr/bin/env bash
# A virtual machine under plain qemu, from a disk that box.sh made. No libvirt, no Vagrant.
#
# Usage: tests/vm/machine.sh start [OPTION...]   boots; waits until ssh answers
#        tests/vm/machine.sh ssh [COMMAND...]    as the user vagrant
#        tests/vm/machine.sh stop | kill         shuts down | cuts the power; the disk stays
#        tests/vm/machine.sh destroy             kills it and removes its disk
#        tests/vm/machine.sh status | log        running or not | the serial console so far
#
# Options of start (those of the machine's first start are remembered):
#   --disk FILE         what box.sh made (default: .cache/vm/bookworm.qcow2); it is never written to
#   --ssh PORT          on 127.0.0.1 of this host (default 2222)
#   --http PORT         to the machine's port 80 (default 8080)
#   --https PORT        to the machine's port 443 (default 8443)
#   --forward OUT:IN    one more port; may be repeated
#   --memory MB --cpus N
#
# MACHINE=FOLDER in the environment keeps disk, key, log and pid there (default: .cache/vm/machine):
# another folder and other ports make a second machine. In there, `key` is the ssh key.
set -euo pipefail
cache=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/.cache/vm
folder=${MACHINE:-$cache/machine}
readonly BOOT_SECONDS=600 STOP_SECONDS=180

die() {
  printf 'machine.sh: %s\n' "$*" >&2
  exit 1
}

# The pid file outlives a machine that was killed, and the number may be another's by now.
running() {
  [[ -r $folder/pid ]] && pid=$(<"$folder/pid") && grep -qaF "$folder/disk.qcow2" "/proc/$pid/cmdline" 2>/dev/null
}

# wait_for SECONDS COMMAND...
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    # The command may be an ssh to a slow guest.
    sleep 1
  done
}

remote() {
  ssh -q -i "$folder/key" -p "$ssh_port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o IdentitiesOnly=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 vagrant@127.0.0.1 "$@"
}

answers() { ! running || remote true </dev/null; }
gone() { ! running; }

settings() {
  disk=$cache/bookworm.qcow2 ssh_port=2222 http_port=8080 https_port=8443 memory=4096 cpus=2 forwards=() built=''
  # shellcheck source=/dev/null
  [[ ! -r $folder/settings ]] || source "$folder/settings"
}

options() {
  local given=no
  while (($#)); do
    [[ $1 == --* && -n ${2:-} ]] || die "$1: the head of this file says the usage"
    case $1 in
      --disk) disk=$(realpath "$2") ;;
      --ssh) ssh_port=$2 ;;
      --http) http_port=$2 ;;
      --https) https_port=$2 ;;
      --memory) memory=$2 ;;
      --cpus) cpus=$2 ;;
      --forward)
        [[ $given == yes ]] || forwards=()
        forwards+=("$2") given=yes
        ;;
      *) die "unknown option $1" ;;
    esac
    shift 2
  done
}

start() {
  local pair network
  ! running || die "it runs already: pid $pid"
  options "$@"
  [[ -r $disk ]] || die "there is no $disk: tests/vm/box.sh makes it"
  mkdir -p "$folder"
  if [[ ! -e $folder/disk.qcow2 ]]; then
    qemu-img create -q -f qcow2 -F qcow2 -b "$disk" "$folder/disk.qcow2"
    built=$(stat --format=%i:%Y "$disk")
  fi
  # The machine's own disk is a layer that fits no other file.
  [[ $built == "$(stat --format=%i:%Y "$disk")" ]] || die "$disk was built again since: destroy this machine first"
  install -m 0600 /usr/share/rubygems-integration/all/gems/vagrant-*/keys/vagrant "$folder/key"
  # As plain assignments: a `declare` would be local to the function that reads them.
  declare -p disk built ssh_port http_port https_port memory cpus forwards | sed 's/^declare -[^ ]* //' >"$folder/settings"
  network=user,id=net0
  for pair in "$ssh_port:22" "$http_port:80" "$https_port:443" "${forwards[@]}"; do
    network+=,hostfwd=tcp:127.0.0.1:${pair%:*}-:${pair#*:}
  done
  # Without AVX, which an emulator makes of many small steps: a third faster than -cpu max.
  # cache=writeback hands the guest's flushes on: what it flushed survives a power cut, the rest need not.
  qemu-system-x86_64 -name "$(basename "$folder")" -machine pc -accel tcg,thread=multi -cpu Westmere-v1 -smp "$cpus" -m "$memory" \
    -nodefaults -display none -no-user-config -rtc base=utc \
    -drive "file=$folder/disk.qcow2,if=virtio,format=qcow2,cache=writeback,discard=unmap" \
    -netdev "$network" -device virtio-net-pci,netdev=net0,romfile= -device virtio-rng-pci \
    -chardev "file,id=console,path=$folder/console.log,append=on" -serial chardev:console \
    -daemonize -pidfile "$folder/pid"
  wait_for "$BOOT_SECONDS" answers || die "no ssh after $BOOT_SECONDS s: see $folder/console.log"
  running || die "it went away while it booted: see $folder/console.log"
  echo "up after $SECONDS s, on 127.0.0.1: ssh $ssh_port, http $http_port, https $https_port ${forwards[*]}"
}

stop() {
  running || return 0
  remote sudo systemctl poweroff </dev/null || true
  wait_for "$STOP_SECONDS" gone || die "it still runs after $STOP_SECONDS s: see $folder/console.log"
}

cut_power() {
  running || return 0
  kill -KILL "$pid"
  wait_for 20 gone || die "pid $pid does not end"
}

settings
command=${1:-}
shift || true
case $command in
  start) start "$@" ;;
  stop) stop ;;
  kill) cut_power ;;
  destroy) cut_power && rm -rf "$folder" ;;
  ssh) running || die "it does not run" && remote "$@" ;;
  status) running && echo "running: pid $pid, on 127.0.0.1: ssh $ssh_port, http $http_port, https $https_port ${forwards[*]}" ;;
  log) cat "$folder/console.log" ;;
  *) die "usage: tests/vm/machine.sh start|ssh|stop|kill|destroy|status|log (the head of this file says more)" ;;
esac
