"""Messages: answers, streams and errors as Anthropic writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polycall._support import jsontext
from polycall.sim import signing
from polycall.sim.chunking import encode_sse, fragments
from polycall.sim.dated import Refusal
from polycall.sim.programs import ProgramRunner
from polycall.sim.script import Answer, Call, Failure, ModelSpec, Prompt, Refused, Turn
from polycall.sim.shape import JSON, parse_object
from polycall.sim.vendors import anthropic_checks as checks
from polycall.sim.vendors import anthropic_programs as programs
from polycall.sim.vendors import anthropic_server_tools as server_tools
from polycall.sim.vendors.anthropic_thinking import bound_to, identity
from polycall.sim.vendors.anthropic_turns import SCOPE, refuse, turns_of
from polycall.sim.vendors.base import Headers, Models, Route, Vendor

VERSIONS = frozenset({"2023-01-01", "2023-06-01", "2026-10-21"})
_STOP_REASONS = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
    "refusal": "refusal",
}
_MESSAGES = {
    401: "invalid x-api-key",
    429: "This request would exceed your account's rate limit. Please try again later.",
    503: "Overloaded",
    529: "Overloaded",
}


class Anthropic(Vendor):
    """`/anthropic/v1/messages`."""

    name = "anthropic"
    base_path = "/anthropic"
    wire = "anthropic"

    def __init__(self, desk: ProgramRunner | None = None) -> None:
        self._desk = desk or ProgramRunner()

    def route(self, method: str, path: str, query: Mapping[str, str]) -> Route:
        """Messages, token counts and models."""
        match method, path:
            case "POST", "/v1/messages":
                return Route("generate")
            case "POST", "/v1/messages/count_tokens":
                return Route("count")
            case "GET", "/v1/models":
                return Route("models")
            case "GET", _ if path.startswith("/v1/models/"):
                return Route("model", path.removeprefix("/v1/models/"))
            case _, "/v1/messages" | "/v1/messages/count_tokens":
                raise refuse("Method Not Allowed", status=405)
            case _:
                raise refuse("Not Found", status=404)

    def check_key(self, headers: Headers, query: Mapping[str, str]) -> None:
        """`x-api-key` or Bearer, and the version."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        key = headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
        if not key.strip():
            raise refuse("x-api-key header is required", status=401)
        if "invalid" in key.lower():
            raise refuse("invalid x-api-key", status=401)
        version = headers.get("anthropic-version")
        if version is None:
            raise refuse("anthropic-version: header is required")
        if version not in VERSIONS:
            raise refuse(f'anthropic-version: "{version}" is not a valid version')

    def check_request(
        self, route: Route, body: Any, models: Models, headers: Headers | None = None
    ) -> Prompt:
        """Shape, model, rules."""
        prompt = checks.check(
            body, models, counts=route.operation == "count", betas=_betas(headers)
        )
        offer = prompt.programs
        if signing.takes_foreign():
            return prompt
        if offer is not None and offer.container and self._desk.container(offer.container) is None:
            raise refuse(f"container: Container '{offer.container}' not found or expired.")
        if offer is not None and offer.pending and not self._desk.knows(offer.pending):
            raise refuse(f"messages: no pending tool use has the id {offer.pending}")
        return prompt

    def render_body(self, prompt: Prompt, answer: Answer) -> JSON:
        """A `message`."""
        return {
            **_frame(prompt, answer),
            "content": [block for block, _ in _blocks(prompt, answer)],
            **_ending(prompt, answer),
            "container": programs.container_field(answer),
            **_managed(prompt),
            **_transformations(prompt),
            "usage": _usage(answer),
        }

    def render_stream(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """`message_start` to `message_stop`."""
        start = {**_usage(answer), "output_tokens": 1, "output_tokens_details": None}
        message: JSON = {
            **_frame(prompt, answer),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            **_transformations(prompt),
            "usage": start,
        }
        yield _event("message_start", {"message": message})
        yield _event("ping", {})
        for index, (block, call) in enumerate(_blocks(prompt, answer)):
            yield from _block_events(index, block, call, answer.seed)
        tally = answer.tally
        usage = {
            "output_tokens": tally.text + tally.reasoning,
            "input_tokens": tally.prompt - tally.cached - tally.cache_written,
            "cache_creation_input_tokens": tally.cache_written,
            "cache_read_input_tokens": tally.cached,
            "output_tokens_details": {"thinking_tokens": tally.reasoning},
            "server_tool_use": _usage(answer)["server_tool_use"],
        }
        delta = {**_ending(prompt, answer), "container": programs.container_field(answer)}
        yield _event("message_delta", {"delta": delta, "usage": usage, **_managed(prompt)})
        yield _event("message_stop", {})

    def render_count(self, prompt: Prompt, tokens: int) -> JSON:
        """`/v1/messages/count_tokens`."""
        return {"input_tokens": tokens}

    def render_models(self, models: list[ModelSpec], *, one: bool) -> JSON:
        """`GET /v1/models`."""
        items: list[JSON] = [
            {
                "type": "model",
                "id": model.name,
                "display_name": f"Simulated {model.name}",
                "created_at": "2026-09-21T00:00:00Z",
                "lifecycle": "active",
                "max_input_tokens": 200_000,
                "max_tokens": 64_000,
            }
            for model in models
        ]
        if one:
            return items[0]
        first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
        return {"data": items, "has_more": False, "first_id": first, "last_id": last}

    def render_failure(self, failure: Failure) -> Refused:
        """An error object; 503 is 529 here."""
        status = 529 if failure.status == 503 else failure.status
        headers: dict[str, str] = {}
        if failure.retry_after_s is not None:
            headers["retry-after"] = f"{failure.retry_after_s:g}"
        if status == 429:
            headers["anthropic-ratelimit-requests-limit"] = "50"
            headers["anthropic-ratelimit-requests-remaining"] = "0"
            headers["anthropic-ratelimit-requests-reset"] = "2026-11-21T00:00:00Z"
        return refuse(_words(failure), status=status, headers=headers)

    def render_stream_failure(self, failure: Failure) -> bytes:
        """`event: error`."""
        body = self.render_failure(failure).body
        return _event("error", {"error": body["error"]})

    def invalid(self, message: str) -> Refused:
        """400."""
        return refuse(message)

    def unknown_model(self, name: str) -> Refused:
        """404."""
        return refuse(f"model: {name}", status=404)

    def refuse_by(self, refusal: Refusal) -> Refused:
        """400, by the rule's words."""
        return refuse(refusal.message, status=refusal.status)

    def answer_headers(self, nonce: str) -> dict[str, str]:
        """`request-id`."""
        return {"request-id": f"req_{nonce}", "anthropic-organization-id": "simulation"}


def _betas(headers: Headers | None) -> frozenset[str]:
    text = (headers or {}).get("anthropic-beta", "")
    return frozenset(beta.strip() for beta in text.split(",") if beta.strip())


def _transformations(prompt: Prompt) -> JSON:
    """The changes to the request's thinking, for clients that asked for a report."""
    if prompt.transformations is None:
        return {}
    return {"input_transformations": prompt.transformations}


def _words(failure: Failure) -> str:
    return failure.message or _MESSAGES.get(failure.status, "Internal server error")


def _event(kind: str, fields: JSON) -> bytes:
    return encode_sse(jsontext.encode_bytes({"type": kind, **fields}), kind)


def _frame(prompt: Prompt, answer: Answer) -> JSON:
    return {
        "id": f"msg_{answer.nonce}",
        "type": "message",
        "role": "assistant",
        "model": prompt.model,
    }


def _ending(prompt: Prompt, answer: Answer) -> JSON:
    turn = answer.turn
    if prompt.summary is not None:
        return {"stop_reason": "compaction", "stop_sequence": None, "stop_details": None}
    if answer.stop_sequence:
        return {
            "stop_reason": "stop_sequence",
            "stop_sequence": answer.stop_sequence,
            "stop_details": None,
        }
    reason = _STOP_REASONS[turn.finish_reason or "stop"]
    details: JSON | None = None
    if reason == "refusal":
        details = {"type": "refusal", "category": None, "explanation": turn.refusal or None}
    return {"stop_reason": reason, "stop_sequence": None, "stop_details": details}


def _usage(answer: Answer) -> JSON:
    tally = answer.tally
    return {
        # Cached tokens are counted alongside the input, not in it.
        "input_tokens": tally.prompt - tally.cached - tally.cache_written,
        "cache_creation_input_tokens": tally.cache_written,
        "cache_read_input_tokens": tally.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tally.cache_written,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": tally.text + tally.reasoning,
        "output_tokens_details": {"thinking_tokens": tally.reasoning},
        "server_tool_use": {
            "web_search_requests": 0 if answer.turn.search is None else 1,
            "web_fetch_requests": 0,
        },
        "service_tier": "standard",
        "inference_geo": "global",
    }


def _managed(prompt: Prompt) -> JSON:
    """The edits of the context; empty where the request asks for none."""
    asked = prompt.body.get("context_management") is not None
    return {"context_management": {"applied_edits": []}} if asked else {}


def _blocks(prompt: Prompt, answer: Answer) -> list[tuple[JSON, Call | None]]:
    """The blocks, each with the call that its arguments are streamed from."""
    if prompt.summary is not None:
        return [(prompt.summary, None)]
    blocks: list[tuple[JSON, Call | None]] = []
    for ran in answer.ran:
        if ran.turn is not None:
            blocks += _turn_blocks(prompt, ran.turn, ran.nonce)
            blocks.append((programs.began_block(ran), Call("", {"code": ran.code})))
        assert prompt.programs is not None
        blocks += zip(programs.call_blocks(ran, prompt.programs.kind), ran.calls, strict=True)
        if ran.outcome is not None:
            blocks.append((programs.ended_block(ran), None))
    return [*blocks, *_turn_blocks(prompt, answer.turn, answer.nonce)]


def _turn_blocks(prompt: Prompt, turn: Turn, nonce: str) -> list[tuple[JSON, Call | None]]:
    blocks: list[tuple[JSON, Call | None]] = []
    if turn.reasoning is not None:
        blocks += [(block, None) for block in thinking_blocks(prompt, turn, nonce, turn.reasoning)]
    if turn.search is not None:
        used, returned = server_tools.search_blocks(turn.search, nonce)
        blocks += [(used, Call("", used["input"])), (returned, None)]
    if turn.text:
        blocks.append(({"type": "text", "text": turn.text, "citations": []}, None))
    for index, call in enumerate(turn.calls):
        scope = SCOPE if turn.reasoning is not None else f"{SCOPE}-plain"
        block: JSON = {
            "type": "tool_use",
            "id": call.id or f"toolu_{signing.mark(scope, nonce, index)}",
            "name": call.name,
            "input": _input(call),
            "caller": {"type": "direct"},
        }
        blocks.append((block, call))
    return blocks


def _input(call: Call) -> JSON:
    if call.raw_arguments is None:
        return call.arguments
    return parse_object(call.raw_arguments) or {}


def thinking_blocks(prompt: Prompt, turn: Turn, nonce: str, reasoning: str) -> list[JSON]:
    """The thinking of a turn, bound to what it answers."""
    shown = reasoning if prompt.shows_reasoning else ""
    parts = 2 if turn.redacted else 1
    data = {
        "scope": SCOPE,
        "nonce": nonce,
        "model": prompt.model,
        **bound_to(prompt.body, turns_of(prompt.body["messages"])),
        "parts": parts,
    }
    first = {**data, "part": 1, "previous": prompt.last_thinking}
    signature = signing.issue(SCOPE, first, "thinking", shown)
    blocks: list[JSON] = [{"type": "thinking", "thinking": shown, "signature": signature}]
    if parts == 2:
        second = {**data, "part": 2, "previous": identity(nonce, 1)}
        hidden = signing.issue(SCOPE, second, "redacted_thinking", "")
        blocks.append({"type": "redacted_thinking", "data": hidden})
    return blocks


def _block_events(index: int, block: JSON, call: Call | None, seed: int) -> Iterator[bytes]:
    def delta(kind: str, field: str, text: str) -> bytes:
        return _event("content_block_delta", {"index": index, "delta": {"type": kind, field: text}})

    start: JSON = dict(block)
    if block["type"] in ("tool_use", "server_tool_use"):
        start["input"] = {}
    elif block["type"] == "text":
        start["text"] = ""
    elif block["type"] == "thinking":
        start.update(thinking="", signature="")
    elif block["type"] == "compaction":
        start.update(content=None)
    yield _event("content_block_start", {"index": index, "content_block": start})
    if block["type"] == "text":
        for piece in fragments(block["text"], seed):
            yield delta("text_delta", "text", piece)
    elif block["type"] == "thinking":
        for piece in fragments(block["thinking"], seed):
            yield delta("thinking_delta", "thinking", piece)
        yield delta("signature_delta", "signature", block["signature"])
    elif block["type"] == "compaction":
        yield delta("compaction_delta", "content", block["content"])
    elif call is not None:
        yield delta("input_json_delta", "partial_json", "")
        # A tool without arguments has the empty delta only.
        text = call.arguments_json if call.raw_arguments is not None or call.arguments else ""
        for piece in fragments(text, seed + index):
            yield delta("input_json_delta", "partial_json", piece)
    yield _event("content_block_stop", {"index": index})
