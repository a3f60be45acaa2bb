#!/usr/bin/env bash
# The tour of `make demo`: a mesh of its own on free ports, one real model asked by gRPC, the same again from the
# cache and by REST, the trace of a request, what all of it costs, and down again. Ends 0 when every step did.
#   HEADRACE   the headrace command (default: headrace)
set -euo pipefail

headrace=${HEADRACE:-headrace}
text="water turns the turbine"
# Not below the working directory: a socket's path has room for 107 bytes.
state=$(mktemp -d "${TMPDIR:-/tmp}/headrace-demo.XXXXXX")

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '\n%s\n' "$*"; }

finish() {
  status=$?
  "$headrace" down --state-dir "$state" >/dev/null 2>&1 || status=1
  rm -rf "$state"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

command -v curl >/dev/null || { echo "make demo shows REST with curl, and there is none: install curl" >&2; exit 1; }

say "A mesh on free ports: Envoy, an inference replica, cache, guard, metering, insight and their supervisor"
"$headrace" up --detach --port 0 --state-dir "$state"
gateway=$("$headrace" status --json --state-dir "$state" |
  "$(dirname "$headrace")/python" -c 'import json, sys; print(json.load(sys.stdin)["gateway"])')

say "An embedding by gRPC: headrace infer minilm --text \"$text\""
"$headrace" infer minilm --text "$text" --state-dir "$state"

say "Where its time went: headrace trace last"
"$headrace" trace last --state-dir "$state"

say "The same again: no model runs, and only the call and its bytes are paid"
"$headrace" infer minilm --text "$text" --state-dir "$state"

say "The same by REST: curl http://$gateway/v2/models/minilm/infer"
curl --silent --show-error --fail-with-body --include "http://$gateway/v2/models/minilm/infer" \
  -H "authorization: Bearer $(cat "$state/demo.token")" \
  -H "content-type: application/json" \
  -d "{\"inputs\": [{\"name\": \"text\", \"datatype\": \"BYTES\", \"shape\": [1], \"data\": [\"$text\"]}]}" |
  grep -iE '^(HTTP|headrace-)|^\{' | cut -c 1-160

say "What each tenant pays: headrace cost"
"$headrace" cost --state-dir "$state"

say "What each tenant may do: headrace limits"
"$headrace" limits --state-dir "$state"

say "And down again"
