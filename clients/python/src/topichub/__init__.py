"""A client of TopicHub: live topics over WebSockets, resumed where they were left.

    async with topichub.connect("http://127.0.0.1:8080") as hub:
        async for message in hub.subscribe("ticker.>"):
            print(message.topic, message.data)

`topichub.sync` is the same without asyncio. Reconnection, options and errors are described in the README.
"""

from .backoff import Backoff
from .codec import Extension
from .connecting import Connecting, connect
from .effects import State
from .errors import (
    AlreadySubscribed,
    BufferOverflow,
    ClosedError,
    CommandError,
    ConnectionLost,
    ConnectTimeout,
    DecodeError,
    HandshakeRefused,
    NotConnected,
    QueueFull,
    SubscriptionEnded,
    TooLarge,
    TopicHubError,
)
from .hub import Hub
from .messages import Event, Gap, History, Member, Message, Position, Presence, Published, Replay, Subscribed
from .subscription import Events, Subscription

__version__ = "0.1.0"

__all__ = [
    "AlreadySubscribed",
    "Backoff",
    "BufferOverflow",
    "ClosedError",
    "CommandError",
    "ConnectTimeout",
    "Connecting",
    "ConnectionLost",
    "DecodeError",
    "Event",
    "Events",
    "Extension",
    "Gap",
    "HandshakeRefused",
    "History",
    "Hub",
    "Member",
    "Message",
    "NotConnected",
    "Position",
    "Presence",
    "Published",
    "QueueFull",
    "Replay",
    "State",
    "Subscribed",
    "Subscription",
    "SubscriptionEnded",
    "TooLarge",
    "TopicHubError",
    "connect",
]
