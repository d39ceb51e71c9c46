"""Everything that can go wrong, as types. Each error has a `code`, a word for programs; its text is for people."""

from __future__ import annotations


class TopicHubError(Exception):
    """The root of all errors of this package."""

    code: str = "error"


class CommandError(TopicHubError):
    """The server refused a command; the connection goes on.

    `code` is one of the server's words (`forbidden`, `rate_limited`, `conflict`, …), `retry` says whether the same
    command may succeed later, and `after_ms` how long to wait before that, if the server has said so.
    """

    def __init__(self, code: str, message: str, retry: bool = False, after_ms: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry = retry
        self.after_ms = after_ms


class TooLarge(CommandError):
    """The command is longer than the server takes; it was not sent, for the server would end the connection."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__("too_large", f"the command has {size} bytes, the server takes {limit}")
        self.size = size
        self.limit = limit


class SubscriptionEnded(CommandError):
    """The server refused or ended this subscription, and `code` says why. Other subscriptions go on."""


class ConnectionLost(TopicHubError):
    """The connection was lost before the answer came: the command may have been carried out, or not.

    Publish with `dedup` where that matters: the hub then repeats it by itself, and the server knows a repeat.
    """

    code = "connection_lost"


class NotConnected(TopicHubError):
    """There is no connection at present, and `offline` is not `queue`. Wait for `hub.opened()`, or queue."""

    code = "not_connected"


class QueueFull(TopicHubError):
    """There is no connection, and the queue of publishes that wait for one is full."""

    code = "queue_full"


class AlreadySubscribed(TopicHubError):
    """This hub has a subscription of this name with other options. End that one first, or use equal options."""

    code = "already_subscribed"


class BufferOverflow(TopicHubError):
    """A subscription with `overflow="error"` was not read in time; it has ended. `limit` is how many events it
    holds."""

    code = "buffer_overflow"

    def __init__(self, topic: str, limit: int) -> None:
        super().__init__(f"more than {limit} events of {topic} wait to be read")
        self.limit = limit


class ConnectTimeout(TopicHubError, TimeoutError):
    """No connection within `open_timeout` seconds. The text says what stood in the way last."""

    code = "connect_timeout"


class ClosedError(TopicHubError):
    """The hub is closed and does not come back: by `close()`, or because the server said never.

    `close_code` is the code of the close frame (1000 for `close()`), `reason` is for people. `code` is the server's
    word where it has given one, else `closed`.
    """

    def __init__(self, close_code: int, reason: str, code: str = "closed", how: str = "") -> None:
        how = how or f"closed with {close_code}"
        super().__init__(f"{how}: {reason}" if reason else how)
        self.close_code = close_code
        self.reason = reason
        self.code = code


class HandshakeRefused(ClosedError):
    """The server, or something on the way to it, refused the connection by an HTTP status that does not pass by itself.

    `status` is that status, `code` and `reason` are those of the problem document, if there was one.
    """

    def __init__(self, status: int, code: str | None, detail: str | None) -> None:
        super().__init__(1006, detail or "", code or f"http_{status}", f"the connection was refused with HTTP {status}")
        self.status = status


class DecodeError(TopicHubError):
    """What came is not of this protocol. A command raises it for its answer; anything else of the kind ends the
    connection, and the hub comes back later."""

    code = "undecodable"
