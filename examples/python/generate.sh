#!/usr/bin/env bash
# Generates the client code from the protocol into gen/. Run it again when proto/ changed.
#
#   ./generate.sh                             with python3
#   PYTHON=.venv/bin/python ./generate.sh     with another Python
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
rm -rf gen
mkdir gen
# No code is generated for google.rpc and google.api: the package googleapis-common-protos contains it.
"${PYTHON:-python3}" -m grpc_tools.protoc -I ../../proto --python_out=gen --grpc_python_out=gen \
  invitation/v1/{directory,error,invitation}.proto
