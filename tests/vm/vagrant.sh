#!/usr/bin/env bash
# Runs the real `vagrant` on the project's own Vagrantfile, with a box that box.sh made, on a host
# that has no usable KVM and no systemd.
#
# Usage: tests/vm/vagrant.sh up | provision | ssh -c COMMAND | halt | destroy -f | ...
#
# Runs as root and becomes the unprivileged user vmtest, which it makes: libvirt's own session needs
# one. In its home (VMTEST_HOME, default /var/tmp/vmtest): project/ (the committed project, copied
# anew before up, reload, provision and rsync), vagrant.d/, libvirt's disks.
#
#   VMTEST_SSH_PORT   on 127.0.0.1, for Vagrant's own ssh (default 22022)
#   PROJECT=FOLDER    another folder with a Vagrantfile instead of the committed project
#   STACK_...         are handed on to the project's Vagrantfile; STACK_BOX=debian/trixie64 takes
#                     the other box
#   tests/vm/vagrant.sh --remove   ends and removes all of that, the user included
set -euo pipefail
here=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
readonly here root
readonly user=vmtest home=${VMTEST_HOME:-/var/tmp/vmtest}

die() {
  printf 'vagrant.sh: %s\n' "$*" >&2
  exit 1
}

# An environment from nothing: what root has set is root's.
as_user() {
  local -a handed
  mapfile -t handed < <(env | grep '^STACK_' || true)
  (cd "$home/project" && setpriv --reuid "$user" --regid "$user" --init-groups \
    env -i "HOME=$home" "USER=$user" "PATH=/usr/sbin:/usr/bin:/sbin:/bin" "LANG=C.UTF-8" "TERM=${TERM:-dumb}" \
    "XDG_RUNTIME_DIR=$home/run" "VAGRANT_HOME=$home/vagrant.d" VAGRANT_DEFAULT_PROVIDER=libvirt \
    VAGRANT_CHECKPOINT_DISABLE=1 "VMTEST_SSH_PORT=${VMTEST_SSH_PORT:-22022}" \
    "${handed[@]}" "$@")
}

owned() { install -d -o "$user" -g "$user" "$@"; }

make_user() {
  id "$user" >/dev/null 2>&1 || useradd --system --home-dir "$home" --shell /bin/bash --user-group "$user"
  owned -m 0755 "$home" "$home/project" "$home/vagrant.d"
  owned -m 0700 "$home/run"
  install -o "$user" -g "$user" -m 0644 "$here/host.Vagrantfile" "$home/vagrant.d/Vagrantfile"
}

copy_project() {
  local tree
  tree=$(mktemp -d)
  if [[ -n ${PROJECT:-} ]]; then
    cp -R "$PROJECT/." "$tree"
  else
    git -C "$root" archive HEAD | tar -x -C "$tree"
    # As a user sets variables in a copy of the project.
    install -D -m 0644 "$here/emulated.yml" "$tree/inventory/host_vars/localhost/emulated.yml"
  fi
  rsync --archive --delete --exclude=/.vagrant --chown="$user:$user" "$tree/" "$home/project/"
  rm -rf "$tree"
}

# Adds each box that is new or was built again, under the name that Vagrantfiles ask for.
add_boxes() {
  local box name stamp volume
  for box in "$root"/.cache/vm/*.box; do
    [[ -e $box ]] || die "there is no box: tests/vm/box.sh bookworm makes it"
    name=debian/$(basename "$box" .box)64
    stamp=$home/$(basename "$box").added
    [[ $box -nt $stamp ]] || continue
    # A machine's disk is a layer over the old one's.
    if compgen -G "$home/project/.vagrant/machines/*/libvirt/id" >/dev/null; then
      echo "vagrant.sh: a newer $name waits until the machine is destroyed" >&2
      continue
    fi
    for volume in $(as_user virsh -q vol-list default 2>/dev/null | awk '{print $1}' | grep -F "${name/\//-VAGRANTSLASH-}_vagrant_box" || true); do
      as_user virsh -q vol-delete "$volume" default
    done
    install -o "$user" -m 0600 "$box" "$home/new.box"
    as_user vagrant box add --force --name "$name" --provider libvirt "$home/new.box"
    rm "$home/new.box"
    touch -r "$box" "$stamp"
  done
}

# Every process of that user is this script's doing.
remove() {
  local pid
  id "$user" >/dev/null 2>&1 || return 0
  as_user vagrant destroy -f || true
  for pid in $(ps -o pid= -u "$user"); do
    kill "$pid" 2>/dev/null || true
  done
  rm -rf --one-file-system "$home"
  userdel "$user"
}

[[ $(id -u) == 0 ]] || die "run it as root; it becomes $user by itself"
[[ $# -gt 0 ]] || die "usage: tests/vm/vagrant.sh up | provision | ssh -c COMMAND | halt | destroy -f | ..."
if [[ $1 == --remove ]]; then
  remove
  exit
fi
make_user
case $1 in
  up | reload | provision | rsync) copy_project ;;
esac
add_boxes
as_user vagrant "$@"
