"""The voices that polycall knows, a row each: what each can do, where it is, what it costs.

This table and the codecs are the only places that name a vendor.  Sources were read on
2026-11-29: the types of openai 3.57.0 and google-genai 3.6.1, developers.openai.com
(realtime-conversations, live, voice-latency-cost), ai.google.dev/gemini-api/docs (live-session,
live-api/tools, models/gemini-3.8-live); prices also from genai-prices 0.2.3.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polycall.errors import RequestError
from polycall.tools.function_tool import Tell
from polycall.tools.problems import near_miss
from polycall.voices.audio import PCM16, PCM24, PCMA, PCMU, AudioFormat
from polycall.voices.usage import VoicePrice

CodecName: TypeAlias = Literal["openai_realtime", "gemini_live", "gpt_live"]


class Voice(Struct, frozen=True):
    """What one family of realtime models can do.

    | field | meaning |
    |---|---|
    | `replies` | who begins a reply: the `client`, the `server`, or nobody (`continuous`) |
    | `truncates` | can be told how much of an item was heard |
    | `cancels` | can be told to stop a reply |
    | `stops_itself` | stops a reply by itself when the caller speaks |
    | `late` | results may come late: `always`, for tools `declared` so, or the call is waited for |
    | `schedules` | what a late result may say of when it is spoken about |
    | `progress` | how progress reaches the model |
    | `silence` | how `stay_silent` works: no reply is asked for, a result says so, or not at all |
    | `resumes` | a new connection goes on by a handle; else the conversation is sent again |
    | `handoff` | how another agent takes over |
    | `session_s` | how long a session may last; `renew_s`: after so long a new one is begun |
    | `billing` | what is counted |
    | `speech_events` | says when the caller begins and stops |
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
    resumes: bool = False
    handoff: Literal["update", "reconnect", "delegate"] = "update"
    input_formats: tuple[AudioFormat, ...] = (PCM24,)
    output_formats: tuple[AudioFormat, ...] = (PCM24,)
    session_s: float = 3600.0
    renew_s: float | None = None
    billing: Literal["tokens", "seconds"] = "tokens"
    speech_events: bool = True
    options: tuple[str, ...] = ()  # what its codec does otherwise
    price: VoicePrice | None = None
    delegation: str = ""  # how its instructions say when it delegates
    history_max: tuple[int, int] | None = None  # items and bytes of text a session begins with
    transcriber: str = ""  # the model that writes the caller down, which has the price for it

    def matches(self, model: str) -> bool:
        """Whether the row is for this model."""
        return re.match(self.pattern, model) is not None


def _per_million(
    *, text: str, audio: str, image: str, cached: tuple[str, str, str], output: tuple[str, str]
) -> VoicePrice:
    """A price by tokens; what is cached and given in the order of text, audio, image."""
    return VoicePrice(
        text=Decimal(text),
        audio=Decimal(audio),
        image=Decimal(image),
        cached_text=Decimal(cached[0]),
        cached_audio=Decimal(cached[1]),
        cached_image=Decimal(cached[2]),
        output_text=Decimal(output[0]),
        output_audio=Decimal(output[1]),
        transcription_minute=Decimal("0.0045"),  # of gpt-transcribe, which writes down the caller
    )


_OPENAI_FORMATS = (PCM24, PCMU, PCMA)

# The 60-minute end closes with 1001 and no warning, so a new session is begun before it.
_OPENAI = Voice(
    provider="openai",
    pattern=r"gpt-realtime(?!-(whisper|translate))",
    codec="openai_realtime",
    path="/realtime?model={model}",
    replies="client",
    truncates=True,
    cancels=True,
    stops_itself=True,
    late="always",
    schedules=frozenset({"when_idle", "silent", "interrupt"}),
    progress="none",
    silence="unasked",
    handoff="update",
    input_formats=_OPENAI_FORMATS,
    output_formats=_OPENAI_FORMATS,
    session_s=3600.0,
    renew_s=3300.0,
    transcriber="gpt-transcribe",
)

# Models before 2 refuse the settings of parallel calls and reasoning; they are never sent.
_GEMINI = Voice(
    provider="google",
    pattern=r"gemini-3\.8-live$",
    codec="gemini_live",
    path="/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
    replies="server",
    late="declared",
    schedules=frozenset({"when_idle", "silent", "interrupt"}),
    progress="continued",
    silence="scheduled",
    resumes=True,
    handoff="update",
    input_formats=(PCM16,),
    output_formats=(PCM24,),
    session_s=7200.0,
    # Google's own price of cached sound is not published: as much as what is not cached.
    price=VoicePrice(
        text=Decimal("0.75"),
        audio=Decimal(3),
        image=Decimal(1),
        output_text=Decimal("4.5"),
        output_audio=Decimal(12),
    ),
)

_LIVE = Voice(
    provider="openai",
    pattern=r"gpt-live",
    codec="gpt_live",
    path="/live/sessions",
    replies="continuous",
    stops_itself=True,
    late="delegated",
    progress="thinking",
    silence="none",
    handoff="delegate",
    input_formats=(PCM24, PCM16, PCMU, PCMA),
    output_formats=(PCM24, PCM16, PCMU, PCMA),
    session_s=7200.0,
    renew_s=6900.0,
    billing="seconds",
    speech_events=False,
    history_max=(128, 22_000),  # 8,192 tokens, of three bytes and less
    price=VoicePrice(active_minute=Decimal("0.05"), paused_minute=Decimal("0.02")),
    delegation="Delegation policy\nDelegate to the backend when:",
)

VOICES: tuple[Voice, ...] = (
    replace(
        _OPENAI,
        pattern=r"gpt-realtime-(2\.1-)?mini",
        price=_per_million(
            text="0.6",
            audio="10",
            image="0.8",
            cached=("0.06", "0.3", "0.08"),
            output=("2.4", "20"),
        ),
    ),
    replace(
        _OPENAI,
        pattern=r"gpt-realtime-2",
        price=_per_million(
            text="4", audio="32", image="5", cached=("0.4", "0.4", "0.5"), output=("24", "64")
        ),
    ),
    replace(
        _OPENAI,
        price=_per_million(
            text="4", audio="32", image="5", cached=("0.4", "0.4", "0.5"), output=("16", "64")
        ),
    ),
    replace(
        _LIVE,
        pattern=r"gpt-live-1$",  # the first one delegates where it writes this mark
        delegation="Delegation policy\nWrite <|SpawnThinking|> to delegate to the backend when:",
    ),
    _LIVE,
    # Microsoft's address has /openai/v1 like OpenAI's own; the key is in another header.
    replace(_OPENAI, provider="azure"),
    # A clone: cancels well, truncates unreliably; voice and turn detection stand elsewhere.
    replace(
        _OPENAI,
        provider="xai",
        pattern=r"grok-voice",
        truncates=False,
        options=("flat_session",),
        input_formats=(PCM24, PCM16, PCMU, PCMA),
        output_formats=(PCM24, PCM16, PCMU, PCMA),
    ),
    _GEMINI,
    replace(
        _GEMINI,
        pattern=r"gemini-3\.8-live-extended-thinking",
        schedules=frozenset(),
        progress="none",
        silence="warned",
        handoff="reconnect",
        price=None,
    ),
    replace(
        _GEMINI,
        pattern=r"gemini-2\.5-flash-native-audio",
        handoff="reconnect",
        price=VoicePrice(
            text=Decimal("0.5"),
            audio=Decimal(3),
            image=Decimal(3),
            output_text=Decimal(2),
            output_audio=Decimal(12),
        ),
    ),
    replace(
        _GEMINI,
        pattern=r"gemini-3\.1-flash-live",
        late="waits",
        schedules=frozenset(),
        progress="none",
        silence="warned",
        handoff="reconnect",
        price=None,
    ),
    replace(
        _GEMINI,
        provider="vertex",
        pattern=r"gemini-",
        path="/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
        late="waits",
        schedules=frozenset(),
        progress="none",
        silence="warned",
        handoff="reconnect",
        price=None,
    ),
)


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
