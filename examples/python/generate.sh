#!/usr/bin/env bash
# Generates the client code from the protocol into gen/, which git ignores. Run it again after proto/ changed.
#
#   ./generate.sh          PYTHON=.venv/bin/python ./generate.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
rm -rf gen
mkdir gen
# google.rpc and google.api are compiled from ../../proto/google, and imported from googleapis-common-protos at run time.
"${PYTHON:-python3}" -m grpc_tools.protoc -I ../../proto --python_out=gen --grpc_python_out=gen \
  invitation/v1/{directory,error,invitation}.proto
