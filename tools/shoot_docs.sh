#!/usr/bin/env bash
# Opens /docs of a replica of its own in headless Chromium, fails when any other host was asked or
# the page's policy was broken, and writes docs/docs-page.png.
set -euo pipefail
CDPATH='' cd "$(dirname "$0")/.."

for name in chromium-headless-shell chromium chromium-browser google-chrome; do
  if browser=$(command -v "$name"); then break; fi
done
[ -n "${browser:-}" ] || { echo 'No Chromium here. Debian: apt-get install chromium-headless-shell' >&2; exit 2; }

work=$(mktemp -d)
port=$(.venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
PORT=$port VARIANT=v1 MODEL_DIR=model PYTHONPATH=src .venv/bin/python -m api.serve >"$work/log" &
replica=$!
trap 'kill "$replica"; rm -rf "$work"' EXIT
for _ in $(seq 300); do
  bash src/api/healthcheck.sh "$port" 2>/dev/null && break
  kill -0 "$replica" || { cat "$work/log" >&2; exit 1; }
  sleep 0.1
done

# --no-sandbox: root needs it, and nothing but our own page is opened.
timeout 120 "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1100,820 \
  --virtual-time-budget=15000 --user-data-dir="$work/profile" --enable-logging=stderr \
  --log-net-log="$work/net.json" --screenshot=docs/docs-page.png "http://127.0.0.1:$port/docs" 2>"$work/browser"

hosts=$(grep -oE '"url":"(https?|wss?)://[^/"]+' "$work/net.json" | cut -d'"' -f4 | sort -u)
echo "Hosts that the page asked: $hosts"
[ "$hosts" = "http://127.0.0.1:$port" ] || { echo 'The page asked another host.' >&2; exit 1; }
grep -q '"url":"[^"]*/openapi.json' "$work/net.json" || { echo 'The page did not ask for its document.' >&2; exit 1; }
if grep -E 'CONSOLE.*(Refused|violates|Error)' "$work/browser" >&2; then exit 1; fi
