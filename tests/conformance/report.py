"""Reads Autobahn's reports and judges them: a table by group, and every offence. Running the suite is `run`'s."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# How many cases each group has in the suite that requirements.txt pins. Another number means another suite.
CASES: Mapping[int, int] = {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1, 12: 90, 13: 126}

ABOUT: Mapping[int, str] = {
    1: "text and binary messages",
    2: "pings and pongs",
    3: "reserved bits",
    4: "reserved opcodes",
    5: "fragmentation",
    6: "UTF-8",
    7: "closing",
    9: "large and many messages",
    10: "fragments made by the client's library",
    12: "compression: payloads",
    13: "compression: parameters",
}

# Where anything but OK is right, with the verdict that it must then be; protocol/CONFORMANCE.md says why.
EXPECTED: Mapping[str, str] = {
    "7.1.6": "INFORMATIONAL",
    "7.13.1": "INFORMATIONAL",
    "7.13.2": "INFORMATIONAL",
}


@dataclass(frozen=True)
class Case:
    """What the suite says of one case."""

    id: str
    behavior: str
    behavior_close: str
    was_clean: bool
    result: str
    result_close: str
    millis: int

    @property
    def group(self) -> int:
        return int(self.id.partition(".")[0])

    def offences(self) -> Iterator[str]:
        """What is wrong with it: nothing, if it is as it must be."""
        expected = EXPECTED.get(self.id, "OK")
        if self.behavior != expected:
            yield f"{self.id} is {self.behavior}, not {expected}: {self.result}"
        if self.behavior_close != expected:
            yield f"{self.id} closes {self.behavior_close}, not {expected}: {self.result_close}"
        if not self.was_clean:
            yield f"{self.id} does not close cleanly: {self.result_close}"


def read_cases(reports: Path) -> Iterator[Case]:
    """The cases that have a report below `reports`."""
    for path in reports.glob("**/*_case_*.json"):
        report = json.loads(path.read_text())
        yield Case(
            id=report["id"],
            behavior=report["behavior"],
            behavior_close=report["behaviorClose"],
            was_clean=report["wasClean"],
            result=report["result"],
            result_close=report["resultClose"],
            millis=report["duration"],
        )


def find_offences(cases: Iterable[Case]) -> list[str]:
    """Everything that must not be: wrong verdicts, missing cases, and more cases than there should be."""
    cases = sorted(cases, key=lambda case: [int(part) for part in case.id.split(".")])
    found = [offence for case in cases for offence in case.offences()]
    seen = Counter(case.id for case in cases)
    found += [f"{id} has {count} reports" for id, count in seen.items() if count > 1]
    found += [f"{id} is missing" for id in EXPECTED if id not in seen]
    counts = Counter(case.group for case in cases)
    for group in sorted(CASES.keys() | counts.keys()):
        if counts[group] != CASES.get(group, 0):
            found.append(f"group {group} has {counts[group]} cases, not {CASES.get(group, 0)}")
    return found


def table(cases: Iterable[Case]) -> str:
    """A line for each group, as protocol/CONFORMANCE.md has it."""
    cases = list(cases)
    lines = ["| group | about | cases | OK | informational | else | slowest |", "|---|---|---|---|---|---|---|"]
    for group, about in ABOUT.items():
        of_group = [case for case in cases if case.group == group]
        verdicts = Counter(case.behavior for case in of_group)
        ok, informational = verdicts["OK"], verdicts["INFORMATIONAL"]
        slowest = max((case.millis for case in of_group), default=0)
        rest = len(of_group) - ok - informational
        columns = (group, about, len(of_group), ok, informational, rest, f"{slowest / 1000:.1f} s")
        lines.append("| " + " | ".join(str(column) for column in columns) + " |")
    return "\n".join(lines)
