"""Long answers of a server, read in pieces: the library reads a whole one twice, and meanwhile
nothing else runs.

What is long in an answer is a list or a call's data.  It is taken out before the library reads the
rest, and put back piece by piece.  What is not, has few values in every message that is no attack.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, NamedTuple, cast

import mcp_types as types
from mcp.client import session as library
from mcp.client.session import ClientSession
from mcp_types import methods
from pydantic import BaseModel

from polycall._support import jsontext
from polycall.ir import JSON
from polycall.mcp.blocks import Block, CallResult, read_blocks
from polycall.tools.problems import truncated

logger = logging.getLogger("polycall.mcp")

REST_VALUES_MAX = 2_000  # of a message, but for what is read apart
DEFINITION_BYTES_MAX = 64 * 1024
DEFINITION_VALUES_MAX = 4_000
TOO_LARGE = (
    f"its definition has more than {DEFINITION_BYTES_MAX:,} bytes or {DEFINITION_VALUES_MAX:,} "
    "values"
)
_AT_ONCE, _VALUES_AT_ONCE = 50, 4_000
_TOLD_MAX = 200  # of what is left out, in one process
_told: set[tuple[str, str]] = set()
_TASKS = "2025-11-25"  # the library's revision of sessions that agreed on none yet

# The list of each answer that may be long, by what was asked; its field has a name of Python's.
_LISTS = {
    "tools/call": "content",
    "tools/list": "tools",
    "prompts/list": "prompts",
    "prompts/get": "messages",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "resources/read": "contents",
}
_DATA = "structuredContent"
APART = frozenset((*_LISTS.values(), _DATA))

# In the place of a definition that is too large: as large as one, so that it is left out for that.
_LARGE = "x" * (DEFINITION_BYTES_MAX + 1)


class Weight(NamedTuple):
    """The size of a value as JSON, and about how many values are in it."""

    size_bytes: int
    values: int

    @property
    def is_too_large(self) -> bool:
        """Whether a definition of this weight is left out."""
        return self.size_bytes > DEFINITION_BYTES_MAX or self.values > DEFINITION_VALUES_MAX


def weight_of(value: Any) -> Weight:
    """A mark of JSON in a text counts as a value, too."""
    text = jsontext.encode_bytes(value)
    return Weight(len(text), sum(text.count(mark) for mark in (b"{", b"[", b",")))


def has_more_values(value: Any, most: int) -> bool:
    """Whether there are more values in it than these; no more are looked at."""
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            table = cast("JSON", here)
            most -= len(table)
            waiting += table.values() if most >= 0 else ()
        elif isinstance(here, list):
            items = cast("list[Any]", here)
            most -= len(items)
            waiting += items if most >= 0 else ()
        if most < 0:
            return True
    return False


class _Apart:
    """The parts of one answer that are read apart."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._rest: JSON = {}
        self._method = ""
        self._data: Any = None

    def rest_of(self, method: str, answer: JSON) -> JSON:
        """The part that the library reads."""
        if has_more_values(answer.get("_meta"), REST_VALUES_MAX):  # for a server's own clients
            answer = {key: value for key, value in answer.items() if key != "_meta"}
        name = _LISTS.get(method, "")
        if isinstance(answer.get(name), list):
            self._method, self._items = method, answer[name]
            answer = {**answer, name: []}
        data = answer.get(_DATA)
        if method == "tools/call" and isinstance(data, dict | list):
            self._data = data  # pyright: ignore[reportUnknownMemberType]
            answer = {**answer, _DATA: type(data)()}  # pyright: ignore[reportUnknownArgumentType]
        self._rest = answer
        return answer

    async def put_back(self, session: ClientSession, result: BaseModel, server: str) -> None:
        """Complete what the library read."""
        if isinstance(result, types.CallToolResult):
            await self.complete(result)
        elif self._items:
            await self._read_items(session, result, server)

    async def complete(self, result: types.CallToolResult) -> None:
        """Complete a call's result; the library looks no further at its content."""
        result.content = cast("Any", await read_blocks(self._items))
        if self._data is not None:
            result.structured_content = self._data

    async def _read_items(self, session: ClientSession, result: BaseModel, server: str) -> None:
        method, version = self._method, session.protocol_version or _TASKS
        name = _LISTS[method]
        field = "resource_templates" if name == "resourceTemplates" else name
        if not hasattr(result, field):
            return  # such as a question: the library found that it is no list
        foreign = library._later_revision_fields(method, version)  # pyright: ignore[reportPrivateUsage]
        rest = {key: value for key, value in self._rest.items() if key not in foreign}
        found: list[BaseModel] = getattr(result, field)

        def made_of(some: list[Any]) -> list[BaseModel]:
            piece = {**rest, name: some}
            with suppress(KeyError):  # a method that this revision does not have
                methods.validate_server_result(method, version, piece)
            made = type(result).model_validate(piece, by_name=False)
            if isinstance(made, types.ListToolsResult):
                absorbing = ClientSession._absorb_tool_listing  # pyright: ignore[reportPrivateUsage]
                made = absorbing(session, made, complete=False)
            return getattr(made, field)

        is_list = method.endswith("/list")
        for some in _pieces(self._items, of_definitions=is_list):
            try:
                found += made_of(some)
            except ValueError:
                if not is_list:
                    raise
                for each in some:  # one that is not of the protocol takes no other with it
                    try:
                        found += made_of([each])
                    except ValueError as error:
                        _tell(server, method, each, error)
            await asyncio.sleep(0)


def _tell(server: str, method: str, item: Any, error: ValueError) -> None:
    named = cast("JSON", item).get("name") if isinstance(item, dict) else item
    words = truncated(f"{method}, {str(named)[:200]!r}: {error}")
    if len(_told) < _TOLD_MAX and (server, words) not in _told:
        _told.add((server, words))
        logger.warning(
            "MCP server %r: left out, since it is not of the protocol: %s", server, words
        )


def _pieces(items: list[Any], *, of_definitions: bool) -> Iterator[list[Any]]:
    piece: list[Any] = []
    values = 0
    for each in items:
        item, weight = each, weight_of(each)
        if of_definitions and weight.is_too_large and isinstance(each, dict):
            item, weight = _large(cast("JSON", each)), Weight(0, 0)
        if piece and (len(piece) >= _AT_ONCE or values + weight.values > _VALUES_AT_ONCE):
            yield piece
            piece, values = [], 0
        piece.append(item)
        values += weight.values
    if piece:
        yield piece


def _large(definition: JSON) -> JSON:
    """The entry in place of a definition that is too large."""
    named = {
        key: definition[key][:DEFINITION_BYTES_MAX]
        for key in ("name", "uri", "uriTemplate")
        if isinstance(definition.get(key), str)
    }
    return {**named, "description": _LARGE, "inputSchema": {"type": "object"}}


_apart: ContextVar[_Apart | None] = ContextVar("polycall_mcp_apart", default=None)


def read_in_pieces(session: ClientSession, server: str) -> None:
    """Have all answers to this session's requests read so."""
    sending = session._dispatcher.send_raw_request  # pyright: ignore[reportPrivateUsage]
    asking = session.send_request

    async def send_raw_request(method: str, *rest: Any, **options: Any) -> JSON:
        answer = await sending(method, *rest, **options)
        apart = _apart.get()
        return answer if apart is None else apart.rest_of(method, answer)

    async def send_request(*asked: Any, **options: Any) -> Any:
        apart = _Apart()
        token = _apart.set(apart)
        try:
            result = await asking(*asked, **options)
        finally:
            _apart.reset(token)
        await apart.put_back(session, result, server)
        return result

    def absorbed(result: types.ListToolsResult, *, complete: bool) -> types.ListToolsResult:
        del complete  # it was absorbed in pieces; who has all pages forgets the others
        return result

    setattr(session._dispatcher, "send_raw_request", send_raw_request)  # noqa: B010  # pyright: ignore[reportPrivateUsage]
    setattr(session, "send_request", send_request)  # noqa: B010
    setattr(session, "_absorb_tool_listing", absorbed)  # noqa: B010


def forget_others(session: ClientSession, names: set[str]) -> None:
    """These are all tools: a server that renames them again and again has us keep no more."""
    maps = session._x_mcp_header_maps  # pyright: ignore[reportPrivateUsage]
    session._x_mcp_header_maps = {name: maps[name] for name in maps if name in names}  # pyright: ignore[reportPrivateUsage]
    session._tool_output_schemas.clear()  # pyright: ignore[reportPrivateUsage]  # ours are in `Outputs`


async def tool_result(answer: Any) -> types.CallToolResult:
    """The result of a call from an answer that the library does not read, such as a task's."""
    if not isinstance(answer, dict):
        raise TypeError("it is no result of a call")
    table = cast("JSON", answer)
    apart = _Apart()
    result = types.CallToolResult.model_validate(apart.rest_of("tools/call", table), by_name=False)
    await apart.complete(result)
    return result


def taken(result: types.CallToolResult) -> CallResult:
    """The result as it is used here."""
    content = cast("list[Block]", result.content)
    return CallResult(content, result.structured_content, is_error=result.is_error)
