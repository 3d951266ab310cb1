#!/usr/bin/env bash
# Runs tracker and relay in one process under mixed load and disturbances, and judges the record.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/lab.sh
source "$root/scripts/lab.sh"

usage() {
    cat <<'END'
Usage: scripts/soak.sh [OPTION]...

Tracker and relay in one process, started as root with everything that is on by default, under a
mixed load at a steady rate: torrents and peers that come and go, hostile datagrams, ten flows
through the relay. Meanwhile reloads, changes of rules and lists, scrapes, a hanging control client,
interfaces that go and come back, and other processes that take over, at times that a seed decides.
Everything sent is compared with what arrived and with what was counted as dropped; memory,
descriptors and threads of the second quarter of the run with those of the last one.
Prints a line for each disturbance and for each check, and writes soak.html with plots, soak.json
and soak.txt. Needs root. Touches nothing but the network namespaces that it makes, and removes
them, also after Ctrl-C.

  --minutes N       how long it takes, the way back to rest included, 2 to 10080 [default: 30]
  --engine NAME     auto, io_uring or epoll [default: auto]
  --workers N       workers, 1 to 64 [default: 2]
  --output DIR      where the report goes [default: target/soak]
  --seed N          decides what happens when [default: drawn, and printed]
  -h, --help        print this

Exit codes: 0 all checks passed; 1 one did not, or something failed; 2 wrong arguments.
RINGTIDE_BINARY=FILE runs that program instead of building the release.
END
}

main() {
    local command_line="scripts/soak.sh $*"
    read_options "$@"
    lab_open ip:iproute2
    lab_binary
    mkdir -p "$output"
    build
    echo "seed $seed, $minutes minutes, $("$ringtide" --version)"
    # In the background, so that a signal is handled at once.
    PYTHONPATH=$root/scripts PYTHONDONTWRITEBYTECODE=1 setpriv --pdeathsig KILL \
        ip netns exec "$lab_name-hop" python3 -m soak "$lab_name" "$lab_directory" "$ringtide" \
        "$output" "$minutes" "$seed" "$engine" "$workers" "${command_line% }" &
    lab_processes+=("$!")
    local status=0
    wait "$!" || status=$?
    lab_forget "$!"
    ((status == 0)) || cp "$lab_directory"/*.log "$output" 2>/dev/null || true
    exit "$status"
}

read_options() {
    seed=$((RANDOM << 15 | RANDOM))
    while (($# > 0)); do
        case $1 in
            --minutes) minutes=$(number "$@" 2 10080); shift ;;
            --engine) engine=$(one_of "$1" "${2:-}" auto io_uring epoll); shift ;;
            --workers) workers=$(number "$@" 1 64); shift ;;
            --output) output=${2:?"--output needs a directory"} && shift ;;
            --seed) seed=$(number "$@" 0 4000000000); shift ;;
            -h | --help) usage && exit 0 ;;
            *) wrong "unknown argument $1" ;;
        esac
        shift
    done
}

# Two cables that stay, and two with a bridge in between: there the relay's end may go without
# the generator or the receiver noticing anything but loss.
build() {
    local namespace interface
    for namespace in source hop sink switch; do
        lab_namespace "$namespace"
    done
    lab_cable source feed hop feed 1500
    lab_cable hop out sink out 1500
    with_ipv6 hop lo
    with_ipv6 source feed fd00:1::1/64
    with_ipv6 hop feed fd00:1::2/64
    with_ipv6 hop out fd00:2::1/64
    with_ipv6 sink out fd00:2::2/64
    # The driver makes the relay's ends, and gives them the nets 10.77.1.0 and 10.77.2.0.
    for interface in flapin flapout; do
        ip -n "$lab_name-switch" link add "br-$interface" type bridge mcast_snooping 0
        ip -n "$lab_name-switch" link set dev "br-$interface" up
    done
    lab_cable source fin switch fin 1500
    lab_cable sink fout switch fout 1500
    ip -n "$lab_name-switch" link set dev fin master br-flapin
    ip -n "$lab_name-switch" link set dev fout master br-flapout
    ip -n "$lab_name-source" addr add 10.77.1.1/24 dev fin
    ip -n "$lab_name-sink" addr add 10.77.2.2/24 dev fout
}

# with_ipv6 NAMESPACE INTERFACE [ADDRESS]
with_ipv6() {
    timeout "$lab_step_s" ip netns exec "$lab_name-$1" \
        sh -c "echo 0 >/proc/sys/net/ipv6/conf/$2/disable_ipv6"
    [[ $# -lt 3 ]] || ip -n "$lab_name-$1" addr add "$3" dev "$2" nodad
}

minutes=30
engine=auto
workers=2
output=$root/target/soak
main "$@"
