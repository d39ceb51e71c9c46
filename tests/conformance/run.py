"""Runs Autobahn's cases against the echo example. What came of them is judged by `report`."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import report

# One process of the client for each. It and the server compress gigabytes in groups 12 and 13, which is what takes
# the time; so the longest come first, and there is always one more at work than there are processors.
BATCHES: tuple[tuple[str, ...], ...] = (
    *(("12.5.*",), ("12.2.*",), ("12.3.*",), ("13.3.*",), ("13.5.*",), ("13.7.*",), ("12.4.*",)),
    *(("12.1.*",), ("13.1.*",), ("13.2.*",), ("13.4.*",), ("13.6.*",), ("9.*",)),
    ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"),
)
# Cases of one batch at a time. Most of the short ones wait for a clock.
CASES_AT_ONCE = {BATCHES[-1]: 4}

# How long a batch may take. On a quiet machine of two processors the longest takes 40 s.
BATCH_SECONDS = 900


class SuiteError(Exception):
    """The suite could not be run; this says nothing about the server."""


@contextmanager
def echo_server(binary: Path, log: Path) -> Iterator[str]:
    """The echo example on a free port, for as long as the block lasts; its address."""
    with log.open("wb") as stderr:
        process = subprocess.Popen([binary, "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith("echoing at ws://"):
                raise SuiteError(f"the echo server names no address: {line!r} {log.read_text()}")
            yield line.removeprefix("echoing at ws://").strip().rstrip("/")
            if process.poll() is not None:
                raise SuiteError(f"the echo server has ended: {log.read_text()}")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def run_batch(client: str, address: str, batch: tuple[str, ...], reports: Path) -> None:
    """Runs the cases of `batch`. Failed ones are the reports' business, a client that makes none is ours."""
    outdir = reports / batch[0].partition(".*")[0]
    command = [client, address, "-o", str(outdir), "-p", str(CASES_AT_ONCE.get(batch, 1))]
    for pattern in batch:
        command += ["-i", pattern]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BATCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise SuiteError(f"{batch}: not within {BATCH_SECONDS} s") from error
    if not (outdir / "index.json").exists():
        raise SuiteError(f"{batch}: no reports, exit code {done.returncode}\n{done.stdout}{done.stderr}")


def run_suite(binary: Path, reports: Path) -> str:
    """Runs all batches; what the server had to say on standard error."""
    # The client stands beside the interpreter of its environment.
    client = shutil.which("kosoku", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if client is None:
        raise SuiteError("kosoku is not installed; `make conformance` installs it")
    log = reports / "server.log"
    with echo_server(binary, log) as address, ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
        for _ in pool.map(lambda batch: run_batch(client, address, batch, reports), BATCHES):
            pass
    return log.read_text()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=Path, help="the built echo example")
    parser.add_argument("--reports", type=Path, help="where reports stay to be read, one directory for each batch")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        reports: Path = options.reports or Path(temporary)
        shutil.rmtree(reports, ignore_errors=True)
        reports.mkdir(parents=True)
        begin = time.monotonic()
        said = run_suite(options.binary, reports)
        seconds = time.monotonic() - begin
        cases = list(report.read_cases(reports))
    offences = report.find_offences(cases)
    offences += [f"the echo server says: {line}" for line in said.splitlines()]
    print(report.table(cases))
    print(f"{len(cases)} cases in {seconds:.0f} s, {len(offences)} offences")
    for offence in offences:
        print(offence)
    return 1 if offences else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SuiteError as error:
        sys.exit(f"conformance: {error}")
