"""A conversation made short: the model itself writes what has to be known to continue with it.

The summary goes to the client in a sealed item, and comes back as a message of the history, for
whichever model continues.  `/v1/responses/compact` and an input that ends with `compaction_trigger`
ask for one.
"""

from __future__ import annotations

import secrets
import time
from typing import Any, cast

from polycall._support import jsontext
from polycall.dialects.openai_responses.response import skeleton
from polycall.errors import (
    InvalidRequestError,
    MalformedRequestError,
    ServerError,
    error_class_for_status,
)
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.endpoints import Endpoint
from polycall.gateway.generation.generations import Generations
from polycall.gateway.generation.plain_answer import own_id
from polycall.gateway.http.replies import send_json
from polycall.gateway.http.request import GatewayRequest, RequestMonitor
from polycall.gateway.responses.inner import Collected, InnerRequest, passed_headers
from polycall.gateway.responses.records import error_of
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.conversations import whole_item
from polycall.gateway.state.summaries import PROMPT
from polycall.gateway.state.unknown_past import refuse_unknown_names
from polycall.ir import JSON
from polycall.providers.dialects import DIALECTS
from polycall.translation.sse import encode_sse

_CARRIED_FIELDS = ("model", "instructions", "prompt_cache_key", "safety_identifier", "service_tier")
_TRIGGER = "compaction_trigger"
_ENDPOINT = Endpoint(DIALECTS["openai-responses"])
_KEPT_HEADERS = (b"polycall-model", b"polycall-warnings", b"polycall-cost-usd")


class Compaction:
    """Makes conversations short.  One for the process."""

    def __init__(self, monitor: RequestMonitor) -> None:
        self._monitor = monitor

    def configure(self, services: GatewayServices, generations: Generations) -> None:
        """Work by another configuration from the next request on."""
        self._services = services
        self._generations = generations

    async def answer(self, gateway_request: GatewayRequest, owner: Owner, body: JSON) -> None:
        """Answer `POST /v1/responses/compact`."""
        server = self._services.server
        resolved = await self._services.items.resolved(owner.id, body, server.body_bytes_max)
        refuse_unknown_names(resolved, "openai-responses")
        items = _listed(resolved.get("input"))
        if not items or not isinstance(body.get("model"), str):
            raise MalformedRequestError("a model and what to compact are needed", path="input")
        asked = _asked(body, items)
        inner = _inner(gateway_request, jsontext.encode_bytes(asked))

        async def serve(request: GatewayRequest) -> None:
            await self._generations.serve(request, _ENDPOINT, said=asked)

        found = await inner.run(serve, self._monitor, within_s=server.total_s)
        summary, usage = _read(found)
        said = [whole_item(item) for item in items if _is_users(item)]
        answer: JSON = {
            "id": own_id(gateway_request),
            "object": "response.compaction",
            "created_at": int(time.time()),
            "output": [*said, self._item(owner.id, summary)],
            "usage": usage,
        }
        await send_json(
            gateway_request, 200, jsontext.encode_bytes(answer), _headers(gateway_request, found)
        )

    def is_asked(self, client_request: ClientRequest) -> bool:
        """Whether the input ends with a trigger that no provider of the route takes itself."""
        items = _listed(client_request.earlier.references()["input"])
        last: Any = items[-1] if items else None
        if not isinstance(last, dict) or last.get("type") != _TRIGGER:  # pyright: ignore[reportUnknownMemberType]
            return False
        return not client_request.runs_natively(self._services)

    async def trigger(self, gateway_request: GatewayRequest, client_request: ClientRequest) -> None:
        """Answer a generation whose input ends with a trigger: with a compaction item alone."""
        owner, server = client_request.owner, self._services.server
        body = client_request.body()
        client_request.know(body)
        resolved = await self._services.items.resolved(owner.id, body, server.body_bytes_max)
        refuse_unknown_names(resolved, "openai-responses")
        items = _listed(resolved.get("input"))[:-1]
        if not items:
            raise MalformedRequestError("there is nothing to compact", path="input")
        asked = _asked(body, items)
        inner = _inner(gateway_request)

        async def serve(request: GatewayRequest) -> None:
            data = jsontext.encode_bytes(asked)
            short = ClientRequest(_ENDPOINT, request, data, owner)
            short.know(asked)
            del data
            await self._generations.serve_accepted(request, short)

        gateway_request.is_taken_over = True
        found = await inner.run(serve, self._monitor, within_s=server.total_s)
        summary, usage = _read(found)
        item = self._item(owner.id, summary)
        name = own_id(gateway_request)
        first = skeleton(name, client_request.model, int(time.time()), {})
        whole: JSON = {**first, "status": "completed", "completed_at": int(time.time())}
        whole.update(output=[item], usage=usage)
        if client_request.earlier.wants_kept(self._services):
            # Who continues with it continues from here: nothing before it is said again.
            said = [each for each in items if _is_users(each)]
            await self._services.items.keep(owner.id, {"input": said}, whole)
        headers = _headers(gateway_request, found)
        if not client_request.streams:
            await send_json(gateway_request, 200, jsontext.encode_bytes(whole), headers)
            return
        await gateway_request.send_start(
            200, [(b"content-type", b"text/event-stream; charset=utf-8"), *headers]
        )
        await gateway_request.send_body(_stream(first, item, whole))

    def _item(self, owner: str, summary: str) -> JSON:
        sealed = self._services.items.seal_summary(owner, summary)
        name = f"cmp_{secrets.token_hex(16)}"
        return {"id": name, "type": "compaction", "encrypted_content": sealed}


def _inner(gateway_request: GatewayRequest, body: bytes = b"") -> InnerRequest:
    headers = passed_headers(gateway_request.headers)
    # The summary itself is no answer to keep, and what it costs is that of its request.
    return InnerRequest(
        gateway_request.id, headers=headers, body=body, address=gateway_request.address
    )


def _asked(body: JSON, items: list[Any]) -> JSON:
    """The request for a summary."""
    asked: JSON = {name: body[name] for name in _CARRIED_FIELDS if body.get(name) is not None}
    prompt: JSON = {"role": "user", "content": [{"type": "input_text", "text": PROMPT}]}
    asked.update(input=[*items, prompt], store=False, stream=False)
    if body.get("tools"):
        # The calls in the history are those of tools; some vendors refuse calls of none.
        asked.update(tools=body["tools"], tool_choice="none")
    return asked


def _read(found: Collected) -> tuple[str, JSON]:
    """The summary that the model wrote, and what it used."""
    if found.status != 200:
        message, code = error_of(found.body)
        raise error_class_for_status(found.status)(message, status=found.status, code=code)
    response: JSON = jsontext.decode(found.body)
    texts = [
        part.get("text") or ""
        for item in response["output"]
        if item["type"] == "message"
        for part in item["content"]
    ]
    summary = "".join(texts).strip()
    if response["status"] != "completed":
        details: JSON = response.get("incomplete_details") or {}
        reason: Any = details.get("reason") or response["status"]
        raise ServerError(f"the model did not finish its summary: {reason}", should_retry=False)
    if not summary:
        raise ServerError("the model wrote no summary", should_retry=True)
    return summary, response["usage"] or {}


def _headers(gateway_request: GatewayRequest, found: Collected) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in found.headers.items() if name in _KEPT_HEADERS]
    return [(b"polycall-request-id", gateway_request.id.encode()), *kept]


def _listed(given: Any) -> list[Any]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if given is None or isinstance(given, list):
        return cast("list[Any]", given or [])
    raise InvalidRequestError("expected a string or an array of items", param="input")


def _is_users(item: Any) -> bool:
    return isinstance(item, dict) and cast("JSON", item).get("role") == "user"


def _stream(first: JSON, item: JSON, whole: JSON) -> bytes:
    events: list[JSON] = [
        {"type": "response.created", "response": first},
        {"type": "response.in_progress", "response": first},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return b"".join(
        encode_sse(jsontext.encode_bytes({**event, "sequence_number": number}), event["type"])
        for number, event in enumerate(events)
    )
