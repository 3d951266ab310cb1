# shellcheck shell=bash
# The trackers that bench_tracker.sh compares: getting them, starting them, telling their versions.
# Sourced after lab.sh by a script that sets `numwant` and keeps a list of info hashes in
# $lab_directory/whitelist. What is fetched goes to target/bench/tools, nothing to the system.

# shellcheck disable=SC2154 # From common.sh, lab.sh and the script.
# shellcheck disable=SC2034 # For the script.

# Fixed, so that figures stay comparable.
aquatic_version=0.9.0
tools=$root/target/bench/tools
address=127.0.0.1:6969

# Gets what is not here and sets `trackers`, the names of those that can be measured, and
# `versions`, a line for each program.
provide_trackers() {
    trackers=(ringtide)
    versions="$("$ringtide" --version)"
    [[ $("$ringtide" tracker --help) != *--engine* ]] || trackers+=(ringtide-epoll)
    provide_peer
    trackers+=(echo)
    if provide_crate aquatic_udp --no-default-features --features mimalloc,io-uring; then
        trackers+=(aquatic-uring aquatic-mio)
        versions+=$'\n'"aquatic_udp $aquatic_version"
    fi
    aquatic_load=""
    if provide_crate aquatic_udp_load_test; then
        aquatic_load=$tools/bin/aquatic_udp_load_test
        versions+=$'\n'"aquatic_udp_load_test $aquatic_version"
    fi
    if provide_opentracker; then
        trackers+=(opentracker)
        versions+=$'\n'"opentracker $opentracker_version"
    fi
}

# Says loudly that something is left out, and keeps it for the report.
without() {
    printf '%s\n' "" "******** WITHOUT $1: $2" "" >&2
    missing+=("$1: $2")
}

# The echo, the recorder and the filler. Sets `peer`.
provide_peer() {
    require_cargo
    CARGO_TARGET_DIR=$root/target timeout 1800 cargo build --release --locked \
        --example bench_peer --manifest-path "$root/Cargo.toml" >&2
    peer=$root/target/release/examples/bench_peer
}

# provide_crate NAME FLAG...: installs a program from crates.io. The metrics that aquatic_udp has
# by default depend on a crate that new compilers refuse; without them it is faster, if anything.
provide_crate() {
    local name=$1 log=$tools/$1.log
    shift
    [[ ! -x $tools/bin/$name ]] || return 0
    echo "installing $name $aquatic_version from crates.io; this takes some minutes" >&2
    mkdir -p "$tools"
    CARGO_TARGET_DIR=$tools/build timeout 1800 cargo install --locked "$@" \
        --version "=$aquatic_version" --root "$tools" "$name" >"$log" 2>&1 && return
    without "$name" "cargo install failed, see $log"
    return 1
}

# From PATH, or unpacked from Debian's packages without installing them, which would start a
# service. Sets `opentracker`, an array, and `opentracker_version`.
provide_opentracker() {
    local directory=$tools/opentracker
    if command -v opentracker >/dev/null; then
        opentracker=("$(command -v opentracker)")
        opentracker_version=$(dpkg-query -W -f '${Version}' opentracker 2>/dev/null ||
            echo "of unknown version")
        return
    fi
    if [[ ! -x $directory/usr/bin/opentracker ]] && ! unpack_opentracker "$directory"; then
        without opentracker "no such program, and its Debian package cannot be fetched"
        return 1
    fi
    opentracker=(env "LD_LIBRARY_PATH=$directory/usr/lib" "$directory/usr/bin/opentracker")
    opentracker_version=$(<"$directory/version")
}

unpack_opentracker() {
    local directory=$1 package
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    rm -rf "$directory"
    mkdir -p "$directory/packages"
    (cd "$directory/packages" && timeout 120 apt-get download -qq opentracker libowfat0) \
        >"$directory.log" 2>&1 || return 1
    for package in "$directory/packages/"*.deb; do
        dpkg-deb -x "$package" "$directory" || return 1
    done
    dpkg-deb -f "$directory/packages/"opentracker_*.deb Version >"$directory/version"
}

# start_tracker NAME WORKERS CORES PEERS: listens on $address in the namespace `bench`. PEERS is
# how many an announce response of the echo has. Sets `tracker_pid`.
start_tracker() {
    local name=$1 workers=$2 cores=$3 peers=$4 command
    case $name in
        ringtide | ringtide-epoll)
            command=("$ringtide" tracker --listen "$address" --workers "$workers"
                --report-interval 0s)
            [[ $name == ringtide ]] || command+=(--engine epoll)
            ;;
        echo) command=("$peer" echo --listen "$address" --workers "$workers" --peers "$peers") ;;
        aquatic-*)
            write_aquatic "$name" "$workers" >"$lab_directory/aquatic.toml"
            command=("$tools/bin/aquatic_udp" -c "$lab_directory/aquatic.toml")
            ;;
        opentracker)
            write_opentracker "$workers" >"$lab_directory/opentracker.conf"
            # As root it would lock itself into a directory.
            command=(setpriv --reuid 65534 --regid 65534 --clear-groups "${opentracker[@]}"
                -f "$lab_directory/opentracker.conf")
            ;;
    esac
    lab_start tracker bench "$cores" "${command[@]}"
    tracker_pid=$lab_pid
    # It is ready when it takes an announce: the first one that it is filled with.
    in_bench timeout 60 "$peer" fill --target "$address" --torrents 1 --peers 1 \
        >/dev/null 2>"$lab_directory/fill.err" ||
        die "$name did not start:"$'\n'"$(cat "$lab_directory/tracker".* "$lab_directory/fill.err")"
}

in_bench() {
    ip netns exec "$lab_name-bench" "$@"
}

# As many peers in a response as the others send.
write_aquatic() {
    cat <<END
socket_workers = $2
log_level = "error"
[network]
address = "$address"
use_io_uring = $([[ $1 == aquatic-uring ]] && echo true || echo false)
[protocol]
max_response_peers = $numwant
END
}

# Debian's build serves nothing but what its list names.
write_opentracker() {
    cat <<END
listen.udp.workers $1
listen.udp $address
access.whitelist $lab_directory/whitelist
END
}

# Waits until the port is free for the next one: a ring that was killed lets go of its sockets a
# little later than its process ends.
stop_tracker() {
    lab_stop "$tracker_pid"
    lab_wait 10 "port ${address#*:} to be free" port_is_free
}

port_is_free() {
    [[ -z $(in_bench ss -ulnH "sport = :${address#*:}") ]]
}

missing=()
