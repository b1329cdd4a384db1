"""The part of a voice's words that was heard: one tracker, with three ways to know.

Sound that is handed to playback lies end to end on one line of milliseconds.  Where playback stands
on it is known by a clock (a file, or nothing better), by a device that says what it has played, or
by marks that come back when the sound before them was played (a telephone).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass
class _Piece:
    """Sound of one item on the line."""

    item_id: str
    start_ms: float
    end_ms: float


class PlayedTime(Protocol):
    """A talk's questions to playback; all in milliseconds."""

    def add(self, item_id: str, ms: float) -> None:
        """So much more of an item was handed to playback."""
        ...

    def clear(self) -> None:
        """Playback got the order to stop, and to forget what is not played."""
        ...

    def heard_ms(self, item_id: str) -> float:
        """The part of an item that was heard; never more than was added."""
        ...

    def unheard(self) -> list[str]:
        """The items of which something is still to be played, in their order."""
        ...

    def added_ms(self, item_id: str) -> float:
        """The part of an item that was handed to playback."""
        ...

    def left_ms(self) -> float:
        """The time for which playback continues if nothing is added."""
        ...


class _Line:
    """The line of milliseconds, and what each item has on it."""

    def __init__(self) -> None:
        self._pieces: deque[_Piece] = deque()
        self._end_ms = 0.0
        self._heard: dict[str, float] = {}  # of pieces that are over
        self._added: dict[str, float] = {}

    def position_ms(self) -> float:
        """The position of playback."""
        raise NotImplementedError

    def add(self, item_id: str, ms: float) -> None:
        self._settle()
        if self._pieces and self._pieces[-1].item_id == item_id:
            self._pieces[-1].end_ms += ms
        else:
            self._pieces.append(_Piece(item_id, self._end_ms, self._end_ms + ms))
        self._end_ms += ms
        self._added[item_id] = self._added.get(item_id, 0.0) + ms

    def clear(self) -> None:
        self._settle()
        position = self.position_ms()
        for piece in self._pieces:
            heard = min(max(position - piece.start_ms, 0.0), piece.end_ms - piece.start_ms)
            self._heard[piece.item_id] = self._heard.get(piece.item_id, 0.0) + heard
        self._pieces.clear()
        self._end_ms = position

    def heard_ms(self, item_id: str) -> float:
        position = self.position_ms()
        heard = self._heard.get(item_id, 0.0)
        for piece in self._pieces:
            if piece.item_id == item_id:
                heard += min(max(position - piece.start_ms, 0.0), piece.end_ms - piece.start_ms)
        return heard

    def unheard(self) -> list[str]:
        position = self.position_ms()
        waiting = [piece.item_id for piece in self._pieces if piece.end_ms > position + 0.5]
        return list(dict.fromkeys(waiting))

    def added_ms(self, item_id: str) -> float:
        return self._added.get(item_id, 0.0)

    def left_ms(self) -> float:
        return max(self._end_ms - self.position_ms(), 0.0)

    def _settle(self) -> None:
        """Forget pieces that were played to their end."""
        position = self.position_ms()
        while self._pieces and self._pieces[0].end_ms <= position:
            piece = self._pieces.popleft()
            whole = piece.end_ms - piece.start_ms
            self._heard[piece.item_id] = self._heard.get(piece.item_id, 0.0) + whole


class ClockPlayed(_Line):
    """Playback that begins at once and never stops: what a clock says was heard was heard."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        super().__init__()
        self._now_s = now_s
        self._at_s = 0.0
        self._at_ms = 0.0

    def position_ms(self) -> float:
        return min(self._at_ms + (self._now_s() - self._at_s) * 1000, self._end_ms)

    def add(self, item_id: str, ms: float) -> None:
        # A gap in what comes is a gap in what is heard: the clock begins again after it.
        self._at_ms, self._at_s = self.position_ms(), self._now_s()
        super().add(item_id, ms)

    def clear(self) -> None:
        super().clear()
        self._at_ms, self._at_s = self._end_ms, self._now_s()


class DevicePlayed(_Line):
    """A loudspeaker that says how much it has played."""

    def __init__(self) -> None:
        super().__init__()
        self._played_ms = 0.0

    def position_ms(self) -> float:
        return min(self._played_ms, self._end_ms)

    def played(self, ms: float) -> None:
        """So much more was played."""
        self._played_ms = min(self._played_ms + ms, self._end_ms)


class MarkedPlayed(_Line):
    """A line that gives marks back when the sound before them was played.

    The code that sends the sound asks `mark` for a name after each piece, sends it along, and
    reports each that comes back to `reached`.  A `clear` gives all marks back at once, unheard:
    those of an earlier generation are ignored.  Between marks a clock runs, up to the next mark.

    `lag_ms` is how long a mark takes to come back and a `clear` to arrive, together: so much more
    will have been played when playback is stopped.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        super().__init__()
        self._now_s = now_s
        self._generation = 1
        self._count = 0
        self._marks: dict[str, float] = {}  # where each mark that is out stands
        self.lag_ms = 0.0
        self._at_ms = 0.0
        self._at_s: float | None = None

    def position_ms(self) -> float:
        if self._at_s is None:
            return self._at_ms
        bound = min(self._marks.values(), default=self._end_ms) + self.lag_ms
        gone = (self._now_s() - self._at_s) * 1000
        return min(self._at_ms + gone, max(bound, self._at_ms), self._end_ms)

    def add(self, item_id: str, ms: float) -> None:
        if self.position_ms() >= self._end_ms or self._at_s is None:
            self._at_ms, self._at_s = self.position_ms(), self._now_s()
        super().add(item_id, ms)

    def mark(self, unsent_ms: float = 0.0) -> str:
        """The name of a mark at the end of what was added so far, less what is not sent yet."""
        self._count += 1
        name = f"{self._generation}:{self._count}"
        self._marks[name] = max(self._end_ms - unsent_ms, 0.0)
        return name

    def reached(self, name: str) -> bool:
        """A mark has come back; whether it says that something was heard."""
        place = self._marks.pop(name, None)
        if place is None or not name.startswith(f"{self._generation}:"):
            return False
        # Marks come in order: those before this one are lost, and their sound was played.
        self._marks = {other: at for other, at in self._marks.items() if at > place}
        at_ms = min(place + self.lag_ms, self._end_ms)
        self._at_ms, self._at_s = max(at_ms, self._at_ms), self._now_s()
        return True

    def clear(self) -> None:
        super().clear()
        self._generation += 1
        self._marks.clear()
        self._at_ms, self._at_s = self._end_ms, None
