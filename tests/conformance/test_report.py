"""What `report` must not let pass. The suite itself is run by `make conformance`."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from report import CASES, EXPECTED, Case, find_offences, read_cases, table


def a_good_run() -> list[Case]:
    ids = [f"{group}.{number}" for group, count in CASES.items() for number in range(1, count + 1)]
    # The expected exceptions stand in the place of as many others of their group.
    ids = [id for id in ids if id not in {f"7.{at}" for at in range(1, len(EXPECTED) + 1)}] + list(EXPECTED)
    return [
        Case(id, EXPECTED.get(id, "OK"), EXPECTED.get(id, "OK"), was_clean=True, result="", result_close="", millis=7)
        for id in ids
    ]


def with_case(changed: Case) -> list[Case]:
    return [changed if case.id == changed.id else case for case in a_good_run()]


def a_good_case(id: str) -> Case:
    return next(case for case in a_good_run() if case.id == id)


def test_a_good_run_has_no_offences() -> None:
    assert find_offences(a_good_run()) == []
    assert len(a_good_run()) == 517


@pytest.mark.parametrize("verdict", ["FAILED", "NON-STRICT", "UNIMPLEMENTED", "INFORMATIONAL"])
def test_another_behavior_than_ok_is_an_offence(verdict: str) -> None:
    assert find_offences(with_case(replace(a_good_case("9.3"), behavior=verdict, result="no echo"))) == [
        f"9.3 is {verdict}, not OK: no echo"
    ]


@pytest.mark.parametrize("verdict", ["WRONG CODE", "UNCLEAN", "FAILED BY CLIENT"])
def test_another_close_than_ok_is_an_offence(verdict: str) -> None:
    assert find_offences(with_case(replace(a_good_case("7.9"), behavior_close=verdict, result_close="1006"))) == [
        f"7.9 closes {verdict}, not OK: 1006"
    ]


def test_a_connection_that_breaks_off_is_an_offence() -> None:
    assert find_offences(with_case(replace(a_good_case("1.1"), was_clean=False))) == ["1.1 does not close cleanly: "]


def test_an_exception_that_is_none_any_more_must_leave_the_list() -> None:
    assert find_offences(with_case(replace(a_good_case("7.1.6"), behavior="OK"))) == [
        "7.1.6 is OK, not INFORMATIONAL: "
    ]


def change(what: Callable[[list[Case]], object]) -> list[Case]:
    cases = a_good_run()
    what(cases)
    return cases


def test_missing_and_additional_cases_are_offences() -> None:
    assert find_offences(change(lambda cases: cases.pop(0))) == ["group 1 has 15 cases, not 16"]
    assert find_offences(change(lambda cases: cases.append(replace(cases[0], id="8.1")))) == [
        "group 8 has 1 cases, not 0"
    ]
    assert find_offences(change(lambda cases: cases.append(cases[0]))) == [
        "1.1 has 2 reports",
        "group 1 has 17 cases, not 16",
    ]
    assert "7.13.2 is missing" in find_offences(change(lambda cases: cases.pop()))
    assert len(find_offences([])) == len(CASES) + len(EXPECTED)


def test_reports_are_read_wherever_they_stand(tmp_path: Path) -> None:
    case = Case("7.13.1", "FAILED", "UNCLEAN", was_clean=False, result="a", result_close="b", millis=1234)
    fields = asdict(case)
    names = {"behavior_close": "behaviorClose", "was_clean": "wasClean", "result_close": "resultClose"}
    names["millis"] = "duration"
    (tmp_path / "7").mkdir()
    path = tmp_path / "7" / "127_0_0_1_1_case_7_13_1.json"
    path.write_text(json.dumps({names.get(key, key): value for key, value in fields.items()}))
    (tmp_path / "7" / "index.json").write_text("{}")
    assert list(read_cases(tmp_path)) == [case]
    assert "| 7 | closing | 1 | 0 | 0 | 1 | 1.2 s |" in table([case])
