#!/usr/bin/env bash
# Has public checkers judge the running gateway's TLS: sslyze against Mozilla's "intermediate", and
# testssl.sh with its grade. One PASS or FAIL line each, and 'N passed, N failed' at the end. Read-only
# apart from its own handshakes; about two minutes.
#
# Needs docker, openssl and python3, on the machine of the stack. testssl.sh is Debian 13's, installed
# in a container of the stack's base image that is gone afterwards. Takes GATEWAY_URL and GATEWAY_CA
# from the environment; what is unset comes from `make -s env`. BASE_IMAGE is STACK_NAME-base:trixie.
# The wanted grade is A+ where HSTS is sent and A where it is not; GRADE=A+ insists.
# shellcheck disable=SC2317,SC2329 # checks are called by name, through holds()
set -uo pipefail
CDPATH='' cd "$(dirname "$0")/.." || exit 2

readonly SSLYZE=.cache/check-tls/bin/sslyze
base_image=${BASE_IMAGE:-${STACK_NAME:-emotions}-base:trixie}
work=$(mktemp -d)
container=''
trap '[ -z "$container" ] || docker rm --force "$container" >/dev/null; rm -rf "$work"' EXIT
passed=0 failed=0

# What testssl.sh says above INFO and is right about, with the reason; everything else fails.
# ID SEVERITY: as in its JSON.
declare -A expected=(
  ['engine_problem WARN']="about testssl.sh's own openssl, which has no engine for GOST ciphers"
  ['cert_revocation HIGH']='the private CA has no server for revocation: a leaked key is answered by a new CA'
)
readonly HSTS_LOW='off as shipped: a browser would remember it for the whole name, for every other port of it too'

# ---- results -------------------------------------------------------------------------------------

# NAME COMMAND...: the command says by its exit code whether NAME holds, and prints why not.
holds() {
  local name=$1 why
  shift
  if why=$("$@" 2>&1); then
    passed=$((passed + 1)); printf 'PASS %s\n' "$name"
  else
    failed=$((failed + 1)); printf 'FAIL %s: %s\n' "$name" "$(tr '\n' ' ' <<<"${why:0:800}")"
  fi
}

die() { printf 'check_tls.sh: %s\n' "$*" >&2; exit 2; }

# ---- where ---------------------------------------------------------------------------------------

[ "${INVENTORY:-inventory/localhost.yml}" = inventory/localhost.yml ] ||
  die 'the stack runs on another machine: run make check-tls there'
for tool in docker openssl python3; do
  command -v "$tool" >/dev/null || die "no $tool on this machine"
done
if [ -z "${GATEWAY_URL:-}" ] || [ -z "${GATEWAY_CA:-}" ]; then
  lines=$(env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make -s env) || die 'make -s env failed; is the stack up?'
  # In a shell of its own, so that an odd line cannot change this one.
  printed() { env -i PATH="$PATH" bash -c 'eval "$1"; printf %s "${!2-}"' - "$lines" "$1"; }
  [ -n "${GATEWAY_URL:-}" ] || GATEWAY_ADDRESS=$(printed GATEWAY_ADDRESS)
  : "${GATEWAY_URL:=$(printed GATEWAY_URL)}" "${GATEWAY_CA:=$(printed GATEWAY_CA)}"
fi
[ -r "$GATEWAY_CA" ] || die "GATEWAY_CA='$GATEWAY_CA' is no readable file"
authority=${GATEWAY_URL#https://}
authority=${authority%%/*}
host=${authority%:*} port=443
[[ $authority =~ :([0-9]+)$ ]] && port=${BASH_REMATCH[1]}
# The checkers get one address; a proxy of the environment has no part in it.
case $host in
  localhost) readonly ADDRESS=127.0.0.1 ;;
  *) readonly ADDRESS=${GATEWAY_ADDRESS:-$host} ;;
esac
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

[ -x "$SSLYZE" ] || die "sslyze is not installed: make check-tls does it"
docker image inspect "$base_image" >/dev/null 2>&1 ||
  die "no image $base_image: make start-project makes it, or name one of Debian 13 by BASE_IMAGE="

# ---- sslyze --------------------------------------------------------------------------------------

# Its verdict looks for a chain to any of its stores or to the CA given here, so a private CA costs
# nothing: no finding is expected.
intermediate() {
  "$SSLYZE" --mozilla_config=intermediate --certinfo_ca_file="$GATEWAY_CA" --sni="$host" \
    "$ADDRESS:$port" >"$work/sslyze" 2>"$work/sslyze_errors" && grep -q 'OK - Compliant' "$work/sslyze" && return
  sed -n '/^ COMPLIANCE/,$p' "$work/sslyze"
  [ -s "$work/sslyze" ] || tail -n 3 "$work/sslyze_errors"
  return 1
}
holds "sslyze: Mozilla's intermediate" intermediate

# ---- testssl.sh ----------------------------------------------------------------------------------

mounts=(--volume "$(realpath "$GATEWAY_CA"):/ca.crt:ro") apt=(apt-get -qq)
if [ -n "${SSL_CERT_FILE:-}" ]; then # for package mirrors behind a proxy that opens TLS
  mounts+=(--volume "$(realpath "$SSL_CERT_FILE"):/bundle.crt:ro")
  apt+=(--option Acquire::https::CAInfo=/bundle.crt)
fi
container=$(docker run --detach --rm --network host "${mounts[@]}" "$base_image" sleep 1800) ||
  die "no container of $base_image"
inside() { docker exec --env DEBIAN_FRONTEND=noninteractive "$container" nice -n 19 "$@"; }
{ inside "${apt[@]}" update && inside "${apt[@]}" install --yes --no-install-recommends testssl.sh; } >"$work/apt" 2>&1 ||
  die "testssl.sh could not be installed in the container: $(tail -n 3 "$work/apt")"

inside testssl --quiet --color 0 --warnings off --nodns none --ip "$ADDRESS" --add-ca /ca.crt \
  --jsonfile /tmp/found.json "https://$host:$port" >"$work/testssl" 2>&1
inside cat /tmp/found.json >"$work/found.json" || die "testssl.sh found nothing: $(tail -n 5 "$work/testssl")"

# EXPRESSION: over `found`, its findings by id; prints what it is when it is false.
finding() {
  python3 -I - "$work/found.json" "$1" <<'PYTHON'
import json, sys

found = {f["id"]: f for f in json.load(open(sys.argv[1], encoding="utf-8"))}
if not eval(sys.argv[2]):
    sys.exit(f"not so: {sys.argv[2]}")
PYTHON
}

hsts=''
if finding '"HSTS_time" in found' 2>/dev/null; then hsts=on; fi
grade=${GRADE:-A${hsts:++}}
[ "$grade" = A+ ] || expected['HSTS LOW']=$HSTS_LOW

# Enough of it ran: a scan that was cut short has few findings, and none is bad.
complete() {
  finding 'len(found) > 100 and "overall_grade" in found and "cert_chain_of_trust" in found' && return
  tail -n 5 "$work/testssl"
  return 1
}
holds 'testssl.sh: the scan is complete' complete

unexpected() {
  local id severity text bad=''
  while IFS=$'\t' read -r id severity text; do
    if [ -n "${expected["$id $severity"]-}" ]; then
      printf '     expected: %s, %s (%s): %s\n' "$id" "$severity" "$text" "${expected["$id $severity"]}" >>"$work/expected"
    else
      bad+="$id $severity: $text; "
    fi
  done < <(python3 -I -c '
import json, sys
for f in json.load(open(sys.argv[1], encoding="utf-8")):
    if f["severity"] not in ("OK", "INFO"):
        print(f["id"], f["severity"], f["finding"], sep="\t")' "$work/found.json")
  [ -z "$bad" ] || { printf '%s' "$bad"; return 1; }
}
holds 'testssl.sh: no finding but the expected ones' unexpected
[ ! -s "$work/expected" ] || cat "$work/expected"
holds 'testssl.sh: the chain ends at the CA of the stack' finding 'found["cert_chain_of_trust"]["severity"] == "OK"'
holds "testssl.sh: grade $grade${hsts:+, with HSTS}" finding "found['overall_grade']['finding'] == '$grade'"
holds 'testssl.sh: the hybrid key exchange X25519MLKEM768 is offered' finding '"X25519MLKEM768" in found["FS_KEMs"]["finding"]'

# ---- openssl 3.5 ---------------------------------------------------------------------------------

hybrid() {
  local seen
  seen=$(inside openssl s_client -connect "$ADDRESS:$port" -servername "$host" -CAfile /ca.crt \
    -verify_return_error -groups X25519MLKEM768 </dev/null 2>&1)
  grep -qE 'Negotiated TLS1.3 group: X25519MLKEM768' <<<"$seen" || { head -c 400 <<<"$seen"; return 1; }
}
holds 'openssl 3.5: a client that offers nothing but X25519MLKEM768 gets it' hybrid

printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
