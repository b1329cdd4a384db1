"""A conversation between runs: plain JSON, with the agent that holds it."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.agents.compaction import Shortened
from polycall.agents.context import Frame
from polycall.agents.journal import check_variables
from polycall.agents.task import TaskNote
from polycall.errors import RequestError
from polycall.ir import JSON, Message, Metadata, Text, ToolCall, ToolResult
from polycall.openai_messages import from_openai, is_openai, to_openai


class History(Struct, frozen=True, omit_defaults=True):
    """All that a next run needs of the runs before it.

    `frames` are the agents that hold the conversation, the one who speaks last; `opened` are the
    deferred tools that were found, `allowed` the calls that were approved for always, `tasks` those
    that continued when the run before had ended.  `began` has the instructions that models were
    first sent which check their prefix, `shortened` what is not sent any more.  `session` is set by
    the session that asks: it alone continues a run of its own that has paused.
    """

    messages: list[Message] = []
    frames: list[Frame] = []
    variables: dict[str, Any] = {}
    opened: list[str] = []
    allowed: list[str] = []
    tasks: dict[str, TaskNote] = {}
    session: str = ""
    began: dict[str, str] = {}
    shortened: dict[str, Shortened] = {}

    def __repr__(self) -> str:
        """In a line: a conversation may be long."""
        return f"History({len(self.messages)} messages, agent={self.agent!r})"

    @property
    def agent(self) -> str:
        """The agent that speaks next."""
        return self.frames[-1].agent if self.frames else ""

    def to_json(self) -> str:
        """The history as JSON text; `RequestError` names a variable that has no such form."""
        check_variables(self.variables)
        return jsontext.encode(self)

    def to_openai(self) -> list[JSON]:
        """The messages in OpenAI's Chat format, as other programs keep them."""
        return to_openai(self.messages)

    @classmethod
    def from_json(cls, text: str | bytes) -> History:
        """From JSON text; `RequestError` if it is malformed."""
        try:
            return msgspec.convert(jsontext.decode(text), cls)
        except (ValueError, msgspec.ValidationError) as error:
            raise RequestError(f"this is not a history: {error}") from None


_MESSAGE_FIELDS = set(Message.__struct_fields__)

HistoryLike: TypeAlias = History | list[Message] | list[JSON] | str | bytes


def load_history(value: HistoryLike) -> History:
    """A history from whatever holds one: itself, its JSON, or messages, ours or OpenAI's."""
    match value:
        case History():
            return value
        case str() | bytes():
            return History.from_json(value)
        case list() if is_openai(value):
            return History(messages=from_openai(value))
        case list():
            _check_fields(value)
            try:
                return History(messages=msgspec.convert(value, list[Message], from_attributes=True))
            except msgspec.ValidationError as error:
                raise RequestError(f"this is not a history: {error}") from None
        case _:
            raise RequestError(
                "a history is run.history, its JSON or a list of messages, "
                f"not a {type(value).__name__}"
            )


def _check_fields(messages: list[Any]) -> None:
    """Refuse messages of another shape, whose words would be lost with their unknown fields."""
    for place, message in enumerate(messages):
        if isinstance(message, dict):
            unknown = sorted(cast("JSON", message).keys() - _MESSAGE_FIELDS)
            if unknown:
                raise RequestError(
                    f"a message of polycall has no {unknown[0]!r}; give run.history, or messages "
                    "such as Message('user', [Text('hello')])",
                    path=f"history[{place}]",
                )


# What the application says in a message of the user's form, since every vendor takes that.
OF_THE_APPLICATION: Metadata = {"polycall": {"from": "application"}}


def is_users(message: Message) -> bool:
    """Whether a user said it, and not the application in a message of that form."""
    return message.role == "user" and "from" not in message.metadata.get("polycall", {})


def whole(messages: list[Message]) -> list[Message]:
    """The messages without results of calls that are missing, and calls without results.

    Whatever a filter leaves out, a provider refuses half of a pair.
    """
    called = {call.id for message in messages for call in message.tool_calls}
    answered = {
        part.call_id
        for message in messages
        for part in message.parts
        if isinstance(part, ToolResult)
    }
    pairs = called & answered
    kept: list[Message] = []
    for message in messages:
        parts = [
            part
            for part in message.parts
            if not isinstance(part, ToolCall | ToolResult) or _pair_id(part) in pairs
        ]
        if parts == message.parts:
            kept.append(message)
        elif any(isinstance(part, Text | ToolCall | ToolResult) for part in parts):
            kept.append(msgspec.structs.replace(message, parts=parts))
    return kept


def _pair_id(part: ToolCall | ToolResult) -> str:
    return part.id if isinstance(part, ToolCall) else part.call_id
