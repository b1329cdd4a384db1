"""Every recorded answer for clients of every other dialect, where one of the two is a cloud's or a
local program's: Converse, Interactions, Ollama.

The calls are compared with what the independent readers find in the recording and in what a client
of the other dialect gets, and the text with what that dialect reads back.  The whole run prints the
table that docs/translation.md has.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from polycall._support import jsontext
from polycall.fold import fold
from polycall.ir import Event, Refusal, Request, Response, Text
from polycall.providers.dialects import DIALECTS
from tests import test_corpus
from tests.support import decode

NEW = ("bedrock-converse", "gemini-interactions", "ollama-chat")
PAIRS = [
    (name, other)
    for name in DIALECTS
    for other in DIALECTS
    if name != other and (name in NEW or other in NEW)
]
_table: dict[tuple[str, str], Counter[str]] = {}


def calls_of(response: Response) -> list[tuple[str, Any]]:
    """Names and arguments; ids are each wire's own, and some wires have none."""
    return [(call.name, call.arguments) for call in response.tool_calls]


def shown(response: Response) -> str:
    """What the user reads: refusals are text on some wires, and what cannot be shown is named."""
    texts = [p.text for p in response.message.parts if isinstance(p, Text | Refusal)]
    return re.sub(r"\[\w+ left out: [^]]*\]|\s", "", "".join(texts))


def readable(response: Response) -> bool:
    """Whether all calls are of functions with objects: other wires put the rest in their words."""
    return all(c.arguments is not None and c.kind == "function" for c in response.tool_calls)


def check_body(response: Response, other: str, record: str) -> None:
    dialect = test_corpus.dialect_of(other)
    body: dict[str, Any] = jsontext.decode(jsontext.encode(dialect.render_response(response)))
    found = [(name, value) for _, name, value in test_corpus.BODY_READERS[other](body)]
    assert found == calls_of(response), record
    assert shown(dialect.parse_response(body)) == shown(response), record


def check_stream(events: list[Event], response: Response, other: str, record: str) -> None:
    dialect = test_corpus.dialect_of(other)
    encoder = dialect.StreamEncoder()
    data = b"".join([*(encoder.feed(event) for event in events), encoder.close()])
    again = fold(decode(dialect.StreamDecoder(), [data]))
    assert calls_of(again) == calls_of(response), record
    assert shown(again) == shown(response), record


@pytest.mark.slow
@pytest.mark.parametrize(("name", "other"), PAIRS)
def test_every_recorded_answer_reaches_clients_of_every_other(name: str, other: str) -> None:
    counts = _table.setdefault((name, other), Counter())
    dialect = test_corpus.dialect_of(name)
    for record in test_corpus.answers(name, streamed=False):
        body = record["response"]
        if isinstance(body, list):
            continue
        response = dialect.parse_response(body)
        if readable(response):
            check_body(response, other, record["id"])
            counts["bodies"] += 1
    for record in test_corpus.answers(name, streamed=True):
        data = test_corpus.as_stream(name, record)
        events = decode(dialect.StreamDecoder(), [data])
        response = fold(events)
        if readable(response):
            check_stream(events, response, other, record["id"])
            counts["streams"] += 1
    for record in test_corpus.corpus(name):
        if record["request"] is None or record["status"] != 200:
            continue
        if record["id"] in test_corpus.EXCEPTIONS:
            continue
        check_request(name, other, record)
        counts["requests"] += 1
    print(f"{name} -> {other}: {dict(counts)}")


def check_request(name: str, other: str, record: dict[str, Any]) -> None:
    """The calls of the history and the user's words arrive, with losses allowed."""
    path = record["url_path"] if name in test_corpus.IN_PATH else ""
    request = test_corpus.dialect_of(name).parse_request({**record["request"]}, path=path)
    request = test_corpus.replace(request, lossy=True)
    target = test_corpus.dialect_of(other)
    wire = target.render_request(request)
    body: dict[str, Any] = jsontext.decode(jsontext.encode(wire.body))
    again = target.parse_request(body, path=wire.path if other in test_corpus.IN_PATH else "")
    said = [part.arguments for m in request.messages for part in m.tool_calls if part.arguments]
    heard = [part.arguments for m in again.messages for part in m.tool_calls if part.arguments]
    if all(call.kind == "function" for m in request.messages for call in m.tool_calls):
        rest = iter(heard)  # which may have calls of hosted tools too, in words
        assert all(each in rest for each in said), record["id"]
    if any(warning.feature == "compaction" for warning in wire.warnings):
        return  # its summary stands for what was said before it
    heard_text = "".join(spoken(again))
    for text in spoken(request, "user"):
        assert text in heard_text, record["id"]


def spoken(request: Request, role: str = "") -> list[str]:
    """The texts, without white space: some wires join them, some trim."""
    return [
        "".join(part.text.split())
        for message in request.messages
        for part in message.parts
        if isinstance(part, Text) and role in ("", message.role)
    ]
