#!/bin/sh
# Installs the static programs of minions.
#
#   install.sh [VERSION]     without VERSION the newest, which the file LATEST beside the tarballs names
#
# MINIONS_URL    where the tarballs lie, with the checksum of each beside it: http://…, https://… or file:///…
# PREFIX         where the programs go: PREFIX/bin; /usr/local
#
# A tarball whose checksum is not the published one is thrown away. Each program takes its place whole, after all of them are
# there; when something goes wrong what was installed before is as it was.
set -eu

platform=x86_64-unknown-linux-musl
programs="minions-agent minions-vsock-cli minions"
prefix="${PREFIX:-/usr/local}"
work=

say() { printf 'install.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# All that it made and that is not in its place.
clear_up() {
    [ -z "$work" ] || rm -rf "$work"
    for program in $programs; do rm -f "$prefix/bin/.$program.new.$$"; done
}

# fetch URL FILE: whole, or not at all.
fetch() {
    rm -f "$2"
    case "$1" in
        file://*) cp -- "${1#file://}" "$2" 2>/dev/null || return 1 ;;
        *)
            if command -v curl >/dev/null 2>&1; then
                curl -fsSL --retry 2 --max-time 600 --max-filesize 1000000000 -o "$2" -- "$1"
            elif command -v wget >/dev/null 2>&1; then
                wget -q -t 2 -T 60 -O "$2" -- "$1"
            else
                fail "neither curl nor wget is here; install one of them"
            fi || { rm -f "$2"; return 1; }
            ;;
    esac
}

main() {
    case "${1:-}" in -*) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;; esac
    [ $# -le 1 ] || fail "too many words: install.sh [VERSION]"
    case "$prefix" in /*) ;; *) fail "PREFIX is to be absolute: $prefix" ;; esac
    [ -n "${MINIONS_URL:-}" ] || fail "say where the tarballs lie: MINIONS_URL=https://… install.sh"
    base="${MINIONS_URL%/}"
    [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || fail "there are programs for Linux on x86_64 only"
    command -v sha256sum >/dev/null 2>&1 || fail "sha256sum is missing; install coreutils"
    trap clear_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    work="$(mktemp -d)"

    version="${1:-}"
    if [ -z "$version" ]; then
        fetch "$base/LATEST" "$work/latest" || fail "cannot fetch $base/LATEST; name a version instead"
        version="$(cat "$work/latest")"
    fi
    version="${version#v}"
    case "$version" in '' | .* | *[!0-9A-Za-z.+-]*) fail "that is no version: $version" ;; esac
    name="minions-$version-$platform"

    say "fetching $name from $base"
    fetch "$base/$name.tar.gz.sha256" "$work/sum" || fail "there is no $name.tar.gz.sha256 at $base; is the version right?"
    # Only the sum counts: whatever name stands beside it, it is that of this tarball.
    sum="$(cut -d' ' -f1 <"$work/sum")"
    case "$sum" in *[!0-9a-f]*) sum= ;; esac
    [ "${#sum}" = 64 ] || fail "$name.tar.gz.sha256 holds no SHA-256"
    fetch "$base/$name.tar.gz" "$work/tarball" || fail "cannot fetch $base/$name.tar.gz"
    got="$(sha256sum "$work/tarball" | cut -d' ' -f1)"
    [ "$got" = "$sum" ] || fail "the checksum of $name.tar.gz is wrong: $got instead of $sum; nothing was installed"

    mkdir "$work/out"
    tar -xzf "$work/tarball" -C "$work/out" || fail "the tarball cannot be unpacked; nothing was installed"
    for program in $programs; do
        if [ -L "$work/out/$name/$program" ] || [ ! -f "$work/out/$name/$program" ]; then
            fail "the tarball has no $program; nothing was installed"
        fi
    done
    mkdir -p "$prefix/bin" 2>/dev/null && [ -w "$prefix/bin" ] || fail "cannot write to $prefix/bin; run it as root, or set PREFIX"
    # Beside their places first, where there may be no room; then by renaming, the one that the others serve last.
    for program in $programs; do
        new="$prefix/bin/.$program.new.$$"
        cp -- "$work/out/$name/$program" "$new" && chmod 755 "$new" || fail "cannot write to $prefix/bin; nothing was installed"
    done
    "$prefix/bin/.minions.new.$$" --version >"$work/says" 2>&1 || fail "the new minions does not run here: $(cat "$work/says")"
    for program in $programs; do
        [ ! -d "$prefix/bin/$program" ] || fail "$prefix/bin/$program is a folder; nothing was installed"
    done
    for program in $programs; do
        mv -f -- "$prefix/bin/.$program.new.$$" "$prefix/bin/$program" || fail "cannot replace $prefix/bin/$program; run it again"
    done
    say "$(cat "$work/says") is in $prefix/bin; next: minions init --dry-run"
}

# In one piece at the end: what was fetched only in part does nothing.
main "$@"
