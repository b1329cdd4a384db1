"""What the tests of this folder share: translation by the public functions, and strict readers.

`translate` and `answer` go the way that a gateway goes: the client's body is parsed by its own
dialect and rendered by the provider's, the provider's answer comes back the other way.  `accepted`
asks the simulated vendor, which shares no code with the dialects, whether it takes a body.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.ir import JSON, Request, Response
from polycall.providers.dialects import DIALECTS
from polycall.sim.script import ModelSpec, Prompt
from polycall.sim.vendors.anthropic import Anthropic
from polycall.sim.vendors.base import Route
from polycall.sim.vendors.gemini import Gemini
from polycall.sim.vendors.openai_chat import OpenAIChat
from polycall.sim.vendors.openai_responses import OpenAIResponses
from polycall.translation.quirks import Quirks
from polycall.translation.restore import RequestUndo
from polycall.translation.wire import Dialect, WireRequest

CHAT, RESPONSES, ANTHROPIC, GEMINI = "openai-chat", "openai-responses", "anthropic", "gemini"
NAMES = (CHAT, RESPONSES, ANTHROPIC, GEMINI)
PAIRS = list(itertools.product(NAMES, NAMES))
CROSS = [(client, upstream) for client, upstream in PAIRS if client != upstream]
ALL_PAIRS = pytest.mark.parametrize(("client", "upstream"), PAIRS)
ALL_CROSS = pytest.mark.parametrize(("client", "upstream"), CROSS)
UPSTREAMS = pytest.mark.parametrize("upstream", NAMES)
GEMINI_PATH = "/v1beta/models/m:generateContent"

_VENDORS: dict[str, Any] = {
    CHAT: OpenAIChat(),
    RESPONSES: OpenAIResponses(),
    ANTHROPIC: Anthropic(),
    GEMINI: Gemini(),
}


def dialect(name: str) -> Dialect:
    """The dialect of this name."""
    return DIALECTS[name]  # pyright: ignore[reportArgumentType]


def parse(client: str, body: JSON, *, lossy: bool = False) -> Request:
    """A client's body, as its dialect reads it."""
    path = GEMINI_PATH if client == GEMINI else ""
    return replace(dialect(client).parse_request(body, path=path), model="m", lossy=lossy)


def translate(
    client: str, upstream: str, body: JSON, *, lossy: bool = False, quirks: Quirks | None = None
) -> WireRequest:
    """A client's body in the provider's words."""
    request = parse(client, body, lossy=lossy)
    return dialect(upstream).render_request(request, quirks=quirks or Quirks())


def features(wire: WireRequest) -> set[tuple[str, str]]:
    """Kind and feature of every warning."""
    return {(warning.kind, warning.feature) for warning in wire.warnings}


def accepted(upstream: str, wire: WireRequest, *, reasons: str = "never") -> Prompt:
    """What the strict simulated vendor reads in the body; raises `Refused` where it does not."""
    spec = ModelSpec("m", reasons=reasons)  # pyright: ignore[reportArgumentType]
    body: Any = jsontext.decode(jsontext.encode(wire.body))
    if upstream == GEMINI:
        path, _, _ = wire.path.partition("?")
        route = _VENDORS[upstream].route("POST", path, {})
    else:
        route = Route("generate")
    return _VENDORS[upstream].check_request(route, body, lambda _: spec)


def answer(
    upstream: str,
    client: str,
    body: JSON,
    *,
    request: Request | None = None,
    wire: WireRequest | None = None,
) -> tuple[Response, JSON]:
    """A provider's whole answer: what it says, and the client's body of it."""
    response = dialect(upstream).parse_response(body)
    if request is not None and wire is not None:
        response = RequestUndo(request, wire).response(response)
    return response, dialect(client).render_response(response, request)


def stream(
    upstream: str,
    client: str,
    pieces: bytes | Iterable[bytes],
    *,
    request: Request | None = None,
    wire: WireRequest | None = None,
) -> list[bytes]:
    """A provider's stream as the client's, a piece for each event."""
    decoder = dialect(upstream).StreamDecoder()
    encoder = dialect(client).StreamEncoder(request)
    restorer = RequestUndo(request, wire) if request is not None and wire is not None else None
    written: list[bytes] = []
    chunks = [pieces] if isinstance(pieces, bytes) else list(pieces)
    for events in (*(decoder.feed(chunk) for chunk in chunks), decoder.close()):
        for event in events:
            restored = [event] if restorer is None else restorer.feed(event)
            written.extend(encoder.feed(each) for each in restored)
    return [*written, encoder.close()]


def chat_sse(*chunks: Any, done: bool = True) -> bytes:
    """Chat chunks as the wire has them."""
    frames = [f"data: {jsontext.encode(chunk)}\n\n" for chunk in chunks]
    return "".join([*frames, "data: [DONE]\n\n" if done else ""]).encode()


def named_sse(*events: JSON) -> bytes:
    """Events that say their type twice, as Responses and Anthropic write them."""
    return "".join(f"event: {e['type']}\ndata: {jsontext.encode(e)}\n\n" for e in events).encode()


def gemini_sse(*chunks: JSON) -> bytes:
    """Gemini's chunks."""
    return "".join(f"data: {jsontext.encode(chunk)}\r\n\r\n" for chunk in chunks).encode()
