#!/usr/bin/env bash
# Builds ringtide and runs it.
#
#   scripts/run.sh             a tracker on UDP port 6969, IPv4 and IPv6, on every core
#   scripts/run.sh -c FILE     what the file configures
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

require_cargo
# Cargo replaces itself with the program, so that signals reach it.
exec cargo run --release --locked --manifest-path "$root/Cargo.toml" --bin ringtide -- run "$@"
