#!/usr/bin/env bash
# The part of test_packaging.sh that runs inside the throw-away system: installs, runs and purges
# /tmp/ringtide.deb.
set -euo pipefail

die() {
    echo "test_package_inside.sh: $*" >&2
    exit 1
}

main() {
    export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
    dpkg --install --force-depends /tmp/ringtide.deb >/tmp/install.log 2>&1 ||
        die "it cannot be installed: $(cat /tmp/install.log)"
    local file
    for file in /usr/bin/ringtide /usr/lib/systemd/system/ringtide.service \
        /etc/ringtide/ringtide.toml /usr/share/doc/ringtide/examples/90-ringtide.conf; do
        [[ -e $file || -e ${file#/usr} ]] || die "there is no $file"
    done
    getent passwd ringtide >/dev/null || die "there is no user ringtide"
    dpkg-query --show --showformat='${Conffiles}' ringtide | grep -q /etc/ringtide/ringtide.toml ||
        die "the configuration is no conffile"
    ringtide config check /etc/ringtide/ringtide.toml >/dev/null
    cmp <(ringtide config default) /etc/ringtide/ringtide.toml
    runs "by root" ringtide
    runs "by the unit's user" setpriv --reuid=ringtide --regid=ringtide --clear-groups ringtide
    changes_survive
    purge
    echo "test_package_inside.sh: installed, run, upgraded and purged"
}

# Starts it with the installed configuration, and waits until it serves.
runs() {
    local how=$1 pid log=/tmp/run.log
    shift
    "$@" run --config /etc/ringtide/ringtide.toml 2>"$log" &
    pid=$!
    for ((tries = 0; tries < 300; tries++)); do
        grep -q " serving " "$log" && break
        kill -0 "$pid" 2>/dev/null || die "it ended, started $how: $(cat "$log")"
        sleep 0.1
    done
    [[ $(ps -o user= -p "$pid") == ringtide ]] || die "it runs as another user, started $how"
    grep -q "capabilities none, no_new_privs on, seccomp on" "$log" || die "$(cat "$log")"
    kill "$pid"
    wait "$pid" || die "it did not stop in good order, started $how: $(cat "$log")"
}

# A conffile that the operator changed stays.
changes_survive() {
    echo "# mine" >>/etc/ringtide/ringtide.toml
    dpkg --install --force-depends /tmp/ringtide.deb >/tmp/install.log 2>&1 ||
        die "it cannot be upgraded: $(cat /tmp/install.log)"
    grep -q "# mine" /etc/ringtide/ringtide.toml || die "a change of the configuration was lost"
}

purge() {
    dpkg --purge ringtide >/tmp/purge.log 2>&1 || die "it cannot be purged: $(cat /tmp/purge.log)"
    local left
    for left in /usr/bin/ringtide /etc/ringtide /var/lib/ringtide /usr/share/doc/ringtide; do
        [[ ! -e $left ]] || die "$left is left behind"
    done
    ! getent passwd ringtide >/dev/null || die "the user is left behind"
}

main "$@"
