#!/usr/bin/env bash
# Sends datagrams through a chain of relays and says what arrived.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/lab.sh
source "$root/scripts/lab.sh"

usage() {
    cat <<'END'
Usage: scripts/veth_pipeline.sh [OPTION]...

Generator -> hop 1 -> ... -> hop N -> receiver, each in a network namespace of its own, with veth
cables between them and one ringtide relay per hop. Prints what every part took, sent and dropped.
Needs root. Touches nothing but the namespaces that it makes, and removes them.

  --packets N          datagrams to send [default: 10000000]
  --size BYTES         payload of each [default: 1400]
  --rate PPS           datagrams per second, 0 for as fast as it goes [default: 500000]
  --hops N             relays in the chain, 1 to 16 [default: 3]
  --flows N            flows that take turns [default: 1]
  --segment on|off     whether the generator sends super-packets [default: on]
  --offload auto|off   off: each relay receives and sends one datagram at a time [default: auto]
  --workers N          workers of each relay [default: 1]
  --engine NAME        what drives the relays: auto, io_uring or epoll [default: auto]
  --json               print the figures as one JSON object
  -h, --help           print this

Exit codes: 0 everything arrived intact; 1 it did not, or something failed; 2 wrong arguments.
RINGTIDE_BINARY=FILE runs that program instead of building the release.
END
}

main() {
    read_options "$@"
    lab_open ip:iproute2
    lab_binary
    build_chain
    start_relays
    measure
    timeout 60 python3 "$root/scripts/pipeline_table.py" "$lab_directory" "$hops" "$format"
}

read_options() {
    while (($# > 0)); do
        case $1 in
            --packets) packets=$(number "$@" 1 1000000000) ;;
            --size) size=$(number "$@" 0 65000) ;;
            --rate) rate=$(number "$@" 0 1000000000) ;;
            --hops) hops=$(number "$@" 1 16) ;;
            --flows) flows=$(number "$@" 1 1024) ;;
            --workers) workers=$(number "$@" 1 64) ;;
            --segment) segment=$(one_of "$1" "${2:-}" on off) ;;
            --offload) offload=$(one_of "$1" "${2:-}" auto off) ;;
            --engine) engine=$(one_of "$1" "${2:-}" auto io_uring epoll) ;;
            --json) format=json ;;
            -h | --help) usage && exit 0 ;;
            *) wrong "unknown argument $1" ;;
        esac
        [[ $1 == --json ]] || shift
        shift
    done
}

build_chain() {
    local nodes=(generator) hop mtu=1500
    # IPv4 and UDP headers.
    ((size + 28 <= mtu)) || mtu=$((size + 28))
    for ((hop = 1; hop <= hops; hop++)); do
        nodes+=("hop$hop")
    done
    nodes+=(receiver)
    for hop in "${nodes[@]}"; do
        lab_namespace "$hop"
    done
    for ((hop = 0; hop <= hops; hop++)); do
        lab_cable "${nodes[hop]}" out "${nodes[hop + 1]}" in "$mtu"
    done
}

# Cable number N carries group 239.77.0.N. Parts take the cores in turn, from the generator on.
start_relays() {
    local hop pid=()
    for ((hop = 1; hop <= hops; hop++)); do
        lab_start "hop$hop" "hop$hop" "$(lab_core $((1 + (hop - 1) * workers)) "$workers")" \
            "$ringtide" --log-format json relay --workers "$workers" --report-interval 1s \
            --engine "$engine" --offload "$offload" --input "239.77.0.$hop:5000@in" \
            --output "239.77.0.$((hop + 1)):5000@out"
        pid[hop]=$lab_pid
    done
    for ((hop = 1; hop <= hops; hop++)); do
        lab_ready "hop$hop" "${pid[hop]}" '"serving"'
    done
    relays=("${pid[@]}")
}

# Both ends run for a bounded time: 10 minutes, or what the rate needs and a minute more, in which a
# machine that was busy with other things catches up.
measure() {
    local seconds=600 receiver generator rate_flags=() status=0
    if ((rate > 0)); then
        rate_flags=(--rate "$rate")
        ((packets / rate + 60 < seconds)) || seconds=$((packets / rate + 60))
    fi
    lab_start receiver receiver "$(lab_core $((1 + hops * workers)))" "$ringtide" traffic receive \
        --group "239.77.0.$((hops + 1)):5000" --interface in --expect "$packets" \
        --for "$((seconds + 30))s" --idle 10s --json
    receiver=$lab_pid
    lab_ready receiver "$receiver" '^ready'
    softnet_drops >"$lab_directory/softnet.before"
    lab_start generator generator "$(lab_core 0)" "$ringtide" traffic send \
        --group 239.77.0.1:5000 --interface out --count "$packets" --size "$size" \
        --flows "$flows" --segment "$segment" --duration "${seconds}s" --json "${rate_flags[@]}"
    generator=$lab_pid
    wait "$generator" || status=$?
    lab_forget "$generator"
    ((status == 0)) || die "the generator failed:"$'\n'"$(cat "$lab_directory/generator.err")"
    # When nothing came at all, there is no silence that would end it.
    lab_wait 25 "the receiver" lab_ended "$receiver" || kill -TERM "$receiver"
    wait "$receiver" || status=$?
    lab_forget "$receiver"
    softnet_drops >"$lab_directory/softnet.after"
    lab_stop "${relays[@]}"
    [[ -s $lab_directory/receiver.out ]] ||
        die "the receiver failed ($status):"$'\n'"$(cat "$lab_directory/receiver.err")"
}

# What the whole system dropped because a core's backlog was full (net.core.netdev_max_backlog).
softnet_drops() {
    local _ dropped sum=0
    while read -r _ dropped _; do
        sum=$((sum + 16#$dropped))
    done </proc/net/softnet_stat
    echo "$sum"
}

packets=10000000
size=1400
rate=500000
hops=3
flows=1
segment=on
offload=auto
engine=auto
workers=1
format=table
relays=()
main "$@"
