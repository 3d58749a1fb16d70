#!/usr/bin/env bash
# Generates the client code from the protocol, into gen/ or the given folder. Run it again when proto/ changed.
#
#   ./generate.sh [FOLDER]                    with python3
#   PYTHON=.venv/bin/python ./generate.sh     with another Python
set -euo pipefail
folder=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/gen}")
cd "$(dirname "${BASH_SOURCE[0]}")/../../proto"
rm -rf "$folder"
mkdir -p "$folder"
# No code is generated for google.rpc and google.api: the package googleapis-common-protos contains it.
"${PYTHON:-python3}" -m grpc_tools.protoc -I . --python_out="$folder" --grpc_python_out="$folder" invitation/v1/*.proto
