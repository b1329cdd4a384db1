"""The ASGI application: finds the vendor by path, asks the model, sends the answer.

No vendor's format is known here; vendors are asked through `vendors.base.Vendor`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote

from msgspec import Struct
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.sim import faults, rules, usage
from polycall.sim.chunking import cut_frames
from polycall.sim.programs import ProgramRunner
from polycall.sim.script import (
    Answer,
    Call,
    Called,
    Container,
    Failure,
    ModelSpec,
    Prompt,
    Ran,
    Refused,
    Returned,
    Turn,
)
from polycall.sim.shape import JSON
from polycall.sim.vendors.anthropic import Anthropic
from polycall.sim.vendors.base import Route, Vendor
from polycall.sim.vendors.compatible import Compatible
from polycall.sim.vendors.deepseek import DeepSeek
from polycall.sim.vendors.gemini import Gemini, join_array
from polycall.sim.vendors.openai_chat import OpenAIChat
from polycall.sim.vendors.openai_responses import OpenAIResponses

Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

BODY_BYTES_MAX = 64 * 1024 * 1024
REQUESTS_MAX = 10_000
_SECRET_HEADERS = frozenset({"authorization", "x-api-key", "x-goog-api-key", "cookie"})
_MODELS = (
    ModelSpec("sim-1"),
    ModelSpec("sim-1-mini", reasons="never"),
    ModelSpec("sim-1-thinking", reasons="always"),
)


class Recorded(Struct, frozen=True):
    """One request as it came, keys taken out.  `body` is parsed where it is JSON."""

    vendor: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    raw: bytes


class Script(Struct):
    """The turns that a scripted model still has to give."""

    turns: deque[Turn]
    spec: ModelSpec


class App:
    """One simulation's state: scripts, the cache of prompts, faults, recorded requests."""

    def __init__(self, *, seed: int = 0, any_model: bool = False) -> None:
        self.seed = seed
        self._any_model = any_model
        self.requests: deque[Recorded] = deque(maxlen=REQUESTS_MAX)
        self.received = 0
        self.scripts: dict[tuple[str, str], Script] = {}
        self.stopping = asyncio.Event()
        self._cache = usage.PromptCache()
        self._faults = faults.Faults()
        self._count = 0
        self.programs = ProgramRunner()
        self._vendors: list[Vendor] = [
            Anthropic(self.programs),
            Gemini(),
            DeepSeek(),
            Compatible(),
        ]
        self._chat = OpenAIChat()
        self._responses = OpenAIResponses(self.programs)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        self._count += 1
        nonce = hashlib.sha256(f"{self.seed}:{self._count}".encode()).hexdigest()[:12]
        exchange = _SimulatedExchange(scope, receive, send, self.stopping)
        path = unquote(scope["raw_path"].decode("ascii").partition("?")[0])
        vendor = self._vendor(path)
        if vendor is None:
            await exchange.send_json(404, {"error": f"no simulated vendor at {path}"})
            return
        raw = await exchange.read_body()
        try:
            await self._serve(vendor, path, raw, nonce, exchange)
        except Refused as refused:
            body = refused.body
            if "request_id" in body:
                body = {**body, "request_id": f"req_{nonce}"}
            headers = {**vendor.answer_headers(nonce), **refused.headers}
            await exchange.send_json(refused.status, body, headers)

    def _vendor(self, path: str) -> Vendor | None:
        if path.startswith("/openai/v1/responses"):
            return self._responses
        if path.startswith("/openai/v1/"):
            return self._chat
        for vendor in self._vendors:
            if path.startswith(vendor.base_path + "/"):
                return vendor
        return None

    async def _serve(
        self, vendor: Vendor, path: str, raw: bytes, nonce: str, exchange: _SimulatedExchange
    ) -> None:
        self._record(vendor, path, raw, exchange)
        below = path.removeprefix(vendor.base_path)
        route = vendor.route(exchange.method, below, exchange.query)
        vendor.check_key(exchange.headers, exchange.query)
        if route.operation in ("models", "model"):
            await exchange.send_json(
                200, self._models_body(vendor, route), vendor.answer_headers(nonce)
            )
            return
        try:
            body = jsontext.decode(raw)
        except ValueError as error:
            raise vendor.invalid(
                f"We could not parse the JSON body of your request: {error}."
            ) from None
        if not isinstance(body, dict):
            raise vendor.invalid("The body of your request is not a JSON object.")
        prompt = vendor.check_request(route, body, lambda name: self._spec(vendor, name))
        spec = self._spec(vendor, prompt.model)
        has_tools = prompt.tools or any(isinstance(e, Called | Returned) for e in prompt.entries)
        if spec is not None and not spec.calls_tools and has_tools:
            raise vendor.invalid(f"The model '{prompt.model}' does not support tools.")
        if route.operation == "count":
            counted = vendor.render_count(prompt, usage.count_prompt(prompt))
            await exchange.send_json(200, counted, vendor.answer_headers(nonce))
            return
        await self._answer(vendor, route, prompt, nonce, exchange)

    def _record(self, vendor: Vendor, path: str, raw: bytes, exchange: _SimulatedExchange) -> None:
        headers = {
            name: "(redacted)" if name in _SECRET_HEADERS else value
            for name, value in exchange.headers.items()
        }
        query = {
            name: "(redacted)" if name == "key" else value for name, value in exchange.query.items()
        }
        try:
            body = jsontext.decode(raw) if raw else None
        except ValueError:
            body = None
        recorded = Recorded(vendor.name, exchange.method, path, query, headers, body, raw)
        self.requests.append(recorded)
        self.received += 1

    def _spec(self, vendor: Vendor, name: str) -> ModelSpec | None:
        script = self.scripts.get((vendor.name, name))
        if script is not None:
            return script.spec
        if name in faults.NAMES:
            return ModelSpec(name)
        known = next((model for model in _MODELS if model.name == name), None)
        return ModelSpec(name) if known is None and self._any_model else known

    def _models_body(self, vendor: Vendor, route: Route) -> JSON:
        if route.operation == "model":
            spec = self._spec(vendor, route.model)
            if spec is None:
                raise vendor.unknown_model(route.model)
            return vendor.render_models([spec], one=True)
        scripted = [script.spec for key, script in self.scripts.items() if key[0] == vendor.name]
        failing = [ModelSpec(name) for name in faults.NAMES]
        return vendor.render_models([*_MODELS, *scripted, *failing], one=False)

    async def _answer(
        self, vendor: Vendor, route: Route, prompt: Prompt, nonce: str, exchange: _SimulatedExchange
    ) -> None:
        ran, turn = await self._ran(vendor, prompt, nonce)
        failure = turn.error or self._faults.failure(vendor.name, prompt)
        if failure is not None and not (failure.midstream and prompt.stream):
            raise vendor.render_failure(failure)
        turn, stopped = finish(faults.stretch(prompt, turn), prompt)
        scope = f"{vendor.name}\x1f{prompt.model}"
        tally = self._cache.tally(scope, prompt, turn, ran)
        answer = Answer(
            turn,
            nonce,
            int(time.time()),
            tally,
            seed=self.seed + self._count,
            stop_sequence=stopped,
            ran=ran,
            container=self._container(prompt, ran, nonce),
        )
        delivery = _Delivery(vendor, route, prompt, answer, exchange)
        if prompt.model in faults.NAMES and prompt.model != "fault-429-once":
            await delivery.fail()
        elif failure is not None:
            await delivery.send_stream_failure(failure)
        else:
            await delivery.send()

    async def _ran(self, vendor: Vendor, prompt: Prompt, nonce: str) -> tuple[list[Ran], Turn]:
        """The programs that run for this answer, and the turn after them."""
        ran: list[Ran] = []
        if prompt.programs is not None and prompt.programs.pending:
            ran.append(await self.programs.go_on(prompt))
        while not ran or ran[-1].outcome is not None:
            if ran:
                _report(prompt, ran[-1])
            turn = self._turn(vendor, prompt)
            if turn.program is None or turn.error is not None:
                return ran, turn
            if prompt.programs is None:
                words = f"the script of '{prompt.model}' has a program, and the request offers none"
                raise vendor.render_failure(Failure(500, words))
            ran.append(await self.programs.begin(prompt, turn, nonce, len(ran)))
        return ran, Turn(finish="tool_calls")

    def _container(self, prompt: Prompt, ran: list[Ran], nonce: str) -> Container | None:
        """Where the programs of an answer ran, for a vendor that names such places."""
        offer = prompt.programs
        if offer is None or not offer.has_containers or not (ran or offer.container):
            return None
        waits = bool(ran) and ran[-1].outcome is None
        return self.programs.used(offer.container, nonce, waits=waits)

    def _turn(self, vendor: Vendor, prompt: Prompt) -> Turn:
        script = self.scripts.get((vendor.name, prompt.model))
        if script is None:
            return rules.answer(prompt)
        if not script.turns:
            words = f"the script of '{prompt.model}' has no turn left for this request"
            raise vendor.render_failure(Failure(500, words))
        return script.turns.popleft()


def _report(prompt: Prompt, ran: Ran) -> None:
    """Show the model how its program ended."""
    assert ran.outcome is not None
    output = ran.outcome.stderr or ran.outcome.stdout
    if ran.turn is not None:
        prompt.entries.append(Called(ran.id, "code_execution", {"code": ran.code}))
    prompt.entries.append(
        Returned(ran.id, "code_execution", output, is_error=bool(ran.outcome.stderr))
    )


def finish(turn: Turn, prompt: Prompt) -> tuple[Turn, str]:
    """The turn within the request's bounds, and the stop sequence that ended it."""
    stopped = ""
    text = turn.text
    for sequence in prompt.stop:
        position = text.find(sequence) if sequence else -1
        if position >= 0:
            text, stopped = text[:position], sequence
    if stopped:
        turn = replace(turn, text=text, calls=[])
    limit = prompt.tokens_max
    if limit is None or turn.finish or usage.count_answer(turn) <= limit:
        return turn, stopped
    return _truncate(turn, limit), ""


def _truncate(turn: Turn, limit: int) -> Turn:
    left = limit * 4
    text = turn.text.encode()[:left].decode("utf-8", "ignore")
    left -= len(turn.text.encode())
    calls: list[Call] = []
    for call in turn.calls:
        left -= len(call.name)
        if left <= 0:
            break
        arguments = call.arguments_json
        cut = arguments.encode()[:left].decode("utf-8", "ignore")
        calls.append(replace(call, raw_arguments=cut))
        left -= len(arguments.encode())
    return replace(turn, text=text, calls=calls, finish="length")


class _SimulatedExchange:
    """One request and its connection."""

    def __init__(
        self, scope: dict[str, Any], receive: Receive, send: Send, stopping: asyncio.Event
    ) -> None:
        self.method: str = scope["method"]
        self.headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        self.query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        self._close: Callable[[], None] = scope["extensions"]["polycall.close"]
        self._receive = receive
        self._send = send
        self._stopping = stopping

    async def read_body(self) -> bytes:
        """The whole body; what is too long is cut, and fails as JSON."""
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                break
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size <= BODY_BYTES_MAX:
                pieces.append(piece)
            if not message.get("more_body"):
                break
        return b"".join(pieces)

    async def start(
        self, status: int, kind: str, headers: dict[str, str], length: int = -1
    ) -> None:
        """Status and headers."""
        fields = {"content-type": kind, **headers}
        if length >= 0:
            fields["content-length"] = str(length)
        raw = [(name.encode(), value.encode()) for name, value in fields.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """A piece of the body, sent before anything else is done."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        if more:
            # So that pieces reach the socket one by one.
            await asyncio.sleep(0)

    async def send_bytes(
        self, status: int, kind: str, data: bytes, headers: dict[str, str] | None = None
    ) -> None:
        """A whole answer."""
        await self.start(status, kind, headers or {}, len(data))
        await self.write(data, more=False)

    async def send_json(
        self, status: int, body: JSON, headers: dict[str, str] | None = None
    ) -> None:
        """A whole answer in JSON."""
        await self.send_bytes(status, "application/json", jsontext.encode_bytes(body), headers)

    async def hang(self) -> None:
        """Do nothing until the client leaves or the simulation ends."""
        left = asyncio.ensure_future(self._receive())
        stopped = asyncio.ensure_future(self._stopping.wait())
        _, pending = await asyncio.wait({left, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        self.close()

    def close(self) -> None:
        """Close the socket, whatever was promised."""
        self._close()


class _Delivery:
    """Sends one answer, or fails to in the way its model's name says."""

    def __init__(
        self,
        vendor: Vendor,
        route: Route,
        prompt: Prompt,
        answer: Answer,
        exchange: _SimulatedExchange,
    ) -> None:
        self.vendor = vendor
        self.route = route
        self.prompt = prompt
        self.answer = answer
        self.exchange = exchange
        self.headers = vendor.answer_headers(answer.nonce)
        self.kind = "text/event-stream" if route.sse else "application/json"

    def frames(self) -> Iterator[bytes]:
        """The events of the stream."""
        frames = self.vendor.render_stream(self.prompt, self.answer)
        return frames if self.route.sse else join_array(frames)

    def body(self) -> bytes:
        """The whole answer."""
        return jsontext.encode_bytes(self.vendor.render_body(self.prompt, self.answer))

    async def send(self) -> None:
        """The answer as it should be."""
        if not self.prompt.stream:
            await self.exchange.send_bytes(200, "application/json", self.body(), self.headers)
            return
        await self._open()
        await self._write(cut_frames(self.frames(), self.answer.seed))
        await self.exchange.write(b"", more=False)

    async def _open(self) -> None:
        await self.exchange.start(200, self.kind, {**self.headers, "cache-control": "no-cache"})

    async def _write(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            await self.exchange.write(piece)

    async def send_stream_failure(self, failure: Failure) -> None:
        """Some events, then the vendor's error."""
        await self._open()
        frames = list(self.frames())
        await self._write(frames[: min(3, len(frames) // 2)])
        await self.exchange.write(self.vendor.render_stream_failure(failure), more=False)

    async def fail(self) -> None:
        """What the model's name says."""
        exchange = self.exchange
        match self.prompt.model:
            case "fault-hang":
                await exchange.hang()
            case "fault-close":
                exchange.close()
            case "fault-empty":
                kind = self.kind if self.prompt.stream else "application/json"
                await exchange.send_bytes(200, kind, b"", self.headers)
            case "fault-garbage":
                kind = self.kind if self.prompt.stream else "application/json"
                await exchange.send_bytes(200, kind, faults.GARBAGE, self.headers)
            case "fault-html":
                await exchange.send_bytes(502, "text/html", faults.HTML)
            case _ if not self.prompt.stream:
                await self._fail_whole()
            case _:
                await self._fail_stream()

    async def _fail_whole(self) -> None:
        body = self.body()
        match self.prompt.model:
            case "fault-error-first" | "fault-error-midstream":
                raise self.vendor.render_failure(Failure(500))
            case "fault-slow":
                await asyncio.sleep(faults.SLOW_S * 10)
                await self.exchange.send_bytes(200, "application/json", body, self.headers)
            case model:
                await self.exchange.start(200, "application/json", self.headers, len(body))
                await self.exchange.write(body[: len(body) // 2])
                if model == "fault-hang-midstream":
                    await self.exchange.hang()
                self.exchange.close()

    async def _fail_stream(self) -> None:
        frames = list(self.frames())
        match self.prompt.model:
            case "fault-error-first":
                await self._open()
                error = self.vendor.render_stream_failure(Failure(503))
                await self.exchange.write(error, more=False)
            case "fault-error-midstream":
                await self.send_stream_failure(Failure(500))
            case "fault-slow":
                await self._open()
                for frame in frames:
                    await self.exchange.write(frame)
                    await asyncio.sleep(faults.SLOW_S)
                await self.exchange.write(b"", more=False)
            case "fault-hang-midstream":
                await self._open()
                await self._write(frames[: max(1, len(frames) // 2)])
                await self.exchange.hang()
            case _:
                await self._open()
                place = faults.cut_place(frames, self.answer.turn)
                await self._write(frames[:place])
                # Half an event, and then nothing.
                await self.exchange.write(frames[place][: len(frames[place]) // 2])
                self.exchange.close()
