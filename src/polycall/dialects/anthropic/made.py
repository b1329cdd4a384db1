"""The ids in an answer that the vendor keeps; see `MadeFacts`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from polycall.translation.made import NONE, each_of

_RAN = "code_execution_tool_result"


class _Container(Struct):
    id: Any = None


class _File(Struct):
    file_id: Any = None


class _Result(Struct):
    content: list[Raw] = []


class _Block(Struct):
    type: str = ""
    content: Raw = NONE


class _Message(Struct):
    container: Raw = NONE
    content: Raw = NONE


class _Answer(_Message):
    message: Raw = NONE
    delta: Raw = NONE
    content_block: Raw = NONE


def ids_in(data: bytes) -> Iterator[tuple[Any, bool]]:
    found = msgspec.json.decode(data, type=_Answer)
    blocks = [found.content_block]
    for said in (found, *each_of((found.message, found.delta), _Message)):
        for content in each_of((said.content,), list[Raw]):
            blocks += content
        for container in each_of((said.container,), _Container):
            yield container.id, False
    for block in each_of(blocks, _Block):
        if block.type.endswith(_RAN):
            for result in each_of((block.content,), _Result):
                for file in each_of(result.content, _File):
                    yield file.file_id, False
