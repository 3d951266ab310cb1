#!/usr/bin/env bash
# Floods a tracker with announces of random torrents and prints what it holds over the flood.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<TEXT
Usage: scripts/flood.sh [MIB [ANNOUNCES]]

Starts ringtide with memory_limit = "MIB MiB" (256 without an argument) and sends ANNOUNCES
(5000000) announces over IPv4 and as many over IPv6, each with another info hash and port. Prints
resident and accounted memory, torrents and evictions over the flood. Fails if memory exceeds what
developer_docs/reliability.md allows, an established swarm loses a peer, or a new torrent is not
stored.
TEXT
}

main() {
    if [[ ${1:-} == -h || ${1:-} == --help ]]; then
        usage
        return
    fi
    RINGTIDE_FLOOD_MIB=$(number MIB "${1:-256}" 16 1000000)
    RINGTIDE_FLOOD_ANNOUNCES=$(number ANNOUNCES "${2:-5000000}" 10000 1000000000)
    export RINGTIDE_FLOOD_MIB RINGTIDE_FLOOD_ANNOUNCES
    cd "$root"
    require_cargo
    cargo test --locked --test program a_flood_stays -- --nocapture
}

main "$@"
