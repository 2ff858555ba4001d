#!/usr/bin/env bash
# Makes a minimal Debian trixie image: bootstrap.sh IMAGE [MIRROR]
set -euo pipefail

image=$1
mirror=${2:-}

# Documentation and translations are a third of a minimal system, and nobody reads them in there.
options=(
  --variant=minbase --include=ca-certificates
  --dpkgopt='path-exclude=/usr/share/doc/*'
  --dpkgopt='path-include=/usr/share/doc/*/copyright'
  --dpkgopt='path-exclude=/usr/share/man/*'
  --dpkgopt='path-exclude=/usr/share/locale/*'
  --dpkgopt='path-exclude=/usr/share/info/*'
  # Ubuntu's own trust store does not have Debian's keys.
  --keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  --customize-hook='rm -rf "$1"/var/cache/apt/*.bin "$1"/var/log/apt "$1"/var/log/dpkg.log'
  --customize-hook='rm -f "$1"/etc/hostname "$1"/etc/resolv.conf'
)

# The system is put together beside the engine's data: there is room, and its programs may run there,
# which a /tmp that is small or mounted noexec does not allow.
work=$(mktemp --directory --tmpdir="$(docker info --format '{{.DockerRootDir}}')" bootstrap.XXXXXX)
trap 'rm -rf "$work"' EXIT

if ! TMPDIR=$work mmdebstrap "${options[@]}" trixie - ${mirror:+"$mirror"} \
  | docker import --change 'LABEL stack.base=trixie' --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$image"
then
  echo "The base image could not be made. If the package mirror is out of reach, name another one:" \
    "-e docker_base_mirror=http://your-mirror/debian, or let a machine with a registry pull it." >&2
  exit 1
fi
