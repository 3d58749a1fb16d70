#!/usr/bin/env bash
# Generates Java code from the protocol into .data/examples/java, builds the ten calls, and makes them against a service.
# Installs the compilers and libraries from Debian if they are missing.
#
#   examples/java/run.sh ADDRESS TOKEN    for example 127.0.0.1:50051 "$(<.data/demo.token)"
#   examples/java/run.sh                  only builds
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=examples/lib.sh
source examples/lib.sh

need javac default-jdk-headless
need protoc protobuf-compiler
need grpc_java_plugin protobuf-compiler-grpc-java-plugin

libraries='' missing=''
for library in protobuf grpc-{api,context,core,netty,protobuf,protobuf-lite,stub} guava perfmark-api \
  netty-{buffer,codec,codec-http,codec-http2,codec-socks,common,handler,handler-proxy,resolver,transport} \
  geronimo-annotation-1.3-spec; do
  libraries+=/usr/share/java/$library.jar:
  [[ -e /usr/share/java/$library.jar ]] || missing=yes
done
[[ -z $missing ]] || scripts/install-packages libprotobuf-java libgrpc-java libguava-java libperfmark-java libnetty-java \
  libgeronimo-annotation-1.3-spec-java

out=$PWD/.data/examples/java
rm -rf "$out"
mkdir -p "$out/src" "$out/classes"
# The classes of google.rpc and google.api are generated too, from the project's copies of these files.
protoc -I proto --java_out="$out/src" --plugin=protoc-gen-grpc-java="$(command -v grpc_java_plugin)" \
  --grpc-java_out="$out/src" proto/invitation/v1/*.proto proto/google/*/*.proto
find "$out/src" -name '*.java' >"$out/sources"
javac -nowarn -classpath "$libraries" -d "$out/classes" "@$out/sources" examples/java/TenCalls.java
run_ten_calls java -classpath "$out/classes:$libraries" TenCalls -- "$@"
