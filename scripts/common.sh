# shellcheck shell=bash
# What several scripts need. Sourced after `set -euo pipefail`; sets `root`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Where rustup installs, for shells that have not read its profile yet.
PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# Wrong arguments. The script has a function `usage`.
wrong() {
    echo "${0##*/}: $*" >&2
    usage >&2
    exit 2
}

# number FLAG [VALUE [MORE...]] MIN MAX: prints VALUE, when it is a whole number from MIN to MAX.
number() {
    local min=${*:$#-1:1} max=${*:$#} value=${2:-}
    if (($# < 4)) || [[ ! $value =~ ^(0|[1-9][0-9]{0,9})$ ]] || ((value < min || value > max)); then
        wrong "$1 needs a whole number from $min to $max"
    fi
    echo "$value"
}

# one_of FLAG VALUE CHOICE...: prints VALUE, when it is one of the choices.
one_of() {
    local flag=$1 value=$2 choice
    shift 2
    for choice in "$@"; do
        [[ $value != "$choice" ]] || { echo "$value" && return; }
    done
    wrong "$flag needs one of: $*"
}

# Installs Debian packages, as root. The package lists may be absent or old.
install_packages() {
    echo "Installing $*" >&2
    apt_install "$@" || { apt-get update -q >&2 && apt_install "$@"; }
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        -o DPkg::Lock::Timeout=120 "$@" >&2 </dev/null
}

# Checks what a build needs and says how to get what is missing.
require_cargo() {
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
    command -v cargo >/dev/null ||
        die "cargo is missing. Install Rust $needed or later from https://rustup.rs, then run" \
            "this again. (The cargo of Debian 12 is too old.)"
    found=$(cargo --version | cut -d ' ' -f 2)
    [[ $(printf '%s\n' "$needed" "$found" | sort -V | head -n 1) == "$needed" ]] ||
        die "cargo is version $found, and Rust $needed or later is needed:" \
            "run 'rustup update stable', or install it from https://rustup.rs."
    command -v cc >/dev/null ||
        die "a linker is missing. On Debian: apt-get install gcc libc6-dev"
}
