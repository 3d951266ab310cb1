#!/usr/bin/env bash
# Builds the Debian package into target/debian/ and prints its path.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'END'
Usage: scripts/build_deb.sh

Builds ringtide with the profile `dist` and packs it: the program, its systemd unit, the default
configuration as a conffile, a sample for /etc/sysctl.d, and the manual pages and completions of
the program. cargo-deb is installed into target/tools first, unless it is there.

RINGTIDE_BINARY=FILE packs that program and builds nothing. DEBEMAIL and DEBFULLNAME name the
maintainer, whom the package says how to reach; without them it names nobody who could be.
END
}

main() {
    case ${1:-} in
        -h | --help) usage && exit 0 ;;
        "") ;;
        *) wrong "unexpected argument $1" ;;
    esac
    cd "$root"
    require_cargo
    provide_cargo_deb
    if [[ -n ${RINGTIDE_BINARY:-} ]]; then
        [[ -x $RINGTIDE_BINARY ]] || die "RINGTIDE_BINARY: there is no program $RINGTIDE_BINARY"
        program=$RINGTIDE_BINARY
    else
        cargo build --profile dist --locked >&2
        program=target/dist/ringtide
    fi
    local variant=()
    generate
    if generate_documents; then variant=(--variant documented); fi
    # Who packages it answers for it, as with Debian's own tools.
    local maintainer=()
    [[ -z ${DEBEMAIL:-} ]] || maintainer=(--maintainer "${DEBFULLNAME:-ringtide} <$DEBEMAIL>")
    target/tools/bin/cargo-deb deb --no-build --locked --quiet "${variant[@]}" \
        "${maintainer[@]}" --output "$package" >&2
    echo "$root/$package"
}

provide_cargo_deb() {
    [[ -x target/tools/bin/cargo-deb ]] &&
        [[ $(target/tools/bin/cargo-deb --version) == *"$cargo_deb_version" ]] && return
    cargo install cargo-deb --version "$cargo_deb_version" --locked --root target/tools >&2
}

# What the program and the scripts print themselves.
generate() {
    rm -rf target/package
    mkdir -p target/package
    install -m 755 "$program" target/package/ringtide
    "$program" config default >target/package/ringtide.toml
    scripts/tune_kernel.sh --write-sysctl target/package/90-ringtide.conf >&2
}

# Manual pages and completions, by the program itself. False when it makes none.
generate_documents() {
    local shells=target/package/completions
    mkdir -p target/package/man "$shells"
    if ! "$program" man target/package/man >/dev/null 2>&1; then
        echo "build_deb.sh: this program makes no manual pages and completions" >&2
        return 1
    fi
    "$program" completions bash >"$shells/ringtide.bash"
    "$program" completions zsh >"$shells/_ringtide"
    "$program" completions fish >"$shells/ringtide.fish"
}

cargo_deb_version=3.8.0
package=target/debian/ringtide.deb

main "$@"
