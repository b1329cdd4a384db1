"""The requests and answers of a simulated model, independent of the vendor.

A `Prompt` is a request after its vendor has checked it; a `Turn` is what the model says to it,
written by a test (`Simulation.script`) or by the rules.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from polycall._support import jsontext
from polycall.sim.shape import JSON

Finish: TypeAlias = Literal[
    "", "stop", "tool_calls", "length", "content_filter", "refusal", "pause"
]


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


class CallTool(Protocol):
    """The function that a program awaits to call a tool; gives the client's text as its result."""

    def __call__(self, name: str, /, **arguments: object) -> Awaitable[str]: ...


class Program(Struct, frozen=True):
    """A program that a model writes: the code that is shown, and what runs in its place.

    `run` gets a function to call tools with and one to print with.  It awaits nothing but the
    former, since it is run again from its start with each request that brings results.
    """

    code: str
    run: Callable[[CallTool, Callable[..., None]], Awaitable[None]]


class Search(Struct, frozen=True):
    """A search of the web that the vendor runs, and the page that it finds: a simulated one."""

    tool: str
    query: str
    url: str = "https://example.com/simulated"
    title: str = "A simulated page"


class Turn(Struct, frozen=True):
    """One answer of a model.

    `program` is run where the request lets the vendor run programs; the next turn of the script
    follows when it has ended, in the same answer or in that to its results.  With `calls` alongside
    it (Anthropic) it begins when those have their results.  `reasoning=None` is a
    model that does not reason; `""` reasons and shows nothing, so that there is state to carry and
    no text.  `redacted` adds a block that only Anthropic has.  `finish=""` follows from the rest;
    `"pause"` is Gemini's alone: it breaks off, and the next turn follows where the request comes
    again with the token.  `search` stands before the text, where the vendor searches itself.
    """

    text: str = ""
    calls: list[Call] = []
    reasoning: str | None = None
    redacted: bool = False
    refusal: str = ""
    finish: Finish = ""
    error: Failure | None = None
    program: Program | None = None
    search: Search | None = None

    @property
    def finish_reason(self) -> Finish:
        """`finish`, or what follows from the calls and the refusal."""
        if self.finish:
            return self.finish
        if self.refusal:
            return "refusal"
        return "tool_calls" if self.calls else "stop"


# What a program and its output are called in a history, by vendor.
PROGRAM_NAMES = frozenset({"code_execution", "program"})


class ToolSpec(Struct, frozen=True):
    """One tool that was offered.  A freeform tool has one string, `input`."""

    name: str
    description: str
    parameters: JSON
    freeform: bool = False
    is_deferred: bool = False  # not in the prompt's beginning, but where something refers to it


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
    opens: list[str] = []  # deferred tools that it refers to


Entry: TypeAlias = Said | Called | Returned


class Programs(Struct):
    """The programs that a checked request lets the vendor run.

    `names` are the tools that programs may call, `code_only` those that nobody else may.  `pending`
    is the program that waits for results: `results` are all that it got, `answered_now` the calls
    that this request answers.  `kind` and the prefixes are the wire's own; `scope` marks what was
    made by a turn that reasons.  `has_containers` says that programs run in places that have names.
    """

    names: frozenset[str]
    code_only: frozenset[str]
    scope: str
    program_prefix: str
    call_prefix: str
    kind: str = ""
    has_containers: bool = False
    container: str = ""
    pending: str = ""
    results: dict[str, str] = {}
    answered_now: list[str] = []


class Prompt(Struct):
    """A checked request.

    `allowed=None` allows every tool.  `schema` asks for an instance of it, `{}` for any JSON.
    `reasons` says whether this answer carries reasoning, `shows_reasoning` whether its text is
    shown.  `body` is the wire's own, with field names in one spelling.  `last_thinking` names the
    last thinking block that came back, `transformations` are those that were dropped, where the
    client asked for a report (Anthropic).  `search_tool` names the vendor's search of the web,
    where it is offered.  `namespaces` has the namespace and the own name of tools that are in one.
    `choices` asks for the answer that often; `logprobs` for the probabilities of its tokens, with
    that many others; `calls_functions` for a call as it was before tools (Chat).  `summary` is the
    whole answer where one of the conversation is asked for (Anthropic).
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
    programs: Programs | None = None
    last_thinking: str = ""
    transformations: list[JSON] | None = None
    search_tool: str = ""
    namespaces: dict[str, tuple[str, str]] = {}
    choices: int = 1
    logprobs: int | None = None
    calls_functions: bool = False
    summary: JSON | None = None

    @property
    def offered(self) -> list[ToolSpec]:
        """The tools that the model itself may call now."""
        code_only = self.programs.code_only if self.programs is not None else frozenset[str]()
        return [tool for tool in self._chosen() if tool.name not in code_only]

    @property
    def callable_by_programs(self) -> list[ToolSpec]:
        """The tools that a program may call now."""
        names = self.programs.names if self.programs is not None else frozenset[str]()
        return [tool for tool in self._chosen() if tool.name in names]

    def _chosen(self) -> list[ToolSpec]:
        if self.choice == "none":
            return []
        if self.allowed is None:
            return self.tools
        return [tool for tool in self.tools if tool.name in self.allowed]

    def since_user(self) -> list[Entry]:
        """The entries after the user's last words."""
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


class Outcome(Struct, frozen=True):
    """The end of a program: its output, and its error if it had one."""

    stdout: str
    stderr: str = ""


class Ran(Struct, frozen=True):
    """One program of an answer: begun by `turn` here, or earlier, and run as far as it goes.

    `calls` are those that wait for results; `outcome` is how it ended.  `nonce` is what the ids
    of its turn are made of.
    """

    id: str
    code: str
    turn: Turn | None = None
    nonce: str = ""
    calls: list[Call] = []
    outcome: Outcome | None = None


class Container(Struct):
    """A place where programs run.  Times are seconds of the clock."""

    id: str
    expires_at: float
    waits_since: float = 0.0  # since when a program in it waits for results


class Answer(Struct, frozen=True):
    """A turn with what the wire adds: ids, time, usage.

    `nonce` is twelve hexadecimal digits, unique in the simulation; ids and signatures are made
    of it.  `ran` are the programs before the turn, which is empty where the last of them waits.
    """

    turn: Turn
    nonce: str
    created: int
    tally: Tally
    seed: int = 0
    stop_sequence: str = ""
    system_notes: list[JSON] = []
    ran: list[Ran] = []
    container: Container | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a program waits for results, so that there is no turn yet."""
        return bool(self.ran) and self.ran[-1].outcome is None


class Refused(Exception):  # noqa: N818  # an answer, and not a failure of the simulation
    """The vendor's answer to a request that it does not serve."""

    def __init__(self, status: int, body: JSON, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}: {jsontext.encode(body)}")
        self.status = status
        self.body = body
        self.headers = headers or {}


class ModelSpec(Struct, frozen=True):
    """A vendor's facts about one model.

    `reasons`: `always` unless switched off, `asked` when the request says so, or `never`.  Without
    `calls_tools` it takes neither tools nor what became of them.  `is_real` marks a model of the
    vendor's own list, whose refusals are the dated rules' (`polycall.sim.dated`); all others follow
    the vendor's general rules.  `binds_thinking` and `reads` are as in `dated.Model`.
    """

    name: str
    reasons: Literal["always", "asked", "never"] = "asked"
    scripted: bool = False
    calls_tools: bool = True
    is_real: bool = False
    binds_thinking: bool = False
    reads: frozenset[str] = frozenset()
    demands_signatures: bool = False

    @property
    def signs(self) -> bool:
        """Whether it wants the signatures of its calls back (Gemini)."""
        return self.demands_signatures if self.is_real else self.reasons == "always"

    @property
    def always_thinks(self) -> bool:
        """Whether the general rules for models that always think hold for it."""
        return self.reasons == "always" and not self.is_real
