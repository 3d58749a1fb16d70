#!/usr/bin/env bash
# Generates Python code from the protocol into .data/examples/python, and makes the ten calls against a service. Needs
# python3 with its module venv (Debian: python3-venv); fetches the rest from PyPI.
#
#   examples/python/run.sh ADDRESS TOKEN    for example 127.0.0.1:50051 "$(<.data/demo.token)"
#   examples/python/run.sh                  only generates and checks the syntax
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=examples/lib.sh
source examples/lib.sh

python3 -c 'import ensurepip, venv' 2>/dev/null || scripts/install-packages python3-venv

out=$PWD/.data/examples/python
if ! cmp --silent examples/python/requirements.txt "$out/requirements.txt"; then
  rm -rf "$out"
  python3 -m venv "$out/venv"
  "$out/venv/bin/pip" --quiet --disable-pip-version-check install -r examples/python/requirements.txt
  cp examples/python/requirements.txt "$out"
fi
PYTHON=$out/venv/bin/python examples/python/generate.sh "$out/gen"
for program in examples/python/*.py; do
  "$out/venv/bin/python" -c 'import ast, sys; ast.parse(open(sys.argv[1], encoding="utf-8").read())' "$program"
done
PYTHONPATH=$out/gen run_ten_calls "$out/venv/bin/python" examples/python/ten_calls.py -- "$@"
