"""Gemini's Interactions: `/google/v1beta/interactions`, with what it keeps.

From Google's pages (ai.google.dev/gemini-api/docs/interactions, streaming, function-calling, read
2026-11-29) and the types of its SDK (google-genai 3.6).
"""

from __future__ import annotations

import datetime
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from polycall._support import jsontext
from polycall.sim import signing
from polycall.sim.chunking import encode_sse, fragments
from polycall.sim.script import (
    Answer,
    Called,
    Entry,
    Failure,
    Prompt,
    Refused,
    Returned,
    Said,
    ToolSpec,
)
from polycall.sim.shape import (
    JSON,
    ShapeError,
    list_in,
    object_in,
    parse_object,
    path_text,
    texts_in,
)
from polycall.sim.shape_files import ShapeFile
from polycall.sim.vendors.base import Headers, Models, Route
from polycall.sim.vendors.gemini import Gemini, refuse

SCOPE = "interactions"
_KEPT_MAX = 10_000
_SHAPES = ShapeFile("gemini_interactions")
_BODY = _SHAPES["request"]
_STEP = _SHAPES["step"]
_STEPS = _SHAPES.names("steps")
_CONTENT = _SHAPES["content"]


class Interactions(Gemini):
    """One for the simulation, since it keeps what it answered."""

    wire = "gemini-interactions"

    def __init__(self) -> None:
        super().__init__()
        self._kept: OrderedDict[str, JSON] = OrderedDict()
        self._said: dict[str, list[JSON]] = {}  # by id: all steps until then

    def route(self, method: str, path: str, query: Mapping[str, str]) -> Route:
        """One path; `look_up` serves what is kept."""
        del query
        if method == "POST" and path.partition("/interactions")[2] == "":
            return Route("generate")
        raise refuse("The requested URL was not found on this server.", status=404)

    def look_up(self, method: str, path: str) -> JSON | None:
        """The stored object of a path below `/interactions/`; `None` for any other path."""
        _, found, rest = path.partition("/interactions/")
        name, _, action = rest.partition("/")
        if not found or not name:
            return None
        kept = self._kept.get(name)
        if kept is None:
            raise refuse(f"Interaction {name} is not found.", status=404)
        match method, action:
            case "GET", "":
                return kept
            case "DELETE", "":
                del self._kept[name]
                return {}
            case "POST", "cancel":
                raise refuse("Only interactions in the background can be cancelled.")
            case _:
                raise refuse("The requested URL was not found on this server.", status=404)

    def check_request(
        self, route: Route, body: Any, models: Models, headers: Headers | None = None
    ) -> Prompt:
        """Shape, model, what is kept, the order of steps."""
        try:
            fields: JSON = _BODY.read(body, (), False)
            steps = _steps(fields["input"])
        except ShapeError as error:
            raise _misshapen(error) from None
        if ("model" in fields) == ("agent" in fields):
            raise refuse("Exactly one of `model` and `agent` must be specified.")
        if "agent" in fields or fields.get("background"):
            raise refuse("Agents and background interactions are not simulated.")
        model = models(fields["model"].removeprefix("models/"))
        previous = fields.get("previous_interaction_id")
        if previous is not None:
            if previous not in self._kept:
                raise refuse(f"Previous interaction {previous} is not found.", status=404)
            steps = [*self._said[previous], *steps]
        tools = [
            ToolSpec(each["name"], each.get("description", ""), each.get("parameters") or {})
            for each in list_in(fields, "tools")
            if each["type"] == "function"
        ]
        entries = _entries(steps)
        if instruction := fields.get("system_instruction"):
            entries.insert(0, Said("system", instruction))
        prompt = Prompt(model.name, entries, tools, {**fields, "steps": steps})
        config = object_in(fields, "generation_config")
        _choose(prompt, config.get("tool_choice"))
        prompt.tokens_max = config.get("max_output_tokens")
        prompt.stop = texts_in(config, "stop_sequences")
        prompt.stream = bool(fields.get("stream"))
        prompt.schema = _schema(fields)
        level = config.get("thinking_level")
        is_on = level not in (None, "minimal") or "thinking_summaries" in config
        prompt.reasons = model.reasons == "always" or (is_on and model.reasons != "never")
        prompt.shows_reasoning = config.get("thinking_summaries") == "auto"
        return prompt

    def render_body(self, prompt: Prompt, answer: Answer) -> JSON:
        """An interaction."""
        return self._keep(prompt, answer)

    def render_stream(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """Steps as they come; the last event has the usage and no steps."""
        whole = self._keep(prompt, answer)
        frame = {name: whole[name] for name in ("id", "object", "model")}
        began = {**frame, "status": "in_progress"}
        yield _event("interaction.created", {"interaction": began})
        update = {"interaction_id": whole["id"], "status": "in_progress"}
        yield _event("interaction.status_update", update)
        for index, step in enumerate(whole["steps"]):
            start, deltas = _pieces(step, answer.seed + index)
            yield _event("step.start", {"index": index, "step": start})
            for delta in deltas:
                yield _event("step.delta", {"index": index, "delta": delta})
            yield _event("step.stop", {"index": index})
        ended = {name: each for name, each in whole.items() if name != "steps"}
        yield _event("interaction.completed", {"interaction": ended})
        yield encode_sse(b"[DONE]", "done")

    def render_stream_failure(self, failure: Failure) -> bytes:
        """An error's event."""
        error = self.render_failure(failure).body["error"]
        return _event("error", {"error": {"code": error["status"], "message": error["message"]}})

    def _keep(self, prompt: Prompt, answer: Answer) -> JSON:
        made = datetime.datetime.fromtimestamp(answer.created, datetime.UTC)
        day = made.isoformat().replace("+00:00", "Z")
        whole: JSON = {
            "id": f"v1_{answer.nonce}",
            "object": "interaction",
            "model": prompt.model,
            "status": _status(answer),
            "created": day,
            "updated": day,
            "service_tier": prompt.body.get("service_tier", "standard"),
            "steps": _made(prompt, answer),
            "usage": _usage(answer),
        }
        if prompt.body.get("store") is not False:
            self._kept[whole["id"]] = whole
            self._said[whole["id"]] = [*prompt.body["steps"], *whole["steps"]]
            if len(self._kept) > _KEPT_MAX:
                old, _ = self._kept.popitem(last=False)
                self._said.pop(old, None)
        return whole


def _misshapen(error: ShapeError) -> Refused:
    place = path_text(error.path, brackets=True)
    words = {
        "unknown": f'Unknown name "{error.field}": Cannot find field.',
        "missing": f"Required field `{place}` is missing.",
    }
    usual = f"Invalid value at '{place}': expected {error.wanted}, got {error.got}."
    return refuse(f"Invalid JSON payload received. {words.get(error.problem, usual)}")


def _steps(given: Any) -> list[JSON]:
    """The input as steps: a text, contents of the user, or steps."""
    if isinstance(given, str):
        return [{"type": "user_input", "content": [{"type": "text", "text": given}]}]
    items: list[Any] = given if isinstance(given, list) else [given]  # pyright: ignore[reportUnknownVariableType]
    are_steps = [isinstance(each, dict) and each.get("type") in _STEPS for each in items]  # pyright: ignore[reportUnknownMemberType]
    if any(are_steps):
        return [_STEP.read(each, ("input", n), False) for n, each in enumerate(items)]
    content = [_CONTENT.read(each, ("input", n), False) for n, each in enumerate(items)]
    return [{"type": "user_input", "content": content}]


def _entries(steps: list[JSON]) -> list[Entry]:
    """The entries of the steps; raises for results of no call, and calls whose thought is lost.

    Calls of other models have none, and Google's pages say nothing of them: they are taken.
    """
    entries: list[Entry] = []
    waiting: dict[str, str] = {}
    thoughts: set[str] = set()
    for place, step in enumerate(steps):
        match step["type"]:
            case "user_input" | "model_output":
                role = "user" if step["type"] == "user_input" else "assistant"
                texts = [each["text"] for each in step.get("content", []) if each["type"] == "text"]
                if texts:
                    entries.append(Said(role, "\n".join(texts)))
            case "thought":
                signature = step.get("signature", "")
                if not signing.holds(SCOPE, signature) and not signing.takes_foreign():
                    raise refuse(f"Thought signature at input[{place}] is not valid.")
                thoughts.add((signing.read(SCOPE, signature) or {}).get("nonce", ""))
            case "function_call":
                nonce = signing.marked_nonce(SCOPE, step["id"])
                if nonce and nonce not in thoughts:
                    raise refuse(
                        f"Function call `{step['name']}` at input[{place}] is missing a thought "
                        "signature."
                    )
                waiting[step["id"]] = step["name"]
                entries.append(Called(step["id"], step["name"], step["arguments"]))
            case _:
                name = waiting.pop(step["call_id"], None)
                if name is None:
                    raise refuse(f"No function call has the id '{step['call_id']}'.")
                is_error = bool(step.get("is_error"))
                text = _shown(step["result"])
                entries.append(Returned(step["call_id"], name, text, is_error=is_error))
    if waiting:
        raise refuse("Function calls without a result: " + ", ".join(waiting))
    return entries


def _shown(result: Any) -> str:
    if isinstance(result, str):
        return result
    if isinstance(result, list):
        items: list[JSON] = result  # pyright: ignore[reportUnknownVariableType]
        return "\n".join(each.get("text") or f"({each['type']})" for each in items)
    return jsontext.encode(result)


def _choose(prompt: Prompt, choice: Any) -> None:
    if isinstance(choice, dict):
        allowed = object_in({"choice": choice}, "choice")["allowed_tools"]
        names = frozenset(allowed.get("tools", []))
        if unknown := names - {tool.name for tool in prompt.tools}:
            raise refuse(f"tool_choice names tools that are not declared: {sorted(unknown)}")
        prompt.allowed, choice = names or None, allowed.get("mode", "auto")
    if choice in ("any", "none"):
        prompt.choice = "required" if choice == "any" else "none"
        if choice == "any" and not prompt.tools:
            raise refuse("tool_choice 'any' needs function declarations.")


def _schema(fields: JSON) -> JSON | None:
    one = object_in(fields, "response_format")
    items: list[JSON] = list_in(fields, "response_format") or ([one] if one else [])
    for item in items:
        if item.get("type") == "text" and item.get("mime_type") == "application/json":
            return item.get("schema", {})
        if item.get("type") == "text" and "schema" in item:
            raise refuse("response_format.schema needs the mime_type application/json.")
    return {} if fields.get("response_mime_type") == "application/json" else None


def _status(answer: Answer) -> str:
    reason = answer.turn.finish_reason
    if reason == "tool_calls":
        return "requires_action"
    return "incomplete" if reason in ("length", "pause") else "completed"


def _made(prompt: Prompt, answer: Answer) -> list[JSON]:
    turn, steps = answer.turn, list[JSON]()
    if turn.reasoning is not None:
        signature = signing.issue(SCOPE, {"scope": SCOPE, "nonce": answer.nonce})
        thought: JSON = {"type": "thought", "signature": signature}
        if turn.reasoning and prompt.shows_reasoning:
            thought["summary"] = [{"type": "text", "text": turn.reasoning}]
        steps.append(thought)
    if turn.text or turn.refusal or not turn.calls:
        text = {"type": "text", "text": turn.text or turn.refusal}
        steps.append({"type": "model_output", "content": [text]})
    for index, call in enumerate(turn.calls):
        arguments = parse_object(call.arguments_json or "{}") or {}
        own = f"{answer.nonce}{index:02d}"
        if turn.reasoning is not None:
            own = signing.mark(SCOPE, answer.nonce, index)
        call_id = call.id or f"fc_{own}"
        known = {"id": call_id, "name": call.name, "arguments": arguments}
        steps.append({"type": "function_call", **known})
    return steps


def _pieces(step: JSON, seed: int) -> tuple[JSON, list[JSON]]:
    """The beginning of a step, and its deltas."""
    match step["type"]:
        case "thought":
            summaries = [
                {"type": "thought_summary", "content": each} for each in step.get("summary", [])
            ]
            signed = {"type": "thought_signature", "signature": step["signature"]}
            return {"type": "thought"}, [*summaries, signed]
        case "model_output":
            text = step["content"][0]["text"]
            pieces = fragments(text, seed) or [""]
            return {"type": "model_output"}, [{"type": "text", "text": each} for each in pieces]
        case _:
            text = jsontext.encode(step["arguments"])
            pieces = fragments(text, seed)
            deltas = [{"type": "arguments_delta", "arguments": each} for each in pieces]
            return {**step, "arguments": {}}, deltas


def _usage(answer: Answer) -> JSON:
    tally = answer.tally
    return {
        "total_input_tokens": tally.prompt,
        "input_tokens_by_modality": [{"modality": "text", "tokens": tally.prompt}],
        "total_cached_tokens": tally.cached,
        "total_output_tokens": tally.text,
        "total_thought_tokens": tally.reasoning,
        "total_tool_use_tokens": 0,
        "total_tokens": tally.prompt + tally.text + tally.reasoning,
    }


def _event(kind: str, fields: JSON) -> bytes:
    return encode_sse(jsontext.encode_bytes({**fields, "event_type": kind}), kind)
