#!/usr/bin/env python3
"""Turns the files of the source packages into the recordings that the demo replays.

    convert.py stocks  STOCKS_CSV SP500_CSV   > stocks.csv
    convert.py results EN_1_JSON              > results.ndjson
    convert.py match   WYSCOUT_EVENTS_V2_JSON > match.ndjson

README.md says where the sources come from. Nothing is invented here: fields are renamed, sorted and left out.
"""

import csv
import json
import sys
from datetime import date, datetime


def line(at, topic, data):
    """One line of a recording: `data` goes to `topic`, `at` units after the start."""
    print(json.dumps({"at": at, "topic": topic, "data": data}, ensure_ascii=False, separators=(",", ":")))


# --- stocks: monthly prices, "Jan 1 2000" -> 2000-01-01, in the order of the calendar


def stocks(stocks_csv, sp500_csv):
    rows = [(row["symbol"], row["date"], row["price"]) for row in read_csv(stocks_csv)]
    rows += [("SP500", row["date"], row["price"]) for row in read_csv(sp500_csv)]
    rows = [(datetime.strptime(day, "%b %d %Y").date(), symbol, price) for symbol, day, price in rows]
    print("symbol,date,price")
    for day, symbol, price in sorted(rows):
        print(f"{symbol},{day},{price}")


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- results: one topic per ground; `at` counts days since the first match


def results(season_json):
    with open(season_json, encoding="utf-8") as file:
        season = json.load(file)
    matches = [match for matchday in season["rounds"] for match in matchday["matches"]]
    matches.sort(key=lambda match: (match["date"], match["team1"]["key"]))
    first = date.fromisoformat(matches[0]["date"])
    for match in matches:
        home, away = match["team1"], match["team2"]
        data = {
            "competition": season["name"],
            "date": match["date"],
            "home_team": home["name"],
            "away_team": away["name"],
            "home": match["score1"],
            "away": match["score2"],
            "event": "Full time",
        }
        line((date.fromisoformat(match["date"]) - first).days, f"sports.premier-league.{home['key']}", data)


# --- match: one match, event by event; `at` counts minutes of play since the kick-off, and a pause at half time

# The source names teams, not which of them is at home; the index of the data set does ("Leicester City - Liverpool, 2 - 3").
MATCH = {
    "id": 2499773,
    "topic": "sports.live.leicester-liverpool",
    "home": "Leicester City",
    "away": "Liverpool",
    "competition": "English Premier League 2017/18",
    "date": "2017-09-23",
    "result": (2, 3),
}
PAUSE_SECONDS = 120  # so that a replay shows the half-time score for a while
FOUL, FREE_KICK, OFFSIDE, SHOT = 2, 3, 6, 10  # eventName
CORNER, FREE_KICK_SHOT, PENALTY = 30, 33, 35  # subEventName of a free kick
GOAL, RED, YELLOW, SECOND_YELLOW = 101, 1701, 1702, 1703  # tags


def match(events_json):
    with open(events_json, encoding="utf-8") as file:
        source = json.load(file)
    events = source["events"]
    sides = {int(key): side for key, team in source["teams"].items() for side in ("home", "away") if team["team"]["name"] == MATCH[side]}
    players = {entry["player"]["wyId"]: entry["player"]["shortName"] for squad in source["players"].values() for entry in squad}
    first_half = max(event["eventSec"] for event in events if event["matchPeriod"] == "1H")
    second_half = first_half + PAUSE_SECONDS
    state = {
        "competition": MATCH["competition"],
        "date": MATCH["date"],
        "home_team": MATCH["home"],
        "away_team": MATCH["away"],
        "home": 0,
        "away": 0,
    }
    told = 0

    def tell(seconds, changes):
        """A partial state; every fifth is complete, for those who came later."""
        nonlocal told
        state.update(changes)
        line(round(seconds / 60, 2), MATCH["topic"], changes if told % 5 else state)
        told += 1

    tell(0, {"minute": 1, "event": "Kick-off"})
    half = "1H"
    for event in events:
        assert event["matchId"] == MATCH["id"]
        if event["matchPeriod"] != half:
            half = event["matchPeriod"]
            tell(first_half, {"event": "Half time"})
            tell(second_half, {"minute": 46, "event": "Second half"})
        what = describe(event)
        if not what:
            continue
        changes = {"minute": clock(half, event["eventSec"]), "event": f"{what}: {players[event['playerId']]}"}
        if what == "Goal":
            side = sides[event["teamId"]]
            changes = {side: state[side] + 1, **changes}
        tell(event["eventSec"] + (second_half if half == "2H" else 0), changes)
    tell(second_half + events[-1]["eventSec"], {"event": "Full time"})
    assert (state["home"], state["away"]) == MATCH["result"]


def describe(event):
    tags = {tag["id"] for tag in event["tags"]}
    kind, detail = event["eventName"], event["subEventName"]
    shot = kind == SHOT or (kind == FREE_KICK and detail in (FREE_KICK_SHOT, PENALTY))
    if shot and GOAL in tags:
        return "Goal"
    if kind == FREE_KICK and detail == PENALTY:
        return "Penalty not scored"
    if tags & {RED, SECOND_YELLOW}:
        return "Red card"
    if YELLOW in tags:
        return "Yellow card"
    if shot:
        return "Shot"
    if kind == FREE_KICK and detail == CORNER:
        return "Corner"
    return {FOUL: "Foul", OFFSIDE: "Offside"}.get(kind)


def clock(half, seconds):
    """The minute as it is told in football: 15, or "45+3" when a half has run over."""
    begin, end = (0, 45) if half == "1H" else (45, 90)
    minute = begin + int(seconds // 60) + 1
    return minute if minute <= end else f"{end}+{minute - end}"


if __name__ == "__main__":
    command, *paths = sys.argv[1:] or [""]
    if command not in ("stocks", "results", "match"):
        sys.exit(__doc__)
    {"stocks": stocks, "results": results, "match": match}[command](*paths)
