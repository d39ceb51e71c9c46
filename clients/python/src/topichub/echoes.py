"""What this hub has published itself, for subscriptions without echo: of a later session the server cannot tell."""

from __future__ import annotations

from collections import OrderedDict

ECHOES_MAX = 500


class Echoes:
    """The newest of our own messages to the topics of one subscription: topic, epoch and offset."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, int], None] = OrderedDict()

    def __contains__(self, message: tuple[str, str, int]) -> bool:
        return message in self._known

    def add(self, topic: str, epoch: str, offset: int) -> None:
        """We have published this one."""
        self._known[topic, epoch, offset] = None
        if len(self._known) > ECHOES_MAX:
            self._known.popitem(last=False)
