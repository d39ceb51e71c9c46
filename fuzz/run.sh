#!/usr/bin/env bash
# Builds the fuzz targets and runs each for $1 seconds, as many side by side as there are processors; or, for `check`,
# lints them. Plain cargo on the stable toolchain: libFuzzer comes with the crate libfuzzer-sys and needs a C++ compiler,
# and what tells it which way the code went are LLVM's counters. No sanitizer: the code under test is safe Rust, and its
# assertions are on.
set -euo pipefail
cd "$(dirname "$0")"
seconds=$1
target=$(realpath -m "${CARGO_TARGET_DIR:-../target}")/fuzz
targets=$(awk -F '"' '/^\[\[bin\]\]/ { bin = 1 } bin && /^name/ { print $2; bin = 0 }' Cargo.toml)

if ! command -v c++ >/dev/null; then
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        echo "libFuzzer is built with a C++ compiler, and there is none (Debian: apt-get install g++)" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++
fi

coverage='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
for kind in inline-8bit-counters pc-table trace-compares; do
    coverage+=" -Cllvm-args=-sanitizer-coverage-$kind"
done
# With a target named, build scripts and procedural macros do without the counters.
cargo=(env "CARGO_TARGET_DIR=$target" "RUSTFLAGS=$coverage" cargo)
if [[ $seconds == check ]]; then
    exec "${cargo[@]}" clippy --locked --target host-tuple --bins -- -D warnings
fi
"${cargo[@]}" build --locked --target host-tuple --bins
binaries=$(dirname "$(ls -t "$target"/*/debug/frames | head -n 1)")
python3 seeds.py "$target/seeds"

# What was found before is where the next run begins; inputs that break something stay in `findings`.
run() {
    local name=$1 corpus=$target/corpus/$1 findings=$target/findings/$1- log=$target/$1.log
    mkdir -p "$corpus" "${findings%/*}"
    if RUST_BACKTRACE=0 "$binaries/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
        -print_final_stats=1 -artifact_prefix="$findings" "$corpus" "$target/seeds/$name" >"$log" 2>&1; then
        awk -v name="$name" '/number_of_executed_units/ { n = $2 } /peak_rss_mb/ { m = $2 } /DONE +cov:/ { c = $4 }
            END { printf "%-16s %9d runs, %5d branches, %4d MB\n", name, n, c, m }' "$log"
    else
        echo "$name: a finding; the log ends with" >&2
        grep -v '^ *[0-9]*: \|^WARNING\|^INFO' "$log" | tail -n 25 >&2
        return 1
    fi
}
export -f run
export target binaries seconds
xargs -P "$(nproc)" -I '{}' bash -euo pipefail -c 'run {}' <<<"$targets"
