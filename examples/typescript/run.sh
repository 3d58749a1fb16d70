#!/usr/bin/env bash
# Generates TypeScript code from the protocol into .data/examples/typescript, builds the ten calls with protobuf-es and with
# ts-proto, and makes them against a service. Needs Node.js 20 with npm; fetches the rest from npm.
#
#   examples/typescript/run.sh ADDRESS TOKEN    for example 127.0.0.1:50051 "$(<.data/demo.token)"
#   examples/typescript/run.sh                  only builds
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=examples/lib.sh
source examples/lib.sh

version=$(node --version 2>/dev/null | sed -E 's/^v([0-9]+).*/\1/') || true
if [[ ${version:-0} -lt 20 ]] || ! command -v npm >/dev/null; then
  echo "run.sh: Node.js 20 or later, or npm, is missing; install them from https://nodejs.org and try again" >&2
  exit 1
fi

out=$PWD/.data/examples/typescript
mkdir -p "$out"
rm -rf "$out/gen" "$out/dist"
cp examples/typescript/{package.json,package-lock.json,tsconfig.json,buf.gen.yaml,*.ts} "$out"
(
  cd "$out"
  npm ci --silent --no-audit --no-fund
  npx buf generate ../../../proto
  npx tsc
  npx esbuild connect.ts grpc_js.ts --bundle --platform=node --outdir=dist --log-level=warning
)
run_ten_calls node "$out/dist/connect.js" -- "$@"
run_ten_calls node "$out/dist/grpc_js.js" -- "$@"
