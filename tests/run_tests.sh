#!/usr/bin/env bash
# Holds a running stack against its contract, from the outside: one PASS, FAIL or SKIP line for each
# promise, and 'N passed, N failed' at the end. Read-only apart from its own requests; about a minute.
#
# Needs bash 5, curl, openssl, python3. Takes GATEWAY_URL, GATEWAY_CA, API_USER, API_PASSWORD,
# PROMETHEUS_URL, GRAFANA_URL, GRAFANA_USER, GRAFANA_PASSWORD and LEFT_OUT from the environment;
# what is unset comes from `make -s env`. GATEWAY_ADDRESS is where the gateway is, if the name in
# GATEWAY_URL does not lead there. HTTP_PORT (80) is the port of plain HTTP. Of a machine that is
# reached by ssh (TARGET, INVENTORY), Prometheus and Grafana are asked where PROMETHEUS_URL says how.
# MODEL_DIR (model) is the folder of the model that the stack serves: its card lists the classes.
# shellcheck disable=SC2317,SC2329 # checks are called by name, through holds()
set -uo pipefail
CDPATH='' cd "$(dirname "$0")/.." || exit 2

readonly NAMES=(GATEWAY_URL GATEWAY_CA API_USER API_PASSWORD PROMETHEUS_URL GRAFANA_URL GRAFANA_USER GRAFANA_PASSWORD)
readonly SENTENCE='{"sentence": "I love the ice cream"}'
# In bodies that must be refused: no error may repeat a word of what it was sent.
readonly MARKER=quagga7
readonly RATE=10 BURST=5
# Four replicas, four exporters, Prometheus itself; Alertmanager comes with a setting.
readonly TARGETS=9
readonly SKIPPED=77
export MODEL_CARD=${MODEL_DIR:-model}/model.json

work=$(mktemp -d)
chmod 700 "$work"
trap 'rm -rf "$work"' EXIT
mkdir "$work/heads"
passed=0 failed=0 skipped=0

# ---- results -------------------------------------------------------------------------------------

# NAME COMMAND...: the command says by its exit code whether NAME holds, and prints why not.
holds() {
  local name=$1 why result
  shift
  why=$("$@" 2>&1) && result=0 || result=$?
  why=$(tr '\n' ' ' <<<"${why:0:400}")
  case $result in
    0) passed=$((passed + 1)); printf 'PASS %s\n' "$name" ;;
    "$SKIPPED") skipped=$((skipped + 1)); printf 'SKIP %s: %s\n' "$name" "$why" ;;
    *) failed=$((failed + 1)); printf 'FAIL %s: %s\n' "$name" "$why" ;;
  esac
}

# In a check: end it.
fail() { printf '%s' "$*"; exit 1; }
skip() { printf '%s' "$*"; exit "$SKIPPED"; }

finish() {
  if [ "$skipped" -gt 0 ]; then
    printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  else
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
  fi
  [ "$failed" -eq 0 ]
  exit
}

# ---- where and who -------------------------------------------------------------------------------

# Inside `make test` the outer make's flags would reach this one.
make_env() { env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -s env; }

elsewhere=''
[ "${INVENTORY:-inventory/${TARGET:-localhost}.yml}" = inventory/localhost.yml ] || [ -n "${PROMETHEUS_URL:-}" ] ||
  elsewhere='it listens on the loopback of the other machine; open `ssh -L 9090:127.0.0.1:9090` and set PROMETHEUS_URL=http://127.0.0.1:9090 (the host tests ask it there)'

# Of the address that the caller gives, not of the stack's.
[ -z "${GATEWAY_URL:-}" ] || : "${GATEWAY_ADDRESS=}"
lines=$(make_env 2>"$work/make_errors") || :
for name in "${NAMES[@]}" GATEWAY_ADDRESS LEFT_OUT; do
  # In a shell of its own, so that an odd line cannot change this one.
  # shellcheck disable=SC2016 # for the inner shell
  [ -n "${!name+set}" ] ||
    printf -v "$name" '%s' "$(env -i PATH="$PATH" bash -c 'eval "$1" 2>/dev/null; printf %s "${!2-}"' - "$lines" "$name")"
done

env_is_evaluable() {
  [ -n "$lines" ] || fail "make -s env printed nothing: $(tail -n 3 "$work/make_errors")"
  local shell printed name
  # shellcheck disable=SC2016 # for the inner shell
  for shell in bash sh; do
    printed=$(env -i PATH="$PATH" "$shell" -euc 'eval "$1"' - "$lines" 2>&1) || fail "$shell cannot eval it: $printed"
    [ -z "$printed" ] || fail "$shell ran something: $printed"
  done
  # shellcheck disable=SC2016 # for the inner shell
  for name in "${NAMES[@]}"; do
    env -i PATH="$PATH" bash -c 'eval "$1"; [ -n "${!2+set}" ]' - "$lines" "$name" || fail "no $name"
  done
  ! grep -vE '^[A-Z_]+=' <<<"$lines" || fail "a line that is no assignment"
}
holds 'make -s env prints what a shell can eval, with all eight names' env_is_evaluable

before=$failed
for name in GATEWAY_URL GATEWAY_CA API_USER API_PASSWORD PROMETHEUS_URL; do
  [ -n "${!name}" ] || holds "$name is known" fail "make -s env does not say it; is the stack up? ($(tail -n 1 "$work/make_errors"))"
done
[ -r "$GATEWAY_CA" ] || holds 'GATEWAY_CA is a readable file' fail "'$GATEWAY_CA'"
[ "$failed" -eq "$before" ] || finish

# The shim of a version manager starts slowly, and this one is started often.
PYTHON=$(python3 -c 'import sys; print(sys.executable)') || exit 2
authority=${GATEWAY_URL#https://}
authority=${authority%%/*}
HOST=${authority%:*}
PORT=443
[[ $authority =~ :([0-9]+)$ ]] && PORT=${BASH_REMATCH[1]}
GATEWAY_URL=https://$authority
# Where HOST is. IPv6 stays as it stands in the address.
readonly ADDRESS=${GATEWAY_ADDRESS:-$HOST}
# An address is no SNI, and is another kind of name in a certificate.
SNI=(-servername "$HOST") VERIFY=-verify_hostname
[[ ! $HOST =~ ^[0-9.]+$ ]] || SNI=(-noservername) VERIFY=-verify_ip
readonly SNI VERIFY
HTTP_URL=http://$HOST
[ "${HTTP_PORT:-80}" = 80 ] || HTTP_URL=$HTTP_URL:$HTTP_PORT

# curl reads credentials from files: its command line is for everybody to see.
credentials() {
  local both=${1//\\/\\\\}:${2//\\/\\\\}
  printf 'user = "%s"\n' "${both//\"/\\\"}"
}
credentials "$API_USER" "$API_PASSWORD" >"$work/known"
credentials "$API_USER" "not-$API_PASSWORD" >"$work/wrong_password"
credentials "nobody-$API_USER" "$API_PASSWORD" >"$work/wrong_user"
credentials "${GRAFANA_USER:-}" "${GRAFANA_PASSWORD:-}" >"$work/grafana"
credentials "${GRAFANA_USER:-}" "not-${GRAFANA_PASSWORD:-}" >"$work/grafana_wrong"

# ---- asking --------------------------------------------------------------------------------------

readonly CURL=(curl -q --silent --show-error --noproxy '*' --connect-to "$HOST::$ADDRESS:" --connect-timeout 3 --max-time 10)

# CURL ARGUMENTS...: one request. Leaves its status in $status, head and body in files.
# All clients of this address share one budget, so predictions keep its pace; a 429 stays a 429.
call() {
  head=$(mktemp "$work/heads/XXXXXXXX")
  body=$work/body
  : >"$body"
  [[ $* != */predict* ]] || sleep 0.11
  # A server may answer before it has read everything (413): then curl complains, with a status.
  status=$("${CURL[@]}" --cacert "$GATEWAY_CA" --dump-header "$head" --output "$body" --write-out '%{http_code}' "$@" 2>"$work/curl_errors") || :
  [ "$status" != 000 ] || fail "no answer: $(cat "$work/curl_errors")"
}

# CURL ARGUMENTS...: a prediction with the right password.
predict() {
  call --config "$work/known" --header 'Content-Type: application/json' "$@" "$GATEWAY_URL/predict"
}

# Bytes of a request on stdin, over TLS as they are; leaves what call() leaves.
raw() {
  head=$(mktemp "$work/heads/XXXXXXXX")
  body=$work/body
  timeout 8 openssl s_client -quiet -ign_eof -connect "$ADDRESS:$PORT" "${SNI[@]}" 2>/dev/null | tr -d '\r' >"$work/answer"
  sed '/^$/q' "$work/answer" >"$head"
  sed '1,/^$/d' "$work/answer" >"$body"
  status=$(awk 'NR == 1 {print $2}' "$head")
  [ -n "$status" ] || fail 'the connection was closed without an answer'
}

# Wait until a request passes and then until the whole burst is free again. Only between checks.
await_budget() {
  local code end=$((SECONDS + 10)) rest=0.15
  while [ "$SECONDS" -lt "$end" ]; do
    sleep 0.7
    code=$("${CURL[@]}" --cacert "$GATEWAY_CA" --output /dev/null --write-out '%{http_code}' "$GATEWAY_URL/predict" 2>/dev/null) || :
    [ "$code" = 429 ] || break
    rest=0.7
  done
  # As long as the burst takes to be free again.
  sleep "$rest"
}

header() { sed -n "s/^$1: *//Ip" "$head" | tr -d '\r'; }

expect_status() { [ "$status" = "$1" ] || fail "status $status, not $1: $(head -c 200 "$body")"; }

# EXPRESSION: over the body, `a` parsed and `raw` as sent, with `argv` the further arguments.
expect_json() {
  "$PYTHON" -I -S - "$body" "$@" <<'PYTHON' || exit 1
import json, math, os, re, sys

LABELS = json.load(open(os.environ["MODEL_CARD"], encoding="utf-8"))["classes"]

def once(pairs):
    assert len(dict(pairs)) == len(pairs), "a key twice"
    return dict(pairs)

def refuse(word):
    raise ValueError(f"{word} is not JSON")

_, path, expression, *argv = sys.argv
raw = open(path, encoding="utf-8").read()
try:
    a = json.loads(raw, object_pairs_hook=once, parse_constant=refuse)
    held = eval(f"({expression})")
except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
    held = False
    print(f"{type(error).__name__}: {error};", end=" ")
if not held:
    print(f"not so: {expression}; body: {raw[:200]}", end="")
    sys.exit(1)
PYTHON
}

# STATUS: the answer is that error, in the one JSON shape, and gives nothing away.
expect_error() {
  expect_status "$1"
  [[ $(header content-type) == application/json* ]] || fail "Content-Type $(header content-type)"
  expect_json 'sorted(a) == ["detail", "error", "request_id"] and all(type(v) is str and v for v in a.values()) and a["request_id"] == argv[0]' \
    "$(header x-request-id)"
  ! grep -qiE 'nginx|uvicorn|python|fastapi|traceback|<html|[0-9]+\.[0-9]+\.[0-9]+' "$body" || fail "it gives away: $(cat "$body")"
  ! grep -q "$MARKER" "$body" "$head" || fail "it repeats what it was sent: $(cat "$body")"
}

# N CREDENTIALS [HEADER PREFIX]: N predictions at once, each an answer file; the time they took, in ms.
# A header such as 'X-Forwarded-For: 10.0.0.' gets the number of the request behind it. `mixed`
# credentials: wrong ones for v1 and right ones for v2 in turn.
at_once() {
  local n started ended
  rm -rf "$work/flood" "$work/flood.conf"
  mkdir "$work/flood"
  for ((n = 1; n <= $1; n++)); do
    [ "$n" = 1 ] || echo next
    printf 'url = "%s/predict"\noutput = "%s/flood/%d"\ninclude\nsilent\ncacert = "%s"\nnoproxy = "*"\nconnect-to = "%s"\nmax-time = 10\n' \
      "$GATEWAY_URL" "$work" "$n" "$GATEWAY_CA" "$HOST::$ADDRESS:"
    printf 'header = "Content-Type: application/json"\ndata = "%s"\n' "${SENTENCE//\"/\\\"}"
    [ -z "${3:-}" ] || printf 'header = "%s%d"\n' "$3" "$n"
    case $2/$((n % 2)) in
      none/?) ;;
      mixed/0) cat "$work/wrong_password" ;;
      mixed/1) cat "$work/known"; echo 'header = "X-Experiment-Group: debug"' ;;
      *) cat "$work/$2" ;;
    esac
  done >"$work/flood.conf"
  started=${EPOCHREALTIME/[.,]/}
  curl -q --noproxy '*' --parallel --parallel-max "$1" --config "$work/flood.conf" >"$work/curl_errors" 2>&1 || :
  ended=${EPOCHREALTIME/[.,]/}
  for ((n = 1; n <= $1; n++)); do
    sed '/^\r*$/q' "$work/flood/$n" >"$(mktemp "$work/heads/XXXXXXXX")"
  done
  elapsed_ms=$(((ended - started) / 1000))
}

# N STATUS: of N requests at once one and the burst got STATUS (a pattern), and what the budget refilled
# meanwhile; every other one is a proper 429.
expect_limited() {
  local passing rejected waiting named most
  passing=$(grep -lE "^HTTP/[0-9.]+ $2" "$work"/flood/* | wc -l)
  rejected=$(grep -lE '^HTTP/[0-9.]+ 429' "$work"/flood/* | wc -l)
  waiting=$(grep -liE '^retry-after: *[1-9][0-9]*' "$work"/flood/* | wc -l)
  named=$(grep -lF '{"error":"too_many_requests",' "$work"/flood/* | wc -l)
  # What trickled in, rounded up.
  most=$((1 + BURST + (elapsed_ms * RATE + 999) / 1000))
  [ $((passing + rejected)) = "$1" ] || fail "of $1 answers $passing are $2 and $rejected are 429"
  if [ "$passing" -lt $((1 + BURST)) ] || [ "$passing" -gt "$most" ]; then
    fail "$passing answers $2 in $elapsed_ms ms, not $((1 + BURST)) to $most"
  fi
  [ "$waiting" = "$rejected" ] || fail "$rejected answers are 429, $waiting have a Retry-After"
  [ "$named" = "$rejected" ] || fail "$rejected answers are 429, $named say so in JSON"
  # One of them in full.
  tr -d '\r' <"$(grep -lE '^HTTP/[0-9.]+ 429' "$work"/flood/* | head -n 1)" >"$work/answer"
  head=$work/answer_head body=$work/body status=429
  sed '/^$/q' "$work/answer" >"$head"
  sed '1,/^$/d' "$work/answer" >"$body"
  expect_error 429
}

# ---- TLS -----------------------------------------------------------------------------------------

handshake() { timeout 8 openssl s_client -connect "$ADDRESS:$PORT" "${SNI[@]}" "$@" </dev/null 2>&1; }

tls_accepted() {
  local seen
  seen=$(handshake "-tls1_$1")
  grep -qE "^New, TLSv1.$1, Cipher is [A-Z]" <<<"$seen" || fail "$(head -c 300 <<<"$seen")"
}
holds 'TLS 1.2 is accepted' tls_accepted 2
holds 'TLS 1.3 is accepted' tls_accepted 3

tls_refused() {
  local seen
  # At level 0 the client itself would go along.
  seen=$(handshake "$1" -cipher 'DEFAULT:@SECLEVEL=0')
  ! grep -qE 'no protocols available|[Uu]nknown option|ssl_choose_client_version' <<<"$seen" || skip "this openssl speaks no $1"
  grep -q 'alert protocol version' <<<"$seen" || fail "$(head -c 300 <<<"$seen")"
}
holds 'TLS 1.1 is refused' tls_refused -tls1_1
holds 'TLS 1.0 is refused' tls_refused -tls1

certificate_verifies() {
  local seen
  seen=$(handshake -CAfile "$GATEWAY_CA" -verify_return_error "$VERIFY" "$HOST")
  grep -q 'Verify return code: 0 (ok)' <<<"$seen" || fail "$(head -c 300 <<<"$seen")"
}
holds "the certificate verifies against GATEWAY_CA for $HOST" certificate_verifies

refused_by_curl() {
  local code=0
  "${CURL[@]}" --output /dev/null "$@" 2>/dev/null || code=$?
  [ "$code" = 60 ] || fail "curl ends with $code, not 60 (certificate problem)"
}
holds 'the certificate is refused without GATEWAY_CA' refused_by_curl "$GATEWAY_URL/"
holds 'the certificate is refused for a foreign name' \
  refused_by_curl --cacert "$GATEWAY_CA" --connect-to "foreign.example:443:$ADDRESS:$PORT" https://foreign.example/

http_2() {
  local seen
  seen=$(handshake -alpn h2,http/1.1)
  grep -q 'ALPN protocol: h2' <<<"$seen" || fail "$(grep ALPN <<<"$seen")"
}
holds 'HTTP/2 is negotiated' http_2

# ---- predictions ---------------------------------------------------------------------------------

await_budget

# The answer at hand is v1's: one key, one class of the card, from a replica of v1.
expect_v1() {
  expect_status 200
  [[ $(header content-type) == application/json* ]] || fail "Content-Type $(header content-type)"
  expect_json 'list(a) == ["prediction value"] and a["prediction value"] in LABELS'
  [[ $(header x-served-by) == v1-* ]] || fail "X-Served-By: $(header x-served-by)"
}
v1_answer() { predict --data "$SENTENCE"; expect_v1; }
holds "v1 answers exactly one key 'prediction value', a class of the model card, no probability" v1_answer

v1_over_http_1() { predict --http1.1 --data "$SENTENCE"; expect_v1; }
holds 'v1 answers HTTP/1.1 clients too' v1_over_http_1

v1_unicode() {
  local sentence
  for sentence in 'naïve 😀 日本語' '\ud83d\ude00' ' x ' '0'; do
    predict --data "{\"sentence\": \"$sentence\"}"
    expect_v1
  done
}
holds 'v1 answers sentences of any script, escapes and surrounding blanks' v1_unicode

v1_repeats() {
  local first
  predict --data "$SENTENCE"
  first=$(cat "$body")
  predict --data "$SENTENCE"
  [ "$first" = "$(cat "$body")" ] || fail "$first, then $(cat "$body")"
}
holds 'the same sentence gets the same answer from another replica' v1_repeats

expect_v2() {
  expect_status 200
  expect_json 'a["prediction value"] in LABELS and sorted(a["prediction_proba_dict"]) == sorted(LABELS)
    and all(type(p) is float and 0 <= p <= 1 for p in a["prediction_proba_dict"].values())
    and math.isclose(math.fsum(a["prediction_proba_dict"].values()), 1, rel_tol=0, abs_tol=1e-6)
    and a["prediction value"] == max(a["prediction_proba_dict"], key=a["prediction_proba_dict"].get)'
  [[ $(header x-served-by) == v2-* ]] || fail "X-Served-By: $(header x-served-by)"
}
v2_answer() { predict --header 'X-Experiment-Group: debug' --data "$SENTENCE"; expect_v2; }
holds 'v2 adds prediction_proba_dict: a float for each class, in sum 1, the prediction their largest' v2_answer

v2_header_name() { predict --http1.1 --header 'x-eXPERIMENT-gROUP: debug' --data "$SENTENCE"; expect_v2; }
holds "v2 is asked for whatever the case of the header's name" v2_header_name

stays_v1() { predict "$@" --data "$SENTENCE"; expect_v1; }
for value in DEBUG Debug dEbug ' debug2' debugx xdebug 'de bug' 'debug,debug' 'debug, a' 'debug;q=1' '"debug"' true 1 v2 A; do
  holds "X-Experiment-Group '$value' stays v1" stays_v1 --header "X-Experiment-Group: $value"
done
holds 'X-Experiment-Group without a value stays v1' stays_v1 --header 'X-Experiment-Group;'
holds 'X-Experiment-Group twice stays v1' stays_v1 --header 'X-Experiment-Group: debug' --header 'X-Experiment-Group: debug'
holds 'X_Experiment_Group stays v1' stays_v1 --header 'X_Experiment_Group: debug'
holds 'a cookie of that name stays v1' stays_v1 --cookie 'X-Experiment-Group=debug'
v1_query() {
  call --config "$work/known" --header 'Content-Type: application/json' --data "$SENTENCE" "$GATEWAY_URL/predict?X-Experiment-Group=debug"
  expect_v1
}
holds 'a query argument of that name stays v1' v1_query

served_by() {
  local n seen=''
  for ((n = 0; n < $1; n++)); do
    predict --data "$SENTENCE" "${@:3}"
    expect_status 200
    seen+="$(header x-served-by)"$'\n'
  done
  seen=$(printf %s "$seen" | sort -u | paste -sd ' ')
  [ "$seen" = "$2" ] || fail "in $1 answers X-Served-By named: $seen"
}
holds 'all three replicas of v1 answer: v1-1, v1-2, v1-3' served_by 9 'v1-1 v1-2 v1-3'
holds 'v2 answers come from v2-1' served_by 2 'v2-1' --header 'X-Experiment-Group: debug'

# ---- batches and documentation -----------------------------------------------------------------------

await_budget

# BODY ARGUMENT...
batch() { call --config "$work/known" --header 'Content-Type: application/json' --data "$1" "${@:2}" "$GATEWAY_URL/predict/batch"; }

batch_in_order() {
  local sentences=('I love the ice cream' 'I am so sad and lonely today' 'what a boring day') alone=() together n
  for n in 0 1 2; do
    predict --data "{\"sentence\": \"${sentences[n]}\"}"
    expect_status 200
    alone+=("$("$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["prediction value"])' "$body")")
  done
  batch "{\"sentences\": [\"${sentences[0]}\", \"${sentences[1]}\", \"${sentences[2]}\"]}"
  expect_status 200
  together=$("$PYTHON" -c 'import json, sys; print(*[a["prediction value"] for a in json.load(open(sys.argv[1]))["predictions"]])' "$body")
  [ "$together" = "${alone[*]}" ] || fail "together: $together; one by one: ${alone[*]}"
}
holds 'a batch answers each sentence as alone, in order' batch_in_order
batch_v2() {
  # One batch a second.
  sleep 1
  batch '{"sentences": ["I love the ice cream"]}' --header 'X-Experiment-Group: debug'
  expect_status 200
  [ "$(header x-served-by)" = v2-1 ] || fail "X-Served-By: $(header x-served-by)"
}
holds 'a batch asks v2 by the same header' batch_v2
batch_unauthorized() {
  call --header 'Content-Type: application/json' --data '{"sentences": ["a"]}' "$GATEWAY_URL/predict/batch"
  expect_error 401
  [ -z "$(header x-served-by)" ] || fail 'a replica was asked'
}
holds 'a batch without a password: 401' batch_unauthorized
batch_refused() {
  # One batch a second.
  sleep 1
  batch "$2"
  expect_error "$1"
}
holds 'a batch of 65 sentences: 422' batch_refused 422 "{\"sentences\": [$(printf '"a",%.0s' {1..64})\"a\"]}"
holds 'a batch without a sentence: 422' batch_refused 422 '{"sentences": []}'
# Six at once, as many as the common budget takes; from one program, so on a slow machine as well.
batch_limited() {
  local codes
  await_budget
  # The batches' own budget is free again.
  sleep 2
  codes=$("${CURL[@]}" --parallel --cacert "$GATEWAY_CA" --config "$work/known" --header 'Content-Type: application/json' \
    --data '{"sentences": ["a"]}' --output /dev/null --write-out '%{http_code} ' "$GATEWAY_URL/predict/batch?[1-6]")
  # One more may have trickled in.
  [[ $(tr ' ' '\n' <<<"$codes" | sort | xargs) =~ ^200\ 200\ (200\ )?429\ 429\ 429(\ 429)?$ ]] || fail "six batches at once: $codes"
}
holds 'batches have a limit of their own: two at once, then 429' batch_limited
await_budget

documentation() { # PATH TYPE WORDS
  call "$GATEWAY_URL$1"
  expect_error 401
  call --config "$work/known" "$GATEWAY_URL$1"
  expect_status 200
  [[ $(header content-type) == "$2"* ]] || fail "Content-Type: $(header content-type)"
  grep -q "$3" "$body" || fail "no $3 in it"
}
holds 'the documentation asks for a password and comes' documentation /docs text/html swagger-ui-bundle.js
holds 'so does the document that it shows' documentation /openapi.json application/json predict/batch
await_budget
holds 'and its script' documentation /docs/swagger-ui-bundle.js text/javascript SwaggerUIBundle
foreign() {
  call --config "$work/known" "$GATEWAY_URL/docs"
  [[ $(header content-security-policy) == "default-src 'none'"* ]] || fail "$(header content-security-policy)"
  ! grep -E '(src|href)="(https?:)?//' "$body" || fail 'it names another host'
}
holds 'the documentation names no other host, and its policy lets none' foreign
await_budget

# ---- who -----------------------------------------------------------------------------------------

await_budget

unauthorized() {
  call --header 'Content-Type: application/json' --data "$SENTENCE" "$@" "$GATEWAY_URL/predict"
  expect_error 401
  [[ $(header www-authenticate) == 'Basic realm='* ]] || fail "WWW-Authenticate: $(header www-authenticate)"
  [ -z "$(header x-served-by)" ] || fail 'a replica was asked'
}
holds 'no credentials: 401 JSON with WWW-Authenticate' unauthorized
holds 'wrong password: 401' unauthorized --config "$work/wrong_password"
holds 'wrong user: 401' unauthorized --config "$work/wrong_user"
holds 'empty password: 401' unauthorized --user "$API_USER:"
holds 'empty user and password: 401' unauthorized --user ':'
holds 'a user with a line break and a colon: 401' unauthorized --header "Authorization: Basic $(printf '%s\n%s:x' "$API_USER" "$API_USER" | base64 -w0)"
holds 'malformed Basic credentials: 401' unauthorized --header 'Authorization: Basic !!!not-base64!!!'
holds 'Basic without a colon: 401' unauthorized --header "Authorization: Basic $(printf %s "$API_USER" | base64)"
holds 'Bearer instead of Basic: 401' unauthorized --header 'Authorization: Bearer abc'
holds 'credentials in another header: 401' unauthorized --header 'Proxy-Authorization: Basic YTpi' --header "X-Remote-User: $API_USER" --header "X-Forwarded-User: $API_USER"
unauthorized_v2() { unauthorized --header 'X-Experiment-Group: debug'; }
holds 'v2 asks for a password too: 401' unauthorized_v2

# ---- how much ------------------------------------------------------------------------------------

paced() {
  local n
  for ((n = 0; n < 20; n++)); do
    call --head "$GATEWAY_URL/predict"
    [ "$status" = 401 ] || fail "request $n of 20, a ninth of a second after the one before: $status"
  done
}
holds "requests at just under $RATE a second pass" paced

limited() {
  local wanted=$1
  shift
  at_once 30 "$@"
  expect_limited 30 "$wanted"
}
await_budget
holds "30 requests at once: one, a burst of $BURST and what refills pass; the rest 429 JSON with Retry-After" limited 200 known
# The pause is what is tested.
after_pause() { sleep 1; predict --data "$SENTENCE"; expect_v1; }
holds 'after a pause of a second 200 again' after_pause
await_budget
holds 'wrong passwords are limited as well: 401, then 429' limited 401 wrong_password
await_budget
holds 'requests without a password are limited as well' limited 401 none
await_budget
holds 'a made-up X-Forwarded-For buys no second budget' limited 200 known 'X-Forwarded-For: 10.0.0.'
await_budget
holds 'guesses and requests for v2 draw on one budget' limited '(200|401)' mixed
await_budget

# ---- plain HTTP and foreign hosts ----------------------------------------------------------------

redirect() {
  local wanted=$1
  shift
  call "$@" "$HTTP_URL/some/path?a=1%20b"
  expect_status "$wanted"
  [ "$(header location)" = "$GATEWAY_URL/some/path?a=1%20b" ] || fail "Location: $(header location)"
  [ -z "$(header x-served-by)" ] || fail 'it was proxied'
}
holds 'plain HTTP: GET is 301 to the same address on https' redirect 301
holds 'plain HTTP: HEAD is 301' redirect 301 --head
for method in POST PUT PATCH DELETE; do
  holds "plain HTTP: $method is 308, which keeps method and body" redirect 308 --request "$method" --data x
done
redirect_predict() {
  call --config "$work/known" --header 'Content-Type: application/json' --data "$SENTENCE" "$HTTP_URL/predict"
  expect_status 308
  ! grep -q prediction "$body" || fail "it was answered: $(cat "$body")"
}
holds 'plain HTTP: a prediction is not answered, password or not' redirect_predict

not_reflected() {
  call "$@"
  ! grep -qi 'evil' "$head" "$body" || fail "reflected: $(grep -i evil "$head" "$body")"
  case $status in
    30[18]) [[ $(header location) == "$GATEWAY_URL/"* ]] || fail "Location: $(header location)" ;;
    4??) expect_error "$status" ;;
    *) fail "status $status" ;;
  esac
}
for host in evil.example evil.example:80 "$HOST.evil.example" "evil.example@$HOST" 'evil"><b>'; do
  holds "plain HTTP: the foreign host '$host' is not reflected" not_reflected --header "Host: $host" "$HTTP_URL/x"
done
holds 'plain HTTP: X-Forwarded-Host is not reflected' not_reflected --header 'X-Forwarded-Host: evil.example' --header 'Forwarded: host=evil.example' "$HTTP_URL/x"
no_new_header() {
  call "$HTTP_URL/x%0d%0aX-Evil:%201"
  [ -z "$(header x-evil)" ] || fail 'an encoded line break became a header'
  expect_status 301
}
holds 'plain HTTP: an encoded line break makes no header' no_new_header

misdirected() {
  call --config "$work/known" --header 'Content-Type: application/json' --data "$SENTENCE" --header 'Host: evil.example' "$GATEWAY_URL$1"
  expect_error 421
}
holds 'a foreign host over HTTPS: 421 JSON' misdirected /
holds 'a foreign host over HTTPS gets no prediction' misdirected /predict

# ---- errors --------------------------------------------------------------------------------------

error_at() {
  local wanted=$1
  shift
  call "$@"
  expect_error "$wanted"
}
holds 'an unknown path: 404 JSON' error_at 404 "$GATEWAY_URL/nothing"
holds 'the status page without a password: 401 JSON' error_at 401 "$GATEWAY_URL/"
for path in /predict/ /predict/v2 /v1/predict /v2/predict /Predict //predict/.; do
  holds "$path is no second way in: 404" error_at 404 --path-as-is --config "$work/known" --header 'Content-Type: application/json' --data "$SENTENCE" "$GATEWAY_URL$path"
done
for method in GET PUT DELETE PATCH OPTIONS; do
  holds "$method /predict: 405 JSON" error_at 405 --config "$work/known" --request "$method" "$GATEWAY_URL/predict"
done

# STATUS CURL ARGUMENTS...: a body that must be refused.
refused() {
  local wanted=$1
  shift
  predict "$@"
  expect_error "$wanted"
}
printf '{"sentence": "%s \xff\xfe"}' "$MARKER" >"$work/not_utf8"
{ printf '{"sentence": "%s' "$MARKER"; head -c 1000000 /dev/zero | tr '\0' a; printf '"}'; } >"$work/megabyte"
{ printf '{"sentence": "%s' "$MARKER"; head -c 5000 /dev/zero | tr '\0' a; printf '"}'; } >"$work/too_long"
{ head -c 20000 /dev/zero | tr '\0' '['; } >"$work/deep"
printf '{"sentence": "%s"}' "$MARKER" | gzip >"$work/packed"
holds 'broken JSON: 400' refused 400 --data "{\"sentence\": \"$MARKER"
holds 'no body: 400' refused 400 --request POST
holds 'a body that is not UTF-8: 400' refused 400 --data-binary "@$work/not_utf8"
holds 'JSON nested 20,000 deep: 400' refused 400 --data-binary "@$work/deep"
holds 'NaN for a sentence: 422' refused 422 --data '{"sentence": NaN}'
holds 'an empty sentence: 422' refused 422 --data '{"sentence": ""}'
holds 'a blank sentence: 422' refused 422 --data '{"sentence": " \t\n "}'
for value in 7 1.5 null true '["quagga7"]' '{"a": "quagga7"}'; do
  holds "the wrong type $value for a sentence: 422" refused 422 --data "{\"sentence\": $value}"
done
holds 'a list instead of an object: 422' refused 422 --data "[\"$MARKER\"]"
holds 'no sentence: 422' refused 422 --data '{}'
holds 'an extra field: 422' refused 422 --data "{\"sentence\": \"x\", \"$MARKER\": \"$MARKER\"}"
holds 'a sentence over 5,000 characters: 422' refused 422 --data-binary "@$work/too_long"
holds 'a body of 1 MB: 413' refused 413 --data-binary "@$work/megabyte"
holds 'a chunked body of 1 MB: 413' refused 413 --http1.1 --header 'Transfer-Encoding: chunked' --data-binary "@$work/megabyte"
wrong_kind() {
  call --config "$work/known" --header "Content-Type: $1" --data "{\"sentence\": \"$MARKER\"}" "$GATEWAY_URL/predict"
  expect_error 415
}
holds 'a body sent as a form: 415' wrong_kind application/x-www-form-urlencoded
holds 'a body sent as text: 415' wrong_kind text/plain
holds 'a compressed body: 415' refused 415 --header 'Content-Encoding: gzip' --data-binary "@$work/packed"

# STATUS REQUEST: bytes no ordinary client sends; printf's escapes count.
raw_is() {
  raw < <(printf '%b' "$2")
  expect_error "$1"
}
at="Host: $HOST\r\nConnection: close\r\n\r\n"
long=$(head -c 9000 /dev/zero | tr '\0' a)
holds 'a request line of garbage: 400 JSON' raw_is 400 'GARBAGE\r\n\r\n'
holds 'bytes that are no HTTP: 400 JSON' raw_is 400 '\x01\x02\x03quagga7\r\n\r\n'
holds 'a bad percent escape: 400 JSON' raw_is 400 "GET /%zz HTTP/1.1\r\n$at"
holds 'a zero byte in the path: 400 JSON' raw_is 400 "GET /%00 HTTP/1.1\r\n$at"
holds '/../..: 400 JSON' raw_is 400 "GET /../.. HTTP/1.1\r\n$at"
holds 'CONNECT: 400 JSON' raw_is 400 "CONNECT $HOST:443 HTTP/1.1\r\n$at"
holds 'TRACE: 405 JSON' raw_is 405 "TRACE / HTTP/1.1\r\n$at"
holds 'no Host: 400 JSON' raw_is 400 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n'
holds 'two Hosts: 400 JSON' raw_is 400 "GET / HTTP/1.1\r\nHost: evil.example\r\n$at"
holds 'a bad Content-Length: 400 JSON' raw_is 400 "POST /predict HTTP/1.1\r\nContent-Length: x\r\n$at"
holds 'Content-Length beside Transfer-Encoding: 400 JSON' raw_is 400 "POST /predict HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n${at}0\r\n\r\n"
holds 'an unknown transfer coding: 501 JSON' raw_is 501 "POST /predict HTTP/1.1\r\nTransfer-Encoding: odd\r\n$at"
holds 'an unknown HTTP version: 505 JSON' raw_is 505 "GET / HTTP/9.9\r\n$at"
holds 'an address of 9,000 bytes: 414 JSON' raw_is 414 "GET /$long HTTP/1.1\r\n$at"
holds 'a header of 9,000 bytes: 4xx JSON' raw_is 400 "GET / HTTP/1.1\r\nX-Long: $long\r\n$at"
holds '/../.. by curl: 400 JSON' error_at 400 --http1.1 --path-as-is "$GATEWAY_URL/../.."
plain_to_tls() { call "http://$HOST:$PORT/"; expect_error "$1"; }
holds 'plain HTTP to the TLS port: 400 JSON' plain_to_tls 400

# ---- not for the outside -------------------------------------------------------------------------

hidden() {
  call "$GATEWAY_URL$1"
  expect_error 404
  call --config "$work/known" "$GATEWAY_URL$1"
  expect_error 404
  [ -z "$(header x-served-by)" ] || fail 'a replica was asked'
}
for path in /metrics /livez /readyz /redoc /nginx_status /version /healthz /_error /predict/../metrics; do
  holds "$path is not reachable through the gateway, password or not" hidden "$path"
done

# ---- monitoring ----------------------------------------------------------------------------------

loopback_url() { [[ $1 =~ ^http://127\.0\.0\.1:[0-9]+/?$ ]] || fail "$1"; }
holds 'PROMETHEUS_URL is on loopback' loopback_url "$PROMETHEUS_URL"

# COMMAND...: where the machine's loopback is within reach.
near() {
  [ -z "$elsewhere" ] || skip "$elsewhere"
  "$@"
}

# URL EXPRESSION: what it answers, held against an expression over the JSON.
api_answers() {
  body=$work/body
  status=$("${CURL[@]}" --output "$body" --write-out '%{http_code}' "${@:3}" "$1") || fail 'no answer'
  expect_status 200
  expect_json "$2"
}
prometheus_ready() { "${CURL[@]}" --fail --output /dev/null "$PROMETHEUS_URL/-/ready"; }
holds 'Prometheus is ready' near prometheus_ready
# A target that did not answer in time on a busy machine is not down: all are up at one of four looks, a scrape apart.
targets_are_up() {
  local look=(api_answers "$PROMETHEUS_URL/api/v1/targets?state=active" "[t['health'] for t in a['data']['activeTargets'] if t['labels']['job'] != 'alertmanager'] == ['up'] * $TARGETS")
  for _ in 1 2 3; do
    ! ("${look[@]}") >/dev/null 2>&1 || return 0
    # The next scrape.
    sleep 15
  done
  "${look[@]}"
}
holds "Prometheus has $TARGETS targets, all of them up" near targets_are_up
holds 'Prometheus scrapes each of the four replicas by itself' near api_answers "$PROMETHEUS_URL/api/v1/query?query=up%7Bjob%3D%22api%22%7D" \
  "sorted(s['metric']['replica'] for s in a['data']['result']) == ['v1-1', 'v1-2', 'v1-3', 'v2-1']"
holds 'Prometheus scrapes every 15 seconds, every job' near api_answers "$PROMETHEUS_URL/api/v1/status/config" \
  "set(re.findall(r'scrape_interval: (\S+)', a['data']['yaml'])) == {'15s'}"
counted() {
  api_answers "$PROMETHEUS_URL/api/v1/query?query=sum(api_predictions_total)" "float(a['data']['result'][0]['value'][1]) > 0"
}
holds 'Prometheus knows predictions of the replicas' near counted
holds 'Prometheus knows connections of the gateway' near api_answers "$PROMETHEUS_URL/api/v1/query?query=max(nginx_up)" \
  "[s['value'][1] for s in a['data']['result']] == ['1']"

# URL: its port answers at 127.0.0.1 and at no other address of the machine or of the gateway.
loopback_only() {
  local port=${1##*:} address others
  port=${port%%/*}
  others=$( { hostname -I 2>/dev/null | tr ' ' '\n'; getent ahostsv4 "$ADDRESS" | awk '{print $1}'; } | grep -vE '^127\.|:|^$' | sort -u)
  [ -n "$others" ] || skip 'this machine has no address but loopback'
  timeout 3 bash -c ": </dev/tcp/127.0.0.1/$port" || fail "nothing at 127.0.0.1:$port"
  for address in $others; do
    ! timeout 3 bash -c ": </dev/tcp/$address/$port" 2>/dev/null || fail "it answers at $address:$port"
  done
}
holds 'Prometheus answers on loopback only' near loopback_only "$PROMETHEUS_URL"

if [ -z "$GRAFANA_URL" ]; then
  explained() { [[ $LEFT_OUT == *Grafana*\(*\)* ]] || fail "LEFT_OUT='$LEFT_OUT'"; }
  holds 'Grafana does not run, and LEFT_OUT says why' explained
  for name in 'Grafana is healthy' 'Grafana asks for a password' 'Grafana accepts GRAFANA_USER and GRAFANA_PASSWORD as an administrator' \
    'Grafana has Prometheus as a data source that answers' 'Grafana has the dashboards' 'Grafana answers on loopback only'; do
    holds "$name" skip "${LEFT_OUT:-it does not run}"
  done
else
  holds 'GRAFANA_URL is on loopback' loopback_url "$GRAFANA_URL"
  holds 'Grafana is healthy' near api_answers "$GRAFANA_URL/api/health" "a['database'] == 'ok'"
  grafana_asks() {
    local arguments
    for arguments in '' "--config $work/grafana_wrong"; do
      # shellcheck disable=SC2086 # two words or none
      status=$("${CURL[@]}" $arguments --output "$work/body" --write-out '%{http_code}' "$GRAFANA_URL/api/datasources")
      body=$work/body
      expect_status 401
    done
  }
  holds 'Grafana asks for a password' near grafana_asks
  # After the wrong one: Grafana blocks a name after five of them, and a right one begins the count again.
  holds 'Grafana accepts GRAFANA_USER and GRAFANA_PASSWORD as an administrator' near api_answers "$GRAFANA_URL/api/user" \
    "a['login'] == '${GRAFANA_USER,,}' and a['isGrafanaAdmin']" --config "$work/grafana"
  # Beside ours there may be more, of the people who use it.
  grafana_datasource() {
    local uid=prometheus
    api_answers "$GRAFANA_URL/api/datasources" "[d['type'] for d in a if d['uid'] == '$uid'] == ['prometheus']" --config "$work/grafana"
    api_answers "$GRAFANA_URL/api/datasources/uid/$uid/health" "a['status'] == 'OK'" --config "$work/grafana"
  }
  holds 'Grafana has Prometheus as a data source that answers' near grafana_datasource
  # A file is named after the uid in it.
  ours=$(printf '%s\n' roles/monitoring/files/dashboards/*.json | sed -E "s|.*/(.*)\.json|'\1',|")
  holds 'Grafana has the dashboards' near api_answers "$GRAFANA_URL/api/search?type=dash-db" \
    "{${ours//$'\n'/ }} <= {d['uid'] for d in a}" --config "$work/grafana"
  holds 'Grafana answers on loopback only' near loopback_only "$GRAFANA_URL"
fi

# ---- what held for every answer above ------------------------------------------------------------

every_answer() {
  local count
  count=$(find "$work/heads" -type f -size +0 | wc -l)
  [ "$count" -gt 100 ] || fail "only $count answers"
  "$1"
}
ids_on_all() {
  local missing
  missing=$(find "$work/heads" -type f -size +0 ! -exec grep -qiE '^x-request-id: [0-9a-f]{32}' {} \; -exec head -n 1 {} \; | tr -d '\r' | sort | uniq -c)
  [ -z "$missing" ] || fail "not on: $missing"
}
ids_differ() {
  local twice
  twice=$(grep -rhi '^x-request-id:' "$work/heads" | tr -d '\r' | tr '[:upper:]' '[:lower:]' | sort | uniq -d)
  [ -z "$twice" ] || fail "$twice"
}
id_once() {
  local file
  for file in "$work"/heads/*; do
    [ "$(grep -ci '^x-request-id:' "$file")" -le 1 ] || fail "twice in one answer: $(cat "$file")"
  done
}
server_header() {
  local seen
  seen=$(grep -rhi '^server:' "$work/heads" | tr -d '\r' | sed 's/^[^:]*: *//' | sort -u)
  [ "$seen" = nginx ] || fail "$seen"
}
no_giveaways() { ! grep -rhiE '^(via|x-powered-by|x-aspnet[^:]*):|uvicorn|python|fastapi' "$work/heads" || fail ' (found)'; }
no_500() { ! grep -rhE '^HTTP/[0-9.]+ 50[0234]' "$work/heads" || fail ' (found)'; }
holds 'every answer of this run carries an X-Request-ID (200, 301, 308, 401, 404, 413, 421, 422, 429 …)' every_answer ids_on_all
holds 'no two answers have the same X-Request-ID' every_answer ids_differ
holds 'no answer carries it twice' every_answer id_once
holds "the Server header is 'nginx' without a version, never uvicorn" every_answer server_header
holds 'no header tells what the API is made of' every_answer no_giveaways
holds 'no answer of this run was a 500, 502, 503 or 504' every_answer no_500

finish
