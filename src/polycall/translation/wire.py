"""The common part of the dialects: reading JSON with a path, naming tools, collecting losses.

No wire format is described here; only the tools for describing one.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from polycall import ir
from polycall._support.brief import brief
from polycall.errors import MalformedRequestError, PolycallError, ProtocolError, UnsupportedError
from polycall.ir import JSON
from polycall.translation.quirks import Quirks
from polycall.translation.wire_facts import WireFacts

# ---------------------------------------------------------------------------------------------
# What a dialect is


EVENT_STREAM = "text/event-stream; charset=utf-8"


class ToolName(Struct, frozen=True):
    """A tool's own name, behind the alias that a wire format made necessary."""

    name: str
    namespace: str = ""


class WireRequest(Struct, frozen=True):
    """A request ready to be sent.

    `path` is relative to a provider's base URL as that vendor's own SDK takes it
    (`/chat/completions`, `/responses`, `/v1/messages`, `/v1beta/models/M:generateContent`).
    `aliases` maps tool names on the wire to the tools' own, where they differ; `RequestUndo`
    applies it to what comes back.  `adapted` maps such names to the caller's own schema where a
    stricter one was sent; `schema.strip_nulls` undoes that in the arguments.  `headers` are those
    the body needs to be understood.  `bound` is added to the metadata of the answer's reasoning:
    what that is bound to.
    """

    path: str
    body: JSON
    warnings: list[ir.Warning] = []
    aliases: dict[str, ToolName] = {}
    adapted: dict[str, JSON] = {}
    headers: dict[str, str] = {}
    stops: list[str] = []  # stop sequences that the target does not take: the answer is cut at them
    bound: ir.Metadata = {}


class Decoder(Protocol):
    """Bytes of one streamed answer in, events out.

    `feed` never raises: an error in the stream is kept in `error`, nothing comes after it, and
    `close` raises it.  So the events do not depend on how the bytes were cut.
    """

    error: PolycallError | None
    event_bytes_max: int  # of one event; may be set before the first bytes

    @property
    def usage(self) -> ir.Usage: ...  # the wire's reports so far, before any end
    @property
    def held_bytes(self) -> int: ...  # of an event that has not ended
    def feed(self, chunk: bytes) -> list[ir.Event]: ...
    def close(self) -> list[ir.Event]: ...


class Encoder(Protocol):
    """Events of one answer in, bytes out."""

    @property
    def repeated_bytes(self) -> int: ...  # of texts that an event may say again, as long ones
    def feed(self, event: ir.Event) -> bytes: ...
    def frames(self, event: ir.Event) -> Iterator[bytes]: ...  # the same, in pieces
    def close(self) -> bytes: ...
    def fail(self, error: PolycallError) -> bytes: ...


class Dialect(Protocol):
    """A wire format.  Each folder under `dialects/` exports these names."""

    @property
    def NAME(self) -> str: ...  # noqa: N802 - a constant in each dialect
    @property
    def ROUTES(self) -> Sequence[str]: ...  # noqa: N802
    @property
    def STREAM_TYPE(self) -> str: ...  # noqa: N802 - the content type of its streams
    @property
    def FACTS(self) -> WireFacts: ...  # noqa: N802 - for those who pass bodies on

    def parse_request(self, body: JSON, *, path: str = "") -> ir.Request: ...
    def render_request(self, request: ir.Request, *, quirks: Quirks = ...) -> WireRequest: ...
    def parse_response(self, body: JSON) -> ir.Response: ...
    def render_response(self, response: ir.Response, request: ir.Request | None = None) -> JSON: ...
    def parse_error(self, status: int, body: Any) -> PolycallError: ...
    def render_error(self, error: PolycallError) -> tuple[int, JSON]: ...
    def StreamDecoder(self) -> Decoder: ...  # noqa: N802 - a class in each dialect
    def StreamEncoder(self, request: ir.Request | None = None) -> Encoder: ...  # noqa: N802


# ---------------------------------------------------------------------------------------------
# Reading JSON that somebody else wrote

Path: TypeAlias = str


class Reader:
    """Typed access to foreign JSON; what does not fit raises with its path.

    `Reader(MalformedRequestError)` reads a client's request, `Reader(ProtocolError)` a
    provider's answer.  `null` counts as absent: every dialect has writers that send it.
    """

    def __init__(self, error: type[ProtocolError]) -> None:
        self._error = error

    def fail(self, path: Path, expected: str, value: Any) -> NoReturn:
        """Raise for a value of the wrong kind."""
        raise self._error(f"expected {expected}, got {brief(value)}", path=path)

    def object(self, value: Any, path: Path) -> JSON:
        """The value, which must be an object."""
        if isinstance(value, dict):
            return value  # pyright: ignore[reportUnknownVariableType]
        self.fail(path, "an object", value)

    def array(self, value: Any, path: Path) -> list[Any]:
        """The value, which must be an array."""
        if isinstance(value, list):
            return value  # pyright: ignore[reportUnknownVariableType]
        self.fail(path, "an array", value)

    def string(self, value: Any, path: Path) -> str:
        """The value, which must be a string."""
        if isinstance(value, str):
            return value
        self.fail(path, "a string", value)

    def get_object(self, parent: JSON, key: str, path: Path) -> JSON:
        """The object under `key`; empty where absent."""
        value = parent.get(key)
        return {} if value is None else self.object(value, _join(path, key))

    def get_array(self, parent: JSON, key: str, path: Path) -> list[Any]:
        """The array under `key`; empty where absent."""
        value = parent.get(key)
        return [] if value is None else self.array(value, _join(path, key))

    def get_string(self, parent: JSON, key: str, path: Path, default: str = "") -> str:
        """The string under `key`; `default` where absent."""
        value = parent.get(key)
        if isinstance(value, str):
            return value
        return default if value is None else self.string(value, _join(path, key))

    def get_int(self, parent: JSON, key: str, path: Path) -> int | None:
        """The integer under `key` (`3.0` counts as one); `None` where absent."""
        value = parent.get(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        self.fail(_join(path, key), "an integer", value)

    def get_float(self, parent: JSON, key: str, path: Path) -> float | None:
        """The number under `key`; `None` where absent.  One as large as `1e999` is none."""
        value = parent.get(key)
        if value is None:
            return None
        is_int = isinstance(value, int) and not isinstance(value, bool)
        if is_int or (isinstance(value, float) and math.isfinite(value)):
            return value
        self.fail(_join(path, key), "a number", value)

    def get_bool(self, parent: JSON, key: str, path: Path) -> bool | None:
        """The boolean under `key`; `None` where absent."""
        value = parent.get(key)
        if value is None or isinstance(value, bool):
            return value
        self.fail(_join(path, key), "true or false", value)

    def get_choice(self, parent: JSON, key: str, path: Path, choices: Iterable[str]) -> str | None:
        """The string under `key`, which must be one of `choices`; `None` where absent."""
        value = parent.get(key)
        if value is None:
            return None
        names = list(choices)
        if value not in names:
            self.fail(_join(path, key), "one of " + ", ".join(map(repr, names)), value)
        return value


request_reader = Reader(MalformedRequestError)
response_reader = Reader(ProtocolError)


def _join(path: Path, key: str) -> Path:
    return f"{path}.{key}" if path else key


# ---------------------------------------------------------------------------------------------
# Losses


_WAYS_OUT = (
    "remove it, or allow losses: the header 'polycall-lossy: true', `lossy = true` under [server], "
    "or `lossy=True`"
)


class Losses:
    """The parts that a rendering could not carry, by the policy of the request.

    `drop` is for what leaves the answer's meaning alone, `refuse` for what would change it.
    """

    def __init__(self, *, lossy: bool) -> None:
        self.is_lossy = lossy
        self.noted: dict[ir.Warning, None] = {}

    @property
    def warnings(self) -> list[ir.Warning]:
        """All that was noted, each once."""
        return [*self.noted]

    def drop(self, feature: str, detail: str) -> None:
        """Note something that is left out."""
        self._note(ir.Warning("unsupported", feature, detail))

    def emulate(self, feature: str, detail: str) -> None:
        """Note something that is done in another way."""
        self._note(ir.Warning("emulated", feature, detail))

    def adjust(self, feature: str, detail: str) -> None:
        """Note a value that is sent as another."""
        self._note(ir.Warning("adjusted", feature, detail))

    def drop_state(self, feature: str, detail: str) -> None:
        """Note reasoning state of another provider that cannot follow."""
        self._note(ir.Warning("dropped_state", feature, detail))

    def refuse(self, feature: str, detail: str, *, path: Path = "") -> None:
        """Raise `UnsupportedError`; where the request allows losses, note it instead."""
        if not self.is_lossy:
            raise UnsupportedError(f"{feature}: {detail}; {_WAYS_OUT}", feature=feature, path=path)
        self.drop(feature, detail)

    def refuse_hosted(self, name: str, *, feature: str = "", path: Path = "") -> None:
        """Refuse a tool that only its own vendor can run, or a choice of it."""
        detail = f"the tool {name!r} is run by another vendor, and this model's cannot"
        self.refuse(feature or name, detail, path=path)

    def apart(self) -> _Apart:
        """Note losses apart, as if none had been noted before."""
        return _Apart(self)

    def repeat(self, warnings: Iterable[ir.Warning]) -> None:
        """Note what was noted in another rendering."""
        for warning in warnings:
            self._note(warning)

    def _note(self, warning: ir.Warning) -> None:
        self.noted[warning] = None  # a conversation may have a loss in each of its calls


class _Apart:
    """Warnings that are noted within a block, and repeated after it."""

    __slots__ = ("_before", "_losses", "_noted")

    def __init__(self, losses: Losses) -> None:
        self._losses, self._before = losses, losses.noted
        self._noted: dict[ir.Warning, None] = {}

    def __enter__(self) -> dict[ir.Warning, None]:
        self._losses.noted = self._noted
        return self._noted

    def __exit__(self, *_: object) -> None:
        self._losses.noted = self._before
        self._losses.repeat(self._noted)


def unread(source: JSON, known: Container[str]) -> JSON:
    """The fields of `source` that are neither `known` nor null."""
    return {key: value for key, value in source.items() if key not in known and value is not None}


def chosen_tool(choice: ir.ToolChoice) -> str:
    """The name in a choice of a vendor's own tool."""
    for notes in choice.metadata.values():
        for place in (notes, notes.get("definition"), notes.get("choice")):
            found: Any = place.get("type") if isinstance(place, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if isinstance(found, str):
                return found
    return "one of the vendor's own"


END_USER_LENGTH_MAX = 64


def end_user_of(
    request: ir.Request, family: str, losses: Losses, *, length_max: int = END_USER_LENGTH_MAX
) -> str:
    """The end user as another vendor may know it: a hash of it, where it was meant for one.

    `family` begins the names of the dialects whose vendor the client spoke to.  What is too long
    for the wire is hashed too.
    """
    end_user = request.end_user
    is_own = not request.metadata or any(name.startswith(family) for name in request.metadata)
    if is_own and len(end_user) <= length_max:
        return end_user
    losses.emulate("end_user", "a hash of it is sent")
    digest = hashlib.sha256(end_user.encode("utf-8", "surrogatepass")).hexdigest()
    return f"user_{digest[:48]}"


# ---------------------------------------------------------------------------------------------
# Tool names

NAMESPACE_SEPARATOR = "__"


class ToolNames:
    """Reversible aliases for tool names that a wire format does not allow.

    An alias depends on the name alone, so it is the same in definitions, history and tool
    choice, in every request and on every replica.  Two long names that begin alike stay apart.
    """

    def __init__(self, pattern: str, *, length_max: int) -> None:
        """`pattern` describes one allowed character, as a regular expression's set: `[A-Za-z]`."""
        self._bad = re.compile(f"(?!{pattern}).", re.DOTALL)
        self._length_max = length_max
        self.aliases: dict[str, ToolName] = {}

    def apart(self) -> _ApartNames:
        """The aliases that are made meanwhile."""
        return _ApartNames(self)

    def wire_name(self, name: str, namespace: str = "") -> str:
        """The name on the wire; remembers it in `aliases` where it is not the tool's own."""
        full = f"{namespace}{NAMESPACE_SEPARATOR}{name}" if namespace else name
        safe = self._bad.sub("_", full)
        if safe[:1].isdigit() or safe[:1] in "-.:":
            safe = "_" + safe
        if safe != full or len(safe) > self._length_max:
            digest = hashlib.sha256(full.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            safe = f"{safe[: self._length_max - 9]}_{digest}"
        if safe != name or namespace:
            self.aliases[safe] = ToolName(name, namespace)
        return safe


class _ApartNames:
    """Aliases that are made within a block, and taken over after it."""

    __slots__ = ("_before", "_names")

    def __init__(self, names: ToolNames) -> None:
        self._names, self._before = names, names.aliases

    def __enter__(self) -> dict[str, ToolName]:
        self._names.aliases = {}
        return self._names.aliases

    def __exit__(self, *_: object) -> None:
        self._before.update(self._names.aliases)
        self._names.aliases = self._before


# ---------------------------------------------------------------------------------------------
# Conversations


def split_system(messages: Sequence[ir.Message]) -> tuple[list[ir.Message], list[ir.Message]]:
    """The leading system messages, and the rest."""
    for position, message in enumerate(messages):
        if message.role != "system":
            return list(messages[:position]), list(messages[position:])
    return list(messages), []


def with_user(
    system: list[ir.Message], messages: list[ir.Message], losses: Losses
) -> tuple[list[ir.Message], list[ir.Message]]:
    """Both, for a vendor that wants a user's message where others answer to instructions alone."""
    if messages or not system:
        return system, messages
    losses.emulate("messages.system", "the last system message is sent as the user's")
    return system[:-1], [replace(system[-1], role="user")]


_SLICE = 64 * 1024


def short_hash(*pieces: str) -> str:
    """Twelve hexadecimal digits that depend on the pieces alone; for ids the wire left out."""
    digest = hashlib.sha256()
    for number, piece in enumerate(pieces):
        digest.update(b"\x1f" if number else b"")
        for start in range(0, len(piece), _SLICE):  # arguments may be long
            digest.update(piece[start : start + _SLICE].encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:12]
