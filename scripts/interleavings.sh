#!/usr/bin/env bash
# Tries the orders in which threads can meet at what they share, with loom.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<TEXT
Usage: scripts/interleavings.sh [TEST...]

Builds the unit tests with loom's locks and atomics in place of the real ones (src/sync.rs) and runs
those in src/tests/interleavings/, or those named. Each tries every order in which two threads can
meet, with at most two preemptions, or LOOM_MAX_PREEMPTIONS, and prints how many there were.

An order that fails is written down, and tried again alone, with LOOM_CHECKPOINT_FILE=FILE and
LOOM_CHECKPOINT_INTERVAL=1; LOOM_LOG=trace tells each step.
TEXT
}

main() {
    if [[ ${1:-} == -h || ${1:-} == --help ]]; then
        usage
        return
    fi
    cd "$root"
    require_cargo
    # In RUSTFLAGS, since Cargo.toml asks for loom under the condition: cargo must know it, too.
    export RUSTFLAGS="${RUSTFLAGS:-} --cfg ringtide_loom"
    local program
    program=$(cargo test --locked --lib --no-run --message-format json-render-diagnostics |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    [[ -x $program ]] || die "the tests were not built"
    "$program" --nocapture --test-threads 1 "${@:-interleavings::}"
}

main "$@"
