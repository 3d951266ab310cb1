#!/usr/bin/env bash
# Runs the unit tests of the unsafe code that needs no kernel under Miri.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<TEXT
Usage: scripts/miri.sh [TEST...]

Interprets unit tests with Miri, which finds undefined behaviour: reads and writes out of bounds or
after the end of what they are of, references that must not exist side by side, uninitialized
bytes. Without an argument: those of buffers, slots, regions, addresses and control messages
(src/sys/), of the relay's frames, batches and fragments, and of the swarm tables. What Miri cannot
interpret is left out: sockets, rings and epoll, which scripts/sanitize.sh covers, and properties
with many random cases.

Needs a nightly toolchain with the components miri and rust-src:
    rustup toolchain install nightly --component miri,rust-src
TEXT
}

main() {
    if [[ ${1:-} == -h || ${1:-} == --help ]]; then
        usage
        return
    fi
    cd "$root"
    require_cargo
    cargo +nightly miri --version >/dev/null 2>&1 ||
        die "there is no Miri here, and nothing was checked:" \
            "rustup toolchain install nightly --component miri,rust-src"
    local tests=("$@")
    ((${#tests[@]} > 0)) || tests=("${usual[@]}")
    # Maps memory and reads the environment, as the tests do. Random cases take long here.
    PROPTEST_CASES=${PROPTEST_CASES:-4} \
        MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}" \
        cargo +nightly miri test --locked --lib --target-dir target/miri -- \
        "${tests[@]}" "${left_out[@]}"
}

readonly usual=(
    net::buffers net::region net::slots net::address relay::coalesce relay::reassembly
    relay::handler relay::datagram tracker::store::slab
)
# More memory than Miri has; properties and what asks the kernel.
readonly left_out=(
    --skip what_cannot_be_mapped --skip properties --skip kernel
)
main "$@"
