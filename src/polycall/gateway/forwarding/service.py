"""Serves what stands alongside the chat, with the same keys, limits and ledger."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import Any, cast

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.config import Config
from polycall.errors import MalformedRequestError, NotFoundError
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.accounts.limits import KeyLimits, Reservation
from polycall.gateway.forwarding import forward
from polycall.gateway.forwarding.embed import EmbeddingAsked, RerankAsked, SideRunner, usage_in
from polycall.gateway.forwarding.forward import ForwardAsked, ForwardRunner
from polycall.gateway.forwarding.multipart import Upload
from polycall.gateway.forwarding.routes import SideRoute
from polycall.gateway.forwarding.side_requests import SideRequest
from polycall.gateway.forwarding.usage_watch import UsageWatch
from polycall.gateway.generation.attempts import AttemptRunner, WholeAnswer
from polycall.gateway.generation.generations import Generations, check_allowed
from polycall.gateway.generation.request_record import RequestRecord
from polycall.gateway.generation.second_models import second_models
from polycall.gateway.http.bodies import read_body
from polycall.gateway.http.replies import base_headers, send_json
from polycall.gateway.http.request import GatewayRequest, passed_query
from polycall.gateway.passthrough.request import Fields, read_fields
from polycall.gateway.processes.memory_guard import MemoryGuard
from polycall.gateway.services import GatewayServices
from polycall.gateway.store.owned import OwnedResources
from polycall.ir import JSON, Usage
from polycall.providers.dialects import DIALECTS
from polycall.translation.wire import Dialect

# Whose errors a client of each wire of embeddings reads; OpenAI's else.
_ERRORS = {
    "google": DIALECTS["gemini"],
    "vertex": DIALECTS["gemini"],
    "ollama": DIALECTS["ollama-chat"],
    "bedrock": DIALECTS["bedrock-converse"],
}

# A job's fields that name files, in any spelling: `training_file`, `inputFileId`; no `profile`.
_names_file = re.compile(r".*(?<!pro)file(?:s|[_-]?ids?)?").fullmatch


class Forwarding:
    """One for each configuration."""

    def __init__(
        self,
        config: Config,
        services: GatewayServices,
        generations: Generations,
        limits: KeyLimits,
        *,
        owned: OwnedResources,
        memory: MemoryGuard,
    ) -> None:
        self._allows_unpriced = config.limits.unpriced == "allow"
        self._services = services
        self._generations = generations
        self._limits = limits
        self._owned = owned
        self._memory = memory

    async def serve(self, gateway_request: GatewayRequest, route: SideRoute) -> None:
        """Answer, and write one row."""
        if route.names:
            model = self._services.router.first_known(route.names)
            route = replace(route, model=model)
        client = f"{route.wire}-embeddings" if route.kind == "embed" else route.kind
        record = RequestRecord(gateway_request, client, self._limits.worker)
        work = {
            "embed": self._embed,
            "rerank": self._embed,
            "json": self._json,
            "form": self._form,
            "resource": self._resource,
        }[route.kind]
        await self._generations.recorded(record, errors_of(route), partial(work, route))

    # Embeddings and rerankings

    async def _embed(self, route: SideRoute, record: RequestRecord) -> None:
        body = await read_body(record.gateway_request, self._services.server, self._memory)
        kind = EmbeddingAsked if route.kind == "embed" else RerankAsked
        run = partial(self._services.heavy.run, record.owner.id, len(body))
        asked: EmbeddingAsked | RerankAsked = await run(kind, route, body)
        await self._reserve(record, asked)
        runner = SideRunner(asked, record.gateway_request, self._services)
        answer = await self._arrive(record, runner)
        await self._send_whole(record, answer, answer.body, answer.usage)

    # Passed on

    async def _json(self, route: SideRoute, record: RequestRecord) -> None:
        body = await read_body(record.gateway_request, self._services.server, self._memory)
        run = partial(self._services.heavy.run, record.owner.id, len(body))
        fields = await run(read_fields, body, "openai-chat")
        del body
        model: Any = route.model or fields.value("model")
        if not isinstance(model, str) or not model:
            raise MalformedRequestError("expected the name of a model", path="model")
        if "model" not in fields:
            fields = await run(read_fields, fields.rebuilt((), {"model": model}), "openai-chat")
        await self._forward(record, ForwardAsked(model, route.path, fields=fields))

    async def _form(self, route: SideRoute, record: RequestRecord) -> None:
        gateway_request = record.gateway_request
        opened = await forward.open_form(gateway_request, self._services)
        model, scanner, upload, first = opened
        model = route.model or model
        check_allowed(record.owner, model)
        target = next(iter(self._services.router.route(model)))
        stream = forward.renamed(scanner, upload, first, target.model)
        asked = ForwardAsked(model, route.path, stream=stream, content_type=scanner.content_type)
        await self._forward(record, asked)

    async def _resource(self, route: SideRoute, record: RequestRecord) -> None:
        gateway_request, owner = record.gateway_request, record.owner
        provider = forward.chosen_provider(gateway_request, self._services)
        forward.check_resource(owner, provider, route.path, allows_unpriced=self._allows_unpriced)
        await self._check_owned(owner, provider, forward.resource_of(route.path))
        query = passed_query(gateway_request)
        path = f"{route.path}?{query}" if query else route.path
        method = gateway_request.method
        asked = ForwardAsked("", path, method=method)
        if method == "POST" and route.path == "/files":
            asked.stream = Upload(gateway_request, self._services.server)
            asked.content_type = gateway_request.headers.get(b"content-type", b"").decode("latin-1")
        elif method == "POST":
            await self._read_job(record, asked, provider)
        asked.model = f"{provider}/-"
        await self._forward(record, asked, resources=provider)

    async def _read_job(self, record: RequestRecord, asked: ForwardAsked, provider: str) -> None:
        """A job's body: the files that it names must be the key's own."""
        body = await read_body(record.gateway_request, self._services.server, self._memory)
        if not body:
            return
        run = partial(self._services.heavy.run, record.owner.id, len(body))
        fields = asked.fields = await run(read_fields, body, "openai-chat")
        del body
        for name in fields.names:
            if not _names_file(name.casefold()) or (value := fields.value(name)) is None:
                continue
            if not isinstance(value, str):
                raise MalformedRequestError("expected the id of a file", path=name)
            await self._check_owned(record.owner, provider, value)
        model: Any = fields.value("model")
        if isinstance(model, str):
            plain = model.removeprefix(f"{provider}/")
            check_allowed(record.owner, f"{provider}/{plain}")
            asked.fields = await run(_naming, fields, plain)

    async def _check_owned(self, owner: Owner, provider: str, resource: str) -> None:
        if resource and not await self._owned.of(owner.id, provider, [resource]):
            raise NotFoundError(f"this key has made nothing that is called {resource[:100]!r}")

    async def _forward(
        self, record: RequestRecord, asked: ForwardAsked, *, resources: str = ""
    ) -> None:
        await self._reserve(record, asked, is_job=bool(resources))
        record.account.steps = asked.tokens_unseen
        runner = ForwardRunner(asked, record.gateway_request, self._services)
        answer = await self._arrive(record, runner)
        http = answer.http
        if "json" in http.headers.get("content-type", "") and not asked.path.endswith("/content"):
            data = await forward.read_whole(http, is_list=bool(resources))
            provider = f"provider {answer.attempt.target.provider.name}"
            run = partial(self._services.heavy.run, provider)
            if resources:
                found = await run(len(data), forward.list_of, data)
                data = await self._of_owner(record.owner, resources, asked, data, found)
            usage = await run(len(data), usage_in, data)
            await self._send_whole(record, answer, data, usage)
            return
        gateway_request = record.gateway_request
        headers = base_headers(gateway_request, answer.attempt.target.name, [])
        await gateway_request.send_start(200, [*forward.passed_headers(http), *headers])
        watch = UsageWatch()
        try:
            await forward.pass_on(http, gateway_request, watch)
        finally:
            record.account.usage = watch.usage

    async def _of_owner(
        self, owner: Owner, provider: str, asked: ForwardAsked, data: bytes, found: Any
    ) -> bytes:
        """Note what a key has made; of a list, leave what is the key's own.

        `found` is what the data says.  What is listed of one job is its maker's.
        """
        method = asked.method
        if not isinstance(found, dict):
            return data
        fields: JSON = found  # pyright: ignore[reportUnknownVariableType]
        listed: Any = fields.get("data")
        if method == "POST":
            for name in ("id", "output_file_id", "error_file_id"):
                await self._keep(owner, provider, fields.get(name))
            return data
        if method == "DELETE":
            if fields.get("deleted") is True:
                await self._owned.forget(provider, str(fields.get("id")))
            return data
        for name in ("output_file_id", "error_file_id"):
            await self._keep(owner, provider, fields.get(name))
        if not isinstance(listed, list) or forward.resource_of(asked.path):
            return data
        items: list[Any] = listed  # pyright: ignore[reportUnknownVariableType]
        entries = [cast("JSON", each) for each in items if isinstance(each, dict)]
        ids = [str(each["id"]) for each in entries if "id" in each]
        own = await self._owned.of(owner.id, provider, ids)
        kept = [each for each in entries if each.get("id") in own]
        ends = {"first_id": kept[0]["id"], "last_id": kept[-1]["id"]} if kept else {}
        for name in ("first_id", "last_id"):  # else they name what is another key's
            if name in fields:
                fields[name] = ends.get(name)
        return jsontext.encode_bytes({**fields, "data": kept})

    async def _keep(self, owner: Owner, provider: str, resource: Any) -> None:
        if isinstance(resource, str) and resource:
            await self._owned.keep(owner.id, provider, resource)

    # For all

    async def _reserve(
        self, record: RequestRecord, asked: SideRequest, *, is_job: bool = False
    ) -> None:
        record.client_request = asked
        asked.owner_id = record.owner.id
        if is_job:
            return
        check_allowed(record.owner, asked.model)
        if asked.fields is not None:
            second_models(record.owner, asked.model, asked.fields)
        if record.owner.is_metered:
            record.hold = Reservation()
            await self._limits.reserve(record.hold, record.owner, asked)

    async def _arrive(self, record: RequestRecord, runner: AttemptRunner) -> WholeAnswer:
        try:
            answer = await runner.plain()
        finally:
            record.account.note(runner)
        record.account.first_at = time.monotonic()
        return answer

    async def _send_whole(
        self, record: RequestRecord, answer: WholeAnswer, data: bytes, usage: Usage
    ) -> None:
        gateway_request, account = record.gateway_request, record.account
        account.usage, account.has_ended = usage, True
        attempt = account.attempt or answer.attempt
        target = attempt.target
        headers = base_headers(gateway_request, target.name, attempt.warnings)
        account.cost = self._services.costs.known(target.provider, target.model, usage)
        if account.cost is not None:
            headers.append((b"polycall-cost-usd", f"{account.cost:f}".encode()))
        await send_json(gateway_request, 200, data, headers)


def _naming(fields: Fields, model: str) -> Fields:
    return read_fields(fields.with_values({"model": model}), "openai-chat")


def errors_of(route: SideRoute) -> Dialect:
    """The dialect of the errors that the client of a route reads."""
    return _ERRORS.get(route.wire, DIALECTS["openai-chat"])
