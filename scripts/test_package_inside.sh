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
    documents_lead_somewhere
    a_relay_has_its_own_socket
    saving_takes_a_directory_of_its_own
    another_group_may_have_the_socket
    changes_survive
    purge
    echo "test_package_inside.sh: installed, run, upgraded and purged"
}

# Starts it with the installed configuration, and looks what it became.
runs() {
    local how=$1
    shift
    service "$@" run --config /etc/ringtide/ringtide.toml
    [[ $(ps -o user= -p "$pid") == ringtide ]] || die "it runs as another user, started $how"
    grep -q "capabilities none, no_new_privs on, seccomp on" "$log" || die "$(cat "$log")"
    ends
}

# Each link of a document to another file leads to one that is installed.
documents_lead_somewhere() {
    local document link
    cd /usr/share/doc/ringtide
    [[ -e contrib/openapi.json && -e SECURITY.md ]] || die "documents are missing"
    while read -r document; do
        while read -r link; do
            [[ -e ${document%/*}/$link ]] || die "$document leads to $link, which is not installed"
        done < <(grep -oE '\]\([^)#]+' "$document" | cut -c 3- | grep -v '^http' | sort -u)
    done < <(find . -name '*.md')
    cd /
}

# service COMMAND...: starts ringtide as the unit's user, with its log in $log, and waits until it
# serves. Sets `pid`.
service() {
    "$@" 2>"$log" &
    pid=$!
    for ((tries = 0; tries < 300; tries++)); do
        grep -q " serving " "$log" && return
        kill -0 "$pid" 2>/dev/null || die "it ended: $(cat "$log")"
        sleep 0.1
    done
    die "it does not serve: $(cat "$log")"
}

ends() {
    kill "$pid"
    wait "$pid" || die "it did not stop in good order: $(cat "$log")"
}

as_service=(setpriv --reuid=ringtide --regid=ringtide)
log=/tmp/service.log

# By what the unit sets, and with nothing in its file.
a_relay_has_its_own_socket() {
    local unit=/usr/share/doc/ringtide/examples/ringtide-relay@.service variable socket
    socket=/run/ringtide-feeds/control.sock
    variable=$(sed -n 's/^Environment=\(.*\)/\1/p' "$unit" | sed 's/%i/feeds/g')
    install -d -o ringtide -g ringtide -m 0750 /run/ringtide-feeds
    printf '[relay]\n' >/etc/ringtide/relay-feeds.toml
    service env "$variable" "${as_service[@]}" --clear-groups ringtide run \
        --config /etc/ringtide/relay-feeds.toml
    ringtide ctl --socket "$socket" stats >/dev/null || die "no answer at $socket: $(cat "$log")"
    ends
    rm -r /run/ringtide-feeds /etc/ringtide/relay-feeds.toml
}

# /etc is read-only to the unit, unless a drop-in says otherwise.
saving_takes_a_directory_of_its_own() {
    local file=/etc/ringtide/ringtide.toml before told
    before=$(cat "$file")
    mount --bind /etc/ringtide /etc/ringtide
    mount -o remount,bind,ro /etc/ringtide
    run_and_save && die "it was saved to a read-only directory"
    told=$(cat /tmp/save.log)
    [[ $told == *ReadWritePaths=* ]] || die "the refusal does not help: $told"
    umount /etc/ringtide
    run_and_save && die "it was saved to a directory of root"
    told=$(cat /tmp/save.log)
    [[ $told == *"the user ringtide runs as"* ]] || die "the refusal does not help: $told"
    chown ringtide: /etc/ringtide "$file"
    run_and_save || die "it was not saved: $(cat /tmp/save.log)"
    grep -q '^level = "debug"' "$file" || die "the level was not saved"
    chown root:root "$file"
    chown root:ringtide /etc/ringtide
    printf '%s\n' "$before" >"$file"
    rm -f "$file.bak"
}

run_and_save() {
    install -d -o ringtide -g ringtide -m 0750 /run/ringtide
    service "${as_service[@]}" --clear-groups ringtide run -c /etc/ringtide/ringtide.toml
    ringtide ctl log-level debug >/dev/null
    local result=0
    ringtide ctl config save >/tmp/save.log 2>&1 || result=1
    ends
    return $result
}

# As docs/privileges.md says: a member of the group, and a directory that lets it through.
another_group_may_have_the_socket() {
    local group refusal=0
    groupadd --system operators
    group=$(getent group operators | cut -d : -f 3)
    printf '[control]\ngroup = "operators"\n' >/etc/ringtide/operated.toml
    install -d -o ringtide -g ringtide -m 0751 /run/ringtide
    service "${as_service[@]}" --groups "$group" ringtide run -c /etc/ringtide/operated.toml
    setpriv --reuid=65534 --regid=65534 --groups "$group" ringtide ctl stats >/dev/null ||
        die "a member of the group is refused: $(ls -l /run/ringtide)"
    setpriv --reuid=65534 --regid=65534 --clear-groups ringtide ctl stats >/dev/null 2>&1 ||
        refusal=$?
    ((refusal == 3)) || die "whoever is no member is let in, or told otherwise: $refusal"
    ends
    rm -r /run/ringtide /etc/ringtide/operated.toml
    groupdel operators
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
