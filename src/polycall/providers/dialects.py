"""The dialects by the names that providers and configuration use."""

from __future__ import annotations

from polycall.dialects import anthropic, gemini, openai_chat, openai_responses
from polycall.providers.provider import DialectName
from polycall.translation.wire import Dialect

DIALECTS: dict[DialectName, Dialect] = {
    "openai-chat": openai_chat,
    "openai-responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
}
