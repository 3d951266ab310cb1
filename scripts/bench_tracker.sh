#!/usr/bin/env bash
# Measures the tracker next to aquatic_udp, opentracker and a bare echo.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/lab.sh
source "$root/scripts/lab.sh"
# shellcheck source=scripts/trackers.sh
source "$root/scripts/trackers.sh"

usage() {
    cat <<'END'
Usage: scripts/bench_tracker.sh [OPTION]...

ringtide, aquatic_udp, opentracker and a bare echo, which is what the loop and the kernel alone
would reach, one after the other over loopback in a network namespace. The tracker has one core, the
load another. Rounds are interleaved and medians taken. Prints tables; target/bench gets
tracker.json and tracker.svg.

  load      responses/s and the tracker's processor time per response, as fast as answers come, with
            each number of clients and of workers, and once with aquatic's load tester
  latency   latency of announces at half the rate that the same tracker reached
  memory    resident bytes per peer: 1,000,000 torrents x 2 peers, 1,000 torrents x 2,000 peers

  --rounds N       how often load and latency are measured [default: 3]
  --seconds N      how long each run lasts [default: 5]
  --clients LIST   simulated clients, with commas [default: 10,100,1000]
  --workers LIST   workers of a tracker [default: 1,2]
  --only LIST      load, latency, memory; latency needs load [default: all]
  --quick          one round, 100 clients, one worker, 2 s, a tenth of the peers: about 90 s
  --markdown       print a section of developer_docs/benchmarks.md
  -h, --help       print this

Needs root, and two cores. The full run takes about half an hour, and the first one some minutes
more: aquatic_udp and its load tester are built from crates.io, opentracker is Debian's package,
unpacked and not installed. What cannot be installed is left out, loudly.
Exit codes: 0 measured; 1 failed; 2 wrong arguments.
RINGTIDE_BINARY=FILE runs that program instead of building the release, RINGTIDE_LOAD_BINARY=FILE
takes its load tester from there: two builds of the tracker then meet the same load.
END
}

main() {
    local command_line="scripts/bench_tracker.sh $*"
    read_options "$@"
    lab_open ip:iproute2
    # opentracker gives its privileges up and still has to read its list.
    chmod 711 "$lab_directory"
    ((${#lab_cores[@]} >= 2)) || die "two cores are needed, one of them for the tracker alone"
    lab_binary
    loader=${RINGTIDE_LOAD_BINARY:-$ringtide}
    provide_trackers
    lab_namespace bench
    [[ ,$only, != *,memory,* ]] || measure_memory
    [[ ,$only, != *,load,* ]] || measure_rounds
    mkdir -p "$root/target/bench"
    printf '%s\n' "$versions" >"$lab_directory/versions"
    ((${#missing[@]} == 0)) || printf '%s\n' "${missing[@]}" >"$lab_directory/missing"
    timeout 60 python3 "$root/scripts/bench_tracker_report.py" "$lab_directory" \
        "$root/target/bench" "$format" "${command_line% }"
}

read_options() {
    while (($# > 0)); do
        case $1 in
            --rounds) rounds=$(number "$@" 1 99); shift ;;
            --seconds) seconds=$(number "$@" 1 60); shift ;;
            --clients) clients=$(numbers "$@" 1 10000); shift ;;
            --workers) workers=$(numbers "$@" 1 64); shift ;;
            --only) only=${2:-} && shift ;;
            --quick)
                rounds=1 seconds=2 clients=100 workers=1
                shapes=("100000 2" "100 2000")
                ;;
            --markdown) format=markdown ;;
            -h | --help) usage && exit 0 ;;
            *) wrong "unknown argument $1" ;;
        esac
        (($# == 0)) || shift
    done
    local part
    for part in ${only//,/ }; do
        one_of --only "$part" load latency memory >/dev/null
    done
    [[ -n $only && (,$only, != *,latency,* || ,$only, == *,load,*) ]] ||
        wrong "--only needs load, latency or memory, and latency needs load"
}

# numbers FLAG [VALUE...] MIN MAX: prints VALUE with spaces, when it is numbers with commas.
numbers() {
    local flag=$1 value list=()
    for value in $(tr , ' ' <<<"${2:-}"); do
        list+=("$(number "$flag" "$value" "${@:$#-1}")") || exit
    done
    ((${#list[@]} > 0)) || wrong "$flag needs numbers with commas between them"
    echo "${list[*]}"
}

# Every tracker is filled once: its memory is the same each time.
measure_memory() {
    local shape tracker torrents peers before after stored
    for shape in "${shapes[@]}"; do
        read -r torrents peers <<<"$shape"
        echo "memory: $torrents torrents x $peers peers" >&2
        "$peer" hashes --torrents "$torrents" >"$lab_directory/whitelist"
        for tracker in "${trackers[@]}"; do
            [[ $tracker != echo ]] || continue
            start_tracker "$tracker" 1 "$(lab_core 1)" 0
            before=$(resident_bytes "$tracker_pid")
            stored=$(in_bench timeout 300 "$peer" fill --target "$address" \
                --torrents "$torrents" --peers "$peers") || die "$tracker could not be filled"
            after=$(resident_bytes "$tracker_pid")
            stop_tracker
            printf '{"tracker":"%s","torrents":%d,"peers":%d,' "$tracker" "$torrents" "$peers" \
                >>"$lab_directory/memory"
            printf '"stored":%d,"before":%d,"after":%d}\n' "$stored" "$before" "$after" \
                >>"$lab_directory/memory"
        done
    done
}

measure_rounds() {
    local round count crowd tracker
    local -A rates=()
    record_hashes
    for ((round = 1; round <= rounds; round++)); do
        for count in $workers; do
            for crowd in $clients; do
                echo "round $round of $rounds: $crowd clients, $count workers" >&2
                for tracker in "${trackers[@]}"; do
                    measure_load "$tracker" "$count" "$crowd"
                    [[ ,$only, != *,latency,* ]] || measure_latency "$tracker" "$count" "$crowd"
                done
            done
        done
        [[ -z $aquatic_load ]] || measure_by_aquatic
    done
}

# The info hashes of the load, for a tracker that wants a list of them. The load tester chooses
# them by its seed and the number of clients, aquatic's always chooses the same.
record_hashes() {
    local crowd recorder
    # The one that says when a tracker is ready.
    "$peer" hashes --torrents 1 >"$lab_directory/whitelist"
    for crowd in $clients aquatic; do
        [[ $crowd != aquatic || -n $aquatic_load ]] || continue
        lab_start recorder bench "$(lab_core 1)" "$peer" record --listen "$address" \
            --torrents "$torrents" --file "$lab_directory/recorded"
        recorder=$lab_pid
        lab_ready recorder "$recorder" '^ready'
        if [[ $crowd == aquatic ]]; then
            load_by_aquatic
        else
            load "$crowd" 0 8 "$recorder"
        fi
        lab_wait 20 "the recorder" lab_ended "$recorder"
        lab_stop "$recorder"
        lab_wait 10 "port ${address#*:} to be free" port_is_free
        cat "$lab_directory/recorded" >>"$lab_directory/whitelist"
    done
    sort -u -o "$lab_directory/whitelist" "$lab_directory/whitelist"
}

# One tracker as fast as answers come. What ringtide answers with is what the echo answers with.
measure_load() {
    local tracker=$1 workers=$2 crowd=$3 before after
    start_tracker "$tracker" "$workers" "$(lab_core 1 "$workers")" "${answered:-50}"
    before=$(cpu_ns "$tracker_pid")
    load "$crowd" 0 "$seconds" "$tracker_pid"
    after=$(cpu_ns "$tracker_pid")
    stop_tracker
    keep load "$tracker" "$workers" "$crowd" $((after - before))
    rates[$tracker]=$(figure responses_per_s)
    [[ $tracker != ringtide ]] || answered=$(figure peers_per_answer)
}

# Half of what the same tracker just reached, on a schedule that does not wait for it.
measure_latency() {
    local tracker=$1 workers=$2 crowd=$3
    start_tracker "$tracker" "$workers" "$(lab_core 1 "$workers")" "${answered:-50}"
    load "$crowd" $((rates[$tracker] / 2 / crowd)) "$seconds" "$tracker_pid"
    stop_tracker
    keep latency "$tracker" "$workers" "$crowd" 0
}

measure_by_aquatic() {
    local tracker before after
    for tracker in "${trackers[@]}"; do
        start_tracker "$tracker" 1 "$(lab_core 1)" 30
        before=$(cpu_ns "$tracker_pid")
        load_by_aquatic
        after=$(cpu_ns "$tracker_pid")
        stop_tracker
        keep aquatic "$tracker" 1 0 $((after - before))
    done
}

# load CLIENTS RATE SECONDS PID: with rate 0 as fast as answers come. With several workers the
# load's core may be one of theirs, where there are not enough.
load() {
    local status=0
    in_bench timeout $(($3 + 60)) taskset -c "$(lab_core 0)" "$loader" load-test \
        --target "$address" --concurrency "$1" --rate "$2" --duration "${3}s" --pid "$4" \
        --torrents "$torrents" --hashes $((torrents / $1)) --peers "$peers" \
        --numwant "$numwant" --scrape-every 0 --seed 1 --json "$lab_directory/load.json" \
        >"$lab_directory/load.out" 2>&1 || status=$?
    [[ -s $lab_directory/load.json ]] ||
        die "the load tester failed ($status):"$'\n'"$(cat "$lab_directory/load.out")"
}

# Its summary has whole periods of five seconds only.
load_by_aquatic() {
    cat >"$lab_directory/aquatic_load.toml" <<END
server_address = "$address"
duration = 5
extra_statistics = false
[requests]
number_of_torrents = $torrents
number_of_peers = 100000
weight_connect = 1
weight_announce = 98
weight_scrape = 1
END
    in_bench timeout 60 taskset -c "$(lab_core 0)" "$aquatic_load" \
        -c "$lab_directory/aquatic_load.toml" >"$lab_directory/load.out" 2>&1 ||
        die "aquatic's load tester failed:"$'\n'"$(tail -n 20 "$lab_directory/load.out")"
    printf '{"aquatic":{"responses_per_s":%s,"errors_per_s":%s}}\n' \
        "$(sed -n 's/^Average responses per second: //p' "$lab_directory/load.out")" \
        "$(sed -n 's/^  - Error responses: *//p' "$lab_directory/load.out" | tail -n 1)" \
        >"$lab_directory/load.json"
}

# keep KIND TRACKER WORKERS CLIENTS CPU_NS: a line for the report, with what the load tester wrote.
keep() {
    printf '{"kind":"%s","tracker":"%s","workers":%d,"clients":%d,"cpu_ns":%d,"result":%s}\n' \
        "$@" "$(tr -d '\n' <"$lab_directory/load.json")" >>"$lab_directory/runs"
}

# One whole number from what the load tester wrote.
figure() {
    python3 "$root/scripts/bench_tracker_report.py" --figure "$1" "$lab_directory/load.json"
}

resident_bytes() {
    local kilobytes
    kilobytes=$(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB$/\1/p' "/proc/$1/status")
    echo $((kilobytes * 1024))
}

rounds=3
seconds=5
clients="10 100 1000"
workers="1 2"
only=load,latency,memory
shapes=("1000000 2" "1000 2000")
format=table
torrents=10000
peers=200000
numwant=50
answered=""
main "$@"
