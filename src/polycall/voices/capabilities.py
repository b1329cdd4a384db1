"""The voices that polycall knows: what each can do, where it is, what it costs.

Their table, `voices.toml`, and the codecs are the only places that name a vendor.
"""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from typing import Literal, TypeAlias

from msgspec import Struct, convert, to_builtins
from msgspec.structs import replace

from polycall.errors import RequestError
from polycall.tools.function_tool import Tell
from polycall.tools.problems import near_miss
from polycall.voices.audio import PCM16, PCM24, PCMA, PCMU, AudioFormat
from polycall.voices.usage import VoicePrice

CodecName: TypeAlias = Literal["openai_realtime", "gemini_live", "gpt_live"]


class Voice(Struct, frozen=True):
    """The capabilities of one family of realtime models.

    | field | meaning |
    |---|---|
    | `replies` | who begins a reply: the `client`, the `server`, or nobody (`continuous`) |
    | `truncates` | can learn how much of an item was heard |
    | `cancels` | can be asked to stop a reply |
    | `stops_itself` | stops a reply by itself when the caller speaks |
    | `late` | results may come late: `always`, for tools `declared` so, or the call is waited for |
    | `schedules` | what a late result may say of when it is spoken about |
    | `progress` | how progress reaches the model |
    | `silence` | how `stay_silent` works: no reply is asked for, a result says so, or not at all |
    | `handoff` | how another agent takes over |
    | `session_s` | how long a session may last; `renew_s`: after so long a new one is begun |
    | `billing` | what is counted |
    """

    provider: str
    pattern: str
    codec: CodecName
    path: str
    replies: Literal["client", "server", "continuous"]
    truncates: bool = False
    cancels: bool = False
    stops_itself: bool = True
    late: Literal["always", "declared", "waits", "delegated"] = "always"
    schedules: frozenset[Tell] = frozenset()
    progress: Literal["none", "continued", "thinking"] = "none"
    silence: Literal["unasked", "scheduled", "warned", "none"] = "unasked"
    handoff: Literal["update", "reconnect", "delegate"] = "update"
    input_formats: tuple[AudioFormat, ...] = (PCM24,)
    output_formats: tuple[AudioFormat, ...] = (PCM24,)
    session_s: float = 3600.0
    renew_s: float | None = None
    billing: Literal["tokens", "seconds"] = "tokens"
    options: tuple[str, ...] = ()  # what its codec does otherwise
    price: VoicePrice | None = None
    delegation: str = ""  # how its instructions say when it delegates
    history_max: tuple[int, int] | None = None  # items and bytes of text a session begins with
    transcriber: str = ""  # the model that writes the caller down, which has the price for it

    def matches(self, model: str) -> bool:
        """Whether the row is for this model."""
        return re.match(self.pattern, model) is not None


_FORMATS = {"pcm24": PCM24, "pcm16": PCM16, "pcmu": PCMU, "pcma": PCMA}


def _voices() -> tuple[Voice, ...]:
    text = files("polycall.voices").joinpath("voices.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    rows: list[Voice] = []
    for table in tables["voices"]:
        row = {**tables["families"][table.pop("family")], **table}
        for field in ("input_formats", "output_formats"):
            row[field] = [to_builtins(_FORMATS[name]) for name in row[field]]
        rows.append(convert(row, Voice))
    return tuple(rows)


VOICES = _voices()


def voice_for(provider: str, model: str) -> Voice:
    """The row of a voice; `RequestError` where there is none."""
    for row in VOICES:
        if row.provider == provider and row.matches(model):
            return row
    providers = sorted({row.provider for row in VOICES})
    if provider not in providers:
        hint = near_miss(provider, providers) or f"; known: {', '.join(providers)}"
        raise RequestError(f"no voices of provider {provider!r} are known{hint}")
    known = ", ".join(row.pattern for row in VOICES if row.provider == provider)
    raise RequestError(
        f"{model!r} is not a realtime model of {provider!r} that is known (names like {known}); "
        "pass capabilities= with a Voice of your own"
    )


def voice_at(provider: str, model: str, codec: CodecName) -> Voice:
    """The row of a voice that a client of this protocol asks for; `RequestError` as `voice_for`.

    Hosts that the table does not know may serve what it knows, at prices of their own.
    """
    if any(row.provider == provider for row in VOICES):
        return voice_for(provider, model)
    rows = [row for row in VOICES if row.codec == codec]
    known = next((row for row in rows if row.matches(model)), rows[0])
    return replace(known, price=None)
