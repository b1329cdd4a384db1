"""Parses and renders whole answers."""

from __future__ import annotations

import time

from polycall import ir
from polycall.dialects.ollama_chat.errors import parse_error
from polycall.dialects.ollama_chat.messages import call_wire, parse_parts
from polycall.dialects.ollama_chat.names import NAME, WORDS
from polycall.ir import JSON
from polycall.translation.failures import failed_end
from polycall.translation.times import read_time, written_time
from polycall.translation.wire import response_reader

_READ = frozenset({"model", "created_at", "message", "done", "done_reason", "error"})
COUNTS = (
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
)
_FINISH = WORDS.finish()


def parse_response(body: JSON) -> ir.Response:
    """An answer; one that is an error, whatever its HTTP status was, raises it."""
    reader = response_reader
    body = reader.object(body, "")
    if body.get("error") is not None:
        raise parse_error(200, body)
    message = reader.object(body.get("message"), "message")
    parts = parse_parts(message, "message", reader, 0)
    raw = reader.get_string(body, "done_reason", "")
    if (failure := failed_end(raw)) is not None:
        raise failure
    return ir.Response(
        id="",
        model=reader.get_string(body, "model", ""),
        message=ir.Message("assistant", parts),
        finish_reason=finish_reason(raw, has_calls=any(isinstance(p, ir.ToolCall) for p in parts)),
        raw_finish_reason=raw,
        usage=parse_usage(body),
        created=read_time(body.get("created_at")),
        metadata=own_metadata(body),
    )


def finish_reason(raw: str, *, has_calls: bool) -> ir.FinishReason:
    """The reason that a wire word means; a word that is not known is no normal end."""
    known: ir.FinishReason = "stop" if raw == "" else "error"
    return ir.unified_finish(_FINISH.get(raw, known), has_calls=has_calls)


def parse_usage(body: JSON) -> ir.Usage:
    """The counts of a finished answer; durations are kept alongside them."""
    reader = response_reader
    own = {key: body[key] for key in COUNTS if body.get(key) is not None}
    return ir.Usage(
        input_tokens=reader.get_int(body, "prompt_eval_count", "") or 0,
        output_tokens=reader.get_int(body, "eval_count", "") or 0,
        metadata={NAME: own} if own else {},
    )


def render_usage(usage: ir.Usage) -> JSON:
    """The counts; durations are nanoseconds, and 0 where another vendor answered."""
    own: JSON = dict(usage.metadata.get(NAME) or dict.fromkeys(COUNTS, 0))
    own["prompt_eval_count"], own["eval_count"] = usage.input_tokens, usage.output_tokens
    return own


def render_time(created: int) -> str:
    """The time as the vendor writes it."""
    return written_time(created or int(time.time()))


def own_metadata(body: JSON) -> ir.Metadata:
    """The fields to be kept."""
    kept = {k: v for k, v in body.items() if k not in _READ and k not in COUNTS and v is not None}
    return {NAME: kept} if kept else {}


def render_response(response: ir.Response, request: ir.Request | None = None) -> JSON:
    """The body for a client of this dialect; `request` says nothing it needs."""
    del request
    return {
        "model": response.model,
        "created_at": render_time(response.created),
        "message": _message(response.message),
        "done": True,
        "done_reason": done_reason(response.finish_reason, response.raw_finish_reason),
        **render_usage(response.usage),
        **response.metadata.get(NAME, {}),
    }


def done_reason(finish: ir.FinishReason, raw: str) -> str:
    """The wire's word, which has none for calls, refusals and failures."""
    if (
        raw in _FINISH
        and ir.unified_finish(_FINISH[raw], has_calls=finish == "tool_calls") == finish
    ):
        return raw
    return "length" if finish in ("length", "error", "pause") else "stop"


def _message(message: ir.Message) -> JSON:
    texts: list[str] = []
    thoughts: list[str] = []
    wire: JSON = {"role": "assistant", "content": ""}
    for part in message.parts:
        match part:
            case ir.Text() | ir.Refusal():
                texts.append(part.text)
            case ir.Reasoning() if part.text:
                thoughts.append(part.text)
            case ir.ToolCall():
                wire.setdefault("tool_calls", []).append(answer_call(part, _count(wire)))
            case ir.Media():
                texts.append(f"[{part.kind} left out: {part.media_type or 'unknown'}]")
            case _:
                pass
    wire["content"] = "".join(texts)
    if thoughts:
        wire["thinking"] = "".join(thoughts)
    return wire


def _count(wire: JSON) -> int:
    return len(wire.get("tool_calls", ()))


def answer_call(call: ir.ToolCall, index: int) -> JSON:
    """A call of an answer, numbered."""
    wire = call_wire(call)
    wire["function"].setdefault("index", index)
    return wire
