"""What a simulated model is asked and what it answers, in no vendor's words.

A `Prompt` is a request after its vendor has checked it; a `Turn` is what the model says to it,
written by a test (`Simulation.script`) or by the rules.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from polycall import jsontext
from polycall.sim.shape import JSON

Finish: TypeAlias = Literal["", "stop", "tool_calls", "length", "content_filter", "refusal"]


class Failure(Struct, frozen=True):
    """An error that the vendor reports.

    `midstream` sends it after the first events of a stream; `status` then chooses only its words.
    """

    status: int = 500
    message: str = ""
    retry_after_s: float | None = None
    midstream: bool = False


class Call(Struct, frozen=True):
    """One tool call.  `raw_arguments` is sent as it is, valid JSON or not, where there is one.

    `id` replaces the one that the vendor would give.
    """

    name: str
    arguments: JSON = {}
    raw_arguments: str | None = None
    id: str = ""

    @property
    def arguments_json(self) -> str:
        """The arguments as the model wrote them."""
        if self.raw_arguments is not None:
            return self.raw_arguments
        return jsontext.encode(self.arguments)


class Turn(Struct, frozen=True):
    """One answer of a model.

    `reasoning=None` is a model that does not reason; `""` reasons and shows nothing, so that
    there is state to carry and no text.  `redacted` adds a block that only Anthropic has.
    `finish=""` follows from the rest.
    """

    text: str = ""
    calls: list[Call] = []
    reasoning: str | None = None
    redacted: bool = False
    refusal: str = ""
    finish: Finish = ""
    error: Failure | None = None

    @property
    def finish_reason(self) -> Finish:
        """`finish`, or what follows from the calls and the refusal."""
        if self.finish:
            return self.finish
        if self.refusal:
            return "refusal"
        return "tool_calls" if self.calls else "stop"


class ToolSpec(Struct, frozen=True):
    """One tool that was offered.  A freeform tool has one string, `input`."""

    name: str
    description: str
    parameters: JSON
    freeform: bool = False


class Said(Struct, frozen=True, tag="said"):
    """Text of the system, the user or the assistant."""

    role: Literal["system", "user", "assistant"]
    text: str


class Called(Struct, frozen=True, tag="called"):
    """A call in the history."""

    id: str
    name: str
    arguments: JSON


class Returned(Struct, frozen=True, tag="returned"):
    """A result in the history."""

    call_id: str
    name: str
    text: str
    is_error: bool = False


Entry: TypeAlias = Said | Called | Returned


class Prompt(Struct):
    """A checked request.

    `allowed=None` allows every tool.  `schema` asks for an instance of it, `{}` for any JSON.
    `reasons` says whether this answer carries reasoning, `shows_reasoning` whether its text is
    shown.  `body` is the wire's own, with field names in one spelling.
    """

    model: str
    entries: list[Entry]
    tools: list[ToolSpec]
    body: JSON
    choice: Literal["auto", "none", "required"] = "auto"
    allowed: frozenset[str] | None = None
    parallel: bool = True
    schema: JSON | None = None
    tokens_max: int | None = None
    stop: list[str] = []
    stream: bool = False
    reasons: bool = False
    shows_reasoning: bool = True
    caches: bool = True
    reports_writes: bool = False

    @property
    def offered(self) -> list[ToolSpec]:
        """The tools that may be called now."""
        if self.choice == "none":
            return []
        if self.allowed is None:
            return self.tools
        return [tool for tool in self.tools if tool.name in self.allowed]

    def since_user(self) -> list[Entry]:
        """What came after the user's last words."""
        for position in range(len(self.entries) - 1, -1, -1):
            entry = self.entries[position]
            if isinstance(entry, Said) and entry.role == "user":
                return self.entries[position + 1 :]
        return list(self.entries)

    def user_text(self) -> str:
        """The user's last words, in however many pieces they came."""
        pieces: list[str] = []
        for entry in reversed(self.entries):
            if isinstance(entry, Said) and entry.role == "user":
                pieces.insert(0, entry.text)
            elif pieces:
                break
        return "\n".join(pieces)


class Tally(Struct, frozen=True):
    """Tokens, each counted once: `prompt` includes `cached` and `cache_written`."""

    prompt: int
    cached: int
    cache_written: int
    text: int
    reasoning: int


class Answer(Struct, frozen=True):
    """A turn with what the wire adds: ids, time, usage.

    `nonce` is twelve hexadecimal digits, unique in the simulation; ids and signatures are made
    of it.
    """

    turn: Turn
    nonce: str
    created: int
    tally: Tally
    seed: int = 0
    stop_sequence: str = ""
    system_notes: list[JSON] = []


class Refused(Exception):  # noqa: N818  # an answer, and not a failure of the simulation
    """The vendor's answer to a request that it does not serve."""

    def __init__(self, status: int, body: JSON, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}: {jsontext.encode(body)}")
        self.status = status
        self.body = body
        self.headers = headers or {}


class ModelSpec(Struct, frozen=True):
    """What a vendor knows of one model.

    `reasons`: `always` unless switched off, `asked` when the request says so, or `never`.
    """

    name: str
    reasons: Literal["always", "asked", "never"] = "asked"
    scripted: bool = False
