#!/bin/bash
# Succeeds when this container's service is ready: healthcheck.sh [PORT]. Docker runs it every
# minute in each replica; in Python the start of the interpreter cost twice what the rest does.
exec 3<>"/dev/tcp/127.0.0.1/${1:-${PORT:-8000}}" || exit 1
printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
read -r -t "${TIMEOUT_SECONDS:-2}" _ status _ <&3
[[ $status == 200 ]]
