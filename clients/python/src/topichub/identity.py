"""Who we are to the server: the name or token that is shown, whether it was agreed to, and when another one is due."""

from __future__ import annotations

from collections import deque

from .effects import Credential, Effect, FetchToken, Sooner
from .messages import Map


class Identity:
    """What the program has given us to show."""

    def __init__(self, credential: Credential, effects: deque[Effect]) -> None:
        self.user: str | None = None
        self.agreed = True  # the server has agreed to who we are, or there is nothing to say
        self.introduce_at: float | None = None  # when we are to say again who we are
        self._credential = credential
        self._effects = effects
        self._fetching = False
        self._fresh = False  # the token in use was fetched because another one was refused

    @property
    def renewable(self) -> bool:
        return self._credential.renewable

    @property
    def told(self) -> bool:
        """Whether there is anything to say."""
        return self._credential.user is not None or self._credential.token is not None

    @property
    def missing(self) -> bool:
        """Whether nothing can be said before a token has come."""
        return self.renewable and self._credential.token is None

    def introduction(self) -> Map:
        """The command that says who we are."""
        self.introduce_at = None
        self.agreed = False
        credential = self._credential
        who: Map = {"user": credential.user} if credential.user is not None else {"token": credential.token}
        if credential.data is not None:
            who["data"] = credential.data
        return {"op": "authenticate"} | who

    def taken(self, user: str | None) -> None:
        """The server has agreed."""
        self.agreed = True
        self._fresh = False
        self.user = user

    def postpone(self, until: float) -> None:
        """The server could not say."""
        self.introduce_at = until
        self._effects.append(Sooner())

    # --- Tokens

    def fetch(self) -> None:
        """Has the program asked for a token, unless it is being asked."""
        if not self._fetching:
            self._fetching = True
            self._effects.append(FetchToken())

    def forget(self) -> None:
        """The token is good for nothing any more."""
        self._credential = Credential(None, None, self._credential.data, renewable=True)

    def renew(self) -> bool:
        """What we have was refused: gets a fresh token, unless this was one. Whether there is hope."""
        if not self.renewable or self._fresh:
            return False
        self._fresh = True
        self.forget()
        self.fetch()
        return True

    def fetched(self, token: str) -> None:
        """The program has given a token."""
        self._fetching = False
        self._credential = Credential(None, token, self._credential.data, renewable=True)

    def not_fetched(self) -> None:
        """The program could not give a token. The next one is worth another try."""
        self._fetching = False
        self._fresh = False
