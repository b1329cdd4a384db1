"""One client for every model: `generate` for a whole answer, `stream` for its events.

The client chooses provider, dialect and key, sends, retries while nothing has been received, and
gives back the middle language.  It runs no tools: `loop.py` does.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from msgspec.structs import replace
from typing_extensions import Unpack

from polycall._support.blocking import Portal, runs_a_loop
from polycall.config import Config, default_path, load_config
from polycall.config.aliases import alias_for
from polycall.errors import ModelOutputError, RequestError, UnsupportedError, UpstreamError
from polycall.exchange import (
    AnswerDecoder,
    Exchange,
    environment_key,
    is_tool_use,
    open_answer,
    prepare,
    read_answer,
)
from polycall.instrumentation import carried
from polycall.ir import (
    Event,
    Message,
    Request,
    Response,
    ResponseStart,
    Text,
    Tool,
    Usage,
    Warning,
)
from polycall.profiles import LIVING
from polycall.profiles.corrections import Correction, CorrectionBook, Refused
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.models import capabilities
from polycall.providers.places import address
from polycall.providers.prices import cost_usd
from polycall.providers.provider import Provider
from polycall.settings import RequestSettings, check_choice, messages_of, request_fields, with_words
from polycall.streams import Stream, SyncStream, watched_answer, watched_stream
from polycall.tools import FunctionTool
from polycall.tools.function_tool import definition_of
from polycall.tools.problems import near_miss
from polycall.translation.portable import marked, portable
from polycall.transport import base as transports
from polycall.transport.base import Deadlines, HTTPResponse, Retry, Transport


class ModelClient(Protocol):
    """The client that the loop needs; `polycall.testing` has others."""

    async def generate_request(self, request: Request) -> Response:
        """The whole answer."""
        ...

    def stream_request(self, request: Request) -> Stream:
        """The answer as it comes."""
        ...

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """US dollars; `None` where unknown."""
        ...


Prompt: TypeAlias = str | list[Message]
# What can be offered to a model: a definition, a tool with code behind it, or a plain function.
ToolLike: TypeAlias = Tool | FunctionTool[..., Any] | Callable[..., Any]


class RequestOptions(RequestSettings, total=False):
    """The options of a request: its tools, and the settings of docs/settings.md."""

    tools: Iterable[ToolLike]


class Client:
    """Talks to every provider of the catalogue, and to any other that is given.

    `config` is a TOML file with providers, keys and models; else the one that `POLYCALL_CONFIG`
    names, or `polycall.toml` in the current folder, is taken where there is one.  `providers` and
    `keys` (by provider) come before what the file says; keys that are in neither come from the
    environment.  Close it, or use it as a context manager, plain (for the methods that end in
    `_sync`) or async: it owns a pool of connections.

    Where a provider refuses a field or a value by name, the request is mended and sent once more,
    and `corrections` remembers it: a book, or the file of one (`POLYCALL_CORRECTIONS` names one for
    every client); by default for as long as the client lives.
    """

    def __init__(
        self,
        *,
        config: str | Path | None = None,
        providers: Iterable[Provider] = (),
        keys: Mapping[str, str] | None = None,
        transport: Transport | None = None,
        deadlines: Deadlines | None = None,
        retry: Retry | None = None,
        corrections: CorrectionBook | str | Path | None = None,
    ) -> None:
        settings = _settings(config)
        own = {provider.name: provider for provider in providers}
        self.providers = {**CATALOGUE, **settings.providers, **own}
        self.routes = settings.models
        configured = {name: keys[0] for name, keys in settings.provider_keys.items() if keys}
        self._keys = {**configured, **(keys or {})}
        self._transport = transport or transports.default_transport()
        self._deadlines = deadlines or Deadlines()
        self._retry = retry or Retry()
        self._portal: Portal | None = None
        if not isinstance(corrections, CorrectionBook):
            path = corrections or os.environ.get("POLYCALL_CORRECTIONS") or None
            corrections = CorrectionBook(path)
        self.corrections = corrections

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_sync()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def generate(
        self, model: str, prompt: Prompt, **options: Unpack[RequestOptions]
    ) -> Response:
        """The model's whole answer.

        `model` is `"provider/name"`, several of them separated by commas (the next is asked where
        one is overloaded or out), or an alias of the configuration.  `Response.model` names the
        model that answered.  Raises `RequestError` before anything is sent, `UpstreamError` or
        `ProtocolError` after.
        """
        return await self.generate_request(self.request(model, prompt, **options))

    async def generate_request(self, request: Request) -> Response:
        """`generate` for a request that is already made."""
        return await watched_answer(request, self._answer)

    async def _answer(self, request: Request) -> Response:
        attempts = self._attempts(replace(request, stream=False))
        while True:
            exchange, ends_at = await attempts.next()
            try:
                http = await self._open(exchange, ends_at)
                again = functools.partial(self._open, ends_at=ends_at)
                response = await read_answer(exchange, http, again)
            except UpstreamError as error:
                attempts.failed(error)
                continue
            attempts.answered()
            response = replace(
                response,
                model=attempts.model,
                warnings=[*response.warnings, *attempts.warnings],
            )
            return marked(response, attempts.model)

    def stream(self, model: str, prompt: Prompt, **options: Unpack[RequestOptions]) -> Stream:
        """The model's answer as it comes: an iterator of events that also folds them."""
        return self.stream_request(self.request(model, prompt, **options))

    def stream_request(self, request: Request) -> Stream:
        """`stream` for a request that is already made."""
        return watched_stream(replace(request, stream=True), self._stream)

    def _stream(self, request: Request) -> Stream:
        warnings: list[Warning] = []
        attempts = self._attempts(request)
        return Stream(self._events(attempts, warnings), warnings)

    def generate_sync(
        self, model: str, prompt: Prompt, **options: Unpack[RequestOptions]
    ) -> Response:
        """`generate` for code without an event loop."""
        return self._blocking().run(self.generate(model, prompt, **options))

    def stream_sync(
        self, model: str, prompt: Prompt, **options: Unpack[RequestOptions]
    ) -> SyncStream:
        """`stream` for code without an event loop."""
        return SyncStream(self._blocking(), self.stream(model, prompt, **options))

    async def embed(
        self, model: str, texts: str | list[str], *, dimensions: int | None = None
    ) -> list[list[float]]:
        """A vector for each text, in order, from one model or the first of a chain that answers.

        Raises `RequestError` where the provider has no embeddings.
        """
        from polycall.embeddings import embed_by_chain  # noqa: PLC0415 - seldom used

        targets = [self.resolve(each) for each in self.chain(model)]
        return await embed_by_chain(
            self._transport, self._deadlines, targets, self._keys, texts, dimensions=dimensions
        )

    def embed_sync(
        self, model: str, texts: str | list[str], *, dimensions: int | None = None
    ) -> list[list[float]]:
        """`embed` for code without an event loop."""
        return self._blocking().run(self.embed(model, texts, dimensions=dimensions))

    def close_sync(self) -> None:
        """`close` for code without an event loop.  Agents may have opened connections elsewhere."""
        if self._portal is not None:
            self._portal.close(self.close())
            self._portal = None
        elif not runs_a_loop():
            portal = Portal()
            portal.run(self.close())
            portal.close()

    def cost(self, model: str, usage: Usage) -> Decimal | None:
        """US dollars for `usage` of one model; `None` where the price is unknown."""
        provider, name = self.resolve(model)
        return cost_usd(provider, name, usage)

    def request(self, model: str, prompt: Prompt, **options: Unpack[RequestOptions]) -> Request:
        """The `ir.Request` that the other methods would send."""
        is_text = isinstance(prompt, str)
        messages = [Message("user", [Text(prompt)])] if is_text else messages_of(prompt)
        settings = dict(options)
        offered = [definition_of(each) for each in options.get("tools", ())]
        settings.pop("tools", None)
        fields = request_fields(settings)
        if offered:
            check_choice(fields.get("tool_choice"), {each.name for each in offered})
        return Request(model=model, messages=messages, tools=offered, **fields)

    def resolve(self, model: str) -> tuple[Provider, str]:
        """The provider and its own name for the model, from `"provider/name"`."""
        prefix, slash, name = model.partition("/")
        if not slash or not prefix or not name:
            raise RequestError(
                f"the model {model!r} does not say its provider; write 'provider/model', such as "
                f"{LIVING['anthropic']!r}"
            )
        provider = self.providers.get(prefix)
        if provider is None:
            hint = near_miss(prefix, self.providers) or (
                f"; known: {', '.join(sorted(self.providers))}"
            )
            raise RequestError(f"no provider is called {prefix!r}{hint}")
        return provider, provider.own_name(name)

    def prepare(self, request: Request, *, extra: tuple[Correction, ...] = ()) -> Exchange:
        """Everything but the sending: dialect, body, address, headers.

        `extra` are corrections alongside those that are remembered.
        """
        request = with_words(request)
        provider, model = self.resolve(request.model)
        is_able = request.prompted or provider.quirks_for(model).tools == "prompted"
        is_able = is_able or capabilities(provider, model).tools is not False
        if request.tools and not request.lossy and not is_able:
            raise UnsupportedError(
                f"{request.model!r} is known to call no tools; take another model, describe them "
                'in the prompt (`prompted=True`, or `tools = "prompted"` under '
                f'[providers.{provider.name}.capabilities."{model}"]), or state `tools = true` '
                "there",
                feature="tools",
                path="tools",
            )
        key = self._keys.get(provider.name, "") or environment_key(provider)
        known = self.corrections
        dialect = provider.dialect_for(with_tools=is_tool_use(request))
        kept = known.for_target(provider.name, provider.base_url, model, dialect) if known else ()
        return prepare(request, provider, model, key, corrections=(*kept, *extra))

    def address(self, model: str, path: str) -> tuple[str, dict[str, str]]:
        """The URL of a path at a model's provider, and the headers that carry its key."""
        provider, _ = self.resolve(model)
        key = self._keys.get(provider.name, "") or environment_key(provider)
        return address(provider, path), {**provider.headers, **provider.auth_headers(key)}

    def runs_programs(self, model: str) -> str:
        """The dialect in which the vendor runs programs, for all that `model` names; or nothing."""
        return self._common_dialect(model, lambda provider: provider.runs_programs)

    def searches_tools(self, model: str) -> str:
        """The dialect in which the vendor searches tools, as `runs_programs` does programs."""
        return self._common_dialect(model, lambda provider: provider.searches_tools)

    def binds_prefix(self, model: str) -> bool:
        """Whether a model of this chain refuses its reasoning after a changed beginning."""
        for each in self.chain(model):
            provider, name = self.resolve(each)
            dialect = provider.dialect_for(with_tools=True)
            if provider.quirks_for(name, dialect).prefix_bound:
                return True
        return False

    def appends(self, model: str) -> bool:
        """Whether what changes in a conversation is better added at its end, for this chain.

        So it is where a model checks the beginning, and where all of them cache it and take
        instructions that come later.
        """
        if self.binds_prefix(model):
            return True
        for each in self.chain(model):
            provider, name = self.resolve(each)
            quirks, known = provider.rules_for(name, provider.dialect_for(with_tools=True))
            caches = known is not None and known.value("cache") not in (None, "no", "none")
            if not caches or quirks.late_system is not True:
                return False
        return True

    def _common_dialect(self, model: str, has: Callable[[Provider], bool]) -> str:
        found: set[str] = set()
        for each in self.chain(model):
            provider, name = self.resolve(each)
            dialect = provider.dialect_for(with_tools=True)
            is_told = provider.quirks_for(name).tools == "prompted"
            found.add(dialect if has(provider) and not is_told else "")
        return found.pop() if len(found) == 1 else ""

    def chain(self, model: str) -> list[str]:
        """The models to try, in order: an alias's route, or names separated by commas."""
        alias = alias_for(self.routes, self.providers, model)
        if alias is not None:
            return [target.model for target in alias.route]
        return [name.strip() for name in model.split(",")]

    def _attempts(self, request: Request) -> _Attempts:
        requests = [
            replace(request, model=model, messages=portable(request.messages, model))
            for model in self.chain(request.model)
        ]
        return _Attempts(self, requests, self._retry, time.monotonic() + self._deadlines.total_s)

    async def _events(self, attempts: _Attempts, warnings: list[Warning]) -> AsyncGenerator[Event]:
        while True:
            exchange, ends_at = await attempts.next()
            warnings[:] = [*exchange.wire.warnings, *attempts.warnings]
            started = False
            # Held back: some servers begin an answer, and then say that they failed.
            opening: ResponseStart | None = None
            try:
                async with aclosing(self._events_once(exchange, ends_at)) as events:
                    async for event in events:
                        if isinstance(event, ResponseStart):
                            opening = event
                            continue
                        if opening is not None:
                            yield replace(opening, model=attempts.model)
                        started, opening = True, None
                        attempts.answered()
                        yield event
            except UpstreamError as error:
                # What the caller has seen cannot be taken back.
                if started:
                    raise
                attempts.failed(error)
            else:
                return

    async def _events_once(self, exchange: Exchange, ends_at: float) -> AsyncGenerator[Event]:
        http = await self._open(exchange, ends_at)
        decoder = AnswerDecoder(exchange)
        while True:
            try:
                async for chunk in http.chunks():
                    for event in decoder.feed(chunk):
                        yield event
                    if decoder.error is not None:
                        raise decoder.error
                for event in decoder.close():
                    yield event
            finally:
                await http.close()
            again = decoder.again()
            if again is None:
                return
            http = await self._open(again, ends_at)

    async def _open(self, exchange: Exchange, ends_at: float) -> HTTPResponse:
        more = carried()
        if more:
            # A gateway's spans, or a provider's, then belong to the trace of this request.
            http = exchange.http
            exchange = replace(exchange, http=replace(http, headers={**http.headers, **more}))
        return await open_answer(self._transport, exchange, self._until(ends_at))

    def _until(self, ends_at: float) -> Deadlines:
        left_s = max(ends_at - time.monotonic(), 0.001)
        return replace(self._deadlines, total_s=left_s)

    def _blocking(self) -> Portal:
        if self._portal is None:
            self._portal = Portal()
        return self._portal


class _Attempts:
    """Which exchange to try next, and after what wait: retries first, then the next model."""

    def __init__(
        self, client: Client, requests: list[Request], retry: Retry, ends_at: float
    ) -> None:
        self._client = client
        self._requests = requests
        self._exchanges = [client.prepare(request) for request in requests]
        self._retry = retry
        self._ends_at = ends_at
        self._wait_s = 0.0
        self._place = 0
        self._attempt = 1
        self._refused: Refused | None = None  # what the mended request was mended by
        self.warnings: list[Warning] = []

    @property
    def model(self) -> str:
        """The model of the attempt, as a request names it."""
        return self._exchanges[self._place].request.model

    async def next(self) -> tuple[Exchange, float]:
        """The next exchange, and the moment when all must be over."""
        await asyncio.sleep(self._wait_s)
        return self._exchanges[self._place], self._ends_at

    def failed(self, error: UpstreamError) -> None:
        """Plan another attempt after `error`, or raise it."""
        if self._mended(error):
            return
        wait_s = self._retry.wait_s(error, self._attempt)
        if isinstance(error, ModelOutputError) and self._attempt > 1:
            wait_s = None  # what the model cannot write twice, another may
        if wait_s is not None and time.monotonic() + wait_s < self._ends_at:
            self._wait_s = wait_s
            self._attempt += 1
        elif error.should_retry and self._place + 1 < len(self._exchanges):
            failed = self.model
            self._wait_s, self._attempt, self._place = 0.0, 1, self._place + 1
            detail = f"{failed} failed ({type(error).__name__}), {self.model} was asked instead"
            self.warnings.append(Warning("adjusted", "model", detail))
        else:
            # The provider's words need not name either.
            error.add_note(f"the model that was asked: {self.model}")
            raise error

    def answered(self) -> None:
        """Remember what the request was mended by: the provider has taken it."""
        refused, self._refused = self._refused, None
        if refused is not None and refused.lasts:
            self._client.corrections.remember(refused.corrections)

    def _mended(self, error: UpstreamError) -> bool:
        """Whether the request was changed as its refusal asks for: once for each model."""
        exchange = self._exchanges[self._place]
        refused = exchange.refused(error)
        before = self._refused
        if before is not None:
            # What is refused now is something else: the first change was taken.
            if refused is not None and refused.corrections[0].path != before.corrections[0].path:
                self.answered()
            self._refused = None
            return False
        if refused is None:
            return False
        extra = (*exchange.corrections, *refused.corrections)
        try:
            mended = self._client.prepare(self._requests[self._place], extra=extra)
        except RequestError:
            return False  # what would be left of it cannot be said
        if mended.http.body == exchange.http.body and mended.http.headers == exchange.http.headers:
            return False
        self._exchanges[self._place] = mended
        self._refused, self._wait_s = refused, 0.0
        return True


def _settings(config: str | Path | None) -> Config:
    path = default_path() if config is None else Path(config)
    return load_config(path) if path is not None else Config()
