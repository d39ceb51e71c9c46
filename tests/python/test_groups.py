"""Queue groups: each message goes to one member, whoever else listens."""

from collections import Counter

from conftest import Connect
from peer import Peer
from server import wait_until

MESSAGES = 200


def heard(peers: list[Peer]) -> list[list[int]]:
    """What each was told: the data of messages, and nothing else."""
    told = [peer.kept() for peer in peers]
    assert {said["op"] for pushes in told for said in pushes} <= {"message"}, told
    return [[said["data"] for said in pushes] for pushes in told]


def test_each_message_goes_to_one_member(connect: Connect, topic: str, subprotocol: str) -> None:
    writer, ordinary = connect(), connect(subprotocol)
    members = [connect(subprotocol) for _ in range(5)]
    ordinary.subscribe(topic)
    for member in members:
        member.subscribe(topic, group="workers")
    for number in range(MESSAGES):
        writer.publish(topic, number)
    shares = heard(members)
    assert sorted(number for share in shares for number in share) == list(range(MESSAGES))
    assert all(share == sorted(share) for share in shares)
    assert all(shares), "somebody had nothing to do"
    assert [said["data"] for said in ordinary.pushes(MESSAGES)] == list(range(MESSAGES))
    assert ordinary.kept() == []


def test_each_group_has_its_own_and_patterns_count(connect: Connect, topic: str) -> None:
    writer = connect()
    first, second = [connect(), connect()], [connect(), connect()]
    for member in first:
        member.subscribe(topic, group="first")
    for member in second:
        member.subscribe("story.*", group="second")
    for number in range(20):
        writer.publish(topic, number)
    for group in (first, second):
        assert sorted(number for share in heard(group) for number in share) == list(range(20))


def test_a_member_that_dies_leaves_its_work_to_the_others(connect: Connect, topic: str) -> None:
    writer, members = connect(), [connect() for _ in range(5)]
    for number, member in enumerate(members):
        member.subscribe(topic, group="workers")
        member.subscribe(f"{topic}.alive.{number}")
    for number in range(50):
        writer.publish(topic, number)
    before = Counter(number for share in heard(members) for number in share)
    assert before == Counter(range(50))

    dying, *others = members
    dying.socket.socket.close()
    wait_until(lambda: writer.publish(f"{topic}.alive.0", 0)["subscribers"] == 0, "the server notices")
    for number in range(50, 100):
        writer.publish(topic, number)
    after = Counter(number for share in heard(others) for number in share)
    assert after == Counter(range(50, 100))


def test_who_leaves_the_group_gets_nothing_more(connect: Connect, topic: str) -> None:
    writer, stays, goes = connect(), connect(), connect()
    stays.subscribe(topic, group="workers")
    goes.subscribe(topic, group="workers")
    assert goes.ask("unsubscribe", topic=topic)["op"] == "unsubscribed"
    for number in range(10):
        writer.publish(topic, number)
    assert heard([stays, goes]) == [list(range(10)), []]


def test_a_member_that_also_listens_gets_each_message_once(connect: Connect, topic: str) -> None:
    writer, both, other = connect(), connect(), connect()
    both.subscribe(topic, group="workers")
    both.subscribe("story.*")
    other.subscribe(topic, group="workers")
    for number in range(20):
        writer.publish(topic, number)
    everything, share = heard([both, other])
    assert everything == list(range(20))
    assert len(share) == len(set(share))
