"""The script of a simulated voice: its inputs, its answers, and its failures."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from polycall.sim.realtime.record import Record
from polycall.sim.script import Turn

# How long a character is spoken, and how much faster than that it is made.
MS_PER_CHARACTER = 60.0
GENERATION_SPEED = 6.0


@dataclass
class VoiceFaults:
    """Faults at chosen moments (seconds of a session), or of a seed.

    `reset_at_s` breaks the connection without a word, `close_at_s` closes it with `close_code`,
    `mute_at_s` says nothing any more, `go_away_at_s` tells that it will close.  The others are
    yes or no, for the whole talk.
    """

    reset_at_s: list[float] = field(default_factory=list[float])
    close_at_s: list[float] = field(default_factory=list[float])
    close_code: int = 1011
    mute_at_s: list[float] = field(default_factory=list[float])
    go_away_at_s: list[float] = field(default_factory=list[float])
    go_away_left_s: float = 5.0
    null_event_ids: bool = False
    without_created: bool = False
    refuse_resume: bool = False
    cancel_calls: bool = False
    repeat_calls: bool = False
    incomplete_calls: bool = False
    unknown_frames: bool = False
    binary_frames: bool = False
    expire_at_s: float | None = None
    lag_s: tuple[float, float] = (0.0, 0.0)
    random: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311

    @classmethod
    def of(cls, text: str) -> VoiceFaults:
        """Those of `"seed:N"`: the same each time."""
        kind, _, number = text.partition(":")
        if kind != "seed" or not number.isdigit():
            raise ValueError(f"faults are written 'seed:N', not {text!r}")
        chance = random.Random(int(number))  # noqa: S311 - the same each time

        def moments(share: float) -> list[float]:
            return [chance.uniform(0.5, 12.0)] if chance.random() < share else []

        return cls(
            reset_at_s=moments(0.3),
            close_at_s=moments(0.2),
            close_code=chance.choice([1001, 1011, 1006]),
            go_away_at_s=moments(0.2),
            mute_at_s=moments(0.1),
            null_event_ids=chance.random() < 0.3,
            without_created=chance.random() < 0.1,
            refuse_resume=chance.random() < 0.2,
            cancel_calls=chance.random() < 0.3,
            repeat_calls=chance.random() < 0.2,
            incomplete_calls=chance.random() < 0.15,
            unknown_frames=chance.random() < 0.3,
            binary_frames=chance.random() < 0.5,
            lag_s=(0.0, chance.choice([0.0, 0.02, 0.2])),
            random=chance,
        )


@dataclass
class VoiceScript:
    """A voice that answers with these turns, and writes down what it hears as these texts.

    A turn's calls come after its text.  When the turns are used up it says "Yes."
    """

    turns: deque[Turn]
    heard: deque[str]
    faults: VoiceFaults
    record: Record = field(default_factory=Record)

    @classmethod
    def of(
        cls,
        turns: Iterable[Turn],
        *,
        heard: Iterable[str] = (),
        faults: str | VoiceFaults | None = None,
    ) -> VoiceScript:
        """A script from its turns."""
        plan = VoiceFaults.of(faults) if isinstance(faults, str) else faults or VoiceFaults()
        return cls(deque(turns), deque(heard), plan)

    def next_turn(self) -> Turn:
        """The next turn to answer with."""
        return self.turns.popleft() if self.turns else Turn("Yes.")

    def next_heard(self) -> str:
        """The caller's next words, as the voice takes them."""
        return self.heard.popleft() if self.heard else "Something."
