"""The vendors' protocols, one module each: frames to signals, commands to frames, no IO."""

from __future__ import annotations

from polycall.voices.capabilities import Voice
from polycall.voices.codecs.gemini_live import GeminiLiveCodec
from polycall.voices.codecs.gpt_live import GPTLiveCodec
from polycall.voices.codecs.openai_realtime import OpenAIRealtimeCodec
from polycall.voices.protocol import Codec

__all__ = ["make_codec"]


def make_codec(voice: Voice, connection: int = 1) -> Codec:
    """The codec of a voice, for one connection; ids that it makes up are of this connection."""
    match voice.codec:
        case "openai_realtime":
            return OpenAIRealtimeCodec(is_flat="flat_session" in voice.options)
        case "gemini_live":
            declares = voice.late == "declared"
            return GeminiLiveCodec(
                declares_background=declares, schedules=bool(voice.schedules), connection=connection
            )
        case "gpt_live":
            return GPTLiveCodec(connection)
