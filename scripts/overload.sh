#!/usr/bin/env bash
# Offers a tracker and a relay three times what they can take, and checks what becomes of it.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/lab.sh
source "$root/scripts/lab.sh"

usage() {
    cat <<'END'
Usage: scripts/overload.sh [OPTION]...

Finds what one worker can take on a core that it shares with a busy process, then offers once, twice
and three times as much, alternately: announces to the tracker; once and three times datagrams to
the relay, beside a quiet flow from another interface and a few announces to the tracker of the same
worker; and a flood of announces beside a quiet flow. Prints a table with a verdict for each line.
What is judged are medians, and the peak is the best median at any load. Needs root and two cores.
Touches nothing but the namespaces that it makes, and removes them.

  --quick        3 rounds of 2 seconds instead of 5 of 4: 2 minutes instead of 3.5
  --engine NAME  what drives the worker: auto, io_uring or epoll [default: auto]
  --only NAME    tracker or relay [default: both]
  -h, --help     print this

Exit codes: 0 every verdict is good; 1 one is not, or something failed; 2 wrong arguments.
RINGTIDE_BINARY=FILE runs that program instead of building the release.
END
}

main() {
    while (($# > 0)); do
        case $1 in
            --quick) seconds=2 rounds=3 ;;
            --engine) engine=$(one_of "$1" "${2:-}" auto io_uring epoll); shift ;;
            --only) only=$(one_of "$1" "${2:-}" tracker relay); shift ;;
            -h | --help) usage && exit 0 ;;
            *) wrong "unknown argument $1" ;;
        esac
        shift
    done
    lab_open ip:iproute2
    lab_binary
    provide_peer
    if [[ $only != relay ]]; then
        flood_tracker
    fi
    if [[ $only != tracker ]]; then
        build_line
        flood_relay
        flood_tracker_beside_relay
    fi
    timeout 60 python3 "$root/scripts/overload_report.py" "$lab_directory"
}

# Sets `peer`.
provide_peer() {
    require_cargo
    CARGO_TARGET_DIR=$root/target timeout 1800 cargo build --release --locked \
        --example flood_peer --manifest-path "$root/Cargo.toml" >&2
    peer=$root/target/release/examples/flood_peer
}

# start_server NAMESPACE NAME: a worker by overload.toml, on the second core, which a busy process
# shares: so the load, which has the first core, outruns it. Sets `server`.
start_server() {
    # Read by the user that the server becomes.
    chmod 755 "$lab_directory"
    lab_start busy "$1" "$(lab_core 1)" sh -c 'while :; do :; done'
    busy=$lab_pid
    lab_start "$2" "$1" "$(lab_core 1)" "$ringtide" --log-format json run \
        -c "$lab_directory/overload.toml" --engine "$engine"
    server=$lab_pid
    lab_ready "$2" "$server" '"serving"'
}

stop_server() {
    lab_stop "$busy" "$server"
}

# load NAME NAMESPACE ARGUMENT...: announces from the first core.
load() {
    local name=$1 namespace=$2
    shift 2
    timeout 200 ip netns exec "$lab_name-$namespace" taskset -c "$(lab_core 0)" \
        "$peer" --target 127.0.0.1:6969 "$@" >"$lab_directory/$name.json" \
        2>"$lab_directory/$name.err" ||
        die "the load failed:"$'\n'"$(cat "$lab_directory/$name.err")"
}

flood_tracker() {
    echo "the tracker at once, twice and three times its peak" >&2
    lab_namespace tracker
    printf '%s\n' 'workers = 1' '[tracker]' 'listen = ["127.0.0.1:6969"]' \
        >"$lab_directory/overload.toml"
    start_server tracker tracker
    load flood tracker --seconds "$seconds" --rounds "$rounds" --server "$server"
    stop_server
}

build_line() {
    local space
    for space in source relay sink; do
        lab_namespace "$space"
    done
    lab_cable source out relay in 1500
    lab_cable source out2 relay in2 1500
    lab_cable relay right sink left 1500
    # Where the other outputs of the flooded rule end: they make a datagram dear enough for one
    # generator to send three times what goes through.
    ip -n "$lab_name-relay" link add spare type veth peer name end
    ip -n "$lab_name-relay" address add 10.77.99.1/24 dev spare
    ip -n "$lab_name-relay" link set end up
    ip -n "$lab_name-relay" link set spare up
    cat >"$lab_directory/overload.toml" <<END
workers = 1
[tracker]
listen = ["127.0.0.1:6969"]
[relay]
offload = "off"
[[relay.rule]]
name = "flooded"
input = "239.77.0.1:5000@in"
outputs = [{ to = "239.77.1.1:5000@right" }$(printf ', { to = "239.77.2.%s:5000@spare" }' {1..7})]
[[relay.rule]]
name = "quiet"
input = "239.77.0.2:5000@in2"
outputs = [{ to = "239.77.1.2:5000@right" }]
END
}

# receive NAME NUMBER and send NAME NUMBER INTERFACE RATE SECONDS: the ends of flow NUMBER.
receive() {
    lab_start "$1" sink "$(lab_core 0)" "$ringtide" traffic receive --group "239.77.1.$2:5000" \
        --interface left --json
    receivers+=("$lab_pid")
    lab_ready "$1" "$lab_pid" '^ready'
}

send() {
    lab_start "$1" source "$(lab_core 0)" "$ringtide" traffic send --group "239.77.0.$2:5000" \
        --interface "$3" --size 1000 --rate "$4" --duration "$5s" --json
    senders+=("$lab_pid")
}

# The receivers are told to end when all that was sent has arrived.
finish() {
    local pid
    for pid in "${senders[@]}"; do
        wait "$pid" || die "a generator failed:"$'\n'"$(cat "$lab_directory"/*sent*.err)"
        lab_forget "$pid"
    done
    arrived=none
    lab_wait 20 "the last datagrams" arrivals_rest || die "datagrams still arrive"
    lab_stop "${receivers[@]}"
    senders=() receivers=()
}

# Whether the receivers took everything, and nothing came for a second.
arrivals_rest() {
    local now=${EPOCHREALTIME/./} word queues waits=no
    while read -r word _ _ _ queues _; do
        [[ $queues != *:* || $queues == *:00000000 ]] || waits=yes
    done < <(timeout 10 ip netns exec "$lab_name-sink" \
        cat /proc/net/udp /sys/class/net/left/statistics/rx_packets)
    # The last line is the count of the interface.
    if [[ $waits == yes || $word != "$arrived" ]]; then
        arrived=$word arrived_us=$now
    fi
    ((now - arrived_us >= 1000000))
}

# As much as goes through, and three times as much, alternately.
flood_relay() {
    local round times capacity
    find_capacity
    echo "the relay at once and three times its capacity" >&2
    start_server relay relay
    drops_of_cables >"$lab_directory/cables.before"
    for ((round = 1; round <= 3; round++)); do
        for times in 1 3; do
            flood_relay_once "$times.$round" $((times * capacity))
        done
    done
    drops_of_cables >"$lab_directory/cables.after"
    stop_server
}

# What arrives of a rate beyond any tells where to look: the capacity is the best of several rates
# from there on, by the medians of their repeats. Sets `capacity`.
find_capacity() {
    local flat_out round percent found
    echo "what goes through the relay" >&2
    start_server relay calibration
    calibrate flat-out 1000000
    flat_out=$(figure packets_per_second "$lab_directory/calibrated.flat-out.out")
    for round in 1 2 3; do
        for percent in 100 120 140; do
            calibrate "$percent.$round" $((flat_out * percent / 100))
        done
    done
    stop_server
    capacity=$flat_out
    for percent in 100 120 140; do
        found=$(figure packets_per_second "$lab_directory/calibrated.$percent".*.out)
        ((found <= capacity)) || capacity=$found
    done
    echo "$capacity" >"$lab_directory/capacity"
}

# calibrate NAME RATE
calibrate() {
    receive "calibrated.$1" 1
    send "calibration-sent.$1" 1 out "$2" 1
    finish
}

# flood_relay_once NAME RATE
flood_relay_once() {
    receive "flooded-received.$1" 1
    receive "quiet-received.$1" 2
    send "flooded-sent.$1" 1 out "$2" "$seconds"
    send "quiet-sent.$1" 2 out2 1000 "$seconds"
    load "beside-relay.$1" relay --rate 1000 --seconds "$seconds"
    finish
}

# At a rate beyond any, when the tracker was not flooded alone before.
flood_tracker_beside_relay() {
    local peak=300000
    echo "the tracker at three times its peak, beside a quiet flow" >&2
    if [[ -e $lab_directory/flood.json ]]; then
        peak=$(figure peak.answered_per_s "$lab_directory/flood.json")
    fi
    start_server relay beside
    receive beside-received.3 2
    send beside-sent.3 2 out2 1000 "$seconds"
    load beside-tracker relay --rate $((3 * peak)) --seconds "$seconds"
    finish
    stop_server
}

# figure NAME FILE...: the median of a figure in files of JSON, as a whole number.
figure() {
    python3 -c 'import functools, json, statistics, sys
def value(file):
    return functools.reduce(dict.get, sys.argv[1].split("."), json.load(open(file)))
print(int(statistics.median(map(value, sys.argv[2:]))))' "$@"
}

# What did not get through the cables to and from the relay, one number a line.
drops_of_cables() {
    local end
    for end in "source out" "source out2" "relay right"; do
        ip -n "$lab_name-${end% *}" -j -s link show dev "${end#* }"
    done | python3 -c 'import json,sys
for line in sys.stdin: print(json.loads(line)[0]["stats64"]["tx"]["dropped"])'
}

seconds=4
rounds=5
engine=auto
only=""
arrived=none
arrived_us=0
senders=()
receivers=()
main "$@"
