"""What a provider's answer says that it keeps: items, containers, files, spoken answers.

Another key must not name them in its requests (`generation/named_resources.py`).  Only places that
the provider itself fills are looked at: what an answer repeats of its request, or tells of a tool,
is made of others' words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

# A shorter one may be a mere number, which is given to the answers of other keys, too.
ID_CHARS_MIN = 16
_is_id = re.compile(rf"[\w.:-]{{{ID_CHARS_MIN},200}}", re.ASCII).fullmatch

_NONE = Raw(b"")
T = TypeVar("T")


class _Named(Struct):
    id: Any = None
    container_id: Any = None


class _Responses(Struct):
    output: list[Raw] = []
    item: Raw = _NONE


class _File(Struct):
    file_id: Any = None


class _Result(Struct):
    content: list[Raw] = []


class _Block(Struct):
    type: str = ""
    content: Raw = _NONE


class _Message(Struct):
    container: Raw = _NONE
    content: Raw = _NONE


class _Anthropic(_Message):
    message: Raw = _NONE
    delta: Raw = _NONE
    content_block: Raw = _NONE


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
        # Whether each is an item, which is gone with an answer that is not stored.
        self.ids: dict[str, bool] = {}

    def taken(self) -> dict[str, bool]:
        """The ids that were found since they were taken last."""
        ids, self.ids = self.ids, {}
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
            for each, is_item in self._look(data):
                if isinstance(each, str) and _is_id(each):
                    self.ids[each] = is_item
        except (msgspec.DecodeError, RecursionError):
            return  # what is wrong with the answer is said elsewhere


def _each(values: Iterable[Raw], kind: type[T]) -> Iterator[T]:
    """Those that are of this kind: what a vendor says in another form hides nothing beside it."""
    for value in values:
        try:
            yield msgspec.json.decode(value, type=kind)
        except msgspec.DecodeError:
            continue


def _in_responses(data: bytes) -> Iterator[tuple[Any, bool]]:
    found = msgspec.json.decode(data, type=_Responses)
    for item in _each((*found.output, found.item), _Named):
        yield item.id, True
        yield item.container_id, False


def _in_anthropic(data: bytes) -> Iterator[tuple[Any, bool]]:
    found = msgspec.json.decode(data, type=_Anthropic)
    blocks = [found.content_block]
    for said in (found, *_each((found.message, found.delta), _Message)):
        for content in _each((said.content,), list[Raw]):
            blocks += content
        for container in _each((said.container,), _Named):
            yield container.id, False
    for block in _each(blocks, _Block):
        if block.type.endswith(_RAN):
            for result in _each((block.content,), _Result):
                for file in _each(result.content, _File):
                    yield file.file_id, False


def _in_chat(data: bytes) -> Iterator[tuple[Any, bool]]:
    for choice in msgspec.json.decode(data, type=_Chat).choices:
        for said in (choice.message, choice.delta):
            if said is not None and said.audio is not None:
                yield said.audio.id, False


_RAN = "code_execution_tool_result"
_Look = Callable[[bytes], Iterator[tuple[Any, bool]]]
_NOTHING: tuple[bytes, tuple[bytes, ...], _Look] = (b"", (), lambda _: iter(()))
# What stands in a whole answer, and in an event of a stream, that names such things.
_LOOKS: dict[str, tuple[bytes, tuple[bytes, ...], _Look]] = {
    "openai-responses": (b'"output"', (b'"response.output_item.done"',), _in_responses),
    "anthropic": (b'"container"', (b'"container"', _RAN.encode()), _in_anthropic),
    "openai-chat": (b'"audio"', (b'"audio"',), _in_chat),
}
