"""Models that fail, each in its own way; they are asked like any other.

fault-500, fault-503, fault-429, fault-429-once    the vendor's error (the last one once)
fault-hang, fault-hang-midstream                   silence, at once or after some events
fault-garbage, fault-html, fault-empty             answers that are not the protocol
fault-cut, fault-close                             the socket closes: half-way, or at once
fault-error-midstream, fault-error-first           the vendor's error inside a stream
fault-slow                                         one event every 50 ms
"""

from __future__ import annotations

from msgspec.structs import replace

from polycall.sim.script import Call, Failure, Prompt, Turn

NAMES = (
    "fault-500",
    "fault-503",
    "fault-429",
    "fault-429-once",
    "fault-hang",
    "fault-hang-midstream",
    "fault-garbage",
    "fault-html",
    "fault-cut",
    "fault-error-midstream",
    "fault-error-first",
    "fault-slow",
    "fault-empty",
    "fault-close",
)
RETRY_AFTER_S = 0.05
SLOW_S = 0.05
HTML = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)
GARBAGE = b"\x00\xff\xfe not the protocol }{ \r\n\r\n data: {]\n\n"

_LONG = frozenset({"fault-cut", "fault-error-midstream", "fault-hang-midstream", "fault-slow"})
_PREAMBLE = "One moment, please; this will take a little longer than you would expect of it."
_FAILURES = {
    "fault-500": Failure(500),
    "fault-503": Failure(503),
    "fault-429": Failure(429, retry_after_s=RETRY_AFTER_S),
}


class Faults:
    """Remembers which `fault-429-once` requests were refused already, by vendor and text."""

    def __init__(self) -> None:
        self._refused: set[str] = set()

    def failure(self, vendor: str, prompt: Prompt) -> Failure | None:
        """The error that the model answers with, if it does."""
        if prompt.model == "fault-429-once":
            key = f"{vendor}\x1f{prompt.user_text()}"
            if key in self._refused:
                self._refused.discard(key)
                return None
            self._refused.add(key)
            return _FAILURES["fault-429"]
        return _FAILURES.get(prompt.model)


def stretch(prompt: Prompt, turn: Turn) -> Turn:
    """A turn long enough to fail in the middle of, on every wire.

    `fault-cut` calls a tool if there is any, so that arguments are what it cuts.
    """
    if prompt.model not in _LONG:
        return turn
    calls = turn.calls
    if not calls and prompt.offered and prompt.model == "fault-cut":
        calls = [Call(prompt.offered[0].name, {"note": "this never arrives as a whole " * 4})]
    return replace(turn, text=f"{_PREAMBLE} {turn.text}".strip(), calls=calls)


def cut_place(frames: list[bytes], turn: Turn) -> int:
    """Which event `fault-cut` cuts in two: one with arguments, if there are any."""
    name = turn.calls[-1].name.encode() if turn.calls else b""
    starts = [place for place, frame in enumerate(frames) if name and name in frame]
    if not starts:
        return len(frames) // 2
    return starts[0] + (len(frames) - starts[0]) // 3
