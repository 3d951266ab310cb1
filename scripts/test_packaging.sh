#!/usr/bin/env bash
# Checks the systemd units and the Debian package: builds it, and installs, runs and purges it in
# a throw-away copy of this system. Needs root; nothing is left behind.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'END'
Usage: scripts/test_packaging.sh

Verifies packaging/*.service with systemd-analyze and prints how exposed they are (at most
2.5 of 10), then builds the Debian package, installs it over an overlay of this system in
namespaces of its own, runs what it installed by its unit's settings, and purges it.

RINGTIDE_BINARY=FILE packs that program instead of a release build.
END
}

main() {
    case ${1:-} in
        -h | --help) usage && exit 0 ;;
        --inside) inside "$2" ;;
        "") all ;;
        *) wrong "unexpected argument $1" ;;
    esac
}

all() {
    ((EUID == 0)) || die "it takes root to install a package"
    command -v systemd-analyze >/dev/null || install_packages systemd
    command -v adduser >/dev/null || install_packages adduser
    cd "$root"
    local package
    package=$(scripts/build_deb.sh)
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    check_units
    dpkg-deb --info "$package" >/dev/null
    # Mounts and processes of the namespaces go when the last process does.
    unshare --mount --pid --net --uts --ipc --fork --kill-child \
        "$root/scripts/test_packaging.sh" --inside "$package"
    ! getent passwd ringtide >/dev/null || die "a user was left behind"
    echo "test_packaging.sh: units and package are fine"
}

check_units() {
    local unit exposure
    mkdir -p "$scratch/units"
    for unit in packaging/*.service; do
        # The program of this build stands for the installed one, and a name for the instance.
        sed "s|/usr/bin/ringtide|$root/target/release/ringtide|" "$unit" \
            >"$scratch/units/$(basename "${unit/@/@feeds}")"
    done
    for unit in "$scratch"/units/*.service; do
        systemd-analyze verify --man=no "$unit"
        exposure=$(systemd-analyze security --offline=true --no-pager "$unit" |
            sed -n 's/.*Overall exposure level for .*: \([0-9.]*\) .*/\1/p')
        echo "$(basename "$unit"): exposure $exposure"
        awk -v level="$exposure" 'BEGIN { exit !(level != "" && level <= 2.5) }' ||
            die "$(basename "$unit") is too exposed"
    done
}

# In namespaces of its own: what is mounted here is seen by nobody else.
inside() {
    local package=$1 base
    ip link set lo up
    mount --make-rprivate /
    base=$(mktemp -d)
    # The directory below the mount stays empty and goes in the end.
    mount -t tmpfs tmpfs "$base"
    mkdir "$base/upper" "$base/work" "$base/system"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" \
        "$base/system"
    mount -t proc proc "$base/system/proc"
    mount --bind /dev "$base/system/dev"
    mount -t tmpfs tmpfs "$base/system/run"
    mount -t tmpfs tmpfs "$base/system/tmp"
    cp "$package" "$base/system/tmp/ringtide.deb"
    cp "$root/scripts/test_package_inside.sh" "$base/system/tmp/"
    chroot "$base/system" /bin/bash /tmp/test_package_inside.sh
    umount --recursive --lazy "$base"
    rmdir "$base"
}

main "$@"
