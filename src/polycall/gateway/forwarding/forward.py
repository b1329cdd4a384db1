"""Passing on what is no chat: to the provider that the model names, and back as it comes."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable
from typing import Any

from polycall._support import jsontext
from polycall.embeddings.calls import native_url
from polycall.errors import (
    InvalidRequestError,
    MalformedRequestError,
    NotFoundError,
    PermissionDeniedError,
    UnsupportedError,
)
from polycall.exchange import BODY_BYTES_MAX, ERROR_BYTES_MAX, check_weight, error_from
from polycall.gateway.forwarding.multipart import (
    BEFORE_MODEL_BYTES_MAX,
    ChangedUpload,
    FormScanner,
    Upload,
    boundary_of,
)
from polycall.gateway.forwarding.side_requests import SideRequest
from polycall.gateway.forwarding.usage_watch import UsageWatch
from polycall.gateway.generation.attempts import AttemptRunner, WholeAnswer
from polycall.gateway.generation.client_request import Attempt
from polycall.gateway.generation.named_resources import check_body
from polycall.gateway.generation.output_bounds import candidates_max, output_tokens_max
from polycall.gateway.http.request import GatewayRequest
from polycall.gateway.passthrough.request import Fields
from polycall.gateway.routing.router import Target
from polycall.gateway.services import GatewayServices
from polycall.providers.credentials import credential_for
from polycall.providers.provider import Provider
from polycall.transport.base import (
    Deadlines,
    HTTPRequest,
    HTTPResponse,
    RequestStream,
    push_to,
    send,
)

_NO_PAGE = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
)
_PASSED = ("content-type", "content-disposition", "openai-processing-ms")
_WHOLE_BYTES_MAX = BODY_BYTES_MAX
_LIST_BYTES_MAX = 8 * 1024 * 1024  # a page of 10,000 files has three
_SPOKEN_TOKENS = 2  # for a byte of text: about 15 letters and 21 tokens a second
_ID = re.compile(r"^/(?:files|batches|fine_tuning/jobs)/([^/]+)")


class ForwardAsked(SideRequest):
    """One request that is passed on.  `stream` is its body where it is not held."""

    def __init__(
        self,
        model: str,
        path: str,
        *,
        method: str = "POST",
        fields: Fields | None = None,
        stream: RequestStream | None = None,
        content_type: str = "",
    ) -> None:
        size = 0 if fields is None else len(fields.body)
        super().__init__(model, size, output_tokens=_output_of(path, size, fields))
        self._answers = 1 if fields is None else _answers_to(fields)
        self.path = path
        self.method = method
        self.fields = fields
        self.stream = stream
        self.content_type = content_type
        self.names_model = bool(model)

    def candidates_max(self) -> int:
        """The number of texts or pictures requested; a form's number is unknown before its end."""
        return self._answers

    @property
    def tokens_unseen(self) -> int:
        """The tokens reserved for pictures or speech, since nothing of them can be counted."""
        is_text = self.path == "/completions"
        tokens = 0 if is_text else self.output_tokens_max() or self.output_reserved or 0
        return tokens * self._answers

    def request_for(self, target: Target, provider_path: str) -> HTTPRequest:
        """The request for one target."""
        headers = {**target.provider.headers, **target.provider.auth_headers(target.key)}
        body = b""
        if self.fields is not None:
            headers["content-type"] = "application/json"
            body = self.fields.body
            if self.names_model:
                body = self.fields.with_values({"model": target.model})
        elif self.content_type:
            headers["content-type"] = self.content_type
        return HTTPRequest(
            native_url(target.provider) + provider_path,
            headers,
            body,
            self.method,
            credential_for(target.provider, target.key),
            self.stream,
        )


def _output_of(path: str, size_bytes: int, fields: Fields | None) -> int | None:
    """The tokens to set aside for an answer; `None` for as many as the model gives."""
    if path == "/completions" and fields is not None:
        return output_tokens_max(fields)
    if path.startswith("/images/"):
        return None
    return _SPOKEN_TOKENS * size_bytes if path == "/audio/speech" else 0


def _answers_to(fields: Fields) -> int:
    """The number of answers to a completion: each of several prompts has its own."""
    prompt: Any = fields.value("prompt")
    prompts = 1
    if isinstance(prompt, list) and not all(isinstance(each, int) for each in prompt):  # pyright: ignore[reportUnknownVariableType]
        prompts = len(prompt)  # pyright: ignore[reportUnknownArgumentType]
    return max(1, prompts) * candidates_max(fields)


class ForwardRunner(AttemptRunner):
    """The attempts of one request that is passed on: one, where its body is not held."""

    def __init__(
        self, asked: ForwardAsked, gateway_request: GatewayRequest, services: GatewayServices
    ) -> None:
        super().__init__(asked, gateway_request, services)
        self._asked = asked
        self._has_sent = False

    async def _send(self, attempt: Attempt) -> WholeAnswer:
        asked, target = self._asked, attempt.target
        check_takes(target.provider, asked.path)
        if asked.fields is not None:
            dialect = attempt.dialect.NAME
            body = asked.fields.body
            await check_body(asked.owner_id, target.provider.name, dialect, body, self._services)
        if asked.stream is not None:
            if self._has_sent:
                raise UnsupportedError(
                    "a file is read once, and was sent to another provider",
                    feature="fallback",
                )
            self._has_sent = True
        self._gateway_request.heard_at = time.monotonic()
        left_s = max(self._gateway_request.ends_at - self._gateway_request.heard_at, 0.001)
        deadlines = Deadlines(self._server.connect_s, self._server.read_s, left_s)
        http = await send(
            self._services.transport, asked.request_for(target, asked.path), deadlines
        )
        if http.status < 300:
            return WholeAnswer(attempt, http, None)
        try:
            data = await http.read(size_bytes_max=ERROR_BYTES_MAX)
        finally:
            await http.close()
        raise error_from(attempt.dialect, http, data, target.model)


def check_takes(provider: Provider, path: str) -> None:
    """Raise where a provider has no such path: they are OpenAI's, and its relatives'."""
    if not provider.dialect.startswith("openai"):
        raise UnsupportedError(
            f"{path} is passed on to providers that speak as OpenAI does, and {provider.name!r} "
            "does not",
            feature=path,
        )


async def open_form(
    gateway_request: GatewayRequest, services: GatewayServices
) -> tuple[str, FormScanner, Upload, bytes]:
    """The model that a form names, and what came of the form until then.

    Raises `MalformedRequestError` where the model does not come within the first megabyte.
    """
    content_type = gateway_request.headers.get(b"content-type", b"").decode("latin-1")
    scanner = FormScanner(boundary_of(content_type))
    upload = Upload(gateway_request, services.server)
    held: list[bytes] = []
    size = 0
    async for piece in upload:
        passed = scanner.feed(piece)
        held.append(passed)
        size += len(passed)
        if scanner.model is not None:
            return scanner.model, scanner, upload, b"".join(held)
        if size > BEFORE_MODEL_BYTES_MAX:
            break
    raise MalformedRequestError(
        "the form's field 'model' must come before its file, within the first "
        f"{BEFORE_MODEL_BYTES_MAX} bytes",
        path="model",
    )


def renamed(scanner: FormScanner, upload: Upload, first: bytes, model: str) -> ChangedUpload:
    """The form with the provider's own name for the model."""
    growth = scanner.rename(model)
    first += scanner.feed(b"")
    length = None if upload.length is None else upload.length + growth
    return _ClosedUpload(first, upload, scanner, length)


class _ClosedUpload(ChangedUpload):
    """A form whose last bytes come with its end."""

    def __init__(
        self, first: bytes, upload: Upload, scanner: FormScanner, length: int | None
    ) -> None:
        super().__init__(first, upload, scanner.feed, length)
        self._scanner: FormScanner | None = scanner

    async def __anext__(self) -> bytes:
        try:
            return await super().__anext__()
        except StopAsyncIteration:
            scanner, self._scanner = self._scanner, None
            rest = b"" if scanner is None else scanner.close()
            if rest:
                return rest
            raise


def chosen_provider(gateway_request: GatewayRequest, services: GatewayServices) -> str:
    """The provider of files and jobs: named by a header, or the only one that has them."""
    named = gateway_request.headers.get(b"polycall-provider", b"").decode("latin-1")
    able = services.router.openai_like()
    if named:
        if named not in able:
            raise NotFoundError(
                f"{named[:60]!r} is no provider that has files and jobs as OpenAI has them; "
                f"there are: {', '.join(able) or 'none'}"
            )
        return named
    if len(able) != 1:
        raise InvalidRequestError(
            "say whose files and jobs are meant: the header 'polycall-provider' with one of "
            f"{', '.join(able) or 'none'}"
        )
    return able[0]


def check_resource(owner: Any, provider: str, path: str, *, allows_unpriced: bool) -> None:
    """Raise where the key may not use a provider's files and jobs.

    What jobs cost is known when they are over: a key with limits must not begin them.
    """
    if not owner.may_use(f"{provider}/*"):
        raise PermissionDeniedError(f"the key {owner.name!r} may not use all of {provider!r}")
    if not path.startswith("/files") and owner.is_metered and not allows_unpriced:
        raise PermissionDeniedError(
            f"the key {owner.name!r} has limits, and what a job costs is not known before it is "
            'over; under [limits]: unpriced = "allow"'
        )


def resource_of(path: str) -> str:
    """The id in a path; empty where it is a list."""
    match = _ID.match(path)
    return "" if match is None else match[1]


async def read_whole(http: HTTPResponse, *, is_list: bool = False) -> bytes:
    """A body that is looked at before it is sent; all of it, where it lists files or jobs."""
    try:
        most = _LIST_BYTES_MAX if is_list else _WHOLE_BYTES_MAX
        return await http.read(size_bytes_max=most)
    finally:
        await http.close()


def passed_headers(http: HTTPResponse) -> list[tuple[bytes, bytes]]:
    """The provider's headers that an answer keeps.

    A file that others wrote may be a page: no browser shows it as one of the gateway's own, which
    could use the console of who looks at it.
    """
    kept = [
        (name.encode(), http.headers[name].encode("latin-1", "replace"))
        for name in _PASSED
        if name in http.headers
    ]
    return [*kept, *_NO_PAGE]


async def pass_on(http: HTTPResponse, gateway_request: GatewayRequest, watch: UsageWatch) -> None:
    """Send the body as it comes, and end it; `watch` sees a stream of events."""
    is_stream = http.headers.get("content-type", "").startswith("text/event-stream")

    def take(chunk: bytes) -> Awaitable[None] | None:
        gateway_request.heard_at = time.monotonic()
        if is_stream:
            watch.feed(chunk)
        return gateway_request.push_body(chunk)

    try:
        await push_to(http, take)
        watch.close()
        await gateway_request.send_body(b"")
    finally:
        await http.close()


def list_of(data: bytes) -> Any:
    """A JSON answer, or `None`; raises `ProtocolError` for one that takes too much to read."""
    check_weight(data)
    try:
        return jsontext.decode(data)
    except ValueError:
        return None
