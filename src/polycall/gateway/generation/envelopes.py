"""A cloud's client sends a vendor's body without the model and with a version: made plain here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from polycall.errors import MalformedRequestError
from polycall.gateway.generation.endpoints import Endpoint
from polycall.gateway.passthrough.request import Fields, read_fields
from polycall.providers.hosting import vendor_version

_HEADER = re.compile(r"[\x20-\x7e]{1,200}")


def unwrapped(
    endpoint: Endpoint, fields: Fields, headers: Mapping[bytes, bytes]
) -> tuple[Endpoint, Fields, dict[bytes, bytes]]:
    """The endpoint, body and headers as the vendor's own client would have sent them."""
    adds: dict[str, Any] = {"model": endpoint.model}
    if endpoint.stream is not None:
        adds["stream"] = endpoint.stream
    more = {} if endpoint.envelope == "azure" else _protocol_headers(fields)
    body = fields.rebuilt({*adds, "anthropic_version", "anthropic_beta"}, adds)
    plain = replace(endpoint, model="", names=(), stream=None)
    return plain, read_fields(body, endpoint.dialect.NAME), {**headers, **more}


def _protocol_headers(fields: Fields) -> dict[bytes, bytes]:
    version: Any = fields.value("anthropic_version")
    if not isinstance(version, str) or not _HEADER.fullmatch(version):
        raise MalformedRequestError(
            "only Claude's format is taken on this path; ask other models by Converse",
            path="anthropic_version",
        )
    headers = {b"anthropic-version": vendor_version(version).encode()}
    betas: Any = fields.value("anthropic_beta")
    if betas:
        named: list[Any] = betas if isinstance(betas, list) else [betas]  # pyright: ignore[reportUnknownVariableType]
        for beta in named:
            if not isinstance(beta, str) or not _HEADER.fullmatch(beta):
                raise MalformedRequestError("expected names of betas", path="anthropic_beta")
        headers[b"anthropic-beta"] = ",".join(named).encode()
    return headers
