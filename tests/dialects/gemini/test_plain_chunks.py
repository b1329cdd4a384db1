"""Chunks that say nothing but more of a text are read in a quick way: as all others are."""

from __future__ import annotations

import pytest

from polycall.dialects import gemini
from polycall.ir import Event, Usage

CHUNK = '{"candidates":[{"content":{"parts":[{"text":"b"}]}}],"usageMetadata":%s%s}'


@pytest.mark.parametrize(
    "usage",
    [
        *("null", "{}", "[]", "0", '""', "{ }", "[1]", '"x"'),
        '{"promptTokenCount":7}',
        ' {"promptTokenCount" : 8}',
        '{"promptTokenCount":9,"more":"\\ud83d"}',
        '{"promptTokenCount":1e999}',
    ],
)
def test_the_usage_of_a_plain_chunk_is_that_of_any_other(usage: str) -> None:
    def told(field: str) -> tuple[list[Event], Usage]:
        decoder = gemini.StreamDecoder()
        seen = decoder.feed(b"data: %b\r\n\r\n" % (CHUNK % ('{"promptTokenCount":3}', "")).encode())
        seen += decoder.feed(b"data: %b\r\n\r\n" % (CHUNK % (usage, field)).encode())
        return seen, decoder.usage

    assert told("") == told(',"odd":1')
