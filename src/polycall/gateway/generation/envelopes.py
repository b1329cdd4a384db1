"""Bodies that say a vendor's own in another form: made plain here.

A cloud's client sends it without the model and with a version; Ollama's older path has a prompt in
the place of messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from polycall.errors import MalformedRequestError
from polycall.gateway.generation.endpoints import Endpoint
from polycall.gateway.passthrough.request import Fields
from polycall.providers.hosting import vendor_version

_PROMPT = ("prompt", "system", "images")
# What belongs to a model on the same machine (docs.ollama.com/api/generate, read 2026-11-29).
_REFUSED = {
    "suffix": "a model behind the gateway is not asked to fill a gap; send a prompt alone",
    "template": "the model's own template is used; send the text of the prompt",
    "raw": "the model's own template is used; send the text of the prompt",
    "context": "the tokens of an earlier answer are its model's own; use /api/chat with messages",
}
_HEADER = re.compile(r"[\x20-\x7e]{1,200}")


def unwrapped(
    endpoint: Endpoint, fields: Fields, headers: Mapping[bytes, bytes]
) -> tuple[Endpoint, bytes, dict[bytes, bytes]]:
    """The endpoint, body and headers as the vendor's own client would have sent them."""
    if endpoint.envelope == "prompt":
        body = fields.rebuilt({*_PROMPT, *_REFUSED}, {"messages": _prompted(fields)})
        return endpoint, body, {**headers}
    adds: dict[str, Any] = {"model": endpoint.model}
    if endpoint.stream is not None:
        adds["stream"] = endpoint.stream
    more = {} if endpoint.envelope == "azure" else _protocol_headers(fields)
    body = fields.rebuilt({*adds, "anthropic_version", "anthropic_beta"}, adds)
    plain = replace(endpoint, model="", names=(), stream=None)
    return plain, body, {**headers, **more}


def _prompted(fields: Fields) -> list[dict[str, Any]]:
    """The messages that a prompt stands for."""
    for name, words in _REFUSED.items():
        if fields.value(name):
            raise MalformedRequestError(words, path=name)
    prompt: Any = fields.value("prompt")
    if not isinstance(prompt, str) or not prompt:
        words = "expected a prompt; there is no model here to load without one"
        raise MalformedRequestError(words, path="prompt")
    asked: dict[str, Any] = {"role": "user", "content": prompt}
    if images := fields.value("images"):
        asked["images"] = images
    system: Any = fields.value("system")
    return [{"role": "system", "content": system}, asked] if system else [asked]


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
