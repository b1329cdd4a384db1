"""Servers' questions to their clients in the middle of a call: to a person, or to a model.

A server asks on the connection, which may serve several calls at once.  The answer goes to the call
that is meant where the protocol says which; an older server's question is refused while several
calls are under way, since it could reach a person whom it does not concern.
"""

from __future__ import annotations

import contextvars
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Hashable, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TypeAlias, cast

import mcp_types as types
from mcp.client.session import ClientRequestContext
from msgspec import Struct

from polycall.errors import PolycallError
from polycall.ir import JSON, Media, Message, Request, Response, Text
from polycall.mcp.logs import ConnectionLogs, LogSink
from polycall.mcp.tasks import Begun, ServerTask
from polycall.tools import ToolContext

logger = logging.getLogger("polycall.mcp")

_REFUSED = types.INVALID_REQUEST
_MESSAGE_CHARS_MAX = 4_000
_SAMPLING_MESSAGES_MAX = 200
_QUESTIONS_MAX = 100  # of one call


class Elicitation(Struct, frozen=True):
    """A server's question to a person: a form by `schema`, or a page to open at `url`."""

    server: str
    message: str
    schema: JSON | None = None
    url: str = ""


class ElicitationAnswer(Struct, frozen=True):
    """A person's answer; `content` fits the schema where it was accepted."""

    action: Literal["accept", "decline", "cancel"]
    content: JSON | None = None


class SamplingRequest(Struct, frozen=True):
    """A server's request for a model's answer, as one of the middle language."""

    server: str
    request: Request
    hints: tuple[str, ...] = ()  # models that the server would like


Elicit: TypeAlias = Callable[[Elicitation, ToolContext[Any]], Awaitable[ElicitationAnswer]]
# The model's answer: its text, and who gave it.
Sample: TypeAlias = Callable[[SamplingRequest, ToolContext[Any]], Awaitable[Response]]


class GeneratesResponses(Protocol):
    """A client that answers requests: `Client`, a model for tests."""

    async def generate_request(self, request: Request) -> Response:
        """One whole answer."""
        ...


def sampling_by(
    client: GeneratesResponses, model: str, *, requests_max: int = 5, tokens_max: int = 4096
) -> Sample:
    """Answer servers' requests with this model.

    A server gets at most `requests_max` answers in one call, each of at most `tokens_max` tokens.
    """
    made: dict[str, int] = {}

    async def sample(asked: SamplingRequest, context: ToolContext[Any]) -> Response:
        key = context.call.id if context.call is not None else ""
        made[key] = made.get(key, 0) + 1
        while len(made) > 1_000:
            del made[next(iter(made))]
        if made[key] > requests_max:
            raise PolycallError(f"a call may ask a model {requests_max} times at most")
        wanted = asked.request.max_output_tokens or tokens_max
        request = asked.request
        return await client.generate_request(
            Request(
                model=model,
                messages=request.messages,
                max_output_tokens=min(wanted, tokens_max),
                temperature=request.temperature,
                stop=request.stop,
            )
        )

    return sample


class ServerQuestions:
    """The calls of one connection, and who answers what the server asks in them."""

    def __init__(
        self,
        server: str,
        elicit: Elicit | None,
        sample: Sample | None,
        log: LogSink | None = None,
        roots: Sequence[str] = (),
    ) -> None:
        self.logs = ConnectionLogs(server, log)
        self._is_heard = log is not None
        self._roots = roots
        self._server = server
        self._elicit = elicit
        self._sample = sample
        self._calls: list[ToolContext[Any]] = []
        self._others = 0  # requests that are no calls
        self._asked: Counter[int] = Counter()  # how often, in the calls that are under way
        self._own: contextvars.ContextVar[ToolContext[Any] | None] = contextvars.ContextVar(
            "polycall_mcp_call", default=None
        )
        self._begun: contextvars.ContextVar[Begun | None] = contextvars.ContextVar(
            "polycall_mcp_begun", default=None
        )

    @contextmanager
    def calling(self, context: ToolContext[Any], begun: Begun | None = None) -> Generator[None]:
        """While a call is under way; `begun` hears of the task that is made of it."""
        self._calls.append(context)
        self.logs.begun(context)
        token, other = self._own.set(context), self._begun.set(begun)
        try:
            yield
        finally:
            self._begun.reset(other)
            self._own.reset(token)
            self._calls.remove(context)
            del self._asked[id(context)]

    @contextmanager
    def asking(self, caller: Hashable) -> Generator[None]:
        """While another request is under way: what the server asks may be of this one."""
        self.logs.asked(caller)
        self._others += 1
        try:
            yield
        finally:
            self._others -= 1

    @property
    def callbacks(self) -> dict[str, Any]:
        """The callbacks for the protocol's client: without one it declares no capability."""
        found: dict[str, Any] = {}
        if self._elicit is not None:
            found["elicitation_callback"] = self._elicited
        if self._sample is not None:
            found["sampling_callback"] = self._sampled
        if self._is_heard:
            found["logging_callback"] = self._logged
        if self._roots:
            found["list_roots_callback"] = self._listed_roots
        return found

    def task_begun(self, task: ServerTask) -> None:
        """The server made a task of the call that is under way here."""
        if (begun := self._begun.get()) is not None:
            begun(task)

    async def report(self, message: str) -> None:
        """Say how far the call is that is under way here."""
        if (call := self._context()) is not None:
            await call.report(0.0, message)

    def _context(self) -> ToolContext[Any] | None:
        own = self._own.get()
        if own is not None:
            return own
        return self._calls[0] if len(self._calls) == 1 and not self._others else None

    async def _logged(self, params: types.LoggingMessageNotificationParams) -> None:
        await self.logs.take(params, self._own.get(), self._calls)

    async def _listed_roots(self, context: ClientRequestContext) -> types.ListRootsResult:
        del context
        return types.ListRootsResult(
            roots=[types.Root.model_validate({"uri": uri}) for uri in self._roots]
        )

    async def _elicited(
        self, context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        del context
        call = self._context()
        if call is None or self._elicit is None:
            return self._unclear("a person")
        if refused := self._excess(call):
            return refused
        message = params.message[:_MESSAGE_CHARS_MAX]
        if isinstance(params, types.ElicitRequestURLParams):
            question = Elicitation(self._server, message, url=str(params.url))
        else:
            question = Elicitation(self._server, message, schema=params.requested_schema)
        answer = await self._elicit(question, call)
        return types.ElicitResult(action=answer.action, content=answer.content)

    async def _sampled(
        self, context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.ErrorData:
        del context
        call = self._context()
        if call is None or self._sample is None:
            return self._unclear("a model")
        if refused := self._excess(call):
            return refused
        try:
            response = await self._sample(sampling_request(self._server, params), call)
        except PolycallError as error:
            # The server's tool is informed, and continues as it can.
            return types.ErrorData(code=_REFUSED, message=str(error))
        text = "".join(part.text for part in response.message.parts if isinstance(part, Text))
        reason = "maxTokens" if response.finish_reason == "length" else "endTurn"
        return types.CreateMessageResult(
            role="assistant",
            content=types.TextContent(text=text),
            model=response.model or "unknown",
            stop_reason=reason,
        )

    def _excess(self, call: ToolContext[Any]) -> types.ErrorData | None:
        """The refusal of a question, where its call asked enough of them."""
        times = self._asked[id(call)] = self._asked[id(call)] + 1
        if times <= _QUESTIONS_MAX:
            return None
        words = f"more than {_QUESTIONS_MAX} questions in one call"
        if times == _QUESTIONS_MAX + 1:
            logger.warning("MCP server %r asks %s; the others are refused", self._server, words)
        return types.ErrorData(code=_REFUSED, message=words)

    def _unclear(self, whom: str) -> types.ErrorData:
        logger.warning(
            "MCP server %r asks for %s while %d calls and %d other requests are under way; it is "
            "refused, since the protocol does not say which it means",
            self._server,
            whom,
            len(self._calls),
            self._others,
        )
        return types.ErrorData(
            code=_REFUSED,
            message="it is not clear which call this belongs to; ask within a single call",
        )


def sampling_request(server: str, params: types.CreateMessageRequestParams) -> SamplingRequest:
    """The request of a server; `PolycallError` where it cannot be taken."""
    if params.tools or params.tool_choice:
        raise PolycallError("tools in a request for a model's answer are not taken here")
    if len(params.messages) > _SAMPLING_MESSAGES_MAX:
        raise PolycallError(f"more than {_SAMPLING_MESSAGES_MAX} messages")
    messages = [
        Message(message.role, [_part(block) for block in _blocks(message.content)])
        for message in params.messages
    ]
    hints: tuple[str, ...] = ()
    if params.model_preferences is not None and params.model_preferences.hints:
        hints = tuple(hint.name for hint in params.model_preferences.hints if hint.name)
    if params.system_prompt:
        messages.insert(0, Message("system", [Text(params.system_prompt)]))
    request = Request(
        model="",
        messages=messages,
        max_output_tokens=params.max_tokens,
        temperature=params.temperature,
        stop=list(params.stop_sequences or []),
    )
    return SamplingRequest(server, request, hints)


def _blocks(content: Any) -> list[Any]:
    return cast("list[Any]", content) if isinstance(content, list) else [content]


def _part(block: Any) -> Text | Media:
    match block:
        case types.TextContent():
            return Text(block.text)
        case types.ImageContent():
            return Media("image", media_type=block.mime_type, data=block.data)
        case types.AudioContent():
            return Media("audio", media_type=block.mime_type, data=block.data)
        case _:
            raise PolycallError(f"{type(block).__name__} in a message is not taken here")
