"""The ASGI application: finds the vendor by path, asks the model, sends the answer.

No vendor's format is known here; vendors are asked through `vendors.base.Vendor`.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from msgspec import Struct
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.sim import faults, rules, usage
from polycall.sim.clouds import ROOTS, CloudDoor, CloudState, Converse
from polycall.sim.dated import Model, Rulebook
from polycall.sim.exchange import Delivery, Exchange, Receive, Send
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
from polycall.sim.vendors.gemini import Gemini
from polycall.sim.vendors.interactions import Interactions
from polycall.sim.vendors.ollama import Ollama
from polycall.sim.vendors.openai_chat import OpenAIChat, Relatives
from polycall.sim.vendors.openai_responses import OpenAIResponses
from polycall.sim.vendors.relatives import Relative, relatives

if TYPE_CHECKING:
    from polycall.sim.realtime.server import VoiceEntry

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
    """The turns that a scripted model still has to give, or the function that gives them."""

    turns: deque[Turn]
    spec: ModelSpec
    decide: Callable[[Prompt], Turn] | None = None


class App:
    """One simulation's state: scripts, the cache of prompts, faults, recorded requests."""

    def __init__(
        self,
        *,
        seed: int = 0,
        any_model: bool | Collection[str] = False,
        as_of: datetime.date | None = None,
    ) -> None:
        self.seed = seed
        self._any_model = any_model
        self._rulebook = Rulebook(as_of)
        self.requests: deque[Recorded] = deque(maxlen=REQUESTS_MAX)
        self.received = 0
        self.scripts: dict[tuple[str, str], Script] = {}
        self.stopping = asyncio.Event()
        self.voices: VoiceEntry | None = None  # with the first client of a voice
        self._cache = usage.PromptCache()
        self._faults = faults.Faults()
        self._count = 0
        self.programs = ProgramRunner()
        self._vendors: list[Vendor] = [
            Anthropic(self.programs),
            Gemini(),
            DeepSeek(),
            Compatible(),
            Relatives(),
            Converse(),
            Ollama(),
            *relatives(),
        ]
        self.clouds = CloudState()
        self._door = CloudDoor(self, self.clouds)
        self._chat = OpenAIChat()
        self._responses = OpenAIResponses(self.programs)
        self._interactions = Interactions()

    async def close(self) -> None:
        """End the sessions of voices."""
        if self.voices is not None:
            await self.voices.close()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        if scope["raw_path"].decode("ascii").startswith(ROOTS) and not scope.get("behind"):
            await self._door(scope, receive, send)
            return
        self._count += 1
        nonce = hashlib.sha256(f"{self.seed}:{self._count}".encode()).hexdigest()[:12]
        exchange = Exchange(scope, receive, send, self.stopping)
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
        if path.startswith("/google/") and "/interactions" in path:
            return self._interactions
        for vendor in self._vendors:
            if path.startswith(vendor.base_path + "/"):
                return vendor
        return None

    async def _serve(
        self, vendor: Vendor, path: str, raw: bytes, nonce: str, exchange: Exchange
    ) -> None:
        self._record(vendor, path, raw, exchange)
        below = path.removeprefix(vendor.base_path)
        if isinstance(vendor, OpenAIResponses | Interactions):
            kept = vendor.look_up(exchange.method, below)
            if kept is not None:
                vendor.check_key(exchange.headers, exchange.query)
                await exchange.send_json(200, kept, vendor.answer_headers(nonce))
                return
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
        prompt = vendor.check_request(
            route, body, lambda name: self._spec(vendor, name), exchange.headers
        )
        refusal = self._rulebook.refusal(
            vendor.name, vendor.wire, prompt.model, prompt.body, exchange.headers
        )
        if refusal is not None:
            raise vendor.refuse_by(refusal)
        spec = self._spec(vendor, prompt.model)
        has_tools = prompt.tools or any(isinstance(e, Called | Returned) for e in prompt.entries)
        if not spec.calls_tools and has_tools:
            raise vendor.invalid(f"The model '{prompt.model}' does not support tools.")
        if route.operation == "count":
            counted = vendor.render_count(prompt, usage.count_prompt(prompt))
            await exchange.send_json(200, counted, vendor.answer_headers(nonce))
            return
        await self._answer(vendor, route, prompt, nonce, exchange)

    def _record(self, vendor: Vendor, path: str, raw: bytes, exchange: Exchange) -> None:
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

    def _spec(self, vendor: Vendor, name: str) -> ModelSpec:
        script = self.scripts.get((vendor.name, name))
        if script is not None:
            return self._scripted(vendor, script.spec)
        if name in faults.NAMES:
            return ModelSpec(name)
        known = next((model for model in _MODELS if model.name == name), None)
        if known is not None:
            return known
        real = self._rulebook.model(vendor.name, name)
        if real is not None:
            return spec_of(self._rulebook, vendor.name, real)
        if self._any_model is True or (self._any_model and vendor.name in self._any_model):
            return ModelSpec(name)
        if isinstance(vendor, Relative) and not vendor.lists_models:
            return ModelSpec(name)
        if self._rulebook.was_retired(vendor.name, name):
            raise vendor.retired_model(name)
        raise vendor.unknown_model(name)

    def _scripted(self, vendor: Vendor, spec: ModelSpec) -> ModelSpec:
        """A scripted model that has a real one's name is bound by that one's rules."""
        real = self._rulebook.known(vendor.name, spec.name)
        if real is None:
            return spec
        ruled = spec_of(self._rulebook, vendor.name, real)
        return replace(ruled, reasons=spec.reasons, scripted=True, calls_tools=spec.calls_tools)

    def _models_body(self, vendor: Vendor, route: Route) -> JSON:
        if route.operation == "model":
            return vendor.render_models([self._spec(vendor, route.model)], one=True)
        scripted = [script.spec for key, script in self.scripts.items() if key[0] == vendor.name]
        failing = [ModelSpec(name) for name in faults.NAMES]
        real = [
            spec_of(self._rulebook, vendor.name, model)
            for model in self._rulebook.models(vendor.name)
            if (vendor.name, model.name) not in self.scripts
        ]
        return vendor.render_models([*_MODELS, *scripted, *failing, *real], one=False)

    async def _answer(
        self, vendor: Vendor, route: Route, prompt: Prompt, nonce: str, exchange: Exchange
    ) -> None:
        ran, turn = await self._ran(vendor, prompt, nonce)
        failure = turn.error or self._faults.failure(vendor.name, prompt)
        if failure is not None and not (failure.midstream and prompt.stream):
            raise vendor.render_failure(failure)
        turn, stopped = finish(faults.stretch(prompt, turn), prompt)
        scope = f"{vendor.name}\x1f{prompt.model}"
        least = self._rulebook.cache_tokens_min(prompt.model)
        tally = self._cache.tally(scope, prompt, turn, ran, tokens_min=least)
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
        delivery = Delivery(vendor, route, prompt, answer, exchange)
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
        """The container where the programs of an answer ran, for a vendor that names containers."""
        offer = prompt.programs
        if offer is None or not offer.has_containers or not (ran or offer.container):
            return None
        waits = bool(ran) and ran[-1].outcome is None
        return self.programs.used(offer.container, nonce, waits=waits)

    def _turn(self, vendor: Vendor, prompt: Prompt) -> Turn:
        if prompt.summary is not None:
            return Turn(text=prompt.summary["content"])
        script = self.scripts.get((vendor.name, prompt.model))
        if script is None:
            return rules.answer(prompt)
        if script.decide is not None:
            return script.decide(prompt)
        if not script.turns:
            words = f"the script of '{prompt.model}' has no turn left for this request"
            raise vendor.render_failure(Failure(500, words))
        return script.turns.popleft()


def spec_of(rulebook: Rulebook, vendor: str, model: Model) -> ModelSpec:
    """The spec of a model on the vendor's list, by the rules of the model that answers for it."""
    ruling = rulebook.model(vendor, rulebook.ruled_as(vendor, model.name)) or model
    return ModelSpec(
        model.name,
        ruling.thinks,
        is_real=True,
        binds_thinking=ruling.binds_thinking,
        reads=frozenset({model.name, *ruling.reads}),
        demands_signatures=ruling.demands_signatures,
    )


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
