"""The middle language of voices: what a voice reports (signals) and is asked (commands).

Codecs translate each vendor's frames to it and from it; everything above knows nothing else.
All values are frozen.  Times are milliseconds, as the vendors count them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from polycall.ir import JSON, Message, ToolCall
from polycall.tools.function_tool import Tell
from polycall.voices.audio import AudioFormat
from polycall.voices.usage import VoiceUsage

ReplyStatus: TypeAlias = Literal["completed", "cancelled", "failed", "incomplete"]


class Ready(Struct, frozen=True):
    """The session is open.  `ends_in_s` where the vendor says how long it may last."""

    session_id: str = ""
    ends_in_s: float | None = None


class SpeechStarted(Struct, frozen=True):
    """The caller begins to speak, at this moment of what was sent."""

    offset_ms: float = 0.0
    item_id: str = ""


class SpeechStopped(Struct, frozen=True):
    """The caller has stopped."""

    offset_ms: float = 0.0
    item_id: str = ""


class ItemPlaced(Struct, frozen=True):
    """The place of an item in the conversation: after `previous_id`, or at the end."""

    item_id: str
    previous_id: str | None = None


class HeardText(Struct, frozen=True):
    """The caller's words as the vendor wrote them down; a fragment unless `is_final`."""

    item_id: str
    text: str
    is_final: bool = False
    is_whole: bool = False  # the text is the item's whole text so far, and no fragment


class ReplyStarted(Struct, frozen=True):
    """The voice begins a reply.  `request_id` is that of the `CreateReply` that asked for it."""

    reply_id: str
    request_id: str = ""


class AudioDelta(Struct, frozen=True):
    """More sound of an item, in the output format."""

    item_id: str
    data: bytes
    reply_id: str = ""


class SaidText(Struct, frozen=True):
    """The voice's words as text; a fragment unless `is_final`, then the whole."""

    item_id: str
    text: str
    is_final: bool = False
    reply_id: str = ""
    start_ms: float | None = None
    end_ms: float | None = None


class CallReady(Struct, frozen=True):
    """A call whose item is complete; it may run once its reply is."""

    call: ToolCall
    reply_id: str
    item_id: str = ""


class CallDropped(Struct, frozen=True):
    """A call whose item is not complete; it never runs."""

    call_id: str
    name: str
    reason: str


class ResultTaken(Struct, frozen=True):
    """The vendor has put a call's result into the conversation."""

    call_id: str


class ReplyDone(Struct, frozen=True):
    """A reply is over, whatever became of it.  `usage` is for this reply alone."""

    reply_id: str
    status: ReplyStatus
    reason: str = ""
    usage: VoiceUsage | None = None


class TurnInterrupted(Struct, frozen=True):
    """The vendor has stopped speaking since the caller speaks."""


class CallsCancelled(Struct, frozen=True):
    """The vendor wants no results of these calls any more."""

    call_ids: list[str]


class Delegated(Struct, frozen=True):
    """The voice gives work to the application; what it is stands in the transcript."""

    delegation_id: str
    offset_ms: float = 0.0


class UsageReport(Struct, frozen=True):
    """The usage since the last report, or since the session began."""

    usage: VoiceUsage
    is_cumulative: bool = False


class GoingAway(Struct, frozen=True):
    """The vendor closes this connection soon."""

    left_s: float


class ResumeHandle(Struct, frozen=True):
    """A handle by which a later connection can continue; empty where it cannot at the moment."""

    handle: str


class VendorError(Struct, frozen=True):
    """The vendor refused something.

    `kind` is `reply_active` (there is a reply already), `nothing_active`, `truncation`, `expired`
    (the session is over, a new one may begin), `fatal` (no new session would do) or empty.
    """

    kind: Literal["", "reply_active", "nothing_active", "truncation", "expired", "fatal"]
    code: str
    message: str
    event_id: str = ""


class SessionClosed(Struct, frozen=True):
    """The vendor has closed the session in its own words."""

    reason: str
    can_renew: bool = False


class DigitPressed(Struct, frozen=True):
    """A key of the caller's telephone, as the vendor heard it."""

    digit: str


class UnknownFrame(Struct, frozen=True):
    """A frame of a kind that the codec does not know, or that it cannot read."""

    kind: str


Signal: TypeAlias = (
    Ready
    | SpeechStarted
    | SpeechStopped
    | ItemPlaced
    | HeardText
    | ReplyStarted
    | AudioDelta
    | SaidText
    | CallReady
    | CallDropped
    | ResultTaken
    | ReplyDone
    | TurnInterrupted
    | CallsCancelled
    | Delegated
    | UsageReport
    | GoingAway
    | ResumeHandle
    | VendorError
    | SessionClosed
    | DigitPressed
    | UnknownFrame
)


class OfferedTool(Struct, frozen=True):
    """A tool as the voice sees it; `background` calls of it may be answered late."""

    name: str
    description: str
    parameters: JSON
    background: bool = False


class OpenSession(Struct, frozen=True):
    """Begin, or continue from `handle`; `history` is what was said before."""

    model: str
    instructions: str
    tools: Sequence[OfferedTool] = ()
    speaker: str = ""
    input_format: AudioFormat = AudioFormat()
    output_format: AudioFormat = AudioFormat()
    history: Sequence[Message] = ()
    handle: str = ""


class SendAudio(Struct, frozen=True):
    """Sound of the caller, in the input format."""

    data: bytes


class SendResult(Struct, frozen=True):
    """The result of a call.  `schedule` is empty where the voice has no choice, or needs none."""

    call_id: str
    name: str
    output: str
    is_error: bool = False
    schedule: Tell | Literal[""] = ""
    will_continue: bool = False
    is_background: bool = False


class CreateReply(Struct, frozen=True):
    """Let the voice speak; with `instructions` of this reply alone."""

    request_id: str
    instructions: str = ""


class CancelReply(Struct, frozen=True):
    """Let the voice stop."""

    reply_id: str = ""


class Truncate(Struct, frozen=True):
    """Cut an item: the caller has heard no more of it than so much."""

    item_id: str
    heard_ms: int


class DeleteItem(Struct, frozen=True):
    """Delete an item: the caller has heard nothing of it."""

    item_id: str


class AddText(Struct, frozen=True):
    """A text for the conversation: typed by the user, or a note of the application's.

    With `speaks` the voice is to answer it, where a text alone makes it do so.
    """

    text: str
    role: Literal["user", "system"] = "user"
    speaks: bool = False


class Comment(Struct, frozen=True):
    """Words for a voice that speaks all the time: to be said, or to be known only."""

    text: str
    delegation_id: str = ""
    is_silent: bool = False


class Reconfigure(Struct, frozen=True):
    """Another agent holds the conversation: other instructions, other tools."""

    instructions: str
    tools: Sequence[OfferedTool] = ()


class CloseSession(Struct, frozen=True):
    """End in order, where the protocol has a word for it."""


Command: TypeAlias = (
    OpenSession
    | SendAudio
    | SendResult
    | CreateReply
    | CancelReply
    | Truncate
    | DeleteItem
    | AddText
    | Comment
    | Reconfigure
    | CloseSession
)


class Codec(Protocol):
    """One vendor's protocol, for one connection.  No IO: frames in, frames out."""

    def decode(self, frame: str | bytes) -> list[Signal]:
        """The signals in a vendor's frame; an unreadable one is an `UnknownFrame`."""
        ...

    def encode(self, command: Command) -> list[str]:
        """The frames that ask for it; none where the protocol has no word for it."""
        ...
