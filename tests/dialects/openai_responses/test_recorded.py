"""Recorded requests against their own bodies; the laws for all dialects are in `test_corpus.py`."""

from __future__ import annotations

from typing import Any

import pytest

from polycall._support import jsontext
from polycall.dialects.openai_responses import (
    StreamDecoder,
    parse_request,
    parse_response,
    render_request,
    render_response,
)
from polycall.errors import ServerError
from polycall.fold import fold
from tests.support import corpus, decode, wire_examples

from .wire import encoded

NAME = "openai-responses"


def normal(body: Any) -> Any:
    """The same request in the spelling that rendering chooses.

    `null` and an absent field are one; so are `stream: false` and no `stream`, and `tools: []`
    and no tools.  Everything else comes back as it was.
    """
    if isinstance(body, list):
        return [normal(each) for each in body]
    if not isinstance(body, dict):
        return body
    return {key: normal(value) for key, value in body.items() if value is not None}


def normal_request(body: dict[str, Any]) -> Any:
    plain = normal(body)
    if plain.get("stream") is False:
        del plain["stream"]
    if plain.get("tools") == []:
        del plain["tools"]
    return plain


def test_every_recorded_request_comes_back_as_it_was() -> None:
    count = 0
    for record in corpus(NAME):
        body = record["request"]
        if body is None or record["status"] != 200:
            continue
        wire = render_request(parse_request(body))
        assert normal_request(wire.body) == normal_request(body), record["id"]
        assert wire.warnings == [], record["id"]
        count += 1
    assert count > 1000


@pytest.mark.parametrize("case", ["request.json", "response.json", "stream.sse"])
def test_the_wire_examples(case: str) -> None:
    count = 0
    for name, folder in wire_examples(NAME):
        path = folder / case
        if not path.exists() or name == "e1_error_400":
            continue
        data = path.read_bytes()
        count += 1
        if case == "stream.sse" and name.startswith("e"):
            with pytest.raises(ServerError, match="boom"):
                decode(StreamDecoder(), [data])
        elif case == "stream.sse":
            events = decode(StreamDecoder(), [data])
            assert fold(decode(StreamDecoder(), [encoded(events)])) == fold(events)
        elif case == "request.json":
            body = jsontext.decode(data)
            assert normal_request(render_request(parse_request(body)).body) == normal_request(body)
        else:
            body = jsontext.decode(data)
            assert render_response(parse_response(body)) == body
    assert count > 2
