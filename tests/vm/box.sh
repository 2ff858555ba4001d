#!/usr/bin/env bash
# Makes a virtual machine's disk and Vagrant box (provider libvirt) from Debian's packages.
#
# Usage: tests/vm/box.sh bookworm|trixie [--images FILE.tar] [--fresh]
#
#   --images FILE.tar   an archive of `docker save`, loaded into the machine's Docker beforehand
#   --fresh             collect the packages again, even if an earlier run did
#
# Makes .cache/vm/RELEASE.qcow2 (for machine.sh) and .cache/vm/RELEASE.box (for vagrant.sh), and
# keeps the disk without images as .cache/vm/RELEASE.raw for the next run. Package mirror, CA and
# pip settings are those of this host. Runs as root; wants the Debian packages mmdebstrap, extlinux,
# syslinux-common, qemu-utils, vagrant (its public insecure key) and, for --images, docker.io.
set -euo pipefail
here=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly SIZE_GB=20

die() {
  printf 'box.sh: %s\n' "$*" >&2
  exit 1
}

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }

release=${1:-}
shift || true
images='' fresh=''
while (($#)); do
  case $1 in
    --images) images=${2:?box.sh: --images wants a file} && shift 2 ;;
    --fresh) fresh=yes && shift ;;
    *) die "unknown argument $1 (the head of this file says the usage)" ;;
  esac
done
case $release in
  bookworm | trixie) ;;
  *) die "usage: tests/vm/box.sh bookworm|trixie [--images FILE.tar] [--fresh]" ;;
esac
[[ $(id -u) == 0 ]] || die "this mounts a disk: run it as root"
[[ -z $images || -r $images ]] || die "$images is not a readable file"

cache=$(cd "$here/../.." && pwd)/.cache/vm
base=$cache/$release.raw
mkdir -p "$cache"
work=$(mktemp -d "$cache/box.XXXXXX")
root=$work/root
mkdir "$root"
loop='' engine=''

# What was started is ended, in the reverse order, however this script ends.
finish() {
  stop_engine || true
  detach || true
  rm -rf --one-file-system "$work"
}
trap finish EXIT

# ---- disk -----------------------------------------------------------------------------------

attach() { # DISK: its file system appears under $root
  loop=$(losetup --find --show --offset "$((2048 * 512))" "$1")
  [[ ${2:-} != format ]] || format
  mount -o discard "$loop" "$root"
}

detach() {
  if mountpoint -q "$root"; then
    fstrim "$root" || true
    umount "$root"
  fi
  [[ -z $loop ]] || losetup --detach "$loop"
  loop=''
}

# extlinux reads no 64bit ext4. The inode tables are made now, or the guest's first hour does it.
format() {
  mke2fs -q -F -t ext4 -b 4096 -O '^64bit,^metadata_csum' -E lazy_itable_init=0,lazy_journal_init=0 "$loop"
}

# One active Linux partition from sector 2048 to the end, and the boot code in front of it.
partition() { # DISK
  truncate -s "${SIZE_GB}G" "$1"
  python3 - "$1" /usr/lib/syslinux/mbr/mbr.bin <<'PYTHON'
import struct, sys
disk, code = sys.argv[1:]
with open(disk, "r+b") as file:
    sectors = file.seek(0, 2) // 512
    mbr = open(code, "rb").read().ljust(446, b"\0")
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", 2048, sectors - 2048)
    file.seek(0)
    file.write(mbr + entry + bytes(48) + b"\x55\xaa")
PYTHON
}

# ---- packages -------------------------------------------------------------------------------

# What a Debian image for virtual machines has.
packages=(linux-image-cloud-amd64 systemd-sysv dbus udev libpam-systemd openssh-server ifupdown isc-dhcp-client
  sudo python3 python3-apt rsync ca-certificates curl iproute2 iputils-ping procps kmod netbase less lsb-release
  apt-utils debian-archive-keyring systemd-timesyncd unattended-upgrades logrotate qemu-guest-agent git make)
# What the roles install, here at native speed.
packages+=(docker.io apparmor iptables nftables mmdebstrap
  python3-venv python3-cryptography python3-passlib python3-requests)
# A package of its own since Debian 13.
[[ $release == bookworm ]] || packages+=(docker-cli)

# Address of this host's mirror of an archive.
mirror() { # debian | debian-security
  local found
  found=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -E "/$1/?\$" | head -n 1 || true)
  [[ -n $found ]] || die "apt of this host has no source that ends in /$1: add one"
  printf '%s\n' "${found%/}"
}

collect() {
  local main security option
  local -a options=()
  main=$(mirror debian)
  security=$(mirror debian-security)
  # Proxies and the like: what this host says about fetching holds in the guest too.
  while read -r option; do
    options+=(--aptopt="$option")
  done < <(apt-config dump | grep -E '^Acquire::(https?::|ftp::|Check-|Retries)[^ ]* ".+";$' || true)
  partition "$work/disk"
  attach "$work/disk" format
  mmdebstrap --variant=minbase --include="$(printf '%s,' "${packages[@]}")" "${options[@]}" \
    --customize-hook="'$here/box_root.sh' \"\$1\"" "$release" "$root" \
    "deb $main $release main" "deb $main $release-updates main" "deb $security $release-security main" \
    >"$cache/$release.log" 2>&1 || die "mmdebstrap failed: $(tail -n 15 "$cache/$release.log")"
  extlinux --install "$root/boot/extlinux" >>"$cache/$release.log" 2>&1
  detach
  mv "$work/disk" "$base"
}

# ---- images ---------------------------------------------------------------------------------

# A second engine of this host, with its data on the machine's disk. It gets a network namespace of
# its own: an engine without a bridge removes the interface docker0, and that is the first one's.
load_images() { # FILE.tar
  local docker=(docker --host "unix://$work/docker.sock")
  unshare --net dockerd --data-root "$root/var/lib/docker" --exec-root "$work/docker" --pidfile "$work/docker.pid" \
    --host "unix://$work/docker.sock" --storage-driver overlay2 --bridge none --iptables=false \
    >"$cache/$release-docker.log" 2>&1 &
  engine=$!
  for _ in {1..60}; do
    ! "${docker[@]}" version >/dev/null 2>&1 || break
    kill -0 "$engine" 2>/dev/null || break
    # A new engine needs several.
    sleep 1
  done
  "${docker[@]}" load --quiet --input "$1" || die "the images were not loaded: see $cache/$release-docker.log"
  stop_engine
  # The guest's engine makes its own networks and names itself.
  rm -rf "${root:?}"/var/lib/docker/{network,containerd,engine-id}
}

stop_engine() {
  [[ -z $engine ]] || kill "$engine" 2>/dev/null || true
  [[ -z $engine ]] || wait "$engine" || true
  engine=''
}

# ---- results --------------------------------------------------------------------------------

pack() {
  qemu-img convert -O qcow2 -c -o compression_type=zstd -W "$1" "$work/box.img"
  printf '{"provider": "libvirt", "format": "qcow2", "virtual_size": %d}\n' "$SIZE_GB" >"$work/metadata.json"
  cat >"$work/Vagrantfile" <<'RUBY'
Vagrant.configure("2") do |config|
  config.vm.provider :libvirt do |libvirt|
    libvirt.disk_bus = "virtio"
  end
end
RUBY
  # The disk is compressed already.
  tar -C "$work" -cf "$work/box" metadata.json Vagrantfile box.img
  mv "$work/box" "$cache/$release.box"
  mv "$work/box.img" "$cache/$release.qcow2"
}

if [[ -n $fresh || ! -e $base ]]; then
  collect
  say "packages: $base"
fi
disk=$base
if [[ -n $images ]]; then
  disk=$work/disk
  cp --sparse=always "$base" "$disk"
  attach "$disk"
  load_images "$images"
  detach
  say "images of $images"
fi
pack "$disk"
say "$cache/$release.qcow2, $cache/$release.box ($(du -h "$cache/$release.box" | cut -f 1))"
