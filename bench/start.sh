#!/usr/bin/env bash
# Times of the first and of a second run, and sizes of the images, into docs/benchmarks/start.md.
# Starts from nothing (no image, no builder's cache), so it refuses where a stack is.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

if [[ -n $(docker image ls --quiet --filter label=stack) ]]; then
  echo "Images of a stack are here, and this measures a start without any: make teardown first." >&2
  exit 1
fi
# The tools too: a fresh clone has none.
rm -rf .venv
docker builder prune --force >/dev/null
docker image prune --force >/dev/null

seconds() { # COMMAND...: its wall time in seconds; its output goes to $WORK/log
  local from
  from=$(date +%s.%N)
  "$@" >"$WORK/log" 2>&1 || { tail -n 30 "$WORK/log" >&2; exit 1; }
  awk -v from="$from" -v to="$(date +%s.%N)" 'BEGIN {printf "%.0f", to - from}'
}

again=()
first=$(seconds make start-project)
for _ in 1 2 3; do
  again+=("$(seconds make start-project)")
  grep -qE 'changed=0 .*failed=0' "$WORK/log" || { echo "A second run changed something." >&2; exit 1; }
done

# The usual image on the same base: one layer of pip, nothing taken away.
base=$(docker image ls --format '{{.Repository}}:{{.Tag}}' --filter 'reference=*-base:trixie' | head -n 1)
mkdir "$WORK/usual"
cp "${SSL_CERT_FILE:-/dev/null}" "$WORK/usual/ca.crt"
grep -E '^(fastapi|uvicorn|scikit-learn|numpy|joblib)==' src/api/requirements.txt | cut -d' ' -f1 >"$WORK/usual/requirements.txt"
cat >"$WORK/usual/Dockerfile" <<END
FROM $base
COPY ca.crt requirements.txt /tmp/
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /venv && if [ -s /tmp/ca.crt ]; then export PIP_CERT=/tmp/ca.crt; fi && /venv/bin/pip install --no-cache-dir -r /tmp/requirements.txt
END
docker build --quiet --tag bench-usual "$WORK/usual" >/dev/null 2>&1

megabytes() { docker image inspect --format '{{.Size}}' "$1" | awk '{printf "%.0f", $1 / 1e6}'; }
newest() { docker image ls --format '{{.Repository}}:{{.Tag}}' --filter "reference=*-$1:*" --filter label=stack | head -n 1; }

{
  echo "# From nothing, again, and the images' sizes"
  echo
  echo "Written by \`make -C bench start\` on $(date -u +%Y-%m-%d): $(nproc) cores," \
    "engine $(docker version --format '{{.Server.Version}}'), $(sed -n 's/^PRETTY_NAME="\(.*\)"$/\1/p' /etc/os-release)," \
    "base image $(docker image inspect "$base" --format '{{if .RepoDigests}}pulled{{else}}made on the machine{{end}}')."
  echo "Wall time of whole commands; the machine is shared, so take them as a size, not as a constant."
  echo
  echo "| what | seconds |"
  echo "|---|---|"
  echo "| first \`make start-project\`: engine there, no .venv, no image, downloads included | $first |"
  for value in "${again[@]}"; do echo "| \`make start-project\` again, \`changed=0\` | $value |"; done
  echo
  echo "| image | MB | of the usual one |"
  echo "|---|---|---|"
  usual=$(megabytes bench-usual)
  for name in api-v1 api-v2 nginx exporters prometheus; do
    size=$(megabytes "$(newest "$name")")
    share=-
    [[ $name == api-* ]] && share="$((100 * size / usual)) %"
    echo "| $name | $size | $share |"
  done
  echo "| base | $(megabytes "$base") | - |"
  echo "| usual API image: fastapi, uvicorn, scikit-learn, numpy, joblib in one layer of pip, same base | $usual | 100 % |"
} >docs/benchmarks/start.md
docker image rm --force bench-usual >/dev/null
cat docs/benchmarks/start.md
