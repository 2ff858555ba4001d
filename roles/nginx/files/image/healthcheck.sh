#!/bin/bash
# Health check without curl: healthcheck PORT PATH succeeds when that answers 200 on loopback.
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$2" >&3
read -r -t 2 _ status _ <&3
[[ $status == 200 ]]
