"""A request as it is written: its prompt, and settings as keywords, typed and checked.

docs/settings.md lists them.  What comes out are fields of `ir.Request`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias, get_args, get_type_hints

import msgspec
from typing_extensions import TypedDict

from polycall.errors import RequestError
from polycall.ir import (
    JSON,
    Effort,
    Message,
    Metadata,
    ReasoningConfig,
    Request,
    ResponseFormat,
    Text,
    ToolChoice,
)
from polycall.providers.provider import DialectName
from polycall.tools.problems import near_miss

# A word, or a tool's name: that tool must be called.
ToolChoiceWord: TypeAlias = "Literal['auto', 'none', 'required'] | str"

_CHOICES = ("auto", "none", "required")
_EFFORTS: tuple[str, ...] = get_args(Effort)
_DIALECTS: tuple[str, ...] = get_args(DialectName)


class Settings(TypedDict, total=False):
    """The settings of an agent and of its runs; an unset one is the provider's default."""

    effort: Effort  # how much to think: "none", "minimal", "low", "medium", "high", "xhigh", "max"
    reasoning: ReasoningConfig | Effort | int  # an effort, a budget in tokens, or both and more
    temperature: float
    top_p: float
    top_k: int
    max_output_tokens: int  # of one answer
    stop: str | list[str]
    seed: int
    presence_penalty: float
    frequency_penalty: float
    candidates: int
    logprobs: int
    tool_choice: ToolChoice | ToolChoiceWord | list[str]
    parallel_tool_calls: bool
    cache: (
        bool  # false: ask no provider to cache the prompt's beginning; true: also where it is short
    )
    service_tier: str
    end_user: str  # an id of your user, for the provider's abuse checks
    lossy: bool
    prompted: bool
    provider_options: dict[str, JSON]
    metadata: Metadata


class RequestSettings(Settings, total=False):
    """The further settings of a client's request."""

    response_format: ResponseFormat | Literal["text", "json"] | None
    stream: bool


_NUMBERS: dict[str, tuple[float, float, str]] = {
    "temperature": (0, math.inf, "a number from 0, such as 0.2"),
    "top_p": (0, 1, "a number from 0 to 1, such as 0.9"),
    "top_k": (1, math.inf, "a whole number above 0"),
    "max_output_tokens": (1, math.inf, "a whole number of tokens above 0"),
    "seed": (-math.inf, math.inf, "a whole number"),
    "presence_penalty": (-math.inf, math.inf, "a number"),
    "frequency_penalty": (-math.inf, math.inf, "a number"),
    "candidates": (1, math.inf, "a whole number above 0"),
    "logprobs": (0, math.inf, "a whole number from 0"),
}
_WORDS: dict[str, str] = {
    "reasoning": "an effort such as 'high', a budget of tokens or a ReasoningConfig",
    "stop": "a text, or a list of texts",
    "parallel_tool_calls": "true or false",
    "service_tier": "a text, such as 'flex'",
    "end_user": "a text",
    "cache": "true or false",
    "lossy": "true or false",
    "prompted": "true or false",
    "provider_options": "a dictionary by dialect, such as {'anthropic': {...}}",
    "metadata": "a dictionary of dictionaries",
    "response_format": "'text', 'json' or a ResponseFormat",
    "stream": "true or false",
}


def request_fields(settings: Mapping[str, Any], whose: str = "a request") -> dict[str, Any]:
    """Checked settings as fields of `ir.Request`; `RequestError` names the setting and the fix."""
    known = RequestSettings.__annotations__
    fields: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in known:
            hint = near_miss(name, known) or f"; known: {', '.join(sorted(known))}"
            raise RequestError(f"{whose} has no {name!r}{hint}")
        match name:
            case "effort":
                _set_effort(fields, settings, value)
            case "tool_choice":
                fields[name] = _choice(value)
            case "reasoning" if isinstance(value, str | int):
                fields[name] = _reasoning(value)
            case "response_format" if value in ("text", "json"):
                fields[name] = ResponseFormat(value)
            case "provider_options" if isinstance(value, dict):
                for dialect in value:  # pyright: ignore[reportUnknownVariableType]
                    _check_dialect(dialect)
                fields[name] = _checked(name, value)
            case "stop" if isinstance(value, str):
                fields[name] = [value]
            case _:
                fields[name] = _checked(name, value)
    return fields


def kept_fields(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a request from the JSON values that `msgspec.to_builtins` made of them."""
    return {name: msgspec.convert(value, _kinds()[name]) for name, value in kept.items()}


def with_words(request: Request) -> Request:
    """The request, where words stand in it as `request_fields` takes them."""
    words = {
        name: value
        for name in ("tool_choice", "reasoning", "response_format")
        if isinstance(value := getattr(request, name), str | int)
    }
    return msgspec.structs.replace(request, **request_fields(words)) if words else request


def check_choice(choice: ToolChoice | None, names: Collection[str]) -> None:
    """Refuse a choice of tools that are not there."""
    for name in choice.names if choice is not None else ():
        if name not in names:
            hint = near_miss(name, {*names, *_CHOICES})
            known = ", ".join(map(repr, (*_CHOICES, *sorted(names)[:20])))
            raise RequestError(
                f"tool_choice is {name!r}, which is neither a word for it nor a tool here"
                f"{hint or f'; known: {known}'}"
            )


def _check_dialect(name: Any) -> None:
    # No wire format of another name would ever take them, and nobody would hear of it.
    if name not in _DIALECTS:
        hint = near_miss(str(name), _DIALECTS) or f"; known: {', '.join(_DIALECTS)}"
        raise RequestError(
            f"provider_options are by wire format, and {name!r} is not the name of one{hint}"
        )


def _reasoning(value: str | int) -> ReasoningConfig:
    if isinstance(value, int):
        if isinstance(value, bool) or value < -1:
            raise RequestError(f"reasoning is {_WORDS['reasoning']}, not {value!r}")
        return ReasoningConfig(budget_tokens=value)
    effort = next((word for word in get_args(Effort) if word == value), None)
    if effort is None:
        near = near_miss(value, _EFFORTS)
        raise RequestError(f"reasoning is {_WORDS['reasoning']}, not {value!r}{near}")
    return ReasoningConfig(effort)


def _set_effort(fields: dict[str, Any], settings: Mapping[str, Any], value: Any) -> None:
    if value is None:
        return
    if value not in _EFFORTS:
        near = near_miss(str(value), _EFFORTS)
        raise RequestError(
            f"effort is one of {', '.join(map(repr, _EFFORTS))}, not {value!r}{near}"
        )
    if settings.get("reasoning") is not None:
        raise RequestError(
            "effort and reasoning say the same thing twice; write "
            f"reasoning=ReasoningConfig(effort={value!r}, ...)"
        )
    fields["reasoning"] = ReasoningConfig(effort=value)


def _choice(value: Any) -> ToolChoice | None:
    match value:
        case ToolChoice() | None:
            return value
        case "auto" | "none" | "required":
            return ToolChoice(value)
        case str() if value:
            return ToolChoice("tool", [value])
        case list() if value and all(isinstance(each, str) for each in value):  # pyright: ignore[reportUnknownVariableType]
            return ToolChoice("required", value)  # pyright: ignore[reportUnknownArgumentType]
        case _:
            raise RequestError(
                "tool_choice is 'auto', 'none', 'required', the name of a tool, a list of names "
                f"or a ToolChoice, not {value!r}"
            )


def _checked(name: str, value: Any) -> Any:
    low, high, words = _NUMBERS.get(name, (-math.inf, math.inf, _WORDS.get(name, "")))
    try:
        made: Any = msgspec.convert(value, _kinds()[name])
    except msgspec.ValidationError:
        raise RequestError(f"{name} is {words}, not {value!r}") from None
    if name in _NUMBERS and made is not None and not (low <= made <= high and abs(made) < math.inf):
        raise RequestError(f"{name} is {words}, not {value!r}")
    return made


@functools.cache
def _kinds() -> dict[str, Any]:
    return get_type_hints(Request)


def messages_of(prompt: str | Message | list[Message]) -> list[Message]:
    """A prompt as messages."""
    match prompt:
        case str():
            return [Message("user", [Text(prompt)])] if prompt else []
        case Message():
            return [prompt]
        case list():
            for place, each in enumerate(prompt):
                if not isinstance(each, Message):  # pyright: ignore[reportUnnecessaryIsInstance] - from the caller
                    raise RequestError(
                        f"a prompt is text, a Message or a list of them, and this is {each!r}; "
                        "write Message('user', [Text('...')])",
                        path=f"prompt[{place}]",
                    )
            return prompt
        case _:
            raise RequestError(f"a prompt is text, a Message or a list of them, not {prompt!r}")
