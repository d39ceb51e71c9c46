"""The hub without asyncio, and in several threads."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from server import wait_until

import topichub.sync
from topichub import ClosedError, ConnectTimeout, Message, Subscribed


def topichub_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "topichub"]


def test_what_is_published_comes_in_a_plain_loop(url: str, topic: str) -> None:
    with topichub.sync.connect(url, user="ada") as hub:
        subscription = hub.subscribe(topic)
        for number in range(200):
            hub.publish(topic, number)
        for expected, message in zip(range(200), subscription, strict=False):
            assert message.data == expected
        assert hub.history(topic, limit=3).messages[-1].data == 199
        assert (hub.state.name, hub.user) == ("open", "ada")
        assert hub.position(topic) is not None
        assert hub.presence(topic).count == 0
    assert not topichub_threads()
    with pytest.raises(ClosedError):
        hub.publish(topic, 1)
    hub.close()


def test_a_timeout_loses_nothing(url: str, topic: str) -> None:
    with topichub.sync.connect(url) as hub, hub.subscribe(topic) as subscription:
        assert isinstance(subscription.event(timeout=10), Subscribed)
        with pytest.raises(TimeoutError, match=topic):
            subscription.event(timeout=0.01)
        hub.publish(topic, 1)
        event = subscription.event(timeout=10)
        assert isinstance(event, Message)
        assert event.data == 1


def test_many_threads_share_one_hub(url: str, topic: str) -> None:
    with topichub.sync.connect(url) as hub, ThreadPoolExecutor(8) as pool:
        subscription = hub.subscribe(topic)
        published = list(pool.map(lambda number: hub.publish(topic, number).offset, range(200)))
        assert sorted(published) == list(range(1, 201))
        readers = [pool.submit(lambda: [next(subscription).offset for _ in range(50)]) for _ in range(4)]
        assert sorted(offset for reader in readers for offset in reader.result(10)) == list(range(1, 201))


def test_a_question_is_answered_in_another_thread(url: str, topic: str) -> None:
    with topichub.sync.connect(url) as hub, ThreadPoolExecutor(1) as pool:
        questions = hub.subscribe(topic)
        assert isinstance(questions.event(10), Subscribed)
        answered = pool.submit(lambda: hub.reply(next(questions), "yes"))
        assert hub.request(topic, "well?", timeout=10) == "yes"
        answered.result(10)


def test_closing_stops_iterators_in_other_threads(url: str, topic: str) -> None:
    for _ in range(5):
        hub = topichub.sync.connect(url)
        subscription = hub.subscribe(topic)
        assert isinstance(subscription.event(10), Subscribed)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(list, subscription)
            hub.close()
            assert reading.result(10) == []
    assert not topichub_threads()


def test_an_iterator_that_is_left_unsubscribes(url: str, topic: str) -> None:
    with topichub.sync.connect(url) as hub:
        hub.publish(topic, 1)
        for _ in hub.subscribe(topic, replay={"last": 1}):
            break
        gc.collect()
        wait_until(lambda: not hub.publish(topic, 2).subscribers, "the server knows")


def test_errors_are_the_same_and_leave_no_thread() -> None:
    with pytest.raises(ConnectTimeout):
        topichub.sync.connect("http://127.0.0.1:1", open_timeout=0.1)
    with pytest.raises(ValueError, match="address"):
        topichub.sync.connect("nowhere")
    assert not topichub_threads()


def test_the_hubs_own_thread_cannot_wait_for_itself(url: str) -> None:
    with topichub.sync.connect(url) as hub, pytest.raises(RuntimeError, match="own thread"):
        hub._loop.call(lambda: hub.publish("a", 1))
