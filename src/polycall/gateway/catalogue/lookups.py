"""The lookups: health, metrics, the API's description, the list of models."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from functools import cache
from typing import TypeAlias
from urllib.parse import parse_qs

from polycall._support import jsontext
from polycall.errors import MalformedRequestError
from polycall.gateway.accounts.keys import Keys
from polycall.gateway.accounts.limits import KeyLimits
from polycall.gateway.catalogue import models
from polycall.gateway.catalogue.openapi import document
from polycall.gateway.generation.generations import check_allowed
from polycall.gateway.http.replies import send_json
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.observability.metrics import CONTENT_TYPE, exposition
from polycall.gateway.processes.shared_metrics import WorkerSlot
from polycall.gateway.store import Store
from polycall.ir import JSON
from polycall.translation.wire import Dialect, request_reader

Handler: TypeAlias = Callable[[GatewayRequest], Awaitable[None]]
_GEMINI_PREFIXES = ("/v1/models/", "/v1beta/models/", "/v1beta1/models/")
_MODEL_LISTS = ("/v1/models", "/v1beta/models", "/api/tags")


@dataclass(eq=False, repr=False)
class Lookups:
    """Answers what is no generation.  `configure` it before the first."""

    store: Store
    keys: Keys
    limits: KeyLimits
    slot: WorkerSlot
    _: KW_ONLY
    is_draining: Callable[[], bool]
    dialect_of: Callable[[GatewayRequest], Dialect]
    read: Callable[[GatewayRequest], Awaitable[bytes]]

    def __post_init__(self) -> None:
        self.administration_paths: Callable[[], JSON] = dict  # of OpenAPI
        self._document = b""  # made once: strangers may ask for it
        self._gets: dict[str, Handler] = {
            "/healthz": self.health,
            "/readyz": self.ready,
            "/metrics": self.metrics,
            "/openapi.json": self.openapi,
            "/api/version": self.version,
            "/api/ps": self.running,
            **dict.fromkeys(_MODEL_LISTS, self.list_models),
        }

    def handler(self, path: str) -> tuple[Handler | None, str]:
        """The handler of a path, if it has one, and the methods that it takes."""
        if path == "/api/show":
            return self.show, "POST"
        found = self._gets.get(path)
        if found is None and path.startswith(_GEMINI_PREFIXES):
            found = self.one_model
        return found, "GET, HEAD"

    def configure(self, catalogue: models.Catalogue) -> None:
        """List these models."""
        self._catalogue = catalogue

    async def health(self, gateway_request: GatewayRequest) -> None:
        await _send(gateway_request, {"status": "ok"})

    async def ready(self, gateway_request: GatewayRequest) -> None:
        is_ready = not self.is_draining() and await self.store.is_writable()
        state = "ok"
        if not is_ready:
            state = "draining" if self.is_draining() else "the store is unreachable"
        body: JSON = {"status": state}
        if self.slot.shared_metrics.slots > 1:
            body["workers"] = self.slot.shared_metrics.serving()
        await _send(gateway_request, body, status=200 if is_ready else 503)

    async def metrics(self, gateway_request: GatewayRequest) -> None:
        self.keys.owner(gateway_request.headers, gateway_request.query, gateway_request.address)
        shared_metrics = self.slot.shared_metrics
        text = exposition(
            self.slot.everybody(),
            workers=shared_metrics.serving(),
            restarts=shared_metrics.restarts(),
        )
        length = str(len(text)).encode()
        await gateway_request.send_start(
            200, [(b"content-type", CONTENT_TYPE), (b"content-length", length)]
        )
        await gateway_request.send_body(text)

    async def version(self, gateway_request: GatewayRequest) -> None:
        await _send(gateway_request, {"version": _version()})

    async def openapi(self, gateway_request: GatewayRequest) -> None:
        if not self._document:
            self._document = jsontext.encode_bytes(document(self.administration_paths()))
        headers = [(b"polycall-request-id", gateway_request.id.encode())]
        await send_json(gateway_request, 200, self._document, headers)

    async def models(self) -> list[models.Model]:
        """All models."""
        return await self._catalogue.models([])

    async def list_models(self, gateway_request: GatewayRequest) -> None:
        owner = self.keys.owner(
            gateway_request.headers, gateway_request.query, gateway_request.address
        )
        await self.limits.count_request(owner)
        client_request = parse_qs(gateway_request.query.decode("latin-1")).get("supports", [])
        supports = [name for text in client_request for name in text.split(",") if name]
        found = [
            model for model in await self._catalogue.models(supports) if owner.may_use(model.name)
        ]
        render = models.LISTS.get(self.dialect_of(gateway_request).NAME, models.openai_list)
        await _send(gateway_request, render(found))

    async def running(self, gateway_request: GatewayRequest) -> None:
        """`/api/ps`: no model is loaded here."""
        self.keys.owner(gateway_request.headers, gateway_request.query, gateway_request.address)
        await _send(gateway_request, {"models": []})

    async def show(self, gateway_request: GatewayRequest) -> None:
        """`/api/show`: one model for Ollama's clients, which ask it for `capabilities`."""
        owner = self.keys.owner(
            gateway_request.headers, gateway_request.query, gateway_request.address
        )
        await self.limits.count_request(owner)
        data = await self.read(gateway_request)
        try:
            body = request_reader.object(jsontext.decode(data), "")
        except ValueError as error:
            raise MalformedRequestError(f"the body is not JSON: {error}") from None
        name = request_reader.string(body.get("model") or body.get("name"), "model")
        check_allowed(owner, name)
        await _send(gateway_request, models.ollama_details(await self._catalogue.model(name)))

    async def one_model(self, gateway_request: GatewayRequest) -> None:
        owner = self.keys.owner(
            gateway_request.headers, gateway_request.query, gateway_request.address
        )
        await self.limits.count_request(owner)
        name = gateway_request.path.partition("/models/")[2]
        check_allowed(owner, name)
        model = await self._catalogue.model(name)
        render = models.SHAPES.get(self.dialect_of(gateway_request).NAME, models.openai_model)
        await _send(gateway_request, render(model))


@cache
def _version() -> str:
    return importlib.metadata.version("polycall")


async def _send(gateway_request: GatewayRequest, body: JSON, *, status: int = 200) -> None:
    headers = [(b"polycall-request-id", gateway_request.id.encode())]
    await send_json(gateway_request, status, jsontext.encode_bytes(body), headers)
