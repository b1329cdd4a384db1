"""The middle language.  Every dialect parses into it and renders out of it; read this first.

Nothing here knows a wire format, a provider or a socket.  All values are frozen: translation
makes new ones.

Conventions that hold everywhere:

* `metadata` maps a dialect's name (`"openai-chat"`, `"openai-responses"`, `"anthropic"`,
  `"gemini"`) to what that dialect needs echoed to stay whole: signatures, encrypted reasoning,
  item ids, cache marks, and where a field stood when the wire has two spellings.  A dialect
  reads and writes its own key only, so nothing of one vendor ever reaches another.  (`history.py`
  adds `"polycall"` to messages: the model that gave them.)
* What a dialect knows and the middle language does not is an `Opaque` part (in position) or an
  entry in `Request.provider_options` (top level).  The same dialect gives it back unchanged;
  another one warns about it or refuses it.
* A loss is a `Warning` value, never silence.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cached_property
from typing import Any, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import force_setattr

from polycall._support import jsontext
from polycall._support.json_weight import LONG_BYTES, check_weight
from polycall.errors import RequestError

JSON: TypeAlias = dict[str, Any]
Metadata: TypeAlias = dict[str, dict[str, Any]]

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
FinishReason: TypeAlias = Literal[
    "stop", "tool_calls", "length", "content_filter", "refusal", "pause", "error"
]
MediaKind: TypeAlias = Literal["image", "audio", "video", "document", "file"]
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


# Holds what a model wrote in place of arguments, where the wire or the server takes objects only.
INVALID_ARGUMENTS = "invalid_arguments_json"


class Text(Struct, frozen=True, tag="text", tag_field="type", omit_defaults=True):
    """Visible text.  May be empty where its metadata must be kept (a Gemini signature)."""

    text: str
    metadata: Metadata = {}


class Media(Struct, frozen=True, tag="media", tag_field="type", omit_defaults=True):
    """Something to look at, listen to or read.

    Exactly one of `data` (base64, standard alphabet, padded; bytes become it), `url` or `file_id`
    (a provider's own, not portable) is set.  `text` is for documents whose source is plain text.
    """

    kind: MediaKind
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""
    text: str = ""
    filename: str = ""
    metadata: Metadata = {}

    def __post_init__(self) -> None:
        # Bytes are what a tool or a person has at hand.
        given: Any = self.data
        if isinstance(given, bytes | bytearray | memoryview):
            held = bytes(given)  # pyright: ignore[reportUnknownArgumentType]
            force_setattr(self, "data", b64encode(held).decode())
        elif not isinstance(given, str):
            raise RequestError(f"the data of media is bytes or base64, not {given!r}", path="data")

    def __repr__(self) -> str:
        held = f"{len(self.data)} characters of base64" if self.data else self.url or self.file_id
        named = f", {self.filename!r}" if self.filename else ""
        return f"Media({self.kind!r}, {self.media_type!r}{named}, {held[:200]!r})"


class Reasoning(Struct, frozen=True, tag="reasoning", tag_field="type", omit_defaults=True):
    """The model's reasoning, as far as the provider shows it.

    `text` may be empty while `metadata` holds a signature or encrypted content: such a part is
    as important as a full one, since the provider refuses or forgets without it.
    """

    text: str = ""
    metadata: Metadata = {}


class ToolCall(
    Struct, frozen=True, tag="tool_call", tag_field="type", omit_defaults=True, dict=True
):
    """The model asks for a tool.

    `arguments_json` is the model's text as it came, byte for byte where the wire has text.
    `kind="custom"` marks a freeform call, whose `arguments_json` is the JSON object
    `{"input": "..."}`.  `caller` is `"direct"`, or the id of the program that made the call.
    """

    id: str
    name: str
    arguments_json: str = "{}"
    kind: Literal["function", "custom"] = "function"
    namespace: str = ""
    caller: str = "direct"
    metadata: Metadata = {}

    def __post_init__(self) -> None:
        # A dictionary is what people write by hand, in a test or a history.
        given: Any = self.arguments_json
        if isinstance(given, dict):
            force_setattr(self, "arguments_json", jsontext.encode(given))
        elif not isinstance(given, str):
            raise RequestError(
                f"the arguments of a call are JSON text or a dictionary, not {given!r}",
                path="arguments_json",
            )

    @cached_property
    def arguments(self) -> dict[str, Any] | None:
        """The parsed arguments; `None` where the text is not a JSON object.

        Empty text, `null` and `""` are the spellings that models use for "no arguments", and
        parse to `{}`.
        """
        return parse_arguments(self.arguments_json)


class ToolResult(Struct, frozen=True, tag="tool_result", tag_field="type", omit_defaults=True):
    """The result of a tool call.  `name` is the tool's, where known; Gemini requires it."""

    call_id: str
    content: list[Text | Media | Opaque] = []
    is_error: bool = False
    name: str = ""
    metadata: Metadata = {}

    @property
    def text(self) -> str:
        """All text of the content, joined by line breaks."""
        return "\n".join(part.text for part in self.content if isinstance(part, Text))


class Refusal(Struct, frozen=True, tag="refusal", tag_field="type", omit_defaults=True):
    """The model declines, in a channel of its own."""

    text: str
    metadata: Metadata = {}


class Opaque(Struct, frozen=True, tag="opaque", tag_field="type", omit_defaults=True):
    """A piece of the wire that only `dialect` understands, kept whole and in position.

    `metadata` is what the library notes of it, and is never sent.
    """

    dialect: str
    kind: str
    data: JSON
    metadata: Metadata = {}


Part: TypeAlias = Text | Media | Reasoning | ToolCall | ToolResult | Refusal | Opaque


class Message(Struct, frozen=True, omit_defaults=True):
    """One role's turn.

    `system` messages may stand anywhere; those before the first other message are the ones a
    dialect lifts to its top-level slot.  Tool results stand in messages of role `tool`, all
    results of one assistant turn together.
    """

    role: Role
    parts: list[Part] = []
    name: str = ""
    metadata: Metadata = {}

    @property
    def text(self) -> str:
        """The visible text of all parts, joined without a separator."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls, in the model's order."""
        return [part for part in self.parts if isinstance(part, ToolCall)]


class Tool(Struct, frozen=True, omit_defaults=True):
    """A tool as the model sees it.

    `kind="function"` takes arguments by `parameters` (JSON Schema; `None` where the wire gave
    none).  `kind="custom"` takes free text, bounded by `grammar` (`{"syntax", "definition"}`).
    `kind="hosted"` runs at the provider: its definition is `metadata[dialect]["definition"]`.
    `strict` is `None` where the caller did not say: the dialects' defaults differ.
    """

    name: str
    description: str = ""
    parameters: JSON | None = None
    kind: Literal["function", "custom", "hosted"] = "function"
    strict: bool | None = None
    grammar: JSON | None = None
    output_schema: JSON | None = None
    examples: list[JSON] = []
    defer_loading: bool | None = None
    allowed_callers: list[str] = []  # "direct", "code"; empty: the dialect's default
    namespace: str = ""
    metadata: Metadata = {}


class ToolChoice(Struct, frozen=True, omit_defaults=True):
    """Which tools the model may or must call.

    | mode       | names  | meaning                        |
    |------------|--------|--------------------------------|
    | `auto`     | empty  | as it likes                    |
    | `auto`     | some   | as it likes, from these        |
    | `none`     | empty  | none                           |
    | `required` | empty  | at least one                   |
    | `required` | some   | at least one, from these       |
    | `tool`     | one    | this one                       |
    | `hosted`   | empty  | one of the provider's own, as in `metadata` |
    """

    mode: Literal["auto", "none", "required", "tool", "hosted"]
    names: list[str] = []
    metadata: Metadata = {}


class ReasoningConfig(Struct, frozen=True, omit_defaults=True):
    """The amount of reasoning, and whether to show it.

    `budget_tokens` 0 is off, -1 the model's own.
    """

    effort: Effort | None = None
    budget_tokens: int | None = None
    include_text: bool | None = None
    metadata: Metadata = {}


class ResponseFormat(Struct, frozen=True, omit_defaults=True):
    """The format that the answer must have."""

    kind: Literal["text", "json", "json_schema"]
    schema: JSON | None = None
    name: str = ""
    description: str = ""
    strict: bool | None = None
    metadata: Metadata = {}


class Request(Struct, frozen=True, omit_defaults=True):
    """One generation, as any dialect can ask for it.  `None` means: the caller did not say."""

    model: str
    messages: list[Message]
    tools: list[Tool] = []
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    stream: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = []
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    candidates: int | None = None
    logprobs: int | None = None  # how many alternatives a token; 0: only the chosen one
    reasoning: ReasoningConfig | None = None
    response_format: ResponseFormat | None = None
    service_tier: str = ""
    end_user: str = ""
    lossy: bool = False  # losses that are refused by default become warnings
    # Whether providers are asked to cache the prompt's beginning; `None`: where that is worth it.
    cache: bool | None = None
    prompted: bool = False  # tools are described in the prompt, for a model that can be sent none
    provider_options: dict[str, JSON] = {}
    metadata: Metadata = {}


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens, in one arithmetic for all providers.

    `input_tokens` includes `cached_tokens` (read from a cache) and `cache_write_tokens`;
    `output_tokens` includes `reasoning_tokens`.  `service_tier` is the one that answered, in the
    provider's word, where it says so: tiers have prices of their own.  `metadata[dialect]` is the
    wire's own object.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    service_tier: str = ""
    metadata: Metadata = {}

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def is_reported(self) -> bool:
        """False where the provider said nothing: such a usage must not be priced as zero."""
        return self.input_tokens > 0 or self.output_tokens > 0

    def __add__(self, other: Usage) -> Usage:
        """The sum of both; the wire objects, which do not add, are left out."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            service_tier=self.service_tier if self.service_tier == other.service_tier else "",
        )


class Warning(Struct, frozen=True, omit_defaults=True):
    """Something the target does not get as the caller wrote it.

    `unsupported`: dropped.  `emulated`: done in another way.  `adjusted`: sent with another
    value.  `dropped_state`: reasoning state of another provider that cannot follow.
    """

    kind: Literal["unsupported", "emulated", "adjusted", "dropped_state"]
    feature: str
    detail: str = ""


class Response(Struct, frozen=True, omit_defaults=True):
    """One finished generation.

    `finish_reason` is `tool_calls` whenever there are calls and the wire's reason is a normal
    end; `raw_finish_reason` is the wire's word.
    """

    id: str
    model: str
    message: Message
    finish_reason: FinishReason
    raw_finish_reason: str = ""
    usage: Usage = Usage()
    warnings: list[Warning] = []
    created: int = 0  # seconds since the epoch; 0 where the wire has none
    metadata: Metadata = {}

    @property
    def text(self) -> str:
        """The visible text of the answer."""
        return self.message.text

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls of the answer."""
        return self.message.tool_calls


# Events.  The grammar is `ResponseStart (PartStart PartDelta* PartEnd)* ResponseEnd`, one part
# open at a time; `fold.py` checks it and folds events into a `Response`.


class ResponseStart(Struct, frozen=True, tag="response_start", tag_field="type"):
    """The provider has begun.  `usage` is what is known so far (Anthropic's input tokens)."""

    id: str = ""
    model: str = ""
    created: int = 0
    usage: Usage = Usage()
    metadata: Metadata = {}


class PartStart(Struct, frozen=True, tag="part_start", tag_field="type"):
    """A part opens.

    `part` holds what is known: a `ToolCall` its id and name with empty `arguments_json`, text
    parts an empty text.  `Media` and `Opaque` come whole and get no deltas.
    """

    index: int
    part: Part


DeltaKind: TypeAlias = Literal["text", "reasoning", "refusal", "arguments"]


class PartDelta(Struct, frozen=True, tag="part_delta", tag_field="type", omit_defaults=True):
    """More text of the open part; for a `ToolCall`, a fragment of `arguments_json`.

    `kind` names the part for anyone who has not kept its `PartStart`.  Streams of a client and of
    an agent fill it in; decoders leave it `None`, since what reads them folds.
    """

    index: int
    text: str
    kind: DeltaKind | None = None


class PartEnd(Struct, frozen=True, tag="part_end", tag_field="type"):
    """The open part is complete.  `metadata` is merged into the part's, a dialect at a time."""

    index: int
    metadata: Metadata = {}


class ResponseEnd(Struct, frozen=True, tag="response_end", tag_field="type"):
    """The answer is complete.  `metadata` is merged into that of `ResponseStart`."""

    finish_reason: FinishReason
    raw_finish_reason: str = ""
    usage: Usage = Usage()
    metadata: Metadata = {}


Event: TypeAlias = ResponseStart | PartStart | PartDelta | PartEnd | ResponseEnd


def parse_arguments(arguments_json: str) -> dict[str, Any] | None:
    """Parse a model's argument text; `None` where it is not a JSON object.

    Never repairs: a cut or broken text is not a call that may run.  Nor may one that would take
    too much memory to read.
    """
    text = arguments_json.strip()
    if text in ("", "null", '""', "{}"):
        return {}
    try:
        if len(text) > LONG_BYTES:
            check_weight(text.encode("utf-8", "surrogatepass"))
        value = jsontext.decode(text)
    except ValueError:
        return None
    if isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType]
    return None


def delta_kind(part: Part) -> DeltaKind | None:
    """The kind of this part's deltas; `None` for a part that has none."""
    match part:
        case Text():
            return "text"
        case Reasoning():
            return "reasoning"
        case Refusal():
            return "refusal"
        case ToolCall():
            return "arguments"
        case _:
            return None


def merge_metadata(first: Metadata, second: Metadata) -> Metadata:
    """Both, a dialect at a time; the second wins where they meet."""
    if not second:
        return first
    if not first:
        return second
    merged = dict(first)
    for dialect, values in second.items():
        merged[dialect] = {**merged.get(dialect, {}), **values}
    return merged


def unified_finish(reason: FinishReason, *, has_calls: bool) -> FinishReason:
    """`tool_calls` for a normal end with calls, `stop` for `tool_calls` without any."""
    if reason in ("stop", "tool_calls"):
        return "tool_calls" if has_calls else "stop"
    return reason
