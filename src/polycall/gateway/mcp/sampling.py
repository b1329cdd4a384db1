"""Servers' requests to a model: made with the calling key, through the front door.

So its limits, its budget, the routes and the ledger hold for it as for the key's other requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from polycall._support import jsontext
from polycall.config import McpServer
from polycall.errors import PolycallError
from polycall.gateway.http.request import Receive, Scope, Send
from polycall.ir import JSON, Media, Message, Response, Text
from polycall.mcp.asking import SamplingRequest

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_PATH = "/v1/chat/completions"
_AUTHORIZING = (b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key", b"traceparent")


class Sampler:
    """Answers one call's requests for a model, so many and no more."""

    def __init__(
        self,
        application: Application,
        settings: McpServer,
        headers: dict[bytes, bytes],
        query: bytes,
    ) -> None:
        self._application = application
        self._settings = settings
        self._headers = headers
        self._query = query
        self._made = 0

    async def __call__(self, asked: SamplingRequest) -> Response:
        """The model's answer; `PolycallError` where there is none to be had."""
        settings = self._settings
        self._made += 1
        if self._made > settings.sampling_requests:
            raise PolycallError(
                f"a call may ask a model {settings.sampling_requests} times at most"
            )
        wanted = asked.request.max_output_tokens or settings.sampling_tokens
        body: JSON = {
            "model": settings.sampling,
            "messages": [_message(each) for each in asked.request.messages],
            "max_tokens": min(wanted, settings.sampling_tokens),
        }
        if asked.request.temperature is not None:
            body["temperature"] = asked.request.temperature
        if asked.request.stop:
            body["stop"] = asked.request.stop
        status, data = await self._posted(jsontext.encode_bytes(body))
        answer = cast("JSON", jsontext.decode(data))
        if status != 200:
            error = answer.get("error")
            words = cast("JSON", error).get("message") if isinstance(error, dict) else ""
            raise PolycallError(f"the model did not answer ({status}): {words}")
        choice = answer["choices"][0]
        text = choice["message"].get("content") or ""
        reason = "length" if choice.get("finish_reason") == "length" else "stop"
        message = Message("assistant", [Text(str(text))])
        return Response(str(answer.get("id", "")), settings.sampling, message, reason)

    async def _posted(self, body: bytes) -> tuple[int, bytes]:
        headers = {name: self._headers[name] for name in _AUTHORIZING if name in self._headers}
        headers[b"polycall-mcp"] = b""  # a model that calls the server again would have no end
        headers[b"content-type"] = b"application/json"
        headers[b"content-length"] = str(len(body)).encode()
        scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": _PATH,
            "query_string": self._query if b"key=" in self._query else b"",
            "headers": list(headers.items()),
            "client": None,
        }
        pieces: list[bytes] = []
        status = 0
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> MutableMapping[str, Any]:
            for message in messages:
                return message
            # The caller's own connection is watched elsewhere.
            return await _never()

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                pieces.append(message.get("body", b""))

        await self._application(scope, receive, send)
        return status, b"".join(pieces)


async def _never() -> MutableMapping[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


def _message(message: Message) -> JSON:
    content: list[JSON] = []
    for part in message.parts:
        match part:
            case Text():
                content.append({"type": "text", "text": part.text})
            case Media(kind="image"):
                url = f"data:{part.media_type};base64,{part.data}"
                content.append({"type": "image_url", "image_url": {"url": url}})
            case Media(kind="audio"):
                form = part.media_type.rpartition("/")[2].removeprefix("x-")
                content.append(
                    {"type": "input_audio", "input_audio": {"data": part.data, "format": form}}
                )
            case _:
                raise PolycallError(f"{type(part).__name__} cannot be sent to the model")
    texts = [each["text"] for each in content if each["type"] == "text"]
    if len(texts) == len(content):
        return {"role": message.role, "content": "\n".join(texts)}
    return {"role": message.role, "content": content}
