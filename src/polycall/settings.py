"""Settings of a request as people write them: `tool_choice="required"`, `reasoning="high"`.

`Client.generate`, `stream` and `Agent` read them here, so the same words work everywhere, and a
wrong one is an error where it stands, before anything is sent.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

import msgspec

from polycall.errors import RequestError
from polycall.ir import Effort, ReasoningConfig, Request, ResponseFormat, ToolChoice

EFFORTS: tuple[str, ...] = get_args(Effort)
CHOICES = ("auto", "none", "required")
FORMATS = ("text", "json")

_PLAIN: dict[str, Any] = {
    "parallel_tool_calls": bool | None,
    "max_output_tokens": int | None,
    "temperature": float | None,
    "top_p": float | None,
    "top_k": int | None,
    "stop": list[str],
    "seed": int | None,
    "presence_penalty": float | None,
    "frequency_penalty": float | None,
    "candidates": int | None,
    "logprobs": int | None,
    "service_tier": str,
    "end_user": str,
    "lossy": bool,
    "prompted": bool,
}


def read_settings(settings: Mapping[str, Any], tools: Iterable[str] = ()) -> dict[str, Any]:
    """The settings as fields of `ir.Request`.

    `tool_choice` is `"auto"`, `"none"`, `"required"`, or the name of one of `tools`; `reasoning` an
    effort (`"none"` to `"max"`) or a budget of tokens; `response_format` `"text"` or `"json"`;
    `stop` one string or several.  Raises `RequestError`, with the setting's name and what it takes.
    """
    read = dict(settings)
    for name, reader in _READERS.items():
        if isinstance(read.get(name), str | int):
            read[name] = reader(read[name], tools)
    for name in read.keys() & _PLAIN.keys():
        read[name] = _checked(name, read[name])
    for name, expected in _VALUES.items():
        value = read.get(name)
        if value is not None and not isinstance(value, expected):
            raise RequestError(f"{name}: expected {_EXPECTED[name]}, got {value!r}")
    return read


def with_words(request: Request) -> Request:
    """The request, where words stand in it as in `read_settings`."""
    names = ("tool_choice", "reasoning", "response_format")
    words = {name: getattr(request, name) for name in names}
    if not any(isinstance(value, str | int) for value in words.values()):
        return request
    read = read_settings(words, [tool.name for tool in request.tools])
    return msgspec.structs.replace(request, **read)


def _tool_choice(value: Any, tools: Iterable[str]) -> ToolChoice:
    names = list(tools)
    match value:
        case "auto" | "none" | "required":
            return ToolChoice(value)
        case str() if value in names:
            return ToolChoice("tool", [value])
        case _:
            raise _wrong("tool_choice", value, [*CHOICES, *names])


def _reasoning(value: Any, _: Iterable[str]) -> ReasoningConfig:
    if isinstance(value, int) and not isinstance(value, bool) and value >= -1:
        return ReasoningConfig(budget_tokens=value)
    known: Effort | None = next((word for word in get_args(Effort) if word == value), None)
    if known is None:
        raise _wrong("reasoning", value, EFFORTS)
    return ReasoningConfig(known)


def _response_format(value: Any, _: Iterable[str]) -> ResponseFormat:
    if value not in FORMATS:
        raise _wrong("response_format", value, FORMATS)
    return ResponseFormat("json" if value == "json" else "text")


def _stop(value: Any, _: Iterable[str]) -> Any:
    return [value] if isinstance(value, str) else value


_READERS: dict[str, Callable[[Any, Iterable[str]], Any]] = {
    "tool_choice": _tool_choice,
    "reasoning": _reasoning,
    "response_format": _response_format,
    "stop": _stop,
}
_VALUES: dict[str, type] = {
    "tool_choice": ToolChoice,
    "reasoning": ReasoningConfig,
    "response_format": ResponseFormat,
}
_EXPECTED = {
    "tool_choice": "'auto', 'none', 'required', a tool's name or a ToolChoice",
    "reasoning": "an effort such as 'high', a budget of tokens or a ReasoningConfig",
    "response_format": "'text', 'json' or a ResponseFormat",
}


def _checked(name: str, value: Any) -> Any:
    try:
        return msgspec.convert(value, _PLAIN[name])
    except msgspec.ValidationError as error:
        reason = str(error)[:1].lower() + str(error)[1:]
        raise RequestError(f"{name}: {reason.replace('`', '')}, not {value!r}") from None


def _wrong(name: str, value: Any, known: Iterable[str]) -> RequestError:
    names = list(known)
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return RequestError(f"{name}: {value!r} is not one of {', '.join(map(repr, names))}{hint}")
