"""What a publish may say beside its data: key and meta, conditions, a name against repeats, a time that it is worth."""

import pytest

from conftest import Connect
from peer import Map
from server import wait_until


def test_key_and_meta_reach_whoever_gets_the_message(visit: Connect, topic: str, subprotocol: str) -> None:
    writer, reader = visit(subprotocol), visit(subprotocol)
    said = {"data": {"row": 3}, "key": "r3-14", "meta": {"by": "web", "größe": "2"}}
    reader.subscribe(topic)
    writer.publish(topic, **said)
    live = reader.push()
    assert {key: live[key] for key in said} == said
    late = visit(subprotocol)
    late.subscribe(topic, replay={"last": 1})
    assert late.push() == live
    [remembered] = late.ask("history", topic=topic)["messages"]
    assert remembered == {"offset": 1, **said}


def test_a_repeat_is_answered_as_the_first_was(visit: Connect, topic: str, subprotocol: str) -> None:
    writer, reader = visit(subprotocol), visit()
    reader.subscribe(topic)
    first = writer.publish(topic, "taken", dedup="order 7")
    again = visit(subprotocol).publish(topic, "taken", dedup="order 7")
    assert again == first | {"duplicate": True}
    assert "duplicate" not in first
    assert writer.error("publish", topic=topic, data="free", dedup="order 7") == "conflict"
    assert writer.publish(f"{topic}.other", "free", dedup="order 7")["offset"] == 1
    assert writer.publish(topic, "free", dedup="order 8")["offset"] == 2
    assert [(said["offset"], said["data"]) for said in reader.pushes(2)] == [(1, "taken"), (2, "free")]
    assert reader.kept() == []


def test_a_condition_on_the_offset_holds_or_nothing_is_published(visit: Connect, topic: str, subprotocol: str) -> None:
    writer, reader = visit(subprotocol), visit()
    reader.subscribe(topic)
    assert writer.publish(topic, "first", if_offset=0)["offset"] == 1
    for wrong in (0, 2, 2**53 - 1):
        assert writer.error("publish", topic=topic, data="never", if_offset=wrong) == "conflict"
    assert writer.publish(topic, "second", if_offset=1)["offset"] == 2
    assert [said["data"] for said in reader.pushes(2)] == ["first", "second"]
    assert reader.kept() == []


def test_of_several_who_publish_on_a_condition_one_wins(visit: Connect, topic: str) -> None:
    writers = [visit() for _ in range(5)]
    for offset in range(20):
        for writer in writers:
            writer.send(op="publish", id=offset, topic=topic, data=0, if_offset=offset)
        outcomes = [writer.reply(offset) for writer in writers]
        assert sorted(said.get("code", "published") for said in outcomes) == ["conflict"] * 4 + ["published"]


def test_a_message_whose_time_is_over_is_not_replayed(visit: Connect, topic: str, subprotocol: str) -> None:
    writer, reader = visit(), visit(subprotocol)
    reader.subscribe(topic)
    epoch = writer.publish(topic, 1)["epoch"]
    writer.publish(topic, 2, ttl_ms=1)
    writer.publish(topic, 3, ttl_ms=600_000)
    assert [said["data"] for said in reader.pushes(3)] == [1, 2, 3]

    def remembered() -> list[int]:
        return [message["data"] for message in writer.ask("history", topic=topic)["messages"]]

    wait_until(lambda: remembered() == [1, 3], "the time of the second message is over")
    late = visit(subprotocol)
    assert late.subscribe(topic, replay={"last": 10})["recovered"] is True
    gap = {"op": "gap", "topic": topic, "epoch": epoch, "from": 2, "to": 2, "why": "expired"}
    first, *rest = late.pushes(3)
    assert (first["data"], rest[0], rest[1]["data"]) == (1, gap, 3)


def test_who_is_excluded_does_not_get_the_message(connect: Connect, topic: str, subprotocol: str) -> None:
    writer, others = connect(subprotocol), [connect(), connect(subprotocol), connect()]
    for other in others:
        other.subscribe(topic)
    sessions = [other.welcome["session"] for other in others]
    nobody = "67e55044-10b1-426f-9247-bb680e5fe0c8"
    writer.publish(topic, "for the first", exclude=[sessions[1].upper(), sessions[2], nobody])
    writer.publish(topic, "for all")
    assert [said["data"] for said in others[0].pushes(2)] == ["for the first", "for all"]
    assert [other.push()["data"] for other in others[1:]] == ["for all", "for all"]


def history(peer_says: Map) -> list[int]:
    return [message["offset"] for message in peer_says["messages"]]


def test_history_goes_page_by_page_in_both_directions(visit: Connect, topic: str, subprotocol: str) -> None:
    peer = visit(subprotocol)
    for number in range(1, 8):
        epoch = peer.publish(topic, number)["epoch"]

    def ask(**fields: object) -> Map:
        return peer.ask("history", topic=topic, **fields)

    def at(offset: int) -> Map:
        return {"epoch": epoch, "offset": offset}

    whole = ask()
    assert (whole["epoch"], whole["offset"], whole["recovered"], whole["more"]) == (epoch, 7, True, False)
    assert history(whole) == [1, 2, 3, 4, 5, 6, 7]
    newest = ask(limit=2)
    assert (history(newest), newest["more"]) == ([6, 7], True)
    earlier = ask(before=at(6), limit=3)
    assert (history(earlier), earlier["more"]) == ([3, 4, 5], True)
    assert (history(ask(before=at(3))), ask(before=at(3))["more"]) == ([1, 2], False)
    assert (history(ask(after=at(0), limit=3)), ask(after=at(0), limit=3)["more"]) == ([1, 2, 3], True)
    assert (history(ask(after=at(3))), ask(after=at(3))["more"]) == ([4, 5, 6, 7], False)
    assert history(ask(after=at(7))) == []


@pytest.mark.parametrize("direction", ["after", "before"])
def test_a_position_that_history_lost_is_said_to_be(visit: Connect, topic: str, direction: str) -> None:
    topic = f"brief.{topic}"
    peer = visit()
    for number in range(1, 11):
        epoch = peer.publish(topic, number)["epoch"]
    page = peer.ask("history", topic=topic, **{direction: {"epoch": epoch, "offset": 3}})
    # Before the oldest there is nothing, and nothing is missing of what was asked for.
    expected = ([6, 7, 8, 9, 10], False) if direction == "after" else ([], True)
    assert (history(page), page["recovered"]) == expected
