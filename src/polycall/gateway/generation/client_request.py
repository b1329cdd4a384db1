"""A client's request, and the way to send it to each target of its route.

The body is parsed at most once, and only where some target needs a translation; each target's
request is rendered from that original, never from another target's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from polycall._support import jsontext
from polycall._support.brief import brief
from polycall.errors import (
    MalformedRequestError,
    PolycallError,
)
from polycall.exchange import prepare
from polycall.gateway.accounts.keys import Owner
from polycall.gateway.catalogue.token_counts import estimate, estimate_text
from polycall.gateway.generation.attempt import Attempt, refuse_losses, replays_reasoning
from polycall.gateway.generation.earlier_answers import EarlierAnswers
from polycall.gateway.generation.endpoints import Endpoint
from polycall.gateway.generation.envelopes import unwrapped
from polycall.gateway.generation.output_bounds import candidates_max, output_tokens_max
from polycall.gateway.generation.second_models import advisor_usages, second_models
from polycall.gateway.http.request import GatewayRequest, header_flag
from polycall.gateway.passthrough.known_texts import KnownTexts
from polycall.gateway.passthrough.request import (
    PASSED_HEADERS,
    read_fields,
)
from polycall.gateway.processes.heavy_work import FEW_ITEMS_BYTES, LONG_BYTES, check_items
from polycall.gateway.routing.router import Target
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.anthropic_threads import refuse_thread
from polycall.gateway.state.carried import CarriedRequest
from polycall.gateway.state.unknown_past import refuse_unknown_past
from polycall.ir import JSON, Message, Metadata, Request, Text
from polycall.profiles.corrections import has_quirks
from polycall.providers.credentials import credential_for
from polycall.providers.dialects import DIALECTS
from polycall.providers.hosting import enveloped
from polycall.providers.places import address, headers_for, joined_headers
from polycall.providers.provider import DialectName
from polycall.translation.context_edits import FIELD as COMPACTING_FIELD
from polycall.translation.context_edits import compacts_on_the_way
from polycall.transport.base import HTTPRequest

# Below this a body is not worth counting well: its bytes are taken for tokens at a rate that is
# above any language's.
_SHORT_BYTES = 16 * 1024
_HELD_BYTES_MAX = 2 * 1024 * 1024  # of a body alongside what was read of it
_BYTES_PER_TOKEN, _BYTES_PER_TOKEN_USUAL = 3, 4
_MEDIA_MARKS = (
    *(b'"image_url"', b'"input_audio"', b'"file"'),
    *(b'"input_image"', b'"input_file"'),
    *(b'"image"', b'"document"'),
    *(b'"inlineData"', b'"inline_data"', b'"fileData"', b'"file_data"'),
)
_COMPACTION_MARK = b'"compaction_trigger"'
_STRICT, _LOSSY = b"polycall-strict", b"polycall-lossy"
_TIERS = frozenset({"service_tier", "serviceTier"})
_PASSED_HEADERS = frozenset(PASSED_HEADERS)


T = TypeVar("T")


class ClientRequest:
    """One request for a generation."""

    def __init__(
        self,
        endpoint: Endpoint,
        gateway_request: GatewayRequest,
        body: bytes,
        owner: Owner,
        texts: KnownTexts | None = None,
    ) -> None:
        """Raises `MalformedRequestError` for a body without model, or that is not JSON."""
        self.dialect = endpoint.dialect
        self.owner = owner
        self.owner_id = owner.id
        self.output_reserved: int | None = None  # set aside where the client has no bound
        headers = self._headers = gateway_request.headers
        self.is_strict = _STRICT in headers and header_flag(gateway_request, _STRICT)
        self.is_lossy = _LOSSY in headers and header_flag(gateway_request, _LOSSY)
        self._path = gateway_request.path
        self._query = gateway_request.query
        if len(body) >= LONG_BYTES:  # in a thread, where no other request's memory is touched
            texts = None
        if endpoint.envelope:
            fields = read_fields(body, endpoint.dialect.NAME)
            endpoint, body, self._headers = unwrapped(endpoint, fields, self._headers)
        self._fields = read_fields(body, endpoint.dialect.NAME, texts, owner.id)
        if self._fields.size > LONG_BYTES:
            self._fields.check_settings()
        self._endpoint = endpoint
        self._check_models()
        if endpoint.model:
            self.model = endpoint.model
            self.streams = bool(endpoint.streams)
        else:
            self.model = self._string("model")
            self.streams = self._boolean("stream", default=endpoint.streams_unasked)
        self._second_models = second_models(owner, self.model, self._fields)
        # Answered by other rooms of the gateway: see `Generations.take_over`.
        self.is_background = self.compacts = False
        if self.dialect.NAME == "openai-responses":
            self.is_background = self._fields.value("background") is True
            self.compacts = self._fields.mentions(_COMPACTION_MARK)
        # Gemini's way of streaming where nobody asked for server-sent events.
        self.wants_array = bool(endpoint.method) and self.streams and b"alt=sse" not in self._query
        self.earlier = EarlierAnswers(self._fields, self.dialect.NAME, owner.id)
        self._carried: CarriedRequest | None = None
        self._targets: list[Target] = []  # of its route
        self._shared: set[str] = set()  # dialects that several targets of the route speak

    def _check_models(self) -> None:
        """Refuse what names models alongside the one that is checked and paid for."""
        if self._endpoint.model and "model" in self._fields:
            named: Any = self._fields.value("model")
            if named not in (None, self._endpoint.model, f"models/{self._endpoint.model}"):
                raise MalformedRequestError("the model is the one in the path", path="model")

    @property
    def request(self) -> Request | None:
        """The parsed request, once a translation was needed."""
        return None if self._carried is None else self._carried.request

    @property
    def size_bytes(self) -> int:
        """The size of the body, as it came."""
        return self._fields.size

    def body(self) -> dict[str, Any]:
        """The whole body, decoded."""
        return self._fields.decoded()

    def know(self, said: dict[str, Any]) -> None:
        """Have `said`, which is all of the body, in the place of a long body's bytes."""
        if self._fields.size > _HELD_BYTES_MAX:
            self._fields.forget_text(said)

    def estimate_input(self) -> int:
        """About how many tokens the provider had to read."""
        if self._is_long:
            return self._fields.size // _BYTES_PER_TOKEN_USUAL + 1
        if self._carried is not None:
            return estimate(self._carried.request)
        body = self.earlier.decoded()
        try:
            request = self.dialect.parse_request(body, path=self._path)
        except PolycallError:
            if self._fields.size > LONG_BYTES:
                return self._fields.size // _BYTES_PER_TOKEN_USUAL + 1
            return estimate_text(self._fields.body.decode("utf-8", "replace"))
        return estimate(request)

    @property
    def service_tier(self) -> str:
        """The tier that is asked for, in the client's word."""
        if not self._fields.has_any(_TIERS):
            return ""
        found: Any = self._fields.value("service_tier") or self._fields.value("serviceTier")
        if isinstance(found, dict):  # Bedrock's
            found = found.get("type")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return found if isinstance(found, str) else ""

    @property
    def is_compacted(self) -> bool:
        """Whether the conversation may be compacted on the way to its answer."""
        return compacts_on_the_way(self._fields.value(COMPACTING_FIELD))

    def readings_max(self) -> int:
        """The number of times that the conversation may be read with new output: once for a
        summary.
        """
        return 2 if self.is_compacted else 1

    def premium_usage_hints(self, input_tokens: int, output_tokens: int) -> Metadata:
        """The parts with a price of their own, in the form in which Anthropic reports them:
        caches that last an hour, fast mode, a place, advisors."""
        wishes: JSON = {}
        mentions = self._fields.mentions
        if mentions(b'"1h"'):
            wishes["cache_creation"] = {"ephemeral_1h_input_tokens": input_tokens}
        if mentions(b'"speed"') and mentions(b'"fast"'):
            wishes["speed"] = "fast"
        if mentions(b'"inference_geo"') and mentions(b'"us"'):
            wishes["inference_geo"] = "us"
        if advised := advisor_usages(self._second_models, input_tokens, output_tokens):
            wishes["iterations"] = advised
        return {"anthropic": wishes} if wishes else {}

    async def size_tokens(self, services: GatewayServices) -> int:
        """About how many input tokens, rather too many, and at little cost for a short body."""
        bytes_tokens = self._fields.size // _BYTES_PER_TOKEN + 1
        if self.earlier.may_be_named:
            await self.earlier.put_in_place(services)
        elif self._fields.size <= _SHORT_BYTES:
            # A few bytes can stand for an image, or for all that was said before.
            if not self._fields.mentions_any(_MEDIA_MARKS):
                return bytes_tokens
        elif self._is_long:
            return bytes_tokens
        else:
            # The rate for bytes is far too high for escaped text: it would refuse what has room.
            return await self._apart(services, self.estimate_input)
        return max(bytes_tokens, await self._apart(services, self.estimate_input))

    def output_tokens_max(self) -> int | None:
        """The number of output tokens that the request allows; `None` where it does not say."""
        return output_tokens_max(self._fields)

    def candidates_max(self) -> int:
        """The number of answers that the request asks for."""
        return candidates_max(self._fields)

    def _string(self, name: str) -> str:
        value: Any = self._fields.value(name)
        if not isinstance(value, str) or not value:
            raise MalformedRequestError("expected the name of a model", path=name)
        return value

    def _boolean(self, name: str, *, default: bool) -> bool:
        value: Any = self._fields.value(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        raise MalformedRequestError(f"expected true or false, got {brief(value)}", path=name)

    def plan(self, targets: list[Target]) -> None:
        """Look at the whole route before the first attempt.

        Where several targets speak one dialect, the state in it does not say whose it is: one
        would be sent what another signed.  Theirs is carried like a foreign one.
        """
        self._targets = targets
        if len(targets) < 2:
            return
        names: dict[str, set[str]] = {}
        for target in targets:
            names.setdefault(self.dialect_for(target), set()).add(target.name)
        self._shared = {dialect for dialect, stopped in names.items() if len(stopped) > 1}

    async def attempt(self, target: Target, services: GatewayServices) -> Attempt:
        """The request for one target.

        Raises `RequestError` where it cannot be said there, or where the client asked to be told
        of losses and there are some.
        """
        target = services.as_learned(target)
        name = self.dialect_for(target)
        corrections = services.corrections_of(target, name)
        is_shared = name in self._shared
        may_pass = name == self.dialect.NAME and not is_shared and not has_quirks(corrections)
        if may_pass and self._fields.size < LONG_BYTES:
            may_pass = self._passes(target, services)
        elif may_pass:
            may_pass = await self._apart(services, self._passes, target, services)
        if may_pass and self.earlier.may_be_named:
            may_pass = not await self.earlier.are_here(services)
        if may_pass:
            passed = self._passed(target, services)
            return passed.corrected(corrections, is_strict=self.is_strict)
        carried = await self.parse(services)
        if is_shared or name != self.dialect.NAME:
            refuse_thread(carried.request)
            refuse_unknown_past(carried.request, name)
        request, warnings = carried.for_target(target.provider.name, target.model)
        request = await services.with_media(request, name, self.owner.id)
        if request.max_output_tokens is None and DIALECTS[name].FACTS.needs_bound:
            request = replace(request, max_output_tokens=self.output_reserved)
        exchange = await self._apart(
            services,
            prepare,
            request,
            target.provider,
            target.model,
            target.key,
            name,
            corrections=corrections,
            # The fields of a preview, which are still in the body, need its header.
            asked=self._protocol_headers() if name == self.dialect.NAME else None,
        )
        carries = (
            is_shared
            or name != self.dialect.NAME
            or replays_reasoning(target.provider.quirks_for(target.model))
        )
        warnings = [*warnings, *exchange.wire.warnings]
        if carries:
            warnings += self.earlier.losses(services)
        if self.is_strict:
            refuse_losses(warnings)
        return Attempt(
            target=target,
            dialect=exchange.dialect,
            http=exchange.http,
            exchange=exchange,
            warnings=warnings,
            client_asks_usage="stream_options" in self._fields,
            carries=carries,
        )

    def dialect_for(self, target: Target) -> DialectName:
        """The client's own where the provider speaks it, else the provider's choice."""
        provider = target.provider
        if provider.tools_dialect is None:
            return provider.dialect_for(with_tools=False)
        if provider.tools_dialect == self.dialect.NAME:
            return provider.tools_dialect
        in_play = self._fields.mentions_any(_TOOL_MARKS)
        return provider.dialect_for(with_tools=in_play)

    def _passes(self, target: Target, services: GatewayServices) -> bool:
        self._fields.restore()
        if self._fields.hold_carried_state:
            return False
        return not services.marks(target.provider, target.model).meet(self._fields)

    def _passed(self, target: Target, services: GatewayServices) -> Attempt:
        changed: dict[str, Any] = {} if self._endpoint.model else {"model": target.model}
        body = None
        quirks = target.provider.quirks_for(target.model)
        messages = self._fields.plain_messages() if quirks.careful else None
        if messages is not None and messages is not self._fields.raw("messages"):
            changed["messages"] = messages
        is_chat_stream = self.streams and self.dialect.NAME == "openai-chat"
        if is_chat_stream and quirks.stream_usage != "never":
            body = self._fields.asking_usage(changed)
        hides_usage = body is not None
        if body is None:
            body = self._fields.with_values(changed) if changed else self._fields.body
        # What the path and the headers depend on.
        is_v1 = self._path.startswith("/v1/models/")
        shape = (self.dialect.NAME, self.streams, is_v1, self.wants_array)
        place = (target.provider.name, target.model, target.key, *shape)
        url, headers = services.place(place, partial(self._place, target))
        if own := self._protocol_headers():
            headers = joined_headers(headers, own)
        if target.provider.hosting:
            envelope = enveloped(
                target.provider.hosting, target.model, headers, stream=self.streams
            )
            path, headers = envelope.path, envelope.headers
            if self.wants_array:
                path = path.replace("?alt=sse", "", 1)
            url = address(target.provider, path)
            if envelope.leaves_out or envelope.adds:
                body = self._fields.rebuilt(envelope.leaves_out, envelope.adds)
        return Attempt(
            target=target,
            dialect=self.dialect,
            http=HTTPRequest(
                url, headers, body, credential=credential_for(target.provider, target.key)
            ),
            client_asks_usage="stream_options" in self._fields,
            hides_usage=hides_usage,
            mends=quirks.careful,
            service_tier=self.service_tier,
            passed=self._fields,
            asked=b"" if self.model == target.model else msgspec.json.encode(self.model),
        )

    def _place(self, target: Target) -> tuple[str, dict[str, str]]:
        """The address of a passed request, and the headers that all requests there have."""
        headers = headers_for(target.provider, target.key, stream=self.streams)
        if target.provider.hosting:
            return "", headers  # a cloud's paths are its own
        return address(target.provider, self.upstream_path(target.model)), headers

    def _protocol_headers(self) -> dict[str, str]:
        """The client's headers that a provider of the same dialect needs to see."""
        if _PASSED_HEADERS.isdisjoint(self._headers):
            return {}
        return {
            name.decode(): self._headers[name].decode("latin-1")
            for name in PASSED_HEADERS
            if name in self._headers
        }

    def upstream_path(self, model: str) -> str:
        """The path of a passed request: as the dialect writes it, in the client's version."""
        probe = Request(model=model, messages=[Message("user", [Text(".")])], stream=self.streams)
        path = self.dialect.render_request(probe).path
        if self._path.startswith("/v1/models/"):
            path = path.replace("/v1beta/", "/v1/", 1)
        if self.wants_array:
            path = path.replace("?alt=sse", "", 1)
        return path

    def runs_natively(self, services: GatewayServices) -> bool:
        """Whether every target of the route runs programs as the client's vendor does."""
        return all(
            target.provider.runs_programs and self.dialect_for(target) == self.dialect.NAME
            for target in services.router.route(self.model)
        )

    def mentions(self, mark: bytes) -> bool:
        """Whether these bytes stand somewhere in the body, outside of its long texts."""
        return self._fields.mentions(mark)

    async def parse(self, services: GatewayServices) -> CarriedRequest:
        """The request in the middle language, with what its history carries; parsed once."""
        if self._carried is None:
            body = await self.earlier.put_in_place(services)
            if self._fields.size > FEW_ITEMS_BYTES or self.earlier.may_be_named:
                check_items(body)
            request = await self._apart(services, self.dialect.parse_request, body, path=self._path)
            if self.is_lossy or services.server.lossy:
                request = replace(request, lossy=True)
            if not services.server.cache:
                request = replace(request, cache=False)
            if self._fields.size > _HELD_BYTES_MAX:
                self._fields.forget_text(self.earlier.said)
            self._carried = await services.carrier.extract(
                request, self.owner.id, keeps_texts=any(map(self._is_bound, self._targets))
            )
        return self._carried

    def _is_bound(self, target: Target) -> bool:
        """Whether the target's model checks that no turn of its own was left out."""
        return target.provider.quirks_for(target.model, self.dialect_for(target)).prefix_bound

    async def _apart(
        self, services: GatewayServices, work: Callable[..., T], *given: Any, **named: Any
    ) -> T:
        """Do what takes long for a large body, away from the loop where it is large."""
        if self._fields.size < LONG_BYTES:
            return work(*given, **named)
        return await services.heavy.run(self.owner.id, self._fields.size, work, *given, **named)

    @property
    def _is_long(self) -> bool:
        """Whether counting well takes longer than it is worth; media are no text to count."""
        is_text = not self._fields.mentions_any(_MEDIA_MARKS)
        return self._fields.size > LONG_BYTES and is_text

    def in_foreground(self, gateway_request: GatewayRequest) -> ClientRequest:
        """The same as a stream for `gateway_request`, which its client waits for."""
        body = {**self._fields.decoded(), "stream": True}
        body.pop("background", None)
        data = jsontext.encode_bytes(body)
        return ClientRequest(self._endpoint, gateway_request, data, self.owner)


_TOOL_MARKS = (
    *(b'"tools"', b'"functions"', b'"tool_calls"', b'"tool_use"', b'"functionCall"'),
    *(b'"toolConfig"', b'"toolUse"', b'"function_call"'),
)
