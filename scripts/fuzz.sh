#!/usr/bin/env bash
# Gives every fuzz target to libFuzzer for some time and prints how often each ran.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<TEXT
Usage: scripts/fuzz.sh [SECONDS [TARGET...]]

Runs every fuzz target (fuzz/fuzz_targets/), or those named, for SECONDS each, 60 without an
argument, under libFuzzer with the address sanitizer. Stops at the first finding.

What libFuzzer finds worth keeping stays in target/fuzz/corpus and is where the next run begins. An
input that fails a target is left in target/fuzz/artifacts; once it is understood it belongs into
fuzz/seeds/TARGET, which 'cargo test --test random fuzz_corpus::' replays.

Installs cargo-fuzz $cargo_fuzz_version into target/tools if it is not there. Needs a C++ compiler.
TEXT
}

# What the files in fuzz/ were written for.
readonly cargo_fuzz_version=0.13.1

main() {
    if [[ ${1:-} == -h || ${1:-} == --help ]]; then
        usage
        return
    fi
    local seconds targets target
    seconds=$(number SECONDS "${1:-60}" 1 1000000)
    targets=("${@:2}")
    cd "$root"
    if ((${#targets[@]} == 0)); then
        mapfile -t targets < <(basename -s .rs fuzz/fuzz_targets/*.rs)
    fi
    for target in "${targets[@]}"; do
        [[ -f fuzz/fuzz_targets/$target.rs ]] || wrong "there is no target $target"
    done
    require_cargo
    command -v c++ >/dev/null || die "a C++ compiler is missing. On Debian: apt-get install g++"
    provide_cargo_fuzz
    # Instrumentation and sanitizers are options of the compiler that a stable one hides.
    export RUSTC_BOOTSTRAP=1
    cargo fuzz build --fuzz-dir fuzz --target-dir target/fuzz/build
    for target in "${targets[@]}"; do
        fuzz "$target" "$seconds"
    done
    echo "fuzz.sh: no findings"
}

provide_cargo_fuzz() {
    PATH=$root/target/tools/bin:$PATH
    [[ $(cargo fuzz --version 2>/dev/null) == "cargo-fuzz $cargo_fuzz_version" ]] ||
        cargo install --locked --version "$cargo_fuzz_version" --root target/tools cargo-fuzz
}

fuzz() {
    local target=$1 seconds=$2
    local corpus=target/fuzz/corpus/$target artifacts=target/fuzz/artifacts/$target
    local log=target/fuzz/$target.log runs
    mkdir -p "$corpus" "$artifacts"
    local options=("-max_total_time=$seconds" "-artifact_prefix=$artifacts/" -print_final_stats=1)
    if ! cargo fuzz run --fuzz-dir fuzz --target-dir target/fuzz/build "$target" "$corpus" \
        "fuzz/seeds/$target" -- "${options[@]}" >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        die "a finding in $target: see $log and $artifacts"
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-16s %12d executions in %d s, %s inputs kept\n' "$target" "$runs" "$seconds" \
        "$(find "$corpus" -type f | wc -l)"
}

main "$@"
