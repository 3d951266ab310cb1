#!/usr/bin/env bash
# Builds ringtide and runs it.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'END'
Usage: scripts/run.sh [ARGUMENTS OF ringtide run]

Builds ringtide and runs it:
  scripts/run.sh               a tracker on UDP port 6969, IPv4 and IPv6, on every core
  scripts/run.sh -c FILE       what the file configures
  scripts/run.sh run --help    builds, and lists everything that `ringtide run` accepts

The program is target/release/ringtide. Ctrl-C stops it.
END
}

case ${1:-} in
    -h | --help) usage && exit 0 ;;
    run) shift ;;
esac
require_cargo
if [[ ! -x ${CARGO_TARGET_DIR:-$root/target}/release/ringtide ]]; then
    echo "run.sh: building ringtide first; on two cores that takes about three minutes." >&2
fi
# Cargo replaces itself with the program, so that signals reach it.
exec cargo run --release --locked --manifest-path "$root/Cargo.toml" --bin ringtide -- run "$@"
