#!/usr/bin/env bash
# Makes a Debian package of a binary, installs it in a root of its own, runs what came out of it, and removes it again.
#
#   packaging/test.sh CARGO_DEB BINARY
set -euo pipefail
cd "$(dirname "$0")/.."
cargo_deb="$1" binary="$2"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
fail() {
    echo "packaging: $*" >&2
    exit 1
}

# The package is made of what lies where the release build would.
mkdir -p "$scratch/target/release"
cp "$binary" "$scratch/target/release/topichub"
CARGO_TARGET_DIR="$scratch/target" "$cargo_deb" deb --quiet --no-build --no-strip --locked \
    --fast --compress-system --compress-type gz --output "$scratch/topichub.deb" >/dev/null

package() { dpkg-deb --field "$scratch/topichub.deb" "$1"; }
[[ "$(package Version)" == "$("$binary" --version | cut -d' ' -f2)-1" ]] || fail "the version is $(package Version)"
[[ "$(package Depends)" == *libc6* ]] || fail "it depends on $(package Depends)"
control="$(dpkg-deb --info "$scratch/topichub.deb")"
[[ ! "$control" =~ (preinst|postinst|prerm|postrm) ]] || fail 'there is a script in it'

root="$scratch/root"
if [[ $(id -u) -eq 0 ]]; then
    mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
    touch "$root/var/lib/dpkg/status"
    dpkg() { command dpkg --root="$root" --force-depends --log=/dev/null "$@" >"$scratch/dpkg.log" 2>&1 || fail "$(<"$scratch/dpkg.log")"; }
    dpkg --install "$scratch/topichub.deb"
else
    dpkg-deb --extract "$scratch/topichub.deb" "$root"
fi

[[ "$("$root/usr/bin/topichub" --version)" == "$("$binary" --version)" ]] || fail 'another program came out of it'
"$root/usr/bin/topichub" check --config "$root/etc/topichub/topichub.toml" >/dev/null
[[ -f "$root/usr/lib/systemd/system/topichub.service" ]] || fail 'there is no unit in it'

if [[ $(id -u) -eq 0 ]]; then
    dpkg --remove topichub
    [[ ! -e "$root/usr/bin/topichub" ]] || fail 'it stays when it is removed'
    [[ -f "$root/etc/topichub/topichub.toml" ]] || fail 'the configuration goes with it'
    dpkg --purge topichub
    [[ ! -e "$root/etc/topichub" ]] || fail 'the configuration stays when it is purged'
fi
echo 'the Debian package installs, runs and goes'
