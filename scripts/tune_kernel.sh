#!/usr/bin/env bash
# Shows, sets and puts back the kernel settings that matter to ringtide.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'END'
Usage: scripts/tune_kernel.sh check [IF...]
       scripts/tune_kernel.sh apply [IF...]
       scripts/tune_kernel.sh restore [IF...]
       scripts/tune_kernel.sh --write-sysctl FILE

  check    show what is, what is wanted and why; change nothing
  apply    raise what is too low, and remember the old values in /run/ringtide-tune
  restore  put back exactly what apply found, and forget it; without IF: everything
  --write-sysctl FILE
           write the sysctls for good, as a file for /etc/sysctl.d; "-" prints them

With IF also the queue length of that interface, and UDP datagrams gathered into super-packets
(GRO) on their way in, for which ethtool is needed. Values that are higher than wanted stay as they
are. apply twice remembers what was before the first time. apply and restore need root.

Exit codes: 0 fine; 1 check found something below what is wanted, or something failed; 2 wrong
arguments.
END
}

main() {
    case ${1:-} in
        -h | --help) usage && exit 0 ;;
        check | apply | restore) ;;
        --write-sysctl)
            (($# == 2)) || wrong "--write-sysctl needs one file"
            write_sysctl "$2"
            return
            ;;
        "") wrong "say what to do" ;;
        *) wrong "unknown command $1" ;;
    esac
    local command=$1 interface
    shift
    for interface in "$@"; do
        [[ $interface =~ ^[^-/[:space:]][^/[:space:]]{0,14}$ ]] ||
            wrong "\"$interface\" is no interface"
        [[ $command == restore || -e /sys/class/net/$interface ]] ||
            die "there is no interface $interface"
    done
    [[ $command == check ]] || lock_state
    "$command" "$@"
}

# Each line: kind, name, wanted, why. A kind is read by get_KIND and written by set_KIND.
settings() {
    local interface
    cat <<'END'
sysctl net.core.rmem_max 67108864 receive buffers of 64 MiB without the right to force them
sysctl net.core.wmem_max 4194304 send buffers of 4 MiB without the right to force them
sysctl net.core.rmem_default 1048576 tools that ask for no buffer still survive a burst
sysctl net.core.wmem_default 1048576 the same for senders
sysctl net.core.netdev_max_backlog 20000 frames that wait between two virtual interfaces
sysctl net.core.optmem_max 131072 filters and source lists of sockets
sysctl net.ipv4.igmp_max_memberships 1024 groups that one socket may join
END
    for interface in "$@"; do
        echo "queue $interface 10000 frames that wait for the interface to send them"
        echo "gro $interface on received packets are put together where that is possible"
        echo "forwarding $interface on datagrams too: as super-packets far cheaper to relay"
    done
}

check() {
    local kind name wanted why now state below=0
    printf '%-32s %10s %10s  %-5s  %s\n' setting now wanted "" why
    while read -r kind name wanted why; do
        now=$("get_$kind" "$name")
        state=ok
        if [[ $now == - ]]; then
            state=n/a
        elif is_below "$now" "$wanted"; then
            state=below
            below=$((below + 1))
        fi
        printf '%-32s %10s %10s  %-5s  %s\n' "$(label "$kind" "$name")" "$now" "$wanted" \
            "$state" "$why"
    done < <(settings "$@")
    ((below == 0)) || die "$below below what is wanted: \`scripts/tune_kernel.sh apply\` as root"
}

apply() {
    local kind name wanted _ now
    while read -r kind name wanted _; do
        now=$("get_$kind" "$name")
        if [[ $now == - ]]; then
            echo "$(label "$kind" "$name"): not here, left out"
        elif is_below "$now" "$wanted"; then
            if [[ $kind == sysctl && ! -w /proc/sys/${name//.//} ]]; then
                echo "$name: $now stays, for it can be changed only outside this namespace"
                continue
            fi
            # First the note, then the change: no change without a way back.
            remember "$kind" "$name" "$now"
            "set_$kind" "$name" "$wanted"
            echo "$(label "$kind" "$name"): $now -> $wanted"
        else
            echo "$(label "$kind" "$name"): $now stays"
        fi
    done < <(settings "$@")
}

restore() {
    local kind name old now kept="" failed=0
    [[ -e $state_file ]] || { echo "nothing to restore" && return; }
    while read -r kind name old; do
        now=$("get_$kind" "$name")
        if (($# > 0)) && ! is_among "$name" "$@"; then
            kept+="$kind $name $old"$'\n'
        elif [[ $now == - ]]; then
            echo "$(label "$kind" "$name"): gone, forgotten"
        elif "set_$kind" "$name" "$old"; then
            echo "$(label "$kind" "$name"): $now -> $old"
        else
            kept+="$kind $name $old"$'\n'
            failed=1
        fi
    done <"$state_file"
    printf '%s' "$kept" >"$state_file.new"
    mv "$state_file.new" "$state_file"
    [[ -n $kept ]] || rm -r "$state_directory"
    ((failed == 0)) || die "what could not be restored is still in $state_file"
}

write_sysctl() {
    local kind name wanted why file=$1
    [[ $file != - ]] || file=/dev/stdout
    {
        echo "# What ringtide wants, written by scripts/tune_kernel.sh."
        while read -r kind name wanted why; do
            printf '\n# %s\n%s = %s\n' "$why" "$name" "$wanted"
        done < <(settings)
    } >"$file"
    [[ $1 == - ]] || echo "wrote $file; \`sysctl --system\` reads what is in /etc/sysctl.d"
}

# Only root gets at the notes, and one process at a time: what is in them is written to the kernel.
lock_state() {
    ((EUID == 0)) || die "changing the kernel needs root: run this with sudo"
    # Without -p: not a link, and not someone else's.
    mkdir -m 700 "$state_directory" 2>/dev/null || true
    if [[ -L $state_directory || $(stat -c '%u %a' "$state_directory") != "0 700" ]]; then
        die "$state_directory is not a directory that only root may use: remove it"
    fi
    exec {lock}<"$state_directory"
    flock -w 30 "$lock" || die "another tune_kernel.sh is at work"
}

# The first value counts. An interface is known by its name, for it may be made anew.
remember() {
    if ! grep -q "^$1 $2 " "$state_file" 2>/dev/null; then
        echo "$1 $2 $3" >>"$state_file"
    fi
}

is_below() {
    if [[ $2 == on ]]; then
        [[ $1 == off ]]
    else
        (($1 < $2))
    fi
}

is_among() {
    local name=$1
    shift
    [[ " $* " == *" $name "* ]]
}

label() {
    case $1 in
        sysctl) echo "$2" ;;
        queue) echo "$2 txqueuelen" ;;
        gro) echo "$2 generic-receive-offload" ;;
        forwarding) echo "$2 rx-udp-gro-forwarding" ;;
    esac
}

# "-" for what this kernel, or this network namespace, does not have.
get_sysctl() {
    cat "/proc/sys/${1//.//}" 2>/dev/null || echo -
}

set_sysctl() {
    echo "$2" >"/proc/sys/${1//.//}"
}

get_queue() {
    cat "/sys/class/net/$1/tx_queue_len" 2>/dev/null || echo -
}

set_queue() {
    echo "$2" >"/sys/class/net/$1/tx_queue_len"
}

get_gro() {
    get_feature "$1" generic-receive-offload
}

set_gro() {
    set_feature "$1" generic-receive-offload "$2"
}

get_forwarding() {
    get_feature "$1" rx-udp-gro-forwarding
}

set_forwarding() {
    set_feature "$1" rx-udp-gro-forwarding "$2"
}

get_feature() {
    local features
    command -v ethtool >/dev/null ||
        die "ethtool is missing. On Debian: apt-get install ethtool"
    features=$(ethtool -k "$1" 2>/dev/null) || true
    # What cannot be changed is not there.
    sed -n "s/^$2: \(on\|off\)$/\1/p" <<<"$features" | grep . || echo -
}

set_feature() {
    timeout 10 ethtool -K "$1" "$2" "$3" >/dev/null
}

state_directory=/run/ringtide-tune
state_file=$state_directory/state
main "$@"
