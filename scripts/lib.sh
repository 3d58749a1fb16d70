# shellcheck shell=bash
# Functions that several scripts share. A script sources this file from the project's folder.

# Rust's programs are installed for one user, and a script may not have them in its PATH.
if [[ -x ${HOME:-/root}/.cargo/bin/cargo ]]; then
  export PATH=$PATH:${HOME:-/root}/.cargo/bin
fi

# rust-toolchain.toml names the compiler by its version. A machine that cannot download it may have the same version under
# another name, such as stable; then that one is used.
if command -v rustup >/dev/null && ! cargo --version >/dev/null 2>&1; then
  version=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
  while read -r toolchain _; do
    if [[ $(rustup run "$toolchain" rustc --version 2>/dev/null) == "rustc $version "* ]]; then
      export RUSTUP_TOOLCHAIN=$toolchain
      break
    fi
  done < <(rustup toolchain list)
fi

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# Prints the comment at the top of the script, as its help.
print_help() {
  sed -n '2,/^[^#]/p' "$0" | sed -n 's/^# \{0,1\}//p'
}

# Starts the private Postgres if it is not running. stop_postgres stops it only in that case. A script that uses the
# cluster of the tests sets postgres_options=(--fast).
postgres_options=()
postgres_was_started=''
start_postgres() {
  # Set before the start, so that an interrupted start is undone too.
  scripts/postgres status "${postgres_options[@]}" || postgres_was_started=yes
  scripts/postgres start "${postgres_options[@]}"
}
stop_postgres() {
  [[ -z $postgres_was_started ]] || scripts/postgres stop "${postgres_options[@]}"
}

# Installs a program from crates.io into .data/tools, unless it is there already, and prints its path.
#
#   crates_io_program CRATE VERSION PROGRAM [OPTION-OF-CARGO-INSTALL...]
crates_io_program() {
  local crate=$1 version=$2 program=$3 root=$PWD/.data/tools/$1-$2
  if [[ ! -x $root/bin/$program ]]; then
    CARGO_TARGET_DIR=$root/target cargo install --quiet --locked "${@:4}" "$crate" --version "$version" --root "$root" >&2
    rm -rf "$root/target"
  fi
  echo "$root/bin/$program"
}
