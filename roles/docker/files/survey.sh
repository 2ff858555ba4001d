#!/usr/bin/env bash
# Looks at the machine and changes nothing: survey.sh STACK SUBNET PYTHON PATH...
# Prints lines of KEY<space>VALUE, for a play that would else need a dozen tasks to ask.
set -uo pipefail

stack=$1 subnet=$2 python=$3
shift 3

say() { sed "s/^/$1 /"; }

ss -Hltnp 2>/dev/null | tr -s ' ' | say listener
ip -4 route show root "$subnet" 2>/dev/null | say route
nft list table inet "$stack" 2>/dev/null | tr -d '\t' | say rule

for tool in nft logrotate ss; do
  command -v "$tool" >/dev/null || echo "missing $tool"
done
# What stands where the roles put files: PATH MODE UID GID, and the SHA-256 of a file.
find "$@" -type d -printf 'path %p %m %U %G\n' 2>/dev/null
find "$@" -type f -size -1024k -not -name '*.log*' -printf '%m %U %G ' -exec sha256sum {} \; 2>/dev/null |
  awk '{print "path", $5, $1, $2, $3, $4}'

"$python" -c 'import cryptography, passlib, requests' 2>/dev/null || echo 'missing python'

data=/var/lib
if version=$(docker version --format '{{.Server.Version}}' 2>/dev/null); then
  echo "engine $version"
  IFS='|' read -r data live swarm < <(docker info --format '{{.DockerRootDir}}|{{.LiveRestoreEnabled}}|{{.Swarm.LocalNodeState}}')
  echo "live_restore $live $swarm"
  docker image ls --format '{{.Repository}}:{{.Tag}}' | say image
  docker image inspect --format '{{.Id}}' "$stack-base:trixie" 2>/dev/null | say base
  docker ps --all --filter "label=stack=$stack" \
    --format '{{.Names}} {{.Image}} {{.Label "stack.component"}} {{.State}} config={{.Label "stack.config"}} {{.Status}} {{.Ports}}' | say container
  docker volume ls --quiet --filter "label=stack=$stack" | say volume
  docker network inspect "$stack" --format \
    '{{.Driver}} {{(index .IPAM.Config 0).Subnet}} {{index .Options "com.docker.network.bridge.name"}} {{index .Labels "stack"}}' \
    2>/dev/null | say network
fi
df --output=avail -BM "$data" | tail -n 1 | tr -dc '0-9\n' | say disk_mb
