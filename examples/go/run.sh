#!/usr/bin/env bash
# Generates Go code from the protocol into .data/examples/go, builds the ten calls, and makes them against a service.
# Installs the compilers and libraries from Debian if they are missing.
#
#   examples/go/run.sh ADDRESS TOKEN    for example 127.0.0.1:50051 "$(<.data/demo.token)"
#   examples/go/run.sh                  only builds
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=examples/lib.sh
source examples/lib.sh

need go golang-go
need protoc protobuf-compiler
need protoc-gen-go protoc-gen-go
need protoc-gen-go-grpc protoc-gen-go-grpc
libraries=/usr/share/gocode/src
# The last one is the sign of version 1.5: version 1.3, which Debian installs with gRPC by default, fails at run time.
[[ -d $libraries/google.golang.org/grpc && -e $libraries/github.com/golang/protobuf/proto/registry.go ]] ||
  scripts/install-packages golang-google-grpc-dev golang-google-genproto-dev golang-github-golang-protobuf-1-5-dev

out=$PWD/.data/examples/go
rm -rf "$out/src"
mkdir -p "$out/src"
protoc -I proto --go_out="$out/src" --go-grpc_out="$out/src" proto/invitation/v1/*.proto
# Debian's libraries are a GOPATH and not modules.
GO111MODULE=off GOPATH=$out:/usr/share/gocode go build -o "$out/ten_calls" examples/go/main.go
run_ten_calls "$out/ten_calls" -- "$@"
