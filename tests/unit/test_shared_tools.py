"""Requests with one list of tools share what is made of it, and none changes what others send.

The law: after any requests, of whomever, each is parsed and rendered for each target as in a
process that has never seen the tools.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.errors import PolycallError
from polycall.exchange import prepare
from polycall.gateway.state.known_conversations import KnownConversations
from polycall.ir import (
    Message,
    Reasoning,
    ReasoningConfig,
    Request,
    ResponseFormat,
    Text,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.providers.provider import DialectName
from polycall.translation.conversation import like
from polycall.translation.opened import with_opened
from polycall.translation.tool_list_cache import ToolListCache
from tests.gateway.test_known_steps import FIELDS, begin, pair
from tests.test_repeated import ASKS, CLIENTS, ODD

Change = Callable[[Request], Request]
MARK = {"cache_control": {"type": "ephemeral"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
TARGETS = [
    ("anthropic", "claude-fable-5-2"),  # whose thinking is bound to the beginning
    ("anthropic", "claude-sonnet-4-5"),
    ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("google", "gemini-3.8-flash"),
    ("google-interactions", "gemini-3.8-flash"),
    ("openai", "gpt-5.2"),
    ("deepseek", "deepseek-v4-flash"),
    ("ollama-native", "qwen3"),
]


def _names(request: Request) -> list[str]:
    return [tool.name for tool in request.tools if tool.kind != "hosted"]


def _said(request: Request, *more: Message) -> Request:
    return replace(request, messages=like([*request.messages, *more], request.messages))


def _called(request: Request, *, opened: bool) -> Request:
    names = _names(request)
    parts = [Reasoning("hm", {"anthropic": {"signature": "s"}}), ToolCall("c1", names[0])]
    result = Message("tool", [ToolResult("c1", [Text("ok")], name=names[0])])
    if opened:
        result = with_opened(result, names[1:])
    return _said(request, Message("assistant", [*parts]), result)


def _chosen(mode: Any, count: int) -> Change:
    return lambda request: replace(
        request, tool_choice=ToolChoice(mode, names=_names(request)[:count])
    )


def _marked(request: Request) -> Request:
    texts = [Text("long", {"anthropic": dict(MARK)}) for _ in range(4)]
    return _said(request, Message("user", [*texts]))


CHANGES: dict[str, Change] = {
    "nothing": lambda request: request,
    "called": lambda request: _called(request, opened=False),
    "opened": lambda request: _called(request, opened=True),
    "forced": _chosen("tool", 1),
    "one of two": _chosen("required", 2),
    "none": _chosen("none", 0),
    "marks": _marked,
    "words": lambda request: _said(request, Message("system", [Text("late")])),
    "thinking": lambda request: replace(request, reasoning=ReasoningConfig("high")),
    "schema": lambda request: replace(
        request, response_format=ResponseFormat("json_schema", SCHEMA, "r", strict=True)
    ),
    "one at a time": lambda request: replace(request, parallel_tool_calls=False),
    "prompted": lambda request: replace(request, prompted=True),
    "streamed": lambda request: replace(request, stream=True),
    "foreign": lambda request: replace(request, metadata={}),
}


def _sent(
    client: DialectName,
    tools: list[Any],
    changes: tuple[str, ...],
    target: int,
    said: list[Any] | None = None,
) -> Any:
    """What goes out of a request with these tools, or why nothing does."""
    path = "/v1beta/models/m:generateContent" if client == "gemini" else ""
    body = {**copy.deepcopy(ASKS[client]), "tools": tools}
    if said is not None:
        body[FIELDS[client]] = said
    request = replace(DIALECTS[client].parse_request(body, path=path), lossy=True)
    for name in changes:
        request = CHANGES[name](request)
    provider, model = TARGETS[target]
    try:
        made = prepare(request, CATALOGUE[provider], model, "key")
    except PolycallError as error:
        return repr(error)
    wire = made.wire
    notes = (wire.warnings, wire.aliases, wire.adapted, wire.bound)
    return (made.http.body, made.http.headers, *notes)


@cache
def _alone(client: DialectName, changes: tuple[str, ...], target: int) -> Any:
    return _sent(client, copy.deepcopy(ODD[client]), changes, target)


def _check(client: DialectName, steps: list[tuple[tuple[str, ...], int]]) -> None:
    shared = ToolListCache(copy.deepcopy(ODD[client]))
    for step in steps:
        assert _sent(client, shared, *step) == _alone(client, *step), step
    assert shared == ODD[client]


@pytest.mark.parametrize("client", CLIENTS)
def test_two_requests_with_the_same_tools_in_both_orders(client: DialectName) -> None:
    for target in range(len(TARGETS)):
        for change in CHANGES:
            base, other = (("nothing",), target), ((change,), target)
            _check(client, [base, other, base])
            _check(client, [other, base, other])


@pytest.mark.parametrize("client", CLIENTS)
def test_any_requests_with_the_same_tools(client: DialectName) -> None:
    pairs = list(itertools.combinations(CHANGES, 2))
    generator = random.Random(client)
    picked = [(generator.choice(pairs), generator.randrange(len(TARGETS))) for _ in range(120)]
    _check(client, picked)


@pytest.mark.parametrize("client", FIELDS)
def test_any_requests_of_two_keys_in_known_conversations(client: DialectName) -> None:
    generator = random.Random(client)
    for _ in range(4):
        known, shared = KnownConversations(bytes_min=2), ToolListCache(copy.deepcopy(ODD[client]))
        said = begin(client) + [each for number in range(8) for each in pair(client, number)]
        for number in range(8):
            said = said[: generator.choice([-4, 99, 99])] + pair(client, 100 + number)
            changes = tuple(generator.sample(list(CHANGES), 2))
            target = generator.choice([0, generator.randrange(len(TARGETS))])
            alone = _sent(client, copy.deepcopy(ODD[client]), changes, target, copy.deepcopy(said))
            items = known.read(generator.choice("ab"), client, json.dumps(said).encode())
            assert _sent(client, shared, changes, target, items) == alone
            assert items == said
        assert shared == ODD[client]
