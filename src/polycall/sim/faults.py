"""Models that fail, each in its own way; they are asked like any other.

fault-500, fault-503, fault-429, fault-429-once    the vendor's error (the last one once)
fault-hang, fault-hang-midstream                   silence, at once or after some events
fault-garbage, fault-html, fault-empty             answers that are not the protocol
fault-cut, fault-close                             the socket closes: half-way, or at once
fault-error-midstream, fault-error-first           the vendor's error inside a stream
fault-slow                                         one event every 50 ms
"""

from __future__ import annotations

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


def cut_turn(prompt: Prompt, turn: Turn) -> Turn:
    """What `fault-cut` cuts: arguments long enough to break, if there are tools at all."""
    if turn.calls or not prompt.offered:
        return turn
    tool = prompt.offered[0]
    return Turn(calls=[Call(tool.name, {"note": "this call never arrives as a whole " * 4})])
