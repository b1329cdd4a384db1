"""A conversation that is made short before it is answered, since the request asks for that.

Responses and Anthropic's Messages say it in their `context_management`: where a conversation is
longer, the model writes a summary of all but its end, and answers from that.  The client sees the
summary as its protocol shows it, and brings it back.  Fields and defaults, read on 2026-11-29:
https://developers.openai.com/api/docs/guides/compaction and
https://platform.claude.com/docs/en/build-with-claude/compaction
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from polycall.errors import MalformedRequestError, ServerError
from polycall.gateway.state.summaries import PROMPT
from polycall.ir import JSON, Message, Request, Response, Text, ToolChoice
from polycall.translation.context_edits import COMPACT_EDIT, FIELD, summary_message, tokens_of

_RESPONSES, _ANTHROPIC = "openai-responses", "anthropic"
_TOKENS = 150_000


class CompactionSpec(Struct, frozen=True):
    """From how many tokens on; `instructions` stand in the place of ours where there are some."""

    tokens: int
    instructions: str = ""
    pauses: bool = False  # the answer is the summary alone


def asked_compaction(request: Request, client: str) -> tuple[Request, CompactionSpec | None]:
    """The request without its request to be compacted, and that request."""
    options = request.provider_options.get(client, {})
    wanted: Any = options.get(FIELD)
    if client == _RESPONSES:
        entries, kind, path = wanted, "compaction", FIELD
    else:
        entries, kind, path = _field(wanted, "edits"), COMPACT_EDIT, f"{FIELD}.edits"
    found: list[Any] = entries if isinstance(entries, list) else []  # pyright: ignore[reportUnknownVariableType]
    mine = [entry for entry in found if _field(entry, "type") == kind]
    if not mine:
        return request, None
    spec = _spec(mine[-1], client, path)
    others = [entry for entry in found if entry not in mine]
    kept = {key: value for key, value in options.items() if key != FIELD}
    if others:
        kept[FIELD] = others if client == _RESPONSES else {**wanted, "edits": others}
    options = {**request.provider_options, client: kept}
    return replace(request, provider_options=options), spec


def _spec(entry: JSON, client: str, path: str) -> CompactionSpec:
    if client == _RESPONSES:
        tokens: Any = entry.get("compact_threshold")
        words, pauses = "", False
    else:
        tokens = _field(entry.get("trigger"), "value")
        words = entry.get("instructions") or ""
        pauses = entry.get("pause_after_compaction") is True
    tokens = _TOKENS if tokens is None else tokens
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise MalformedRequestError(f"expected a number of tokens, got {tokens!r}"[:120], path=path)
    return CompactionSpec(tokens, words if isinstance(words, str) else "", pauses)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


class Division(Struct, frozen=True):
    """A conversation: what the system says, what a summary takes the place of, and its end."""

    system: list[Message]
    old: list[Message]
    end: list[Message]

    def shortened(self, summary: str) -> list[Message]:
        """The conversation with the summary."""
        return [*self.system, summary_message(summary), *self.end]


def divided(messages: list[Message], spec: CompactionSpec) -> Division | None:
    """The conversation in parts; `None` where it is short enough, or has nothing to leave out."""
    if tokens_of(messages) <= spec.tokens:
        return None
    rest = [message for message in messages if message.role != "system"]
    place = len(rest) - 1
    while place > 0 and rest[place].role == "tool":
        place -= 1  # results stay with their calls
    if spec.pauses:
        place = len(rest)
    if place <= 0:
        return None
    system = [message for message in messages if message.role == "system"]
    return Division(system, rest[:place], rest[place:])


def summary_request(request: Request, division: Division, spec: CompactionSpec) -> Request:
    """The request for the summary."""
    prompt = Message("user", [Text(spec.instructions or PROMPT)])
    return replace(
        request,
        messages=[*division.system, *division.old, prompt],
        tool_choice=ToolChoice("none") if request.tools else None,
        response_format=None,
        max_output_tokens=None,
        stop=[],
    )


def summary_of(response: Response) -> str:
    """The summary that the model wrote; raises where there is none, or half of one."""
    if response.finish_reason != "stop" or not response.text.strip():
        raise ServerError(
            f"the model did not write its summary of the conversation: {response.finish_reason}",
            should_retry=True,
        )
    return response.text.strip()
