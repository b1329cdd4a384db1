"""What a provider's answer says that it keeps: items, containers, files, spoken answers.

Another key must not name them in its requests (`generation/named_resources.py`).  Only places that
the provider itself fills are looked at: what an answer repeats of its request, or tells of a tool,
is made of others' words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

# A shorter one may be a mere number, which is given to the answers of other keys, too.
ID_CHARS_MIN = 16
_is_id = re.compile(rf"[\w.:-]{{{ID_CHARS_MIN},200}}", re.ASCII).fullmatch


class _Named(Struct):
    id: Any = None
    container_id: Any = None


class _Responses(Struct):
    output: list[_Named] = []
    item: _Named | None = None


class _File(Struct):
    file_id: Any = None


class _Result(Struct):
    content: list[_File] = []


class _Block(Struct):
    type: str = ""
    content: Raw = Raw(b"")


class _Message(Struct):
    container: _Named | None = None
    content: list[_Block] = []


class _Anthropic(_Message):
    message: _Message | None = None
    delta: _Message | None = None
    content_block: _Block | None = None


class _Spoken(Struct):
    audio: _Named | None = None


class _Choice(Struct):
    message: _Spoken | None = None
    delta: _Spoken | None = None


class _Chat(Struct):
    choices: list[_Choice] = []


def may_tell(dialect: str, body: bytes) -> bool:
    """Whether a whole answer may say such a thing: `MadeResources` looks closer."""
    mark = _LOOKS.get(dialect, _NOTHING)[0]
    return bool(mark) and body.find(mark) >= 0


class MadeResources:
    """The ids in one answer, as it comes."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        _, self.marks, self._look = _LOOKS.get(dialect, _NOTHING)
        self.ids: dict[str, None] = {}

    def taken(self) -> list[str]:
        """The ids that were found since they were taken last."""
        ids = list(self.ids)
        self.ids.clear()
        return ids

    def in_body(self, body: bytes) -> None:
        """Look at a whole answer."""
        if may_tell(self._dialect, body):
            self._note(body)

    def in_frame(self, frame: bytes) -> None:
        """Look at one event of a stream, which has one of the marks."""
        for line in frame.split(b"\n"):
            if line.startswith(b"data:"):
                self._note(line[len(b"data:") :])

    def _note(self, data: bytes) -> None:
        try:
            for each in self._look(data):
                if isinstance(each, str) and _is_id(each):
                    self.ids[each] = None
        except (msgspec.DecodeError, RecursionError):
            return  # what is wrong with the answer is said elsewhere


def _in_responses(data: bytes) -> Iterator[Any]:
    found = msgspec.json.decode(data, type=_Responses)
    for item in (*found.output, found.item):
        if item is not None:
            yield item.id
            yield item.container_id


def _in_anthropic(data: bytes) -> Iterator[Any]:
    found = msgspec.json.decode(data, type=_Anthropic)
    blocks = [] if found.content_block is None else [found.content_block]
    for each in (found, found.message, found.delta):
        if each is not None:
            blocks += each.content
            if each.container is not None:
                yield each.container.id
    for block in blocks:
        if block.type.endswith(_RAN) and bytes(block.content).startswith(b"{"):
            for file in msgspec.json.decode(block.content, type=_Result).content:
                yield file.file_id


def _in_chat(data: bytes) -> Iterator[Any]:
    for choice in msgspec.json.decode(data, type=_Chat).choices:
        for said in (choice.message, choice.delta):
            if said is not None and said.audio is not None:
                yield said.audio.id


_RAN = "code_execution_tool_result"
_Look = Callable[[bytes], Iterator[Any]]
_NOTHING: tuple[bytes, tuple[bytes, ...], _Look] = (b"", (), lambda _: iter(()))
# What stands in a whole answer, and in an event of a stream, that names such things.
_LOOKS: dict[str, tuple[bytes, tuple[bytes, ...], _Look]] = {
    "openai-responses": (b'"output"', (b'"response.output_item.done"',), _in_responses),
    "anthropic": (b'"container"', (b'"container"', _RAN.encode()), _in_anthropic),
    "openai-chat": (b'"audio"', (b'"audio"',), _in_chat),
}
