# shellcheck shell=bash
# Functions of the scripts that run the examples. A script sources this file from the project's folder.

# Installs a Debian package if a program is missing.
#
#   need PROGRAM PACKAGE
need() {
  command -v "$1" >/dev/null || scripts/install-packages "$2"
}

# Runs a program against a service and compares its output with examples/ten-calls.txt. Without an address, it only says
# that the program was built.
#
#   run_ten_calls PROGRAM [ARGUMENT...] -- [ADDRESS TOKEN]
run_ten_calls() {
  local program=() output
  while [[ $1 != -- ]]; do
    program+=("$1")
    shift
  done
  shift
  if [[ $# -eq 0 ]]; then
    echo "built"
    return
  fi
  if [[ $# -ne 2 ]]; then
    echo "usage: $0 [ADDRESS TOKEN]" >&2
    return 2
  fi
  output=$(mktemp)
  INVITATIONS_SERVER=$1 INVITATIONS_TOKEN=$2 "${program[@]}" | tee "$output"
  diff examples/ten-calls.txt "$output"
  rm -f "$output"
}
