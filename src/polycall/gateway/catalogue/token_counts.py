"""Counting the tokens of a request: by the provider where it can, else by estimate, and said so.

The estimate needs no vocabulary: words, numbers and signs are counted as the published
tokenizers split them before they look anything up, and characters of other scripts one by one.
It is within about a fifth of the real count for English, JSON and Korean; vocabularies would be
nearer, but each is a download of megabytes at start, belongs to one vendor, and the vendors
that publish none are the ones whose clients ask.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

from polycall import ir
from polycall._support import jsontext
from polycall.ir import JSON
from polycall.providers.dialects import DIALECTS
from polycall.providers.hosting import HOSTINGS, enveloped
from polycall.providers.provider import DialectName

_PIECES = re.compile(
    r"(?P<word>[A-Za-zÀ-ÿ']+)|(?P<number>\d{1,3})|(?P<space>\s+)"
    r"|(?P<wide>[\u0370-\U0010ffff])|(?P<sign>[^\w\s]{1,3})|(?P<other>.)"
)
_LETTERS_PER_TOKEN = 6.5
_TOKENS_PER_WIDE = 0.8
_TOKENS_PER_MESSAGE = 4
_TOKENS_PER_TOOL = 8
_MEDIA_TOKENS = {"image": 1100, "audio": 800, "video": 5000, "document": 3000, "file": 3000}


def estimate_text(text: str) -> int:
    """About how many tokens a text is."""
    tokens = 0.0
    for piece in _PIECES.finditer(text):
        match piece.lastgroup:
            case "word":
                tokens += math.ceil(len(piece.group()) / _LETTERS_PER_TOKEN)
            case "wide":
                tokens += _TOKENS_PER_WIDE
            case "space":
                # A single space belongs to the word behind it; more of them count once.
                tokens += 0 if piece.group() == " " else 1
            case _:
                tokens += 1
    return math.ceil(tokens)


def estimate(request: ir.Request) -> int:
    """About how many input tokens a request is: messages, system, tools, media."""
    total = sum(_TOKENS_PER_MESSAGE + _parts(message.parts) for message in request.messages)
    for tool in request.tools:
        total += _TOKENS_PER_TOOL + estimate_text(tool.name) + estimate_text(tool.description)
        if tool.parameters:
            total += estimate_text(jsontext.encode(tool.parameters))
    if request.response_format is not None and request.response_format.schema:
        total += estimate_text(jsontext.encode(request.response_format.schema))
    return total


def _parts(parts: Iterable[ir.Part]) -> int:
    total = 0
    for part in parts:
        match part:
            case ir.Text() | ir.Reasoning() | ir.Refusal():
                total += estimate_text(part.text)
            case ir.ToolCall():
                total += _TOKENS_PER_TOOL + estimate_text(part.name)
                total += estimate_text(part.arguments_json)
            case ir.ToolResult():
                total += _TOKENS_PER_TOOL + _parts(part.content)
            case ir.Media():
                total += estimate_text(part.text) if part.text else _MEDIA_TOKENS[part.kind]
            case ir.Opaque():
                total += estimate_text(jsontext.encode(part.data))
    return total


# What each protocol's own counting route takes and gives.

_FIELDS = {
    "anthropic": ("model", "messages", "system", "tools", "tool_choice", "thinking"),
    "openai-responses": (
        *("model", "input", "instructions", "tools", "tool_choice", "reasoning", "text"),
    ),
    "bedrock-converse": ("messages", "system", "toolConfig", "additionalModelRequestFields"),
    "gemini": ("contents", "systemInstruction", "tools", "generationConfig"),  # Vertex's
}
_NUMBER = {"gemini": "totalTokens", "bedrock-converse": "inputTokens"}


class CountRequest(NamedTuple):
    """A request for a provider's counting route; `reads` is the answer's field."""

    path: str
    body: JSON
    headers: dict[str, str]
    reads: str


def count_request(
    hosting: str, dialect: DialectName, model: str, body: JSON, headers: dict[str, str]
) -> CountRequest | None:
    """The request that counts a generation's body; `None` where the wire has no such route."""
    reads = _NUMBER.get(dialect, "input_tokens")
    if hosting:
        return _hosted_count(hosting, dialect, model, body, headers)
    path = DIALECTS[dialect].FACTS.count_path
    if not path:
        return None
    if dialect == "gemini":
        whole = {"generateContentRequest": {"model": f"models/{model}", **body}}
        return CountRequest(path.format(model=model), whole, headers, reads)
    counted = {name: body[name] for name in _FIELDS[dialect] if name in body}
    if dialect == "bedrock-converse":
        path, counted = path.format(model=quote(model, safe="")), {"input": {"converse": counted}}
    return CountRequest(path, counted, headers, reads)


def _hosted_count(
    hosting: str, dialect: DialectName, model: str, body: JSON, headers: dict[str, str]
) -> CountRequest | None:
    host = HOSTINGS[hosting]
    if not host.count_path:
        return None
    path = host.count_path.format(model=quote(model, safe=""))
    envelope = enveloped(hosting, model, headers, stream=False)
    if host.counts_request:
        kept = {name: each for name, each in body.items() if name not in envelope.leaves_out}
        data = base64.b64encode(jsontext.encode_bytes({**envelope.adds, **kept})).decode()
        asked: JSON = {"input": {"invokeModel": {"body": data}}}
        return CountRequest(path, asked, envelope.headers, _NUMBER["bedrock-converse"])
    counted = {name: body[name] for name in _FIELDS[dialect] if name in body}
    reads = _NUMBER.get(dialect, "input_tokens")
    return CountRequest(path, {**envelope.adds, **counted}, envelope.headers, reads)


def read_count(field: str, body: JSON) -> int | None:
    """The number in a counting route's answer; `None` if absent."""
    value = body.get(field)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def render_count(dialect: str, tokens: int) -> JSON:
    """The answer for a client of `dialect`."""
    if dialect in _NUMBER:
        return {_NUMBER[dialect]: tokens}
    if dialect == "openai-responses":
        return {"object": "response.input_tokens", "input_tokens": tokens}
    return {"input_tokens": tokens}
