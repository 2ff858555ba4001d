#!/usr/bin/env bash
# The life of a stack, on a second one beside whatever runs here: up, up again, refusals, stop,
# start, down. Prints PASS or FAIL a line and the counts at the end.
set -uo pipefail
CDPATH='' cd "$(dirname "$0")/.." || exit 1

STACK=lifecycle
readonly STACK SUBNET=172.28.77.0/24 HTTPS=18443 HTTP=18080 PROMETHEUS=19090 GRAFANA=13000
BASE=(-e "stack_name=$STACK" -e "stack_subnet=$SUBNET" -e "stack_https_port=$HTTPS" -e "stack_http_port=$HTTP"
  -e "stack_prometheus_port=$PROMETHEUS" -e "stack_grafana_port=$GRAFANA"
  # The rules of a dedicated machine would close the ports of the stack that runs there.
  -e stack_dedicated=false)
GRAFANA_IMAGE=(-e "monitoring_grafana_image=$STACK-fake-grafana" -e monitoring_grafana_version=12.2.1)
# The machine's own engine, whatever the user's environment names.
unset "${!DOCKER_@}"
export DOCKER_HOST=unix:///var/run/docker.sock
# A careful root's umask: what containers read has to be given its mode, whatever the default is.
umask 077
WORK=$(mktemp -d)
passed=0 failed=0

# What make hands on is for the stack that runs here.
export INVENTORY=inventory/localhost.yml ARGS=
# Both by the checkout in PLANNED, where that is set.
play() { (cd "${PLANNED:-.}" && timeout 900 .venv/bin/python tools/run_ansible.py playbook "playbooks/$1.yml" "${BASE[@]}" "${@:2}" >"$WORK/log" 2>&1); }
plan() { ARGS=$(printf '%q ' "${BASE[@]}" "$@") bash "${PLANNED:-.}/playbooks/plan.sh"; }
plan_refused() { ! plan "$@" 2>"$WORK/log" && tr -s ' \n' ' ' <"$WORK/log" | grep -q "would not pass Nginx' own test"; }
query() { curl -sS --noproxy "*" --max-time 10 "http://127.0.0.1:$PROMETHEUS/api/v1/query" --data-urlencode "query=$1"; }
running() { docker ps --no-trunc --filter "label=stack=$STACK" --format '{{.ID}}' | sort | xargs -r docker inspect --format '{{.Id}} {{.State.StartedAt}}'; }

check() { # NAME COMMAND...
  local name=$1
  shift
  if "$@"; then
    echo "PASS $name"
    passed=$((passed + 1))
  else
    echo "FAIL $name"
    failed=$((failed + 1))
    [[ -s $WORK/log ]] && tail -n 25 "$WORK/log" | sed 's/^/     | /'
  fi
}

# A refusal: the run fails, says so in these words, and what ran goes on running untouched.
refused() { # NAME WORDS ARGUMENT...
  local name=$1 words=$2 before after
  shift 2
  before=$(running)
  play site "$@"
  local code=$?
  after=$(running)
  check "$name" test "$code" -ne 0
  check "$name: the message says what to do" bash -c 'tr -s " \n" " " <"$1" | grep -qE "$2"' _ "$WORK/log" "$words"
  check "$name: what ran goes on running" test -n "$before" -a "$before" = "$after"
}

# What a run changes is what the plan of it said.
as_planned() { # NAME ARGUMENT...
  local name=$1
  shift
  check "a plan of this: $name" with_json plan "$@"
  .venv/bin/python tests/planned.py look "$STACK" >"$WORK/before"
  check "$name" play site "$@"
  check "$name: as planned" .venv/bin/python tests/planned.py compare "$STACK" "$WORK/before" "$WORK/plan.json"
}
with_json() { STACK_PLAN_JSON="$WORK/plan.json" "$@" >"$WORK/plan" 2>"$WORK/log"; }

# FOLDER: another checkout, to change something in.
another_checkout() {
  mkdir "$1"
  cp -r VERSION CHANGELOG.md ansible.cfg inventory playbooks plugins roles src model tools "$1/"
  ln -s "$PWD/.venv" "$1/.venv"
}
holding_a_model() { docker image ls --quiet --filter dangling=true --filter label=stack.build.model; }
libraries() { docker image ls --quiet --filter dangling=true --filter label=stack.build=api; }

# Plans of whatever may change, each held against the run.
plans() {
  local before
  another_checkout "$WORK/checkout"
  echo '# another' >>"$WORK/checkout/src/api/endpoint.py"
  sed -i 's/"version": "/&another-/' "$WORK/checkout/model/model.json"
  before=$(libraries)
  PLANNED="$WORK/checkout" as_planned "another model and other code of the service"
  check "its build started from the libraries that were there" test -n "$before" -a "$before" = "$(libraries)"
  check "and no untagged image holds a model" test -z "$(holding_a_model)"
  as_planned "values of every role" -e nginx_rate_limit=20r/s -e nginx_memory=160M -e api_memory=272M -e monitoring_prometheus_retention=14d \
    -e monitoring_alert_webhook=http://127.0.0.1:9/ -e docker_drop_rule=false -e host_login_message=false \
    -e '{"nginx_users":[{"name":"admin"},{"name":"second"},{"name":"third","password":"chosen-by-a-person"}]}'
  as_planned "back to what there was"

  another_checkout "$WORK/broken"
  echo 'raise SystemExit("broken on purpose")' >>"$WORK/broken/src/api/v1/main.py"
  before=$(running)
  PLANNED="$WORK/broken" play site
  check "a build that fails ends the run" test $? -ne 0
  check "its reason is shown once" test "$(grep -c '^ *- broken on purpose' "$WORK/log")" = 1
  check "with advice that fits, and without colours" bash -c "tr -s ' \n' ' ' <'$WORK/log' | grep -q 'own check refused the model or the code' && ! grep -q '\\x1b\[91m' '$WORK/log'"
  check "what ran goes on running" test "$before" = "$(running)"
  check "and no untagged image holds a model" test -z "$(holding_a_model)"

  docker run --detach --rm --label stack= --name "$STACK-bare" --network none --user 0:0 --entrypoint sleep "$(docker ps --filter "name=$STACK-api-v1-1" --format '{{.Image}}')" 600 >/dev/null
  # Its kernel is this machine's, so the ports are others.
  plan -e ansible_connection=community.docker.docker -e "ansible_host=$STACK-bare" -e ansible_user=root \
    -e ansible_python_interpreter=/usr/bin/python3 -e stack_name=bare >"$WORK/plan" 2>"$WORK/log"
  check "a machine without an engine has a plan" grep -q 'docker.io.* installed' "$WORK/plan"
  check "of everything" grep -q 'Build every image and start every container' "$WORK/plan"
  docker rm --force "$STACK-bare" >/dev/null
}

# USER PASSWORD: the status of a prediction; its head and body go to $WORK.
answer() {
  curl -sS --noproxy "*" --max-time 10 --cacert "/etc/$STACK/ca.crt" -u "$1:$2" -H 'Content-Type: application/json' -d '{"sentence": "what a wonderful morning"}' \
    -D "$WORK/headers" -o "$WORK/body" -w '%{http_code}' "https://localhost:$HTTPS/predict"
}
predicts() { # [USER]
  local user=${1:-admin} password
  password=$(cat "/etc/$STACK/secrets/user-$user") || return 1
  [ "$(answer "$user" "$password")" = 200 ] && grep -q '"prediction value"' "$WORK/body"
}

# Do something under load (of the first user, or of KNOCK_AS): nothing may get lost, neither on a connection that lasts nor on new ones.
losing_nothing() { # NAME COMMAND...
  local name=$1 knockers=() how
  shift
  rm -f "$WORK/done"
  for how in '' --new; do
    with_env ${KNOCK_AS:+env $KNOCK_AS} .venv/bin/python tests/knock.py ${how:+"$how"} "$WORK/done" >"$WORK/knock$how" 2>&1 &
    knockers+=($!)
  done
  check "$name" "$@"
  touch "$WORK/done"
  local lasting=0 new=0
  wait "${knockers[0]}" || lasting=1
  wait "${knockers[1]}" || new=1
  check "$name: no request got lost ($(head -n 1 "$WORK/knock"))" test "$lasting" = 0
  check "$name: no new connection was refused ($(head -n 1 "$WORK/knock--new"))" test "$new" = 0
  tail -n +2 -q "$WORK/knock" "$WORK/knock--new" | grep . | sed 's/^/     | /'
}

# COMMAND...: with what `make env` says in its environment.
with_env() (
  set -a
  eval "$("$STACK" env)"
  "$@"
)

file_serial() { openssl x509 -noout -serial -in "/etc/$STACK/tls/server.crt"; }
served_serial() { openssl s_client -connect "127.0.0.1:$HTTPS" -servername localhost </dev/null 2>/dev/null | openssl x509 -noout -serial; }
claims_an_old_package() { docker run --rm "$STACK-base:trixie" dpkg-query --show ca-certificates | grep -q '\s0$'; }

left_over() {
  docker ps --all --quiet --filter "label=stack=$STACK"
  docker network ls --quiet --filter "label=stack=$STACK"
  docker volume ls --quiet --filter "label=stack=$STACK"
  docker image ls --quiet --filter "label=stack=$STACK"
  docker image ls --quiet "$STACK-base"
  # What builds keep is another stack's as well.
  [[ -n $(docker image ls --quiet --filter label=stack) ]] || docker image ls --quiet --filter label=stack.build --filter dangling=true
  nft list tables | grep -w "$STACK"
  find /etc /var/log /var/lib/"$STACK" /usr/local/bin /usr/local/lib -maxdepth 3 -name "$STACK*" 2>/dev/null
}

# Users come and go, a password is replaced, maintenance goes on and off.
users_and_maintenance() {
  local chosen='it'"'"'s $HOME: "a" \ {b} #%&é'
  second=(-e "{\"nginx_users\": [{\"name\": \"admin\"}, {\"name\": \"second\"}, {\"name\": \"third\", \"password\": $(.venv/bin/python -c \
    'import json, sys; print(json.dumps(sys.argv[1]))' "$chosen")}]}")
  check "other users come beside the first" play site "${second[@]}"
  check "the first one predicts" predicts
  check "and so does the second" predicts second
  check "and one with a password that a person chose, every special character of it" test "$(answer third "$chosen")" = 200
  for user in admin third; do
    check "a wrong password of $user takes no other time than an unknown user ($(with_env .venv/bin/python tests/tell_apart.py "$user" >"$WORK/apart"; echo $? >"$WORK/code"; cat "$WORK/apart"))" \
      test "$(cat "$WORK/code")" = 0
  done
  before=$(cat "/etc/$STACK/secrets/user-admin")
  KNOCK_AS="API_USER=second API_PASSWORD=$(cat "/etc/$STACK/secrets/user-second")" \
    losing_nothing "the first one's password is replaced while the second one asks" play site "${second[@]}" -e '{"nginx_new_passwords": ["admin"]}'
  check "the old one is worth nothing" test "$(answer admin "$before")" = 401
  check "the new one predicts" predicts
  check "a run after that passes" play site
  check "and keeps the password" predicts
  check "who was taken out gets in no more" test "$(answer second "$(cat "/etc/$STACK/secrets/user-second")")" = 401
  refused "a password for nobody is refused" 'nobody has no generated password' -e '{"nginx_new_passwords": ["nobody"]}'

  before=$(running)
  check "maintenance goes on" "$STACK" maintenance on
  check "clients get 503" test "$(answer admin "$(cat "/etc/$STACK/secrets/user-admin")")" = 503
  check "in JSON, as maintenance" grep -q '"error":"maintenance"' "$WORK/body"
  check "with the time to come again" grep -qi '^retry-after: 60' "$WORK/headers"
  check "the state says so" bash -c "$STACK status --brief | grep -q 'in maintenance'"
  check "a run passes meanwhile" play site
  check "and changes nothing" grep -qE 'changed=0 .*failed=0' "$WORK/log"
  check "maintenance goes off" "$STACK" maintenance off
  check "and it predicts" predicts
  check "nothing was restarted" test "$before" = "$(running)"
}

# CASE [ARGUMENT...]: a run that brings this certificate (tests/certificates.py).
with_own() {
  local name=$1
  shift
  play site -e "certs_own_certificate_path=$WORK/own/$name.pem" -e "certs_own_key_path=$WORK/own/$name.key" \
    -e "certs_own_ca_path=$WORK/own/$name-ca.pem" -e '{"stack_hostnames": ["localhost", "emotions.example.org"]}' "$@"
}
changed_nothing() { grep -qE 'changed=0 .*failed=0' "$WORK/log"; }
fails_with() { # WORDS COMMAND...
  local words=$1
  shift
  ! "$@" >"$WORK/log" 2>&1 && grep -qE "$words" "$WORK/log"
}
refuses_own() { # CASE WORDS
  ! with_own "$1" && tr -s ' \n' ' ' <"$WORK/log" | grep -qE "$2"
}
served_key_is() { test "$(served_serial)" = "$(openssl x509 -noout -serial -in "$WORK/own/$1.pem")"; }

# Every kind of certificate that cannot work: none may change a file, and none may cost a request.
refuses_every_bad_one() {
  local case words
  while read -r case words; do
    refuses_own "$case" "$words" || { echo "$case"; return 1; }
  done <<'END'
other-type the key .Ed25519. does not belong to the first certificate
other-key the key .EC. does not belong
encrypted give its passphrase by certs_own_key_passphrase
reversed did not sign the one before it
no-chain no CA in the file signed
other-ca no CA in the file signed
expired expired on
other-names does not cover localhost, emotions.example.org
damaged is damaged
END
}

# What the preflight cannot see: the pair on the machine is another one than the run has brought.
a_pair_that_fails_on_the_machine() {
  local own=/etc/$STACK/secrets/own id
  cp "$WORK/own/other-type.pem" "$own/certificate.pem"
  cp "$WORK/own/other-type.key" "$own/key.pem"
  id=$( (cat "$own/certificate.pem"; printf '\0'; cat "$own/key.pem") | sha256sum | cut -c1-12)
  sed -i "s/\"own\": \"[0-9a-f]*\"/\"own\": \"$id\"/" "/etc/$STACK/certificate.json"
  fails_with 'does not work, the gateway goes on with the one before' "$STACK" certificate
}

# Certificates that users bring: good ones come and go, bad ones change nothing.
certificates() {
  .venv/bin/python tests/certificates.py "$WORK/own"
  local ca="/etc/$STACK/ca.crt" before key live
  check "the stack is as by default" play site
  cp "$ca" "$WORK/ca.crt"
  # A client of both worlds, since each CA vouches for one certificate only.
  cat "$ca" "$WORK/own/good-ca.pem" >"$WORK/both.crt"
  local KNOCK_AS="GATEWAY_CA=$WORK/both.crt"

  for case in good rsa; do
    losing_nothing "a certificate of one's own comes ($case)" with_own "$case"
    check "and is served" served_key_is "$case"
    check "and clients get its CA" cmp "$ca" "$WORK/own/$case-ca.pem"
    check "a run after that passes" with_own "$case"
    check "and changes nothing" changed_nothing
    key=$(sha256sum <"/etc/$STACK/tls/server.key")
    losing_nothing "it goes, and the stack's own CA signs again" play site
    check "the CA is the one of before" cmp "$ca" "$WORK/ca.crt"
    check "the certificate has a key of its own" test "$key" != "$(sha256sum <"/etc/$STACK/tls/server.key")"
    check "the user's key is gone" test -z "$(find "/etc/$STACK" -type f -exec sha256sum {} + | grep "${key%% *}")"
    check "a run after that passes" play site
    check "and changes nothing" changed_nothing
  done

  losing_nothing "an encrypted key comes with its passphrase" with_own encrypted -e 'certs_own_key_passphrase="an example"'
  losing_nothing "another certificate replaces it" with_own ed25519
  check "and is served" served_key_is ed25519
  losing_nothing "one with Windows' line ends replaces it" with_own crlf
  check "and is served" served_key_is crlf

  before=$(running) live=$(sha256sum /etc/"$STACK"/{ca.crt,tls/server.crt,tls/server.key,certificate.json} /etc/"$STACK"/secrets/own/*)
  losing_nothing "each that cannot work is refused in words" refuses_every_bad_one
  check "and none of them changed a file" test "$live" = "$(sha256sum /etc/"$STACK"/{ca.crt,tls/server.crt,tls/server.key,certificate.json} /etc/"$STACK"/secrets/own/*)"
  check "nor a container" test "$before" = "$(running)"
  losing_nothing "a pair that fails on the machine never goes live" a_pair_that_fails_on_the_machine
  check "nothing of its test is left" test -z "$(docker ps --all --quiet --filter "name=$STACK-certificate-test")$(ls -d /run/"$STACK"-certificate-test-* 2>/dev/null)"
  check "the next run repairs it" with_own crlf
  check "a run after that passes" with_own crlf
  check "and changes nothing" changed_nothing

  # A file on the disk that ends the gateway: the next run gets out of it.
  echo nothing >"/etc/$STACK/tls/server.key"
  check "the state names a key that is damaged" fails_with 'certificate: Key and certificate are no pair' "$STACK" status
  docker restart "$STACK-nginx-1" >/dev/null
  check "and shows the containers all the same" grep -q "$STACK-api-v1-1" "$WORK/log"
  check "a run gets a gateway out of its restart loop" with_own crlf
  check "and clients are served" served_key_is crlf
  echo nothing >"/etc/$STACK/tls/server.key"
  docker restart "$STACK-nginx-1" >/dev/null
  check "and so does one without a certificate of one's own" play site
  check "it predicts" predicts

  mv "/etc/$STACK/secrets/ca.key" "$WORK/ca.key"
  refused "a lost key of the CA that clients trust is refused" 'Restore .*ca.key from a backup; or remove'
  mv "$WORK/ca.key" "/etc/$STACK/secrets/ca.key"
  check "a run after that passes" play site
  check "and changes nothing" changed_nothing
  check "the CA is the one of before" cmp "$ca" "$WORK/ca.crt"
}

# What is wrong is refused, and what runs goes on running.
refusals() {
  refused "a mistyped variable is refused" 'Unknown variables: nginx_rate_limt' -e nginx_rate_limt=5r/s
  refused "a weak password is refused" 'at least 12 characters' -e '{"nginx_users": [{"name": "admin", "password": "admin"}]}'
  refused "a web proxy that is no URL is refused" 'stack_https_proxy .* has to be a URL' -e stack_https_proxy=proxy.example:3128
  refused "a value of the wrong kind is refused" 'look like 10r/s' -e nginx_rate_limit=fast
  refused "a number that is none, for the last role, is refused before anything is changed" 'host_swap_mb has to be a whole number, 0 or more, not "lots"' -e host_swap_mb=lots -e nginx_memory=160M
  refused "an unreadable CA bundle is refused" 'stack_ca_bundle .* not a readable file' -e "stack_ca_bundle=$WORK/none.pem"
  python3 -m http.server 19099 --bind 127.0.0.1 >/dev/null 2>&1 &
  server=$!
  refused "a port that is taken is refused" 'Port 19099 .* is taken' -e stack_https_port=19099
  kill "$server"
  docker run --rm --detach --name "$STACK-neighbour" --label stack= --publish 127.0.0.1:19097:80 --entrypoint sleep "$STACK-base:trixie" 600 >/dev/null
  refused "a port that another container has is refused, by its name" "Port 19097 .* is taken by the container $STACK-neighbour" \
    -e stack_prometheus_port=19097
  docker rm --force "$STACK-neighbour" >/dev/null
  docker network create --subnet 172.29.0.0/16 "$STACK-around" >/dev/null
  refused "a Docker network around the subnet is refused, by its name" "the Docker network $STACK-around .172.29.0.0/16.* -e stack_subnet=" \
    -e stack_subnet=172.29.77.0/24
  docker network rm "$STACK-around" >/dev/null
  ip route add 172.30.0.0/16 dev lo table 9177
  refused "a route of another table around the subnet is refused, by its interface" 'the interface lo .172.30.0.0/16, routing table 9177' \
    -e stack_subnet=172.30.77.0/24
  ip route flush table 9177
  refused "too little disk is refused" 'MB are free .* wants 99999999' -e docker_min_disk_mb=99999999
  refused "too little memory is refused" 'MB of memory, the stack needs 99999999' -e docker_min_memory_mb=99999999
  mkdir "$WORK/model"
  printf 'not a model' >"$WORK/model/model.joblib"
  cp model/model.json "$WORK/model/"
  refused "a model that is not the card's is refused" 'model.json describes' -e "api_model_dir=$WORK/model"
  printf '{"name": "x", "version": "x", "sha256": "%s", "classes": ["a", "b"], "golden": []}' \
    "$(sha256sum <"$WORK/model/model.joblib" | cut -c1-64)" >"$WORK/model/model.json"
  refused "a build that fails is refused" 'could not be built; nothing that runs was touched' -e "api_model_dir=$WORK/model"
  refused "a replica that never gets healthy is refused" 'did not become healthy in 15 s beside the running ones' \
    -e api_memory=24M -e api_healthy_timeout=15
  refused "a configuration that Nginx refuses is not brought live" "does not pass Nginx' own test" -e nginx_body_size=99999999999999999999m
}

# COMMAND...: with web proxies in the environment at which nobody answers.
behind_dead_proxies() {
  local name proxies=()
  for name in http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY; do proxies+=("$name=http://127.0.0.1:9"); done
  local -x "${proxies[@]}"
  "$@"
}

# ADDRESS HOST: where plain HTTP leads to, without the path.
redirect_of() { curl -sS --noproxy "*" --max-time 10 -o /dev/null -w '%{redirect_url}' -H "Host: $2" "http://$1:$HTTP/" | sed 's|/$||'; }
changes_nothing() { grep -qE 'changed=0 .*failed=0' "$WORK/log"; }
certificate_has() { openssl x509 -noout -ext subjectAltName -in "/etc/$STACK/tls/server.crt" | grep -qw "$1"; }

# Names, addresses and proxies of other people's machines.
names() {
  local long address=198.51.100.7 other=198.51.100.8
  long=$(printf 'n%.0s' {1..60})
  local named=(-e "stack_bind_address=$address" -e "{\"stack_hostnames\": [\"*.example.org\", \"$long\"]}")
  refused "a name that is none is refused" 'Not usable: https://a.example' -e '{"stack_hostnames": ["https://a.example"]}'
  refused "an address that the machine lacks is refused" 'is no address of this machine; it has' -e "stack_bind_address=$address"

  # A network card that has two addresses.
  ip link add lifecycle0 type veth peer name lifecycle1
  ip address add "$address/24" dev lifecycle0
  ip address add "$other/24" dev lifecycle0
  ip link set lifecycle0 up
  check "a long name, a wildcard and one address to bind to, behind dead proxies" behind_dead_proxies play site "${named[@]}"
  check "the card's second address is in the certificate" certificate_has "$other"
  check "a second run passes" behind_dead_proxies play site "${named[@]}"
  check "and changes nothing" changes_nothing
  check "the gateway answers at that address only" bash -c "! curl -sk --noproxy '*' --max-time 5 https://127.0.0.1:$HTTPS/"
  check "make env names it" with_env bash -c "[ \$GATEWAY_URL = https://$STACK.example.org:$HTTPS -a \$GATEWAY_ADDRESS = $address ]"
  check "the contract holds there" behind_dead_proxies env ARGS="-e stack_name=$STACK" HTTP_PORT=$HTTP tests/run_tests.sh
  check "a redirect leads to the name that was asked for" test "$(redirect_of "$address" api.example.org)" = "https://api.example.org:$HTTPS"
  check "and never to a wildcard" test "$(redirect_of "$address" foreign.example)" = "https://$STACK.example.org:$HTTPS"
  # A VPN.
  # What tells it from a network card is its name.
  ip link add tun77 type veth peer name tun78
  ip address add 198.51.100.129/32 dev tun77
  ip link set tun77 up
  check "a run passes while a VPN is up" play site "${named[@]}"
  check "and changes nothing" changes_nothing
  ip link delete tun77
  ip link delete lifecycle0
  check "names and address are as before" play site
  check "and it predicts" predicts
}

# COMMAND...: until it passes, at most three minutes.
until_passes() {
  local deadline=$((SECONDS + 180))
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    # Between two questions.
    sleep 1
  done
}

# When the oldest figure that Prometheus has was taken (Unix time).
oldest() { query 'min_over_time(timestamp(prometheus_build_info)[1h:15s])' | grep -oE '[0-9]{10}[0-9.]*"' | tail -n 1 | grep -oE '^[0-9]+'; }
healthy() { curl -sS --noproxy "*" --max-time 10 -o "$WORK/health" "http://127.0.0.1:$PROMETHEUS/-/ready" && grep -q Ready "$WORK/health"; }

# DAYS: a figure `seen` of so many days from now, in a block of its own.
figure_of() {
  local at=$(($(date +%s) + $1 * 86400))
  printf '# TYPE seen gauge\nseen %s %s\n# EOF\n' "$1" "$at" | docker exec -i "$STACK-prometheus-1" bash -c \
    'cat >/prometheus/seen && TMPDIR=/prometheus promtool tsdb create-blocks-from openmetrics /prometheus/seen /prometheus && rm /prometheus/seen' >"$WORK/log" 2>&1
}

# Prometheus refuses what is older than its newest figure.
clock_was_ahead() {
  # Then it has no figure of its own for up to one scrape interval.
  docker restart "$STACK-prometheus-1" >/dev/null
  until_passes healthy
  check "Prometheus gets a figure of the past" figure_of -2
  check "and one of the future" figure_of 10
  play forget_future
  check "figures that are taken are not forgotten" grep -q 'Nothing was changed' "$WORK/log"
  docker restart "$STACK-prometheus-1" >/dev/null
  until_passes healthy
  play verify
  check "after a clock that was ahead no figure is taken, and the message says what to do" grep -q 'make forget-future' "$WORK/log"
  losing_nothing "the future is forgotten" play forget_future
  check "figures are taken again" play verify
  check "those of the past are there" bash -c 'grep -q "\"-2\"" <<<"$1"' _ "$(query 'last_over_time(seen[5d])')"
  check "and none from the future" test -z "$(query 'last_over_time(seen[1d] offset -11d)' | grep '"10"')"
}

# A power cut leaves the end of Prometheus' write-ahead log half written.
torn_log() {
  local before log
  until_passes healthy
  before=$(oldest)
  docker kill "$STACK-prometheus-1" >/dev/null
  log=$(find "$(docker volume inspect --format '{{.Mountpoint}}' "$STACK-prometheus")/wal" -maxdepth 1 -type f -size +1k | sort | tail -n 1)
  truncate --size=-101 "$log"
  printf 'torn' >>"$log"
  docker start "$STACK-prometheus-1" >/dev/null
  check "Prometheus starts on a log that was torn" until_passes healthy
  check "it kept what was before the tear" test "$(oldest || echo 9999999999)" -le "$((before + 15))"
  check "and the stack passes its own checks" until_passes play verify
}

# COMMAND...: what the stand-in for Grafana says that it was given is true of the command.
grafana_found() {
  with_env bash -c 'curl -sS --noproxy "*" --max-time 10 -u "$GRAFANA_USER:$GRAFANA_PASSWORD" "$GRAFANA_URL/found"' >"$WORK/found" && "$@" "$WORK/found"
}
grafana_started() { docker inspect --format '{{.State.StartedAt}}' "$STACK-grafana-1"; }
grafana_database() { grafana_found grep -oE '"database": "[0-9a-f]+"'; }
# USER PASSWORD: Grafana accepts them as an administrator's.
grafana_accepts() { curl -sS --noproxy "*" --max-time 10 -u "$1:$2" "http://127.0.0.1:$GRAFANA/api/user" | grep -q '"isGrafanaAdmin": true'; }
grafana_refuses() { ! grafana_accepts "$@"; }
grafana_accepts_what_is_shown() { with_env bash -c 'printf "%s\n" "$GRAFANA_USER" "$GRAFANA_PASSWORD"' | { read -r user && read -r password && grafana_accepts "$user" "$password"; }; }
unchanged() { grep -qE 'changed=0 .*failed=0' "$WORK/log"; }

# Grafana's container, of an image that stands in for Grafana's and comes as an archive.
grafana() {
  cat >"$WORK/Dockerfile" <<END
FROM $(docker inspect --format '{{.Config.Image}}' "$STACK-api-v1-1")
LABEL stack="" stack.base="" stack.component="" stack.model=""
USER root
COPY fake_grafana.py /usr/local/bin/grafana
RUN chmod 0755 /usr/local/bin/grafana && install -d -m 0777 -o 472 /var/lib/grafana
ENV PATH=/venv/bin:/usr/local/bin:/usr/bin:/bin GF_PATHS_DATA=/var/lib/grafana
USER 472
HEALTHCHECK NONE
ENTRYPOINT ["grafana", "run.sh"]
CMD []
END
  docker build --quiet --tag "$STACK-fake-grafana:12.2.1" --file "$WORK/Dockerfile" tests >"$WORK/log" 2>&1
  docker save --output "$WORK/grafana.tar" "$STACK-fake-grafana:12.2.1"
  docker image rm "$STACK-fake-grafana:12.2.1" >/dev/null
  local before
  # What other parts set is taken back, else the refused run does it before it gets to Grafana.
  check "the stack is as by default" play site
  refused "Grafana as a must, without its image, is refused" 'Save it elsewhere .docker save.' "${GRAFANA_IMAGE[@]}" -e monitoring_grafana=true
  check "Grafana comes from an archive" play site "${GRAFANA_IMAGE[@]}" -e "monitoring_grafana_archive_path=$WORK/grafana.tar"
  check "it is healthy by a check of its own" timeout 60 "$STACK" await 50 "$STACK-grafana-1"
  check "its copy is gone from the machine" test ! -e "/etc/$STACK/grafana-image.tar"
  check "it knows data source, dashboards, home and password" grafana_found \
    grep -q '"user": true, "source": "prometheus", .*"dashboards": \["gateway", "host", "model", "overview"\], "home": "overview", "writable": \[\]'
  check "nobody gets in without the password" test "$(curl -sS --noproxy "*" -o /dev/null -w '%{http_code}' -u admin:admin "http://127.0.0.1:$GRAFANA/found")" = 401
  check "it logs no error" bash -c "! docker logs $STACK-grafana-1 2>&1 | grep level=error"
  check "which the engine tells nobody" bash -c "! docker inspect $STACK-grafana-1 | grep -q '$(cat "/etc/$STACK/secrets/grafana-admin")'"
  before=$(running)
  check "a run after that passes" play site "${GRAFANA_IMAGE[@]}"
  check "and changes nothing" grep -qE 'changed=0 .*failed=0' "$WORK/log"
  check "nothing was restarted" test "$before" = "$(running)"
  before=$(grafana_started)
  check "its files change" play site "${GRAFANA_IMAGE[@]}" -e monitoring_prometheus_scrape_interval=14s
  check "and it takes them" grafana_found grep -q '"interval": "14s"'
  check "by a restart" test "$before" != "$(grafana_started)"
  check "and back" play site "${GRAFANA_IMAGE[@]}"
  grafana_admin
  # What `make test` skips where there is no Grafana.
  check "its container passes the tests of containers, ports and files" env STACK_NAME="$STACK" .venv/bin/python -m pytest -q -p no:cacheprovider \
    tests/host -k 'grafana-1 or secret'
  with_env env HTTP_PORT="$HTTP" tests/run_tests.sh >"$WORK/log" 2>&1
  check "it passes the contract's tests" test "$(grep -c '^PASS .*G\(rafana\|RAFANA_URL\)' "$WORK/log") $(grep -cE '^(FAIL|SKIP) .*G(rafana|RAFANA)' "$WORK/log")" = '7 0'
}

# Name and password of Grafana's administrator, changed when its database has others.
grafana_admin() {
  local before
  check "its administrator is the one that make env shows" grafana_accepts_what_is_shown
  before=$(cat "/etc/$STACK/secrets/grafana-admin")
  printf '%s' '{"monitoring_grafana_password": "my \"own\" $choice"}' >"$WORK/chosen.json"
  check "a password is chosen" play site "${GRAFANA_IMAGE[@]}" -e "@$WORK/chosen.json"
  check "Grafana accepts it" grafana_accepts admin 'my "own" $choice'
  check "as make env shows it" grafana_accepts_what_is_shown
  check "and not the one before" grafana_refuses admin "$before"
  check "a run after that passes" play site "${GRAFANA_IMAGE[@]}" -e "@$WORK/chosen.json"
  check "and changes nothing" unchanged
  check "a name is chosen" play site "${GRAFANA_IMAGE[@]}" -e monitoring_grafana_user=ops
  check "Grafana accepts it" grafana_accepts ops 'my "own" $choice'
  check "as make env shows it" grafana_accepts_what_is_shown
  check "a run after that passes" play site "${GRAFANA_IMAGE[@]}" -e monitoring_grafana_user=ops
  check "and changes nothing" unchanged
  check "name and password change in one run" play site "${GRAFANA_IMAGE[@]}" -e monitoring_grafana_password=another-of-my-choice
  check "Grafana accepts both" grafana_accepts admin another-of-my-choice
  printf 'written-by-hand\n' >"/etc/$STACK/secrets/grafana-admin"
  play verify
  check "a password that was written by hand is seen" grep -q 'Grafana did not accept the name and the password' "$WORK/log"
  check "a run sets it" play site "${GRAFANA_IMAGE[@]}"
  check "Grafana accepts it" grafana_accepts admin written-by-hand
  check "as make env shows it" grafana_accepts_what_is_shown
  rm "/etc/$STACK/secrets/grafana-admin"
  check "a password that was lost is made anew" play site "${GRAFANA_IMAGE[@]}"
  check "Grafana accepts it" grafana_accepts_what_is_shown
}

# Alerts reach whoever wants them; figures are saved, lost and brought back.
figures() {
  grafana

  .venv/bin/python -c '
import http.server, sys
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        with open(sys.argv[1], "ab") as file:
            file.write(self.rfile.read(int(self.headers["Content-Length"])) + b"\n")
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer((sys.argv[2], 19098), Receiver).serve_forever()' "$WORK/alerts" "${SUBNET%.0/24}.1" 2>/dev/null &
  receiver=$!
  touch "$WORK/alerts"
  check "alerts go to a webhook" play site "${GRAFANA_IMAGE[@]}" -e "monitoring_alert_webhook=http://${SUBNET%.0/24}.1:19098/a-token"
  check "its container passes the tests of containers and ports" env STACK_NAME="$STACK" .venv/bin/python -m pytest -q -p no:cacheprovider \
    tests/host -k 'alertmanager-1 or label'
  docker stop "$STACK-api-v2-1" >/dev/null
  check "an alert that fires arrives there" until_passes grep -q '"status":"firing".*NoReplica' "$WORK/alerts"
  docker start "$STACK-api-v2-1" >/dev/null
  kill "$receiver"
  check "the webhook's token is for root and Alertmanager" test "$(grep -rl a-token "/etc/$STACK" | xargs -r stat --format '%a %G')" = "640 UNKNOWN"
  check "and to nobody again" play site "${GRAFANA_IMAGE[@]}"
  check "then nothing of Alertmanager is left but its silences" test -z "$(docker ps --all --quiet --filter "name=$STACK-alertmanager")$(ls -d "/etc/$STACK/alertmanager" 2>/dev/null)"

  local before database
  before=$(oldest) database=$(grafana_database)
  losing_nothing "the figures are saved" play backup -e "monitoring_archive_path=$WORK/figures.tar.gz"
  check "nothing of it stays on the machine's side" test ! -e "/etc/$STACK/figures.tar.gz"
  play backup -e "monitoring_archive_path=$WORK/figures.tar.gz"
  check "a backup replaces no file" grep -q 'Name a file that does not exist yet' "$WORK/log"
  until_passes healthy
  docker stop "$STACK-prometheus-1" >/dev/null
  find "$(docker volume inspect --format '{{.Mountpoint}}' "$STACK-prometheus")" -mindepth 1 -delete
  docker start "$STACK-prometheus-1" >/dev/null
  until_passes healthy
  check "its figures are lost" test "$(oldest || echo 9999999999)" -gt "$before"
  check "Grafana's password changes after the backup" play site "${GRAFANA_IMAGE[@]}" -e monitoring_grafana_password=later-than-the-backup
  # While it is stopped: asked in between, it would make the database again, with the password of before.
  docker stop "$STACK-grafana-1" >/dev/null
  rm "$(docker volume inspect --format '{{.Mountpoint}}' "$STACK-grafana")/grafana.db"
  docker start "$STACK-grafana-1" >/dev/null
  until_passes grafana_accepts_what_is_shown
  check "and so is what Grafana knew" test "$(grafana_database)" != "$database"
  head -c "$(($(stat --format %s "$WORK/figures.tar.gz") / 2))" "$WORK/figures.tar.gz" >"$WORK/half.tar.gz"
  play restore -e "monitoring_archive_path=$WORK/half.tar.gz"
  check "half a backup is refused, and the message says that nothing was changed" grep -q 'Nothing was changed' "$WORK/log"
  losing_nothing "the figures are brought back" play restore -e "monitoring_archive_path=$WORK/figures.tar.gz"
  until_passes healthy
  check "those of before are there again" test "$(oldest)" -le "$((before + 15))"
  check "and so is what Grafana knew before" grafana_found grep -q "$database"
  check "with the password of today" grafana_accepts admin later-than-the-backup
  clock_was_ahead
  check "Grafana is not wanted any more" play site -e monitoring_grafana=false
  check "and is gone" test -z "$(docker ps --all --quiet --filter "name=$STACK-grafana")"
  docker image rm "$STACK-fake-grafana:12.2.1" >/dev/null
}

upgrades() {
  local before
  # A base image that claims to hold a package of long ago.
  printf 'FROM %s\nRUN sed -i "/^Package: ca-certificates$/,/^$/s/^Version: .*/Version: 0/" /var/lib/dpkg/status\n' "$STACK-base:trixie" |
    docker build --quiet --tag "$STACK-base:trixie" - >/dev/null
  check "the base image claims an old package" claims_an_old_package
  losing_nothing "an upgrade builds and replaces everything" play upgrade
  check "nothing claims an old package any more" bash -c "! docker run --rm $STACK-base:trixie dpkg-query --show ca-certificates | grep -q '\s0$'"
  before=$(running)
  check "an upgrade with nothing newer passes" play upgrade
  check "and replaces nothing" test "$before" = "$(running)"
}

# The last commit before containers, files and the machine's command were described as data.
readonly BEFORE=d16ea77

# An installation of an earlier commit: one run takes it over, and keeps its data.
taken_over() {
  local kept first
  if ! git cat-file -e "$BEFORE^{commit}" 2>/dev/null; then
    echo "SKIP an installation of $BEFORE: this checkout has no history"
    return
  fi
  play teardown
  mkdir "$WORK/earlier"
  git archive "$BEFORE" | tar --extract --directory "$WORK/earlier"
  ln -s "$PWD/.venv" "$WORK/earlier/.venv"
  PLANNED="$WORK/earlier" check "a stack of $BEFORE comes up" play site
  check "it predicts" predicts
  kept=$(sha256sum /etc/"$STACK"/{ca.crt,secrets/ca.key,secrets/user-admin,tls/server.crt})
  first=$(oldest)
  losing_nothing "one run takes it over" play site
  check "it keeps certificate, CA and password" test "$kept" = "$(sha256sum /etc/"$STACK"/{ca.crt,secrets/ca.key,secrets/user-admin,tls/server.crt})"
  check "and the metrics" test -n "$first" -a "$(oldest)" -le "$((first + 15))"
  check "and the history of both" bash -c "[ \$($STACK history | grep -c 'start-project .* done') = 2 ]"
  check "and the releases" bash -c "[ \$($STACK releases | grep -c start-project) = 2 ]"
  check "a run after that passes" play site
  check "and changes nothing" changed_nothing
  check "the release before is rolled back to" play rollback
  check "and predicts" predicts
  check "a run after that passes" play site
}

# NAME FUNCTION: a part that a short run (LIFECYCLE=short) leaves out.
part() {
  if [[ ${LIFECYCLE:-} == short ]]; then
    echo "SKIP $1: LIFECYCLE=short; make test-lifecycle without it runs them"
  else
    "$2"
  fi
}

finish() {
  ip link delete tun77 2>/dev/null
  ip link delete lifecycle0 2>/dev/null
  [[ -n $(docker ps --all --quiet --filter "label=stack=$STACK") ]] && play teardown
  rm -rf "$WORK"
}
trap finish EXIT

if [[ $(id -u) != 0 ]]; then
  echo "SKIP the life of a stack: it reads root's files; run it as root or through sudo"
  echo "0 passed, 0 failed, 1 skipped"
  exit 1
fi

play teardown # of a run that was cut off

as_planned "a second stack comes up beside the first"
check "it predicts through its own port" predicts
before=$(running)
DOCKER_HOST=tcp://127.0.0.1:1 DOCKER_CONTEXT=elsewhere DOCKER_TLS_VERIFY=1 \
  check "a second run passes, whatever engine the environment names" play site
check "a second run changes nothing" grep -qE 'changed=0 .*failed=0' "$WORK/log"
check "a second run restarts nothing" test "$before" = "$(running)"
check "the history names both runs" bash -c "[ \$($STACK history | grep -c 'start-project .* done') = 2 ]"
check "there is one release, and it is live" bash -c "[ \$($STACK releases | grep -c ' live ') = 1 ]"
# The engine calls these starting until their first check is due.
docker restart "$STACK-api-v1-1" "$STACK-tls-exporter-1" >/dev/null
before=$(running)
plan >"$WORK/plan"
check "a plan of the same says that nothing would change, while containers start as well" grep -q '^Nothing: ' "$WORK/plan"
plan -e nginx_rate_limit=20r/s -e api_memory=272M >"$WORK/plan"
check "a plan of another limit names the directive" grep -q '+ limit_req_zone .*rate=20r/s' "$WORK/plan"
check "and the replicas that would be replaced" bash -c "[ \$(grep -cE 'api-v[12]-[0-9]+ is replaced' '$WORK/plan') = 4 ]"
another_checkout "$WORK/planned"
for image in nginx/files/image monitoring/files/exporters monitoring/files/prometheus; do echo '# another' >>"$WORK/planned/roles/$image/Dockerfile"; done
PLANNED="$WORK/planned" plan >"$WORK/plan" 2>"$WORK/log"
check "a plan of other images names what is replaced, and builds none" test "$(grep -cE '(nginx|exporter|prometheus)-1 is replaced' "$WORK/plan")" = 6
check "a plan of what Nginx refuses fails and says so" plan_refused -e nginx_body_size=99999999999999999999m
check "and plans changed nothing" test "$before" = "$(running)"
part "plans" plans

check "a certificate in order is left alone" test -z "$("$STACK" certificate)"
before=$(file_serial)
check "one that ends soon is renewed without a run" bash -c "$STACK certificate --renew-days 400 | grep -q ^reloaded"
check "it is another one" test "$before" != "$(file_serial)"
check "and the gateway serves it" test "$(file_serial)" = "$(served_serial)"
check "a client whose clock is 50 minutes behind takes it" openssl verify -CAfile "/etc/$STACK/ca.crt" -attime $(($(date +%s) - 3000)) "/etc/$STACK/tls/server.crt"
check "a run after that passes" play site
check "and changes nothing" grep -qE 'changed=0 .*failed=0' "$WORK/log"

before=$(file_serial) key=$(sha256sum <"/etc/$STACK/tls/server.key")
losing_nothing "key and certificate are replaced" bash -c "$STACK certificate --rotate | grep -q ^reloaded"
check "both are other ones" test "$before" != "$(file_serial)" -a "$key" != "$(sha256sum <"/etc/$STACK/tls/server.key")"
check "and the gateway serves them" test "$(file_serial)" = "$(served_serial)"

part "users, passwords and maintenance" users_and_maintenance

losing_nothing "the gateway's container is replaced" play site -e nginx_memory=192M
check "its stand-in is gone" test -z "$(docker ps --all --quiet --filter "name=$STACK-nginx-stand-in")$(nft list tables | grep stand-in)"

check "a run right after that passes" play site -e nginx_memory=192M
check "and changes nothing" grep -qE 'changed=0 .*failed=0' "$WORK/log"

part "certificates that users bring" certificates
part "refusals" refusals
part "names, addresses and proxies" names
part "Grafana by a stand-in, alerts, backup and restore" figures
check "it predicts after all that" predicts

part "a torn write-ahead log" torn_log
part "upgrades" upgrades
part "an installation of an earlier commit" taken_over

first=$(oldest)
check "it stops" play stop
check "then none of its containers runs" test -z "$(running)"
check "it starts again" play site
check "and predicts again" predicts
check "and Prometheus kept its history" test -n "$first" -a "$(oldest)" -le "$((first + 15))"

check "it is taken down" play teardown
check "and nothing of it is left" test -z "$(left_over)"
left_over

echo "$passed passed, $failed failed"
((failed == 0))
