"""The official SDKs' own types, as judges of every frame that is sent."""

from __future__ import annotations

import functools
import typing
from typing import Any

import typing_extensions
from google.genai import types as google
from openai.types.live import ClientEventParam, ServerEvent
from openai.types.realtime import RealtimeClientEventParam, RealtimeServerEvent
from pydantic import BaseModel, ConfigDict, TypeAdapter

JSON = dict[str, Any]


def judge(kind: str, frames: list[JSON], *, by: str) -> list[str]:
    """What is wrong with frames of a protocol: one line each.  `by`: "client" or "server"."""
    return [problem for frame in frames for problem in _problems(kind, frame, by)]


def _problems(kind: str, frame: JSON, by: str) -> list[str]:
    if frame.get("type") == "session.weather":
        return []  # made up by a fault, so that unknown frames are met
    adapter = _adapter(kind, by)
    try:
        value = adapter.validate_python(frame)
    except ValueError as error:
        return [f"{by} {frame.get('type') or list(frame)}: {str(error)[:600]}"]
    left = [] if by == "client" and kind != "gemini_live" else _left_over(value)
    return [f"{by} {frame.get('type') or list(frame)}: left over {path}" for path in left]


@functools.cache
def _adapter(kind: str, by: str) -> TypeAdapter[Any]:
    match kind, by:
        case "openai_realtime", "client":
            return TypeAdapter(_forbidding(RealtimeClientEventParam))
        case "openai_realtime", _:
            return TypeAdapter(RealtimeServerEvent)
        case "gpt_live", "client":
            return TypeAdapter(_forbidding(ClientEventParam))
        case "gpt_live", _:
            return TypeAdapter(ServerEvent)
        case _, "client":
            return TypeAdapter(google.LiveClientMessage)
        case _:
            return TypeAdapter(google.LiveServerMessage)


def _forbidding(kind: Any) -> Any:
    _forbid(kind, set())
    return kind


def _forbid(kind: Any, seen: set[Any]) -> None:
    for part in typing.get_args(kind):
        _forbid(part, seen)
    if typing_extensions.is_typeddict(kind) and kind not in seen:
        seen.add(kind)
        kind.__pydantic_config__ = ConfigDict(extra="forbid")
        for value in typing_extensions.get_type_hints(kind, include_extras=True).values():
            _forbid(value, seen)


def _left_over(value: Any, path: str = "") -> list[str]:
    """Fields that the types do not have; those of the library accept any, and keep them apart."""
    found: list[str] = []
    if isinstance(value, BaseModel):
        # The SDK marks times that it adds itself.
        found += [f"{path}.{name}" for name in value.model_extra or {}]
        for name in type(value).model_fields:
            found += _left_over(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for place, each in enumerate(value):
            found += _left_over(each, f"{path}[{place}]")
    return found
