#!/usr/bin/env bash
# Runs the tests under a sanitizer, or under valgrind.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<TEXT
Usage: scripts/sanitize.sh address|thread|valgrind [SUITE...]

  address   AddressSanitizer over the unit tests and the suites that run workers in their own
            process, on both engines, and over the program itself as the suite "relay" starts it
  thread    ThreadSanitizer over the unit tests and the suites with several workers. Builds the
            standard library with it: needs a nightly toolchain with rust-src,
            rustup toolchain install nightly --component rust-src
  valgrind  memcheck over the unit tests of the unsafe code. Needs the Debian package valgrind

SUITE is "lib" or a module of a program in tests/, such as engine/relay. Stops at the first finding.
Each has a directory of its own in target/; the first run builds every dependency.
TEXT
}

main() {
    local tool=${1:-} suites=("${@:2}")
    case $tool in
        -h | --help) usage && return ;;
        address | thread | valgrind) ;;
        *) wrong "say which" ;;
    esac
    cd "$root"
    require_cargo
    # Backtraces of panics that tests cause on purpose take seconds to make here.
    export RUST_BACKTRACE=0
    "check_$tool" "${suites[@]}"
    echo "sanitize.sh: no findings"
}

check_address() {
    local suites=("$@")
    ((${#suites[@]} > 0)) || suites=(
        lib engine/event_loop random engine/storm engine/workers engine/tracker program/hostile
        engine/relay_net engine/relay
    )
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address
    # Leaks are looked for at the end by a tracer, which the program's own filter of system calls
    # does not let in; the tests are looked through without the program.
    export ASAN_OPTIONS=detect_leaks=0
    # What was freed is kept for a while, and counts as resident.
    skipped=(--skip a_flood_stays_within_the_memory_limit)
    run address cargo "${suites[@]}"
}

check_thread() {
    local suites=("$@")
    ((${#suites[@]} > 0)) || suites=(lib engine/workers random/engines engine/storm)
    export RUSTFLAGS=-Zsanitizer=thread
    run thread "cargo +nightly" "${suites[@]}" -- -Zbuild-std
}

# run DIRECTORY CARGO SUITE... [-- OPTION...]
run() {
    local directory=$1 suite suites=() engine options
    local -a cargo
    read -ra cargo <<<"$2"
    shift 2
    while (($# > 0)) && [[ $1 != -- ]]; do
        suites+=("$1")
        shift
    done
    options=("${@:2}" --target "$(uname -m)-unknown-linux-gnu" --target-dir "target/$directory")
    for suite in "${suites[@]}"; do
        local what=(--test "${suite%%/*}") filter=()
        [[ $suite != lib ]] || what=(--lib)
        [[ $suite != */* ]] || filter=("${suite#*/}::")
        for engine in io_uring epoll; do
            [[ $engine == io_uring || $suite == engine* ]] || continue
            echo "== $suite on $engine"
            RINGTIDE_TEST_ENGINE=$engine "${cargo[@]}" test --locked --quiet \
                "${options[@]}" "${what[@]}" -- "${filter[@]}" "${skipped[@]}"
        done
    done
}

check_valgrind() {
    local tests=("$@") program
    ((${#tests[@]} > 0)) || tests=(net::buffers net::slots net::region net::address epoll uring)
    command -v valgrind >/dev/null || die "valgrind is missing. On Debian: apt-get install valgrind"
    program=$(cargo test --locked --lib --no-run --message-format json-render-diagnostics |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    valgrind --quiet --error-exitcode=1 --errors-for-leak-kinds=none "$program" \
        --test-threads 1 "${tests[@]}" --skip what_cannot_be_mapped
}

skipped=()
main "$@"
