#!/usr/bin/env bash
# Says where Chromium is, and installs it first if it can. CHROMIUM wins.
set -euo pipefail

find_chromium() {
    [[ -n ${CHROMIUM:-} ]] && echo "$CHROMIUM" && return
    command -v chromium || command -v chromium-browser || command -v google-chrome
}

if ! find_chromium >/dev/null; then
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "the pages are tested in Chromium, and there is none (Debian: apt-get install chromium)" >&2
        exit 1
    fi
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation >&2
fi
find_chromium
