"""A person's word in the middle of a call, whatever revision the client speaks.

Older clients are asked on their connection while the call waits.  Clients of the newest revision
get the question as the answer, and send the call again with theirs: the call itself waits here
under a token, or, where nothing has run yet, in the token alone.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import mcp_types as types
import msgspec
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError, NoBackChannelError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from msgspec import Struct

from polycall._support import jsontext
from polycall._support.printable import printable_line
from polycall.errors import InvalidRequestError
from polycall.gateway.mcp.log_messages import Listener
from polycall.gateway.state.sealed_tokens import Sealer
from polycall.gateway.store import Store
from polycall.mcp.asking import Elicitation, ElicitationAnswer
from polycall.mcp.logs import LogMessage
from polycall.mcp.tasks import ServerTask

T = TypeVar("T")
Reporter = Callable[[float, str], Awaitable[None]]

ANSWER = "answer"
_APPROVAL_S = 900.0
_PARKED_MAX = 500
_PARKED_OF_KEY_MAX = 50
_PERSON_S = 600.0
# What a person can be expected to read; more is not shown in part, but not asked about.
SHOWN_CHARS_MAX = 20_000


class _Approval(Struct, frozen=True):
    """The question for a person: in the token, so that any replica can continue."""

    tool: str
    digest: str
    nonce: str
    expires: float


class Approvals:
    """Asks about calls that need a person's word; each word is good for one call."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sealer = Sealer(store.secret)

    def token(self, owner: str, tool: str, arguments_json: str) -> str:
        """Stands for the call, until it is approved or too old."""
        approval = _Approval(
            tool,
            _digest(arguments_json),
            secrets.token_hex(12),
            time.time() + _APPROVAL_S,
        )
        return self._sealer.seal(_sealed_for(owner), jsontext.encode_bytes(approval))

    async def is_good(self, owner: str, token: str, tool: str, arguments_json: str) -> bool:
        """Whether the token is for this very call of this owner, and was not used yet."""
        payload = self._sealer.open(_sealed_for(owner), token)
        if payload is None:
            return False
        try:
            approval = msgspec.json.decode(payload, type=_Approval)
        except msgspec.DecodeError:
            return False
        if approval.tool != tool or approval.digest != _digest(arguments_json):
            return False
        if approval.expires < time.time():
            return False
        # Once, whatever replica it comes to.
        return await self._store.keep_new("mcp-approvals", approval.nonce, b"used")


def approval_question(tool: str, about: str, arguments_json: str) -> Elicitation:
    """The text that a person reads before a call is made: all of it, or `InvalidRequestError`."""
    shown = printable_line(arguments_json)
    if len(shown) > SHOWN_CHARS_MAX:
        raise InvalidRequestError(
            f"{tool[:200]!r} needs a person's approval, and its arguments have {len(shown):,} "
            f"characters: at most {SHOWN_CHARS_MAX:,} can be shown; nothing was run"
        )
    return Elicitation(
        about,
        f"Run {printable_line(tool)} with {shown}?",
        schema={
            "type": "object",
            "properties": {
                "approve": {"type": "boolean", "title": "Run it", "default": False},
            },
            "required": ["approve"],
        },
    )


def is_approved(answer: ElicitationAnswer) -> bool:
    """Whether the person said yes."""
    return answer.action == "accept" and (answer.content or {}).get("approve") is True


class Running(Generic[T]):
    """A call that may ask, and waits for the answer.

    `reporter` hears how far it is, and `message` is what it heard last; `listener` hears what its
    server logs; `call_id` is the id that the call has in the ledger;
    `server_task` is what the server made of it, if it is one task's.
    """

    def __init__(
        self,
        work: Callable[[Running[T]], Awaitable[T]],
        reporter: Reporter | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.listen(reporter, listener)
        self.message = ""
        self.call_id = ""
        self.server_task: ServerTask | None = None
        self._heed: Callable[[], None] = lambda: None
        self._question: asyncio.Future[Elicitation] = asyncio.get_running_loop().create_future()
        self._answer: asyncio.Future[ElicitationAnswer] | None = None
        self._turn = asyncio.Lock()
        self._task = asyncio.ensure_future(work(self))

    def listen(self, reporter: Reporter | None, listener: Listener | None) -> None:
        """Somebody else listens now, or nobody."""
        self.reporter, self.listener = reporter, listener

    async def log(self, message: LogMessage) -> None:
        """Pass on what the server logs."""
        if self.listener is not None:
            await self.listener.hear(message)

    async def report(self, progress: float, message: str) -> None:
        """Say how far the call is to who listens now."""
        self.message = message or f"{progress:.0%}"
        if self.reporter is not None:
            await self.reporter(progress, message)

    def begun(self, call_id: str) -> None:
        """The call has this id."""
        self.call_id = call_id

    def tasked(self, task: ServerTask) -> None:
        """The server made a task of the call, which outlives this process."""
        self.server_task = task
        self._heed()

    def leave(self) -> bool:
        """End it here; a server's task continues there.  False without one: it has ended."""
        if self.server_task is not None:
            self.server_task.is_left = True
        self.cancel()
        return self.server_task is not None

    @property
    def question(self) -> Elicitation | None:
        """The open question, if there is one."""
        return self._question.result() if self._question.done() else None

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    async def ask(self, question: Elicitation) -> ElicitationAnswer:
        """Put a question, and wait for the answer; one at a time."""
        async with self._turn:
            self._answer = asyncio.get_running_loop().create_future()
            self._question.set_result(question)
            try:
                async with asyncio.timeout(_PERSON_S):
                    return await self._answer
            except TimeoutError:
                return ElicitationAnswer("cancel")
            finally:
                self._answer = None
                if self._question.done():
                    self._question = asyncio.get_running_loop().create_future()

    def answer(self, answer: ElicitationAnswer) -> None:
        """The answer to the question."""
        if self._answer is not None and not self._answer.done():
            self._question = asyncio.get_running_loop().create_future()
            self._answer.set_result(answer)

    async def next(self, within_s: float | None = None) -> T | Elicitation | None:
        """The result, the next question, or `None` where neither comes in time.

        Cancelled, it takes the call with it.
        """
        question = self._question
        try:
            await asyncio.wait(
                {self._task, question}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED
            )
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self._task.done():
            return self._task.result()
        return question.result() if question.done() else None

    def heed(self, call: Callable[[], None]) -> None:
        """Call this when it has ended, or continues at its server."""
        self._heed = call
        self._task.add_done_callback(lambda _: call())

    def result(self) -> T:
        """The result; raises the error that ended it."""
        return self._task.result()

    def cancel(self) -> None:
        """End the call, which continues for as long as it takes to tell its server.

        Nobody waits for that: where the client's request is cancelled, the task that waits is
        cancelled again and again, and what it awaits with it.
        """
        self._task.cancel()
        _ending.add(self._task)
        self._task.add_done_callback(_ended)

    async def ended(self) -> None:
        """Wait until it has."""
        await asyncio.wait({self._task})


_ending: set[asyncio.Future[Any]] = set()


def _ended(task: asyncio.Future[Any]) -> None:
    _ending.discard(task)
    if not task.cancelled():
        task.exception()  # nobody else looks at it


class Parked:
    """Calls whose client has the question, and will come back with the answer."""

    def __init__(self, store: Store) -> None:
        self._sealer = Sealer(store.secret)
        self._calls: OrderedDict[str, tuple[str, str, Running[Any], float]] = OrderedDict()

    def park(self, owner: str, key: str, running: Running[Any]) -> str:
        """Keep the call; the token with which its owner comes back.  `key` is the call itself.

        Where there are too many, the oldest of the owner that has most is given up.
        """
        self._drop_old(owner)
        name = secrets.token_hex(16)
        self._calls[name] = (owner, key, running, time.monotonic() + _PERSON_S)
        return self._sealer.seal(_sealed_for(owner), f"parked {name}".encode())

    def take(self, owner: str, key: str, token: str) -> Running[Any] | None:
        """The call of this owner's token; `None` where it is not here, or not this call."""
        payload = self._sealer.open(_sealed_for(owner), token)
        if payload is None or not payload.startswith(b"parked "):
            return None
        name = payload.removeprefix(b"parked ").decode("ascii", "replace")
        found = self._calls.get(name)
        if found is None or found[0] != owner or found[1] != key:
            return None
        del self._calls[name]
        return found[2]

    async def close(self) -> None:
        """End all calls."""
        while self._calls:
            _, (_, _, running, _) = self._calls.popitem()
            running.cancel()
            await running.ended()

    def _drop_old(self, owner: str) -> None:
        now = time.monotonic()
        for name in [name for name, each in self._calls.items() if each[3] <= now]:
            self._drop(name)
        counts = Counter(each[0] for each in self._calls.values())
        if counts[owner] >= _PARKED_OF_KEY_MAX:
            self._drop_oldest_of(owner)
        elif len(self._calls) >= _PARKED_MAX:
            self._drop_oldest_of(counts.most_common(1)[0][0])

    def _drop_oldest_of(self, owner: str) -> None:
        self._drop(next(name for name, each in self._calls.items() if each[0] == owner))

    def _drop(self, name: str) -> None:
        _, _, running, _ = self._calls.pop(name)
        running.cancel()


def call_key(tool: str, arguments_json: str) -> str:
    """A key that two equal calls share."""
    return f"{tool} {_digest(arguments_json)}"


def can_be_asked(session: ServerSession) -> bool:
    """Whether a person is behind the client, as far as it says."""
    capabilities = session.client_capabilities
    if capabilities is None or capabilities.elicitation is None:
        return False
    return is_modern(session) or session.can_send_request


def is_modern(session: ServerSession) -> bool:
    """Whether questions go to the client as answers."""
    return session.protocol_version in MODERN_PROTOCOL_VERSIONS


async def asked_now(
    session: ServerSession, question: Elicitation, request_id: types.RequestId | None
) -> ElicitationAnswer:
    """Ask an older client on its connection."""
    try:
        async with asyncio.timeout(_PERSON_S):
            if question.url:
                found = await session.elicit_url(
                    question.message, question.url, secrets.token_hex(8), request_id
                )
            else:
                schema: dict[str, Any] = question.schema or {"type": "object", "properties": {}}
                found = await session.elicit_form(question.message, schema, request_id)
    except (MCPError, NoBackChannelError, TimeoutError):
        return ElicitationAnswer("cancel")
    return ElicitationAnswer(found.action, dict(found.content) if found.content else None)


def input_required(question: Elicitation, token: str) -> types.InputRequiredResult:
    """The question as the answer."""
    return types.InputRequiredResult(
        input_requests={ANSWER: question_request(question)}, request_state=token
    )


def question_request(question: Elicitation) -> types.ElicitRequest:
    """The question as the protocol has it."""
    params: types.ElicitRequestParams
    if question.url:
        params = types.ElicitRequestURLParams(
            message=question.message, url=question.url, elicitation_id=secrets.token_hex(8)
        )
    else:
        schema: dict[str, Any] = question.schema or {"type": "object", "properties": {}}
        params = types.ElicitRequestFormParams(message=question.message, requested_schema=schema)
    return types.ElicitRequest(params=params)


def answer_in(responses: types.InputResponses | None) -> ElicitationAnswer:
    """The answer that came back; none is a no."""
    found = (responses or {}).get(ANSWER)
    if not isinstance(found, types.ElicitResult):
        return ElicitationAnswer("cancel")
    return ElicitationAnswer(found.action, dict(found.content) if found.content else None)


def _sealed_for(owner: str) -> str:
    return f"mcp {owner}"


def _digest(arguments_json: str) -> str:
    """A digest of the arguments as data: clients may write them differently the second time."""
    data = jsontext.decode(arguments_json)
    text = jsontext.encode(_ordered(data)).encode("utf-8", "surrogatepass")
    return base64.b64encode(hashlib.sha256(text).digest()).decode()


def _ordered(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _ordered(node[key]) for key in sorted(node)}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(node, list):
        return [_ordered(each) for each in node]  # pyright: ignore[reportUnknownVariableType]
    return node
