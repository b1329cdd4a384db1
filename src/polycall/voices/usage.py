"""The usage of a talk, by kind of token and second, and its cost in US dollars."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct
from msgspec.structs import fields

from polycall.ir import Usage

_MILLION = Decimal(1_000_000)


class VoiceUsage(Struct, frozen=True, omit_defaults=True):
    """Tokens by kind, and seconds.

    `text_tokens`, `audio_tokens` and `image_tokens` of the input include what was read from a
    cache; `cached_*` say how much of each.  `active_s` are seconds of a session that is billed by
    time.  `transcription_s` and `transcription_tokens` are for writing down what was heard, where
    that is billed apart.
    """

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    cached_text_tokens: int = 0
    cached_audio_tokens: int = 0
    cached_image_tokens: int = 0
    output_text_tokens: int = 0
    output_audio_tokens: int = 0
    reasoning_tokens: int = 0
    active_s: float = 0.0
    paused_s: float = 0.0
    transcription_s: float = 0.0
    transcription_input_tokens: int = 0
    transcription_output_tokens: int = 0

    def __add__(self, other: VoiceUsage) -> VoiceUsage:
        """The sum of both, field by field."""
        names = [field.name for field in fields(VoiceUsage)]
        return VoiceUsage(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def tokens(self) -> Usage:
        """The same in the arithmetic of text: all input, all output, what was cached."""
        return Usage(
            input_tokens=self.text_tokens + self.audio_tokens + self.image_tokens,
            output_tokens=self.output_text_tokens + self.output_audio_tokens,
            cached_tokens=(
                self.cached_text_tokens + self.cached_audio_tokens + self.cached_image_tokens
            ),
            reasoning_tokens=self.reasoning_tokens,
        )


class VoicePrice(Struct, frozen=True):
    """US dollars for a million tokens of each kind, and for a minute.  `None` is unknown.

    What is cached costs as much as what is not where no price of its own is known.
    """

    text: Decimal | None = None
    audio: Decimal | None = None
    image: Decimal | None = None
    cached_text: Decimal | None = None
    cached_audio: Decimal | None = None
    cached_image: Decimal | None = None
    output_text: Decimal | None = None
    output_audio: Decimal | None = None
    active_minute: Decimal | None = None
    paused_minute: Decimal | None = None
    transcription_minute: Decimal | None = None
    transcription_input: Decimal | None = None
    transcription_output: Decimal | None = None


def cost_usd(usage: VoiceUsage, price: VoicePrice | None) -> Decimal | None:
    """The cost of the usage; `None`, and never 0, where a part of it has no known price."""
    if price is None:
        return None
    lines = (
        (usage.text_tokens - usage.cached_text_tokens, price.text),
        (usage.audio_tokens - usage.cached_audio_tokens, price.audio),
        (usage.image_tokens - usage.cached_image_tokens, price.image),
        (usage.cached_text_tokens, _first(price.cached_text, price.text)),
        (usage.cached_audio_tokens, _first(price.cached_audio, price.audio)),
        (usage.cached_image_tokens, _first(price.cached_image, price.image)),
        (usage.output_text_tokens, price.output_text),
        (usage.output_audio_tokens, price.output_audio),
        (usage.transcription_input_tokens, price.transcription_input),
        (usage.transcription_output_tokens, price.transcription_output),
    )
    minutes = (
        (usage.active_s, price.active_minute),
        (usage.paused_s, price.paused_minute),
        (usage.transcription_s, price.transcription_minute),
    )
    total = Decimal(0)
    for count, rate in lines:
        if count > 0:
            if rate is None:
                return None
            total += count * rate / _MILLION
    for seconds, rate in minutes:
        if seconds > 0:
            if rate is None:
                return None
            total += Decimal(str(seconds)) * rate / 60
    return total


def _first(*prices: Decimal | None) -> Decimal | None:
    return next((price for price in prices if price is not None), None)
