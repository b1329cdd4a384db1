"""The operations of an OpenAPI document as tools: requests to one address, with its credentials.

What a document says of its servers is not followed, nor is any redirect: credentials go to the
address that the operator gave, and to no other.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
import inspect
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast
from urllib.parse import unquote, urlencode, urlsplit

from polycall._support import jsontext
from polycall._support.json_weight import LONG_BYTES, HeavyJSONError, JSONWeight
from polycall.agents.tree.load import Operation, OperationTool, openapi_operations
from polycall.errors import PolycallError, ToolDefinitionError, ToolError, UpstreamError
from polycall.ir import JSON, Media, MediaKind
from polycall.tools import AbstractToolset, ToolContext
from polycall.tools.toolset import AnyTool
from polycall.transport.base import Deadlines, HTTPRequest, HTTPResponse, Transport
from polycall.transport.http1 import HTTP1Transport

Headers: TypeAlias = (
    "Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]"
)

# Of a document at an address, which somebody else writes; with a file the operator vouches for it.
_DOCUMENT_BYTES_MAX = 16 * 1024 * 1024
_OBJECTS_MAX, _VALUES_MAX = 250_000, 1_000_000
_YAML_BYTES_MAX = 2 * 1024 * 1024
_YAML = {"values_max": 250_000, "collections_max": 100_000}
_ERROR_CHARS_MAX = 2_000
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
# Methods that change nothing (RFC 9110, 9.2.1).
_SAFE = ("GET", "HEAD", "OPTIONS")


class OpenAPITools(AbstractToolset):
    """The operations of a document.  `close` it where it made its own transport.

    `address` is where requests go.  `headers` hold the credentials; a call's own arguments cannot
    change them.  A result is the parsed JSON, a text, or a picture; a status from 300 on is a
    `ToolError` with the beginning of the answer.
    """

    def __init__(
        self,
        document: JSON,
        address: str,
        *,
        headers: Headers | None = None,
        transport: Transport | None = None,
        deadlines: Deadlines | None = None,
        result_bytes_max: int = 4 * 1024 * 1024,
        definition_bytes_max: int | None = None,
    ) -> None:
        """Operations whose parameters take more than `definition_bytes_max` are in `left_out`."""
        if not urlsplit(address).netloc or not address.startswith(("http://", "https://")):
            raise ToolDefinitionError(f"the address is https://HOST/..., not {address!r}")
        self._address = address.rstrip("/")
        self._headers: Headers = headers or {}
        self._own = HTTP1Transport() if transport is None else None
        self._transport = transport or self._own or HTTP1Transport()
        self._deadlines = deadlines or Deadlines(read_s=60.0, total_s=300.0)
        self._result_bytes_max = result_bytes_max
        self.operations: dict[str, OperationTool] = {}
        self.components: JSON = document.get("components") or {}
        self.left_out: list[str] = []
        for each in openapi_operations(
            document, self._send, bytes_max=definition_bytes_max, left_out=self.left_out
        ):
            name, number = each.tool.name, 1
            while name in self.operations:
                number += 1
                name = f"{each.tool.name}_{number}"
            _check_path(each.operation.path)
            self.operations[name] = each._replace(tool=replace(each.tool, name=name))
        self._tools = {name: each.tool for name, each in sorted(self.operations.items())}

    @property
    def tools(self) -> Mapping[str, AnyTool]:
        return self._tools

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        return await self[name].run(arguments, context)

    def namespace(self, name: str) -> str:
        """The tag of an operation."""
        return self.operations[name].branch

    def result_schema(self, name: str) -> JSON | None:
        """The schema of an operation's answer, as far as the document says."""
        result = self.operations[name].result
        return None if result is None else {**result, "components": self.components}

    def annotations(self, name: str) -> JSON:
        """The annotations of an operation, by its method."""
        method = self.operations[name].operation.method
        if method in _SAFE:
            return {"readOnlyHint": True}
        return {"destructiveHint": method == "DELETE"}

    def request(self, name: str) -> JSON:
        """The request of an operation's call, without the values."""
        operation = self.operations[name].operation
        shown: JSON = {"method": operation.method, "path": operation.path}
        shown["places"] = operation.places
        if operation.slashes:
            shown["slashes"] = sorted(operation.slashes)
        return {**shown, "mediaType": operation.media_type} if operation.has_body else shown

    async def close(self) -> None:
        """Close the connections."""
        if self._own is not None:
            await self._own.close()

    async def _send(self, operation: Operation, arguments: JSON) -> Any:
        url = f"{self._address}{operation.url(arguments)}"
        own = self._headers() if callable(self._headers) else self._headers
        own = {
            name.lower(): value
            for name, value in (await own if inspect.isawaitable(own) else own).items()
        }
        given = {name.lower(): value for name, value in operation.headers(arguments).items()}
        media_type, body = "", b""
        if operation.has_body and "body" in arguments:
            media_type, body = _body(operation.media_type, arguments["body"])
        headers = {"accept": "application/json, */*;q=0.5", "user-agent": "polycall", **given}
        if media_type:
            headers["content-type"] = media_type
        # Last, so that nothing of the call stands in the place of a credential.
        request = HTTPRequest(url, {**headers, **own}, body, operation.method)
        try:
            answer = await self._transport.open(request, self._deadlines)
        except UpstreamError as error:
            done = "it may have done its work" if error.was_sent else "nothing was done"
            raise ToolError(f"{operation.method} {operation.path}: {error}; {done}") from None
        try:
            return await self._result(operation, answer)
        finally:
            await answer.close()

    async def _result(self, operation: Operation, answer: HTTPResponse) -> Any:
        try:
            data = await answer.read(size_bytes_max=self._result_bytes_max)
        except PolycallError as error:
            raise ToolError(
                f"{operation.method} {operation.path} answered {answer.status}, and more than can "
                f"be taken ({error}); ask for less, such as a page"
            ) from None
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if answer.status >= 300:
            raise ToolError(_failure(operation, answer, data))
        if not data:
            return {"status": answer.status}
        if kind.endswith("json") or not kind:
            return await self._read(operation, data)
        if kind.startswith(("image/", "audio/")):
            media: MediaKind = "image" if kind.startswith("image/") else "audio"
            return Media(media, media_type=kind, data=base64.b64encode(data).decode())
        if b"\0" in data[:1024]:
            encoded = base64.b64encode(data).decode()
            return Media("file", media_type=kind or "application/octet-stream", data=encoded)
        return data.decode("utf-8", "replace")

    @staticmethod
    async def _read(operation: Operation, data: bytes) -> Any:
        """JSON, or a text where it is none."""
        try:
            for _ in JSONWeight().steps(data):
                await asyncio.sleep(0)
            if len(data) < LONG_BYTES:
                return jsontext.decode(data)
            return await asyncio.to_thread(jsontext.decode, data)
        except HeavyJSONError as error:
            raise ToolError(
                f"{operation.method} {operation.path} answered more than can be taken: {error}; "
                "ask for less, such as a page"
            ) from None
        except ValueError:
            return data.decode("utf-8", "replace")


def _check_path(path: str) -> None:
    """`ToolDefinitionError` for a path that leads elsewhere than below the operator's address."""
    if not path.startswith("/"):
        raise ToolDefinitionError(f"the path {path!r} begins with no slash")
    plain = path.partition("?")[0]
    for _ in range(2):  # some servers decode twice
        plain = unquote(plain)
        segments = [each.partition(";")[0] for each in plain.split("/")]
        if "\\" in plain or any(each in (".", "..") for each in segments):
            raise ToolDefinitionError(f"the path {path!r} leads out of the address")
        if any(not character.isprintable() or character == " " for character in plain):
            raise ToolDefinitionError(f"the path {path!r} holds a space or a control character")


def _failure(operation: Operation, answer: HTTPResponse, data: bytes) -> str:
    text = " ".join(data[: 4 * _ERROR_CHARS_MAX].decode("utf-8", "replace").split())
    text = text if len(text) <= _ERROR_CHARS_MAX else f"{text[:_ERROR_CHARS_MAX]}..."
    place = f"{operation.method} {operation.path}"
    if answer.status < 400:
        where = answer.headers.get("location", "")[:300]
        return f"{place} answered {answer.status} and leads to {where!r}, which is not followed"
    return f"{place} answered {answer.status}: {text}"


def _body(media_type: str, value: Any) -> tuple[str, bytes]:
    """The media type as it is sent, and the body."""
    kind = media_type.partition(";")[0].strip().lower()
    if kind == _FORM and isinstance(value, dict):
        fields = [(name, _text(item)) for name, item in cast("JSON", value).items()]
        return kind, urlencode(fields).encode()
    if kind == _MULTIPART and isinstance(value, dict):
        return _multipart(cast("JSON", value))
    if isinstance(value, str) and not (kind == "application/json" or kind.endswith("+json")):
        return media_type, value.encode("utf-8", "replace")
    return media_type, jsontext.encode_bytes(value)


def _multipart(fields: JSON) -> tuple[str, bytes]:
    boundary = secrets.token_hex(16)
    pieces: list[bytes] = []
    for name, value in fields.items():
        quoted = name.translate({34: "%22", 13: "%0D", 10: "%0A"})
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="{quoted}"\r\n\r\n'
        pieces += [head.encode("utf-8", "replace"), _text(value).encode("utf-8", "replace")]
        pieces.append(b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"{_MULTIPART}; boundary={boundary}", b"".join(pieces)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else jsontext.encode(value)


async def load_document(place: str, folder: Path, transport: Transport) -> JSON:
    """The document of a file (relative to `folder`) or an address, as JSON or YAML."""
    if place.startswith(("http://", "https://")):
        request = HTTPRequest(place, {"accept": "application/json"}, method="GET")
        answer = await transport.open(request, Deadlines(read_s=30.0, total_s=60.0))
        try:
            data = await answer.read(size_bytes_max=_DOCUMENT_BYTES_MAX)
        finally:
            await answer.close()
        if answer.status != 200:
            raise ToolDefinitionError(f"{place} answered {answer.status}")
        is_yaml = data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] not in (b"{", b"[")
        if is_yaml and len(data) > _YAML_BYTES_MAX:
            raise ToolDefinitionError(
                f"{place} is YAML of more than {_YAML_BYTES_MAX} bytes; use a file, or JSON"
            )
        try:
            for _ in () if is_yaml else JSONWeight(_VALUES_MAX, _OBJECTS_MAX).steps(data):
                await asyncio.sleep(0)
        except HeavyJSONError as error:
            raise ToolDefinitionError(f"{place} is too heavy: {error}; use a file") from None
        bounds = _YAML
    else:
        try:
            data = await asyncio.to_thread((folder / place).read_bytes)
        except OSError as error:
            raise ToolDefinitionError(f"{place} cannot be read: {error.strerror}") from None
        bounds = {}
    plain = data.removeprefix(codecs.BOM_UTF8)
    document = await asyncio.to_thread(_parsed, place, plain, bounds)
    if not isinstance(document, dict):
        raise ToolDefinitionError(f"{place} is no OpenAPI document")
    return cast("JSON", document)


def _parsed(place: str, data: bytes, yaml_bounds: dict[str, int]) -> Any:
    try:
        return jsontext.decode(data)
    except ValueError as error:
        if data.lstrip()[:1] in (b"{", b"["):
            raise ToolDefinitionError(f"{place} is not JSON: {error}") from None
    try:
        from polycall._support.yaml_text import load_yaml  # noqa: PLC0415 - needs an extra
    except ImportError:
        raise ToolDefinitionError(
            f"{place} is not JSON; for YAML install 'polycall[import]'"
        ) from None
    try:
        return load_yaml(data, **yaml_bounds)
    except ValueError as error:
        raise ToolDefinitionError(f"{place} is not JSON, and as YAML it is {error}") from None
