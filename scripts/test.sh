#!/usr/bin/env bash
# Checks everything there is to check: scripts, format, lints, documentation, tests, and that the
# release build and the benchmarks compile. Stops at the first failure.
#
# As root it installs the Debian packages that tests need. As another user it says which are
# missing, and the tests that need them, or a network namespace, are skipped. With
# RINGTIDE_SKIP_REAL_CLIENTS=1 it installs nothing and skips those tests.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'END'
Usage: scripts/test.sh

Checks everything there is to check. As root it installs the Debian packages that tests need; as
another user it says which are missing and skips the tests that need them. Stops at the first
failure. On two cores it takes about half an hour.

RINGTIDE_SKIP_REAL_CLIENTS=1 installs nothing and skips those tests. RINGTIDE_SOAK_MINUTES=N is how
long the soak takes (5).
END
}

main() {
    case ${1:-} in
        "") ;;
        -h | --help) usage && exit 0 ;;
        *) wrong "unexpected argument $1" ;;
    esac
    trap finish EXIT
    cd "$root"
    step "Rust toolchain" require_cargo
    step "Debian packages" provide_packages
    step "shell scripts" check_scripts
    step "the judge of the soak" test_judge
    step "format" cargo fmt --check
    step "dependencies" check_dependencies
    step "lints" cargo clippy --locked --all-targets -- -D warnings
    step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
    step "tests" cargo test --locked
    step "tests on epoll" test_on_epoll
    step "orders of threads" scripts/interleavings.sh
    step "tests as on Linux 6.0" test_as_on_6_0
    step "release build, through run.sh" check_run
    step "systemd units and Debian package" check_packaging
    step "soak" check_soak
    step "benchmarks compile" cargo bench --locked --no-run --bench '*'
    step=""
}

# Runs one step under its name, in this shell, so that it can leave warnings.
step() {
    step=$1
    shift
    local started=$SECONDS
    echo "== $step"
    "$@"
    echo "== $step: passed in $((SECONDS - started)) s"
    steps_passed=$((steps_passed + 1))
}

finish() {
    local status=$?
    for warning in "${warnings[@]}"; do
        echo "WARNING: $warning" >&2
    done
    if ((status == 0)); then
        echo "test.sh: all $steps_passed steps passed in $SECONDS s"
    else
        echo "test.sh: FAILED in step '$step', after $SECONDS s" >&2
    fi
}

warn() {
    echo "WARNING: $*" >&2
    warnings+=("$*")
}

provide_packages() {
    local missing=()
    command -v ip >/dev/null || missing+=(iproute2)
    command -v systemd-analyze >/dev/null || missing+=(systemd)
    command -v adduser >/dev/null || missing+=(adduser)
    # cargo-deb finds the libraries that a program needs with it.
    command -v dpkg-shlibdeps >/dev/null || missing+=(dpkg-dev)
    command -v shellcheck >/dev/null || missing+=(shellcheck)
    command -v aria2c >/dev/null || missing+=(aria2)
    command -v transmission-cli >/dev/null || missing+=(transmission-cli)
    # Debian's own Python, for which the package is made, whatever other Python is in use.
    /usr/bin/python3 -c "import libtorrent" 2>/dev/null || missing+=(python3-libtorrent)
    command -v chromium >/dev/null || missing+=(chromium)

    if [[ ${RINGTIDE_SKIP_REAL_CLIENTS:-} == 1 ]]; then
        export RINGTIDE_SKIP_BROWSER=1
        warn "RINGTIDE_SKIP_REAL_CLIENTS=1: tests may be skipped. Not here: ${missing[*]:-nothing}."
    elif ((EUID != 0)); then
        export RINGTIDE_SKIP_REAL_CLIENTS=1 RINGTIDE_SKIP_BROWSER=1
        warn "Not root: tests that need network namespaces are SKIPPED."
        ((${#missing[@]} == 0)) ||
            warn "Tests that need these packages are SKIPPED: ${missing[*]}." \
                "To run them: apt-get install ${missing[*]}"
    elif ((${#missing[@]} > 0)); then
        install_packages "${missing[@]}"
    fi
}

check_scripts() {
    local scripts
    mapfile -t scripts < <(find .ci scripts tests -name '*.sh' -o -path .ci/run)
    for script in "${scripts[@]}"; do
        bash -n "$script"
    done
    if command -v shellcheck >/dev/null; then
        shellcheck -x "${scripts[@]}"
    else
        warn "shellcheck is missing: the scripts were only parsed."
    fi
    check_wrong_values
    echo "${#scripts[@]} scripts"
}

# A wrong value is told once, and nothing is begun.
check_wrong_values() {
    local call wrong script status said
    for call in "soak.sh --minutes 0" "overload.sh --engine none" "bench_tracker.sh --rounds 0"; do
        read -ra wrong <<<"$call"
        script=${wrong[0]} status=0
        said=$("scripts/$script" "${wrong[@]:1}" 2>&1 >/dev/null) || status=$?
        if ((status != 2)) || [[ $(grep -c "^$script:" <<<"$said") != 1 ]]; then
            echo "${wrong[*]}: exit code $status: $said" >&2
            return 1
        fi
    done
}

# Licences, duplicates and sources. Advisories need a database from the internet, and are left to
# 'cargo deny check advisories'.
check_dependencies() {
    PATH=$root/target/tools/bin:$PATH
    if [[ $(cargo deny --version 2>/dev/null) != "cargo-deny $cargo_deny_version" ]] &&
        ! timeout "$cargo_deny_install_s" cargo install --quiet --debug --locked \
            --version "$cargo_deny_version" --root target/tools cargo-deny; then
        warn "cargo-deny $cargo_deny_version cannot be installed: licences, duplicates and" \
            "sources of the dependencies are NOT CHECKED."
        return
    fi
    cargo deny check licenses bans sources
    echo "Advisories are left to 'cargo deny check advisories', which needs the internet."
}

# All that runs a worker, on the other engine.
test_on_epoll() {
    RINGTIDE_TEST_ENGINE=epoll cargo test --locked --test engine --test alone
}

# With no more of io_uring than the oldest kernel that has enough of it.
test_as_on_6_0() {
    RINGTIDE_TEST_KERNEL=6.0 cargo test --locked --test engine -- \
        event_loop:: tracker:: relay::
}

# From another directory, as a user may call it.
check_run() {
    (cd / && "$root/scripts/run.sh" run --help >/dev/null)
}

# Of the release build that was just made.
check_packaging() {
    if ((EUID != 0)); then
        warn "Not root: the Debian package is not installed and run."
        return
    fi
    RINGTIDE_BINARY=$root/target/release/ringtide "$root/scripts/test_packaging.sh"
}

# That it fails what it must.
test_judge() {
    PYTHONPATH=$root/scripts PYTHONDONTWRITEBYTECODE=1 timeout 60 \
        python3 -m unittest discover -q -s scripts/soak -t scripts
}

# Of the same release build. RINGTIDE_SOAK_MINUTES says how long.
check_soak() {
    if ((EUID != 0)); then
        warn "Not root: the soak, which needs network namespaces, is SKIPPED."
        return
    fi
    RINGTIDE_BINARY=$root/target/release/ringtide "$root/scripts/soak.sh" \
        --minutes "${RINGTIDE_SOAK_MINUTES:-5}"
}

# What deny.toml was written for, and how long building it may take: a minute or two as a rule.
readonly cargo_deny_version=0.20.2 cargo_deny_install_s=240
warnings=()
steps_passed=0
step="start"
# Nothing here asks questions, so nothing may wait for an answer.
main "$@" </dev/null
