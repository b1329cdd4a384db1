"""The order of replies: one at a time, and a queue for the next ones.

A reply is wanted for results that no reply has seen yet, and for prompts of the application's.
Where the client creates replies this is the queue in front of them; where the server does, prompts
alone wait here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

ReplyState: TypeAlias = Literal["requested", "active", "cancelling"]

# A reply that was asked for and does not begin is asked for again after so long.
REQUEST_S = 10.0
# After the caller has stopped, the server begins a reply by itself; so long it is waited for.
TURN_S = 3.0


@dataclass
class Prompt:
    """The subject for the voice to speak about; `waits` until playback is over."""

    text: str = ""
    waits: bool = False


@dataclass
class Reply:
    """The reply that is asked for, or under way."""

    id: str
    state: ReplyState
    since_s: float
    request_id: str = ""
    has_sound: bool = False


@dataclass
class Replies:
    """The reply of now, and what the next one is for."""

    now_s: Callable[[], float]
    current: Reply | None = None
    caller_speaks: bool = False
    turn_until_s: float = 0.0
    wanted: dict[str, bool] = field(default_factory=dict[str, bool])  # results; whether they wait
    prompts: list[Prompt] = field(default_factory=list[Prompt])
    untaken: set[str] = field(default_factory=set[str])  # results that the vendor has not confirmed
    _asked: dict[str, list[Prompt]] = field(default_factory=dict[str, list[Prompt]])
    _over: set[str] = field(default_factory=set[str])
    _count: int = 0

    def want(self, call_id: str, *, waits: bool) -> None:
        """A result is to be spoken about."""
        self.wanted[call_id] = waits

    def prompt(self, text: str = "", *, waits: bool = False) -> None:
        """Something else is to be spoken about."""
        self.prompts.append(Prompt(text, waits))

    def may_speak(self) -> bool:
        """Whether a reply may begin: there is none, and the caller's turn is over."""
        if self.current is not None or self.caller_speaks:
            return False
        return self.now_s() >= self.turn_until_s

    def next_request(self, *, playback_is_over: bool) -> tuple[str, str] | None:
        """The id and the instructions of a reply to ask for now; `None` where none may be."""
        if not self.may_speak():
            return None
        is_due = playback_is_over or not all(self.wanted.values())
        results_due = bool(self.wanted) and is_due
        due = [each for each in self.prompts if playback_is_over or not each.waits]
        if not results_due and not due:
            return None
        self._count += 1
        request_id = f"reply_{self._count}"
        self.prompts = [each for each in self.prompts if each not in due]
        self._asked[request_id] = due
        self.current = Reply("", "requested", self.now_s(), request_id)
        return request_id, "\n".join(each.text for each in due if each.text)

    def started(self, reply_id: str, request_id: str) -> None:
        """A reply begins; results that it can see need no other one."""
        if reply_id in self._over:
            return
        current = self.current
        is_ours = current is not None and current.state == "requested"
        if is_ours and current is not None and request_id in ("", current.request_id):
            self._asked.pop(current.request_id, None)
        self._asked.pop(request_id, None)
        self.wanted = {each: at for each, at in self.wanted.items() if each in self.untaken}
        self.turn_until_s = 0.0
        self.current = Reply(reply_id, "active", self.now_s(), request_id)

    def refused(self, event_id: str) -> bool:
        """There is a reply already: what was asked for waits, once, for its end.

        Where the refusal does not say which request it is for, it is for the last.  False where
        it is for none.
        """
        request_id = event_id or next(reversed(self._asked), "")
        if request_id not in self._asked:
            return False
        self.prompts = [*self._asked.pop(request_id), *self.prompts]
        current = self.current
        if current is not None and current.request_id == request_id:
            self.current = Reply("", "active", self.now_s())
        return True

    def done(self, reply_id: str) -> bool:
        """A reply is over, or one is that was never seen to begin; False where it was before."""
        if reply_id and reply_id in self._over:
            return False
        self._over.add(reply_id)
        current = self.current
        if current is not None and (current.id in ("", reply_id) or not reply_id):
            self._asked.pop(current.request_id, None)
            self.current = None
        return True

    def due_s(self) -> float | None:
        """When a request is given up, or the wait for the server's reply."""
        moments: list[float] = []
        if self.current is not None and self.current.state == "requested":
            moments.append(self.current.since_s + REQUEST_S)
        if (self.wanted or self.prompts) and self.turn_until_s > self.now_s():
            moments.append(self.turn_until_s)
        return min(moments, default=None)

    def give_up(self) -> None:
        """Ask again for what was asked and did not begin."""
        current = self.current
        if current is None or current.state != "requested":
            return
        if self.now_s() >= current.since_s + REQUEST_S:
            self.prompts = [*self._asked.pop(current.request_id, []), *self.prompts]
            self.current = None

    def broken_off(self) -> None:
        """The connection is gone, and the reply with it; what was wanted stays wanted."""
        for prompts in self._asked.values():
            self.prompts = [*prompts, *self.prompts]
        self._asked.clear()
        self.current = None
        self.caller_speaks = False
        self.turn_until_s = 0.0
        self.untaken.clear()
