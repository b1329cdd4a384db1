"""One-time tokens: a signed request for a call earns one, and its stream pays with it.

Twilio's signature of a WebSocket has no time in it and is the same for each call, so it proves
nothing about a call.  A token does: it is of one call, works once, and for a minute.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

TOKEN_S = 60.0
_USED_MAX = 100_000


class CallDetails(Struct, frozen=True):
    """A call as Twilio has announced it; `caller` and `called` are telephone numbers."""

    call_id: str
    caller: str = ""
    called: str = ""

    def __repr__(self) -> str:
        return "CallDetails(...)"  # a number in a log is a person's


class CallTokens:
    """Tokens that are out, at most `tokens_max`, and the calls that have used theirs."""

    def __init__(self, now_s: Callable[[], float], tokens_max: int) -> None:
        self._now_s = now_s
        self._tokens_max = tokens_max
        self._out: OrderedDict[str, tuple[CallDetails, float]] = OrderedDict()
        self._of_call: dict[str, str] = {}
        self._used: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        self._forget_old()
        return len(self._out)

    def was_used(self, call_id: str) -> bool:
        """Whether a stream of this call has begun: a second request for it is a replay."""
        return call_id in self._used

    def issue(self, details: CallDetails) -> str | None:
        """A token for a call, in the place of an earlier one; `None` where too many are out."""
        self._forget_old()
        self._drop(self._of_call.get(details.call_id, ""))
        if len(self._out) >= self._tokens_max:
            return None
        token = secrets.token_urlsafe(32)
        self._out[token] = (details, self._now_s() + TOKEN_S)
        self._of_call[details.call_id] = token
        return token

    def redeem(self, token: str, call_id: str) -> CallDetails | None:
        """The call of a token; `None` where it is unknown, used, too old or of another call.

        A token that another call presents has leaked: it is worth nothing from then on.
        """
        self._forget_old()
        details, _ = self._out.get(token, (None, 0.0))
        self._drop(token)
        if details is None or details.call_id != call_id:
            return None
        self._used[call_id] = None
        if len(self._used) > _USED_MAX:
            self._used.popitem(last=False)
        return details

    def _drop(self, token: str) -> None:
        details, _ = self._out.pop(token, (None, 0.0))
        if details is not None:
            del self._of_call[details.call_id]

    def _forget_old(self) -> None:
        now_s = self._now_s()
        while self._out:
            token, (_, until_s) = next(iter(self._out.items()))
            if until_s > now_s:
                return
            self._drop(token)
