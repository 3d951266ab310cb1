#!/usr/bin/env bash
# Measures one relay hop next to kernel multicast routing and socat.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/lab.sh
source "$root/scripts/lab.sh"

usage() {
    cat <<'END'
Usage: scripts/bench_relay.sh [OPTION]...

Generator -> one relay -> receiver, over veth: ringtide with offload auto and off, the kernel's
multicast routing (set up by smcroute) and socat, one after the other on the same cables, as fast
as the generator goes. The generator always sends super-packets: "single" input is cut into
datagrams by the kernel of the sending side, so that they reach the relay one by one and faster
than a send for each could make them; "gro" input does too, but GRO for UDP forwarding, which
tune_kernel.sh switches on, puts it together again; "super" input reaches the relay whole. The
generator and the receiver share one core, the relay has another. Rounds are interleaved and
medians taken. Prints a table; target/bench gets relay.json and relay.svg.
Needs root, and installs packages that are missing, such as smcroute and socat. Touches no network
but the namespaces that it makes, and removes them.

  --rounds N     how often everything is measured [default: 3]
  --seconds N    how long each run sends [default: 2]
  --quick        1400 and 64 bytes, one output, without socat, 0.7 s each: about 3 minutes
  --timed        ringtide alone, with relay.latency and without; 1400 and 64 bytes, one output,
                 without GRO, 0.7 s each: about 40 seconds a round
  --engine NAME  what drives ringtide: auto, io_uring or epoll [default: auto]
  --markdown     print the table as a section of developer_docs/benchmarks.md
  -h, --help     print this

The full run takes about 25 minutes. Exit codes: 0 measured; 1 failed; 2 wrong arguments.
RINGTIDE_BINARY=FILE runs that program instead of building the release.
END
}

main() {
    local command_line="scripts/bench_relay.sh $*"
    read_options "$@"
    lab_open ip:iproute2 ethtool:ethtool smcrouted:smcroute socat:socat
    ((${#lab_cores[@]} >= 2)) || die "two cores are needed, one of them for the relay alone"
    lab_binary
    build
    # Read by the user that ringtide becomes.
    chmod 755 "$lab_directory"
    local round size input fanout
    for ((round = 1; round <= rounds; round++)); do
        for size in "${sizes[@]}"; do
            for input in "${inputs[@]}"; do
                for fanout in "${fanouts[@]}"; do
                    echo "round $round of $rounds: $size bytes, $input, $fanout outputs" >&2
                    measure_all
                done
            done
        done
    done
    mkdir -p "$root/target/bench"
    timeout 60 python3 "$root/scripts/bench_report.py" "$lab_directory/runs" \
        "$root/target/bench" "$format" "${command_line% }"
}

read_options() {
    while (($# > 0)); do
        case $1 in
            --rounds) rounds=$(number "$@" 1 99); shift ;;
            --seconds) milliseconds=$(($(number "$@" 1 60) * 1000)) && shift ;;
            --quick)
                sizes=(1400 64)
                fanouts=(1)
                relays=(auto off kernel)
                milliseconds=700
                ;;
            --timed)
                sizes=(1400 64)
                inputs=(single super)
                fanouts=(1)
                relays=(auto auto-timed off off-timed)
                milliseconds=700
                ;;
            --engine) engine=$(one_of "$1" "${2:-}" auto io_uring epoll); shift ;;
            --markdown) format=markdown ;;
            -h | --help) usage && exit 0 ;;
            *) wrong "unknown argument $1" ;;
        esac
        shift
    done
}

# A cable in, and one out for each output: the kernel routes a group to interfaces.
build() {
    local namespace output
    for namespace in source relay sink; do
        lab_namespace "$namespace"
    done
    lab_cable source feed relay feed 9000
    feed_source=10.0.$lab_cables.1
    for ((output = 1; output <= ${fanouts[-1]}; output++)); do
        lab_cable relay "out$output" sink "in$output" 9000
        out_address=${out_address:-10.0.$lab_cables.1}
    done
}

# `none` is what the generator costs when nobody takes what it sends.
measure_all() {
    local relay
    for relay in none "${relays[@]}"; do
        [[ $relay == socat && $fanout != 1 ]] || measure "$relay"
    done
}

prepare_feed() {
    local whole=off gro=off
    [[ $input != super ]] || whole=on
    [[ $input != gro ]] || gro=on
    timeout 10 ip netns exec "$lab_name-source" ethtool -K feed tx-udp-segmentation "$whole"
    timeout 10 ip netns exec "$lab_name-relay" ethtool -K feed gro "$gro" \
        rx-udp-gro-forwarding "$gro"
}

measure() {
    local relay=$1 before=0 after=0 softirq received=0 receiver count=0
    prepare_feed
    start_relay "$relay"
    lab_start receiver sink "$(lab_core 0)" "$ringtide" traffic receive --group "$group" \
        --interface in1 --for "$((milliseconds / 1000 + 5))s" --idle 400ms --json
    receiver=$lab_pid
    lab_ready receiver "$receiver" '^ready'
    [[ -z $relay_pid ]] || before=$(cpu_ns "$relay_pid")
    softirq=$(softirq_ns)
    generate
    # It goes on for as long as nothing has come for --idle.
    received=$(cpu_ns "$receiver")
    if [[ $relay != none ]]; then
        lab_wait 10 "the receiver" lab_ended "$receiver" || true
    fi
    [[ -z $relay_pid ]] || after=$(cpu_ns "$relay_pid")
    softirq=$(($(softirq_ns) - softirq))
    [[ $relay != kernel && $relay != socat ]] || count=$("forwarded_by_$relay")
    lab_stop "$receiver" ${relay_pid:+"$relay_pid"}
    [[ $relay != auto* && $relay != off* ]] || count=$(forwarded_by_ringtide)
    printf '%s %s %s %s %s %s %s %s %s %s %s\n' "$relay" "$size" "$input" "$fanout" "$count" \
        "$((after - before))" "$softirq" "$received" "$(<"$lab_directory/generator.time")" \
        "$(tr -d '\n' <"$lab_directory/generator.out")" \
        "$(tr -d '\n' <"$lab_directory/receiver.out")" >>"$lab_directory/runs"
}

# Sets `relay_pid`, empty for none.
start_relay() {
    local output outputs=() core timed=false
    core=$(lab_core 1)
    relay_pid=""
    case $1 in
        none) return ;;
        auto* | off*)
            for ((output = 1; output <= fanout; output++)); do
                outputs+=("{ to = \"$group@out$output\" },")
            done
            [[ $1 != *-timed ]] || timed=true
            printf '%s\n' 'workers = 1' '[relay]' "offload = \"${1%-timed}\"" "latency = $timed" \
                '[[relay.rule]]' 'name = "hop"' "input = \"$group@feed\"" \
                "outputs = [${outputs[*]}]" >"$lab_directory/relay.toml"
            lab_start relay relay "$core" "$ringtide" --log-format json run --engine "$engine" \
                -c "$lab_directory/relay.toml"
            lab_ready relay "$lab_pid" '"serving"'
            ;;
        kernel)
            for ((output = 1; output <= fanout; output++)); do
                outputs+=("out$output")
            done
            echo "mroute from feed group ${group%:*} source $feed_source to ${outputs[*]}" \
                >"$lab_directory/smcroute.conf"
            lab_start relay relay "$core" smcrouted -n -f "$lab_directory/smcroute.conf" \
                -P "$lab_directory/smcroute.pid" -u "$lab_directory/smcroute.sock"
            lab_wait 15 "the kernel's route" has_route || die "$(cat "$lab_directory/relay.err")"
            ;;
        socat)
            lab_start relay relay "$core" socat -b 65536 -u \
                "UDP4-RECV:${group#*:},ip-add-membership=${group%:*}:feed,rcvbuf=67108864" \
                "UDP4-DATAGRAM:$group,ip-multicast-if=$out_address,ip-multicast-loop=0"
            out_packets=0
            out_packets=$(forwarded_by_socat)
            lab_wait 15 "socat" has_membership || die "$(cat "$lab_directory/relay.err")"
            ;;
    esac
    relay_pid=$lab_pid
}

# Datagrams that left by the first output. The kernel counts super-packets and their bytes, with
# one IP and one UDP header each (28 bytes).
forwarded_by_kernel() {
    local packets bytes
    read -r _ _ _ packets bytes _ < <(ip netns exec "$lab_name-relay" \
        sed -n 2p /proc/net/ip_mr_cache)
    echo $(((bytes - 28 * packets) / size))
}

forwarded_by_socat() {
    echo $(($(ip netns exec "$lab_name-relay" cat /sys/class/net/out1/statistics/tx_packets) -
        out_packets))
}

forwarded_by_ringtide() {
    sed -n '/"relay out summary"/s/.*"packets":\([0-9]*\).*/\1/p' "$lab_directory/relay.err" |
        head -n 1 | grep .
}

has_route() {
    (($(ip netns exec "$lab_name-relay" cat /proc/net/ip_mr_cache | wc -l) > 1))
}

has_membership() {
    [[ $(ip -n "$lab_name-relay" maddress show dev feed) == *"${group%:*}"* ]]
}

# In the foreground, for its processor time. The TTL lets the kernel route.
generate() {
    local status=0 TIMEFORMAT='%3U %3S'
    {
        time timeout 90 ip netns exec "$lab_name-source" taskset -c "$(lab_core 0)" "$ringtide" \
            traffic send --group "$group" --interface feed --size "$size" --segment on \
            --ttl 8 --duration "${milliseconds}ms" --json \
            >"$lab_directory/generator.out" 2>"$lab_directory/generator.err" ||
            status=$?
    } 2>"$lab_directory/generator.time"
    ((status == 0)) || die "the generator failed:"$'\n'"$(cat "$lab_directory/generator.err")"
}

# The processor time of the kernel threads that take over where traffic is too much for interrupts.
softirq_ns() {
    local thread sum=0
    for thread in $softirq_threads; do
        sum=$((sum + $(cpu_ns "$thread")))
    done
    echo "$sum"
}

rounds=3
milliseconds=2000
sizes=(64 512 1400 8900)
inputs=(single gro super)
fanouts=(1 3 8)
relays=(auto off kernel socat)
engine=auto
format=table
group=239.77.0.1:5000
relay_pid=""
softirq_threads=$(grep -lx 'ksoftirqd/.*' /proc/[0-9]*/comm 2>/dev/null | cut -d / -f 3 || true)
out_packets=0
out_address=""
main "$@"
