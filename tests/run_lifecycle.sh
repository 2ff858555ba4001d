#!/usr/bin/env bash
# The life of a stack, on a second one beside whatever runs here: up, up again, refusals, stop,
# start, down. Prints PASS or FAIL a line and the counts at the end.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

STACK=lifecycle
readonly STACK SUBNET=172.28.77.0/24 HTTPS=18443 HTTP=18080 PROMETHEUS=19090 GRAFANA=13000
BASE=(-e "stack_name=$STACK" -e "stack_subnet=$SUBNET" -e "stack_https_port=$HTTPS" -e "stack_http_port=$HTTP"
  -e "stack_prometheus_port=$PROMETHEUS" -e "stack_grafana_port=$GRAFANA"
  # The rules of a dedicated machine would close the ports of the stack that runs there.
  -e stack_dedicated=false)
GRAFANA_IMAGE=(-e "monitoring_grafana_image=$STACK-fake-grafana" -e monitoring_grafana_version=1)
# The machine's own engine, whatever the user's environment names.
unset "${!DOCKER_@}"
export DOCKER_HOST=unix:///var/run/docker.sock
# A careful root's umask: what containers read has to be given its mode, whatever the default is.
umask 077
WORK=$(mktemp -d)
passed=0 failed=0

play() { timeout 900 .venv/bin/ansible-playbook "playbooks/$1.yml" "${BASE[@]}" "${@:2}" >"$WORK/log" 2>&1; }
plan() { INVENTORY=inventory/localhost.yml ARGS="${BASE[*]} $*" bash "${PLANNED:-.}/playbooks/plan.sh"; }
plan_refused() { ! plan "$@" 2>"$WORK/log" && tr -s ' \n' ' ' <"$WORK/log" | grep -q "would not pass Nginx' own test"; }
query() { curl -sS --max-time 10 "http://127.0.0.1:$PROMETHEUS/api/v1/query" --data-urlencode "query=$1"; }
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

# USER PASSWORD: the status of a prediction; its head and body go to $WORK.
answer() {
  curl -sS --max-time 10 --cacert "/etc/$STACK/ca.crt" -u "$1:$2" -H 'Content-Type: application/json' -d '{"sentence": "what a wonderful morning"}' \
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
  find /etc /var/log /var/lib/"$STACK" /usr/local/bin -maxdepth 3 -name "$STACK*" 2>/dev/null
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
  refused "a password for nobody is refused" 'No password is made here for nobody' -e '{"nginx_new_passwords": ["nobody"]}'

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

# What is wrong is refused, and what runs goes on running.
refusals() {
  refused "a mistyped variable is refused" 'Unknown variables: nginx_rate_limt' -e nginx_rate_limt=5r/s
  refused "a weak password is refused" 'at least 12 characters' -e '{"nginx_users": [{"name": "admin", "password": "admin"}]}'
  refused "a value of the wrong kind is refused" 'look like 10r/s' -e nginx_rate_limit=fast
  refused "a number that is none, for the last role, is refused before anything is changed" "argument 'host_swap_mb' is of type str" -e host_swap_mb=lots -e nginx_memory=160M
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
  refused "too little memory is refused" 'MB of memory, the stack wants 99999999' -e docker_min_memory_mb=99999999
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
healthy() { curl -sS --max-time 10 -o "$WORK/health" "http://127.0.0.1:$PROMETHEUS/-/ready" && grep -q Ready "$WORK/health"; }

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
  with_env bash -c 'curl -sS --max-time 10 -u "$GRAFANA_USER:$GRAFANA_PASSWORD" "$GRAFANA_URL/found"' >"$WORK/found" && "$@" "$WORK/found"
}
grafana_started() { docker inspect --format '{{.State.StartedAt}}' "$STACK-grafana-1"; }
grafana_database() { cat "$(docker volume inspect --format '{{.Mountpoint}}' "$STACK-grafana")/grafana.db"; }

# Grafana's container, of an image that stands in for Grafana's and comes as an archive.
grafana() {
  cat >"$WORK/Dockerfile" <<END
FROM $(docker inspect --format '{{.Config.Image}}' "$STACK-api-v1-1")
LABEL stack="" stack.base="" stack.component="" stack.model=""
USER root
RUN install -d -m 0777 -o 472 /var/lib/grafana
COPY fake_grafana.py /
USER 472
HEALTHCHECK NONE
ENTRYPOINT ["/venv/bin/python", "/fake_grafana.py"]
END
  docker build --quiet --tag "$STACK-fake-grafana:1" --file "$WORK/Dockerfile" tests >"$WORK/log" 2>&1
  docker save --output "$WORK/grafana.tar" "$STACK-fake-grafana:1"
  docker image rm "$STACK-fake-grafana:1" >/dev/null
  local before
  # What other parts set is taken back, else the refused run does it before it gets to Grafana.
  check "the stack is as by default" play site
  refused "Grafana as a must, without its image, is refused" 'Save it elsewhere .docker save.' "${GRAFANA_IMAGE[@]}" -e monitoring_grafana=true
  check "Grafana comes from an archive" play site "${GRAFANA_IMAGE[@]}" -e "monitoring_grafana_archive_path=$WORK/grafana.tar"
  check "it is healthy by a check of its own" timeout 60 "$STACK" await 50 "$STACK-grafana-1"
  check "its copy is gone from the machine" test ! -e "/etc/$STACK/grafana-image.tar"
  check "it knows data source, dashboards, home and password" grafana_found \
    grep -q '"user": true, "source": "prometheus", .*"dashboards": \["gateway", "host", "model", "overview"\], "home": "overview", "writable": \[\]'
  check "nobody gets in without the password" test "$(curl -sS -o /dev/null -w '%{http_code}' -u admin:admin "http://127.0.0.1:$GRAFANA/found")" = 401
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
  docker stop "$STACK-api-v2-1" >/dev/null
  check "an alert that fires arrives there" until_passes grep -q '"status":"firing".*NoReplica' "$WORK/alerts"
  docker start "$STACK-api-v2-1" >/dev/null
  kill "$receiver"
  check "the webhook's token is for root and Alertmanager" test "$(grep -rl a-token "/etc/$STACK" | xargs -r stat --format '%a %G')" = "640 UNKNOWN"
  check "and to nobody again" play site "${GRAFANA_IMAGE[@]}"
  check "then nothing of Alertmanager is left but its silences" test -z "$(docker ps --all --quiet --filter "name=$STACK-alertmanager")$(ls -d "/etc/$STACK/alertmanager" 2>/dev/null)"

  local before database
  before=$(oldest) database=$(grafana_database)
  losing_nothing "the figures are saved" play backup -e "file=$WORK/figures.tar.gz"
  check "nothing of it stays on the machine's side" test ! -e "/etc/$STACK/figures.tar.gz"
  play backup -e "file=$WORK/figures.tar.gz"
  check "a backup replaces no file" grep -q 'Name a file that does not exist yet' "$WORK/log"
  until_passes healthy
  docker stop "$STACK-prometheus-1" >/dev/null
  find "$(docker volume inspect --format '{{.Mountpoint}}' "$STACK-prometheus")" -mindepth 1 -delete
  docker start "$STACK-prometheus-1" >/dev/null
  until_passes healthy
  check "its figures are lost" test "$(oldest || echo 9999999999)" -gt "$before"
  docker exec "$STACK-grafana-1" rm /var/lib/grafana/grafana.db
  docker restart "$STACK-grafana-1" >/dev/null
  until_passes docker exec "$STACK-grafana-1" test -s /var/lib/grafana/grafana.db
  check "and so is what Grafana knew" test "$(grafana_database)" != "$database"
  head -c "$(($(stat --format %s "$WORK/figures.tar.gz") / 2))" "$WORK/figures.tar.gz" >"$WORK/half.tar.gz"
  play restore -e "file=$WORK/half.tar.gz"
  check "half a backup is refused, and the message says that nothing was changed" grep -q 'Nothing was changed' "$WORK/log"
  losing_nothing "the figures are brought back" play restore -e "file=$WORK/figures.tar.gz"
  until_passes healthy
  check "those of before are there again" test "$(oldest)" -le "$((before + 15))"
  check "and so is what Grafana knew before" grafana_found grep -q "$database"
  clock_was_ahead
  check "Grafana is not wanted any more" play site -e monitoring_grafana=false
  check "and is gone" test -z "$(docker ps --all --quiet --filter "name=$STACK-grafana")"
  docker image rm "$STACK-fake-grafana:1" >/dev/null
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

# NAME FUNCTION: a part that a short run (LIFECYCLE=short) leaves out.
part() {
  if [[ ${LIFECYCLE:-} == short ]]; then
    echo "SKIP $1: LIFECYCLE=short; make test-lifecycle without it runs them"
  else
    "$2"
  fi
}

finish() {
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

check "a second stack comes up beside the first" play site
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
check "a plan of another limit names the directive" grep -q 'limits.conf: + limit_req_zone .*rate=20r/s' "$WORK/plan"
check "and the replicas that would be replaced" bash -c "[ \$(grep -c 'A replica is replaced' '$WORK/plan') = 4 ]"
mkdir "$WORK/planned"
cp -r ansible.cfg inventory playbooks roles src model "$WORK/planned/"
ln -s "$PWD/.venv" "$WORK/planned/.venv"
for image in nginx/files/image monitoring/files/exporters monitoring/files/prometheus; do echo '# another' >>"$WORK/planned/roles/$image/Dockerfile"; done
PLANNED="$WORK/planned" plan >"$WORK/plan" 2>"$WORK/log"
check "a plan of other images names what is replaced, and builds none" test "$(grep -cE 'replaced.*(nginx-1|exporter-1|prometheus-1)' "$WORK/plan")" = 6
check "a plan of what Nginx refuses fails and says so" plan_refused -e nginx_body_size=99999999999999999999m
check "and plans changed nothing" test "$before" = "$(running)"

check "a certificate in order is left alone" test -z "$("$STACK-certificate")"
before=$(file_serial)
check "one that ends soon is renewed without a run" bash -c "RENEW_DAYS=400 $STACK-certificate | grep -q ^reloaded"
check "it is another one" test "$before" != "$(file_serial)"
check "and the gateway serves it" test "$(file_serial)" = "$(served_serial)"
check "a client whose clock is 50 minutes behind takes it" openssl verify -CAfile "/etc/$STACK/ca.crt" -attime $(($(date +%s) - 3000)) "/etc/$STACK/tls/server.crt"
check "a run after that passes" play site
check "and changes nothing" grep -qE 'changed=0 .*failed=0' "$WORK/log"

before=$(file_serial) key=$(sha256sum <"/etc/$STACK/tls/server.key")
losing_nothing "key and certificate are replaced" bash -c "$STACK-certificate --rotate | grep -q ^reloaded"
check "both are other ones" test "$before" != "$(file_serial)" -a "$key" != "$(sha256sum <"/etc/$STACK/tls/server.key")"
check "and the gateway serves them" test "$(file_serial)" = "$(served_serial)"

part "users, passwords and maintenance" users_and_maintenance

losing_nothing "the gateway's container is replaced" play site -e nginx_memory=192M
check "its stand-in is gone" test -z "$(docker ps --all --quiet --filter "name=$STACK-nginx-stand-in")$(nft list tables | grep stand-in)"

check "a run right after that passes" play site -e nginx_memory=192M
check "and changes nothing" grep -qE 'changed=0 .*failed=0' "$WORK/log"

part "refusals" refusals
part "Grafana by a stand-in, alerts, backup and restore" figures
check "it predicts after all that" predicts

part "a torn write-ahead log" torn_log
part "upgrades" upgrades

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
