# shellcheck shell=bash
# A laboratory for traffic: network namespaces, cables between them, and the processes in them.
# Sourced after common.sh. Whatever ends the script, `lab_close` removes what was made here, and
# nothing else. If not even that runs, processes die with the script (PR_SET_PDEATHSIG).

# lab_open COMMAND:PACKAGE...: checks for root, and installs the Debian packages of commands that
# are missing, beside those that every laboratory needs. Calls lab_close at the end; a signal ends
# the script by way of it.
lab_open() {
    ((EUID == 0)) || die "network namespaces need root: run this with sudo"
    local missing=() tool tools=(taskset:util-linux setpriv:util-linux python3:python3 "$@")
    for tool in "${tools[@]}"; do
        command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
    done
    if ((${#missing[@]} > 0)); then
        install_packages "${missing[@]}" ||
            die "missing, and not to be installed here: ${missing[*]}"
    fi
    mapfile -t lab_cores < <(python3 -c 'import os
for core in sorted(os.sched_getaffinity(0)): print(core)')
    lab_directory=$(mktemp -d "${TMPDIR:-/tmp}/ringtide-lab.XXXXXX")
    lab_name=rt$$
    # Nothing here is controlled, and several processes could not have the usual socket.
    export RINGTIDE_CONTROL_SOCKET=off
    trap lab_close EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

lab_close() {
    local status=$? namespace pid
    trap '' INT TERM HUP
    lab_stop "${lab_processes[@]}"
    for namespace in "${lab_namespaces[@]}"; do
        # A process that has become another user outlives its parent.
        for pid in $(timeout "$lab_step_s" ip netns pids "$namespace"); do
            kill -KILL "$pid" 2>/dev/null || true
        done
        timeout "$lab_step_s" ip netns delete "$namespace" ||
            echo "${0##*/}: could not remove the namespace $namespace" >&2
    done
    [[ -z ${lab_directory:-} ]] || rm -rf "$lab_directory"
    exit "$status"
}

# The release build, or what RINGTIDE_BINARY names. Sets `ringtide`.
lab_binary() {
    ringtide=${RINGTIDE_BINARY:-$root/target/release/ringtide}
    if [[ -n ${RINGTIDE_BINARY:-} ]]; then
        [[ -x $ringtide ]] || die "RINGTIDE_BINARY names $ringtide, which cannot be executed"
        return
    fi
    require_cargo
    CARGO_TARGET_DIR=$root/target timeout 1800 cargo build --release --locked --bin ringtide \
        --manifest-path "$root/Cargo.toml"
}

# A namespace without IPv6, so that nothing but the test's traffic is on its cables.
lab_namespace() {
    local namespace=$lab_name-$1
    timeout "$lab_step_s" ip netns add "$namespace"
    lab_namespaces+=("$namespace")
    timeout "$lab_step_s" ip netns exec "$namespace" sh -c '
        echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
        echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
        echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
        echo 0 >/proc/sys/net/ipv4/conf/default/rp_filter
        ip link set lo up' 2>/dev/null
}

# lab_cable NAMESPACE INTERFACE NAMESPACE INTERFACE MTU: a cable in 10.N.M.0/24, the near end .1.
# Ends with the same index in two namespaces look like hardware to the kernel, which may then
# report the carrier late: each end has an index of its own.
lab_cable() {
    local near=$lab_name-$1 far=$lab_name-$3 index=$((1000 + 2 * ++lab_cables)) net
    net=10.$((lab_cables / 250)).$((lab_cables % 250))
    timeout "$lab_step_s" ip link add name "$2" index "$index" mtu "$5" netns "$near" \
        type veth peer name "$4" index $((index + 1)) mtu "$5" netns "$far"
    timeout "$lab_step_s" ip -n "$near" addr add "$net.1/24" dev "$2"
    timeout "$lab_step_s" ip -n "$far" addr add "$net.2/24" dev "$4"
    timeout "$lab_step_s" ip -n "$near" link set dev "$2" txqueuelen 10000 up
    timeout "$lab_step_s" ip -n "$far" link set dev "$4" txqueuelen 10000 up
    lab_wait "$lab_step_s" "the cable $2" lab_carries "$near" "$2"
    lab_wait "$lab_step_s" "the cable $4" lab_carries "$far" "$4"
}

lab_carries() {
    [[ $(ip -n "$1" -o link show dev "$2") == *LOWER_UP* ]]
}

# lab_start NAME NAMESPACE CORES COMMAND...: starts a process in a namespace, pinned to cores, with
# its output in NAME.out and NAME.err. Sets `lab_pid`.
lab_start() {
    local name=$1 namespace=$lab_name-$2 cores=$3
    shift 3
    setpriv --pdeathsig KILL ip netns exec "$namespace" taskset -c "$cores" "$@" \
        >"$lab_directory/$name.out" 2>"$lab_directory/$name.err" </dev/null &
    lab_pid=$!
    lab_processes+=("$lab_pid")
}

# Ends processes that were started here, and waits for them; killed when they take too long.
lab_stop() {
    local pid
    for pid in "$@"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "$@"; do
        lab_wait "$lab_stop_s" "the end of process $pid" lab_ended "$pid" 2>/dev/null ||
            kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        lab_forget "$pid"
    done
}

# The shell has waited for this process: its ID may belong to another one from now on.
lab_forget() {
    local pid kept=()
    for pid in "${lab_processes[@]}"; do
        [[ $pid == "$1" ]] || kept+=("$pid")
    done
    lab_processes=("${kept[@]}")
}

# Ended, if only waiting to be waited for.
lab_ended() {
    local line
    read -r line 2>/dev/null <"/proc/$1/stat" || return 0
    [[ ${line##*) } == Z* ]]
}

# lab_ready NAME PID PATTERN: waits for a line in the standard error of a process.
lab_ready() {
    if ! lab_wait "$lab_step_s" "$1 to be ready" lab_has_line "$@" || lab_ended "$2"; then
        die "$1 did not start:"$'\n'"$(cat "$lab_directory/$1.err")"
    fi
}

lab_has_line() {
    grep -qs -- "$3" "$lab_directory/$1.err" || lab_ended "$2"
}

# lab_wait SECONDS WHAT COMMAND...: asks until COMMAND succeeds; fails when it does not in time.
lab_wait() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        if ((SECONDS > deadline)); then
            echo "${0##*/}: waited in vain for $what" >&2
            return 1
        fi
        read -r -t 0.02 <> <(:) || true
    done
}

# Core number $1, counted round the cores that there are; $2 cores from there on, with commas.
lab_core() {
    local count=${2:-1} index list=""
    for ((index = $1; index < $1 + count; index++)); do
        list+=${list:+,}${lab_cores[index % ${#lab_cores[@]}]}
    done
    echo "$list"
}

# The processor time of all threads of a process.
cpu_ns() {
    local file nanoseconds _ sum=0
    for file in "/proc/$1/task/"*/schedstat; do
        read -r nanoseconds _ <"$file"
        sum=$((sum + nanoseconds))
    done
    echo "$sum"
}

# What a step of the laboratory and the end of a process may take: far longer than they do, even on
# a machine that others keep busy.
readonly lab_step_s=60 lab_stop_s=20
lab_namespaces=()
lab_processes=()
lab_cables=0
