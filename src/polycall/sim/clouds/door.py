"""One request through a cloud to the vendor behind it, and its answer back."""

from __future__ import annotations

import base64
import email.utils
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import unquote

from polycall._support import jsontext
from polycall.sim.clouds import aws, azure, frames, google, vectors
from polycall.sim.clouds.shapes import problem
from polycall.sim.clouds.state import CloudState
from polycall.sim.exchange import Receive, Send, read_body
from polycall.sim.script import Refused

Message: TypeAlias = dict[str, Any]
Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]
Behind: TypeAlias = tuple[str, bytes, dict[str, str]]

ROOTS = ("/azure/", "/vertex/", "/bedrock/")
_INVOKE = re.compile(r"/bedrock/model/(.+)/(invoke|invoke-with-response-stream)")
_CONVERSE = re.compile(r"/bedrock/model/.+/(converse|converse-stream)")
_COUNT = re.compile(r"/bedrock/model/(.+)/count-tokens")
_VERSIONS = frozenset({"bedrock-2023-05-31", "2026-10-21"})


class CloudDoor:
    """Checks what a cloud checks, and has the vendor behind it answer."""

    def __init__(self, behind: Application, state: CloudState) -> None:
        self._behind = behind
        self.state = state

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request below one of `ROOTS`."""
        body = await read_body(receive)
        raw_path = scope["raw_path"].decode("ascii").partition("?")[0]
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        answer = _Answer(
            send,
            self.state,
            is_framed=raw_path.endswith("-with-response-stream"),
            is_count=raw_path.endswith("/count-tokens"),
        )
        try:
            if raw_path == "/vertex/token":
                await answer.json(200, google.token(self.state, body))
                return
            if raw_path == "/azure/identity":
                await answer.json(200, azure.identity(self.state, scope, headers))
                return
            made = self._vectors(scope, raw_path, headers, body)
            if made is not None:
                counted = {"x-amzn-bedrock-input-token-count": str(made[1])}
                await answer.json(200, made[0], counted)
                return
            path, body, own = self._passed(scope, raw_path, headers, body)
        except Refused as refused:
            await answer.json(refused.status, refused.body, refused.headers)
            return
        hidden = ("authorization", "api-key", "x-api-key", "content-length", *own)
        kept = {name: value for name, value in headers.items() if name not in hidden}
        kept = {**kept, **own, "content-length": str(len(body))}
        inner = {
            **scope,
            "behind": True,
            "path": unquote(path),
            "raw_path": path.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in kept.items()],
        }
        await self._behind(inner, _replayed(body, receive), answer.send)

    def _passed(
        self, scope: Message, raw_path: str, headers: dict[str, str], body: bytes
    ) -> Behind:
        if raw_path.startswith("/vertex/"):
            google.check_token(self.state, headers)
            path = raw_path.removeprefix("/vertex")
            return google.behind(self.state, path, body, headers)
        if raw_path.startswith("/bedrock/"):
            return self._bedrock(self._signed(scope, raw_path, headers, body))
        return self._azure(raw_path, headers, body)

    def _vectors(
        self, scope: Message, raw_path: str, headers: dict[str, str], body: bytes
    ) -> tuple[dict[str, Any], int] | None:
        """The answer of one of Bedrock's models for vectors; `None` for any other request."""
        match = _INVOKE.fullmatch(unquote(raw_path))
        if match is None or match[2] != "invoke":
            return None
        self._signed(scope, raw_path, headers, body)
        return vectors.invoked(self.state.profiles.get(match[1], match[1]), body)

    def _signed(
        self, scope: Message, raw_path: str, headers: dict[str, str], body: bytes
    ) -> aws.SignedRequest:
        """The request, whose signature is right and whose region is not out."""
        query = scope["query_string"].decode("latin-1")
        request = aws.SignedRequest(scope["method"], raw_path, query, headers, body)
        region = aws.check(self.state, request, "bedrock")
        if region in self.state.regions_out:
            words = "Bedrock is unable to process your request."
            raise aws.refuse("ServiceUnavailableException", words, 503)
        return request

    def _azure(self, path: str, headers: dict[str, str], body: bytes) -> Behind:
        if path.startswith("/azure/anthropic/"):
            azure.check(self.state, headers, "x-api-key", "api-key")
            if headers.get("anthropic-version") not in ("2023-06-01", "2026-10-21"):
                raise azure.refuse("anthropic-version: header is required", 400, "400")
            return path.removeprefix("/azure"), body, {"x-api-key": "azure"}
        if not path.startswith("/azure/openai/v1/"):
            raise azure.refuse("Resource not found", 404, "404")
        azure.check(self.state, headers, "api-key")
        azure.check_deployment(self.state, body)
        return path.removeprefix("/azure"), body, {"authorization": "Bearer azure"}

    def _bedrock(self, request: aws.SignedRequest) -> Behind:
        path = unquote(request.raw_path)
        if path == "/bedrock/anthropic/v1/messages":
            own = {"x-api-key": "bedrock"}
            return path.removeprefix("/bedrock"), request.body, own
        if _CONVERSE.fullmatch(path) is not None:
            return request.raw_path, request.body, {}
        if (match := _COUNT.fullmatch(path)) is not None:
            return _counted(request, match[1])
        match = _INVOKE.fullmatch(path)
        if match is None:
            raise aws.refuse("UnknownOperationException", "unknown operation", 404)
        fields = _invoked(request.body, match[1], stream=match[2] != "invoke")
        own = {"x-api-key": "bedrock", "anthropic-version": "2023-06-01"}
        if betas := fields.pop("anthropic_beta", None):
            own["anthropic-beta"] = ",".join(betas)
        return "/anthropic/v1/messages", jsontext.encode_bytes(fields), own


def _counted(request: aws.SignedRequest, model: str) -> Behind:
    """CountTokens: a Converse body, or the bytes of one for Claude."""
    kind = "ValidationException"
    try:
        fields: Any = jsontext.decode(request.body)
    except ValueError:
        raise aws.refuse(kind, "Malformed input request, please reformat.", 400) from None
    if said := problem(fields, "Count"):
        raise aws.refuse(kind, said, 400)
    if "converse" in fields["input"]:
        return request.raw_path, request.body, {}
    try:
        body = base64.b64decode(fields["input"]["invokeModel"]["body"], validate=True)
    except ValueError:
        raise aws.refuse(kind, "input.invokeModel.body is not base64", 400) from None
    rest = _invoked(body, model, stream=False)
    for name in ("max_tokens", "anthropic_beta"):  # which the vendor's own counting does not take
        rest.pop(name, None)
    own = {"x-api-key": "bedrock", "anthropic-version": "2023-06-01"}
    return "/anthropic/v1/messages/count_tokens", jsontext.encode_bytes(rest), own


def _invoked(body: bytes, model: str, *, stream: bool) -> dict[str, Any]:
    kind = "ValidationException"
    try:
        fields: Any = jsontext.decode(body)
    except ValueError:
        raise aws.refuse(kind, "Malformed input request, please reformat.", 400) from None
    if not isinstance(fields, dict):
        raise aws.refuse(kind, "Malformed input request, please reformat.", 400)
    rest: dict[str, Any] = dict(fields)  # pyright: ignore[reportUnknownArgumentType]
    if rest.pop("anthropic_version", None) not in _VERSIONS:
        raise aws.refuse(kind, "Invalid API version", 400)
    for extra in ("model", "stream"):
        if extra in rest:
            words = f"Malformed input request: extraneous key [{extra}] is not permitted"
            raise aws.refuse(kind, words, 400)
    return {"model": model, **rest, **({"stream": True} if stream else {})}


class _Answer:
    """The answer to send: the vendor's, by the cloud's clock and in its frames."""

    def __init__(
        self, send: Send, state: CloudState, *, is_framed: bool, is_count: bool = False
    ) -> None:
        self._send = send
        self._is_count = is_count
        self._state = state
        self._frames = frames.SSEFrames() if is_framed else None

    async def json(
        self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        """A whole answer of the door's own."""
        data = jsontext.encode_bytes(body)
        fields = {
            "content-type": "application/json",
            "content-length": str(len(data)),
            **(headers or {}),
        }
        raw = [(name.encode(), value.encode()) for name, value in fields.items()]
        self._frames = None
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": data, "more_body": False})

    async def send(self, message: Message) -> None:
        """One message of the answer."""
        if message["type"] == "http.response.start":
            headers = [(k, v) for k, v in message["headers"] if k != b"date"]
            now = email.utils.formatdate(self._state.now(), usegmt=True)
            headers.append((b"date", now.encode()))
            if self._frames is not None and message["status"] == 200:
                kind = b"application/vnd.amazon.eventstream"
                headers = [(k, kind if k == b"content-type" else v) for k, v in headers]
            else:
                self._frames = None
            if self._is_count:
                headers = [(k, v) for k, v in headers if k != b"content-length"]
            message = {**message, "headers": headers}
        elif self._is_count and b'"input_tokens"' in message.get("body", b""):
            body = message["body"].replace(b'"input_tokens"', b'"inputTokens"')
            message = {**message, "body": body}
        elif self._frames is not None:
            message = {**message, "body": self._framed(message.get("body", b""))}
        await self._send(message)

    def _framed(self, data: bytes) -> bytes:
        assert self._frames is not None
        pieces: list[bytes] = []
        for event in self._frames.feed(data):
            if event.get("type") == "error":
                said = jsontext.encode_bytes({"message": event["error"]["message"]})
                pieces.append(frames.exception("modelStreamErrorException", said))
            else:
                text = base64.b64encode(jsontext.encode_bytes(event)).decode()
                said = jsontext.encode_bytes({"bytes": text, "p": "abcdefgh"})
                pieces.append(frames.event("chunk", said))
        return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    waiting = [body]

    async def again() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return again
