"""Models for tests: scripted, written as a function, or recorded once and replayed.

`ScriptedModel` and `FunctionModel` stand where a `Client` stands (`run_tools`, `Agent`): no
network, no key.  `record` and `replay` are transports for a real `Client`: the first writes what
the provider said to a file, the second gives it back to the same requests.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from msgspec import Struct

from polycall import ir
from polycall._support import jsontext
from polycall.errors import PolycallError, ProtocolError
from polycall.fold import unfold
from polycall.streams import Stream
from polycall.translation.portable import marked
from polycall.transport.base import Deadlines, HTTPRequest, HTTPResponse, Transport

# `{"get_weather": {"city": "Seoul"}}` are calls by the names of their tools.
Answer: TypeAlias = (
    str
    | ir.ToolCall
    | list[ir.ToolCall]
    | dict[str, dict[str, Any]]
    | ir.Message
    | ir.Response
    | PolycallError
)


class FunctionModel:
    """A model that is a function of the request.

    `answer` gives a text, calls (also as a dictionary of arguments by tool), a message, a whole
    response, or an error to raise.  `requests`
    keeps what was asked.
    """

    def __init__(self, answer: Callable[[ir.Request], Answer]) -> None:
        self._answer = answer
        self.requests: list[ir.Request] = []

    async def generate_request(self, request: ir.Request) -> ir.Response:
        """The function's answer to this request."""
        self.requests.append(copy.deepcopy(request))
        response = _as_response(self._answer(request), request, len(self.requests))
        return marked(response, response.model)

    def stream_request(self, request: ir.Request) -> Stream:
        """The same as events."""
        return Stream(self._events(request), [])

    async def _events(self, request: ir.Request) -> AsyncGenerator[ir.Event]:
        for event in unfold(await self.generate_request(request)):
            yield event

    def cost(self, model: str, usage: ir.Usage) -> Decimal | None:
        """Tests cost nothing."""
        return Decimal(0)


class ScriptedModel(FunctionModel):
    """A model that says these answers, in order.

    Asked once more than it has answers, it raises; used as a context manager, it also raises at
    the end where answers are left over, so that a test cannot pass by doing less.
    """

    def __init__(self, answers: Iterable[Answer]) -> None:
        super().__init__(self._take)
        self._left = list(answers)

    def __repr__(self) -> str:
        """In a line: how far it is."""
        return f"ScriptedModel({len(self.requests)} asked, {len(self._left)} answers left)"

    def __enter__(self) -> ScriptedModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.assert_done()

    def assert_done(self) -> None:
        """Raise `AssertionError` where answers are left over."""
        if self._left:
            raise AssertionError(f"{len(self._left)} scripted answers were never asked for")

    def _take(self, request: ir.Request) -> Answer:
        if not self._left:
            raise AssertionError(
                f"the script is over, and the model was asked again (request {len(self.requests)})"
            )
        return self._left.pop(0)


def _as_response(answer: Answer, request: ir.Request, number: int) -> ir.Response:
    match answer:
        case PolycallError():
            raise answer
        case ir.Response():
            return answer
        case str():
            message = ir.Message("assistant", [ir.Text(answer)])
        case ir.ToolCall():
            message = ir.Message("assistant", [answer])
        case list():
            message = ir.Message("assistant", [*answer])
        case dict():
            calls = [
                ir.ToolCall(f"call_{number}_{place}", name, jsontext.encode(arguments))
                for place, (name, arguments) in enumerate(answer.items(), 1)
            ]
            message = ir.Message("assistant", [*calls])
        case ir.Message():
            message = answer
    return ir.Response(
        id=f"scripted_{number}",
        model=request.model,
        message=message,
        finish_reason=ir.unified_finish("stop", has_calls=bool(message.tool_calls)),
        raw_finish_reason="scripted",
        usage=ir.Usage(
            len(jsontext.encode_bytes(request.messages)) // 4 + 1,
            len(jsontext.encode_bytes(message)) // 4 + 1,
        ),
    )


# ---------------------------------------------------------------------------------------------
# Recordings


class Recorded(Struct, frozen=True):
    """One exchange of a recording.  No header of the request is kept: keys travel there."""

    key: str
    url: str
    request: Any
    status: int
    headers: dict[str, str]
    chunks: list[str]  # base64: a stream is replayed in the pieces it came in


# What an answer's headers may tell a test; the rest can name accounts.
_HEADERS_KEPT = ("content-type", "retry-after", "retry-after-ms", "x-should-retry")
_KEY_PARAMETER = "key="


def record(path: str | Path, inner: Transport) -> RecordingTransport:
    """A transport that passes everything to `inner`, and writes it to `path` when closed."""
    return RecordingTransport(Path(path), inner)


def replay(path: str | Path) -> ReplayTransport:
    """A transport that answers from a recording; an unknown request is a `ProtocolError`."""
    return ReplayTransport(Path(path))


def request_key(request: HTTPRequest) -> str:
    """A key for equal requests: of the path and the body, without the host and the API key."""
    path = request.url.split("://", 1)[-1].partition("/")[2]
    base, _, query = path.partition("?")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith(_KEY_PARAMETER)]
    digest = hashlib.sha256(f"{request.method} {base}?{'&'.join(kept)}\n".encode() + request.body)
    return digest.hexdigest()[:24]


class _Answered:
    """An answer whose bytes are known."""

    def __init__(self, status: int, headers: Mapping[str, str], pieces: list[bytes]) -> None:
        self.status = status
        self.headers = headers
        self._pieces = pieces

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def read(self, *, size_bytes_max: int) -> bytes:
        data = b"".join(self._pieces)
        if len(data) > size_bytes_max:
            raise ProtocolError(f"the answer is larger than {size_bytes_max} bytes")
        return data

    async def close(self) -> None:
        pass


class RecordingTransport:
    """See `record`."""

    def __init__(self, path: Path, inner: Transport) -> None:
        self._path = path
        self._inner = inner
        self._recorded: list[Recorded] = []

    async def open(self, request: HTTPRequest, deadlines: Deadlines) -> HTTPResponse:
        """Ask the inner transport, and keep the whole answer before it is passed on."""
        response = await self._inner.open(request, deadlines)
        try:
            pieces = [piece async for piece in response.chunks()]
        finally:
            await response.close()
        headers = {
            name: response.headers[name] for name in _HEADERS_KEPT if name in response.headers
        }
        self._recorded.append(
            Recorded(
                key=request_key(request),
                url=request.url.partition("?")[0],
                request=jsontext.decode(request.body) if request.body else None,
                status=response.status,
                headers=headers,
                chunks=[base64.b64encode(piece).decode() for piece in pieces],
            )
        )
        return _Answered(response.status, headers, pieces)

    async def close(self) -> None:
        """Write the recording, all of it or nothing."""
        await self._inner.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "wb", dir=self._path.parent, prefix=self._path.name, delete=False
        ) as file:
            for row in self._recorded:
                file.write(jsontext.encode_bytes(row) + b"\n")
        os.replace(file.name, self._path)


class ReplayTransport:
    """See `replay`.  Equal requests get their answers in the order they were recorded."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left: dict[str, list[Recorded]] = {}
        for line in path.read_bytes().splitlines():
            row = jsontext.decode(line)
            self._left.setdefault(row["key"], []).append(Recorded(**row))

    async def open(self, request: HTTPRequest, deadlines: Deadlines) -> HTTPResponse:
        """The recorded answer to this request."""
        rows = self._left.get(request_key(request))
        if not rows:
            raise ProtocolError(
                f"{self._path.name} holds no answer to this request; record it again",
                path=request.url.partition("?")[0],
            )
        row = rows.pop(0) if len(rows) > 1 else rows[0]
        pieces = [base64.b64decode(chunk) for chunk in row.chunks]
        return _Answered(row.status, row.headers, pieces)

    async def close(self) -> None:
        """Nothing to close."""
