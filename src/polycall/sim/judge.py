"""The verdict of a simulated vendor on a recorded request on some day: taken, or refused and why.

State that the real vendor made (signatures, encrypted reasoning, stored responses, containers) is
taken on trust, since only that vendor could check it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any, cast

from msgspec import Struct

from polycall.sim import signing
from polycall.sim.app import spec_of
from polycall.sim.dated import Refusal, Rulebook
from polycall.sim.script import ModelSpec, Refused
from polycall.sim.shape import json_type
from polycall.sim.vendors.anthropic import Anthropic
from polycall.sim.vendors.base import Route, Vendor
from polycall.sim.vendors.deepseek import DeepSeek
from polycall.sim.vendors.gemini import Gemini
from polycall.sim.vendors.openai_chat import OpenAIChat
from polycall.sim.vendors.openai_responses import OpenAIResponses
from polycall.sim.vendors.relatives import Relative, relatives

_RELATIVES = {each.name: each for each in relatives()}
_VENDORS: Mapping[str, type[Vendor]] = {
    "anthropic": Anthropic,
    "gemini": Gemini,
    "openai-chat": OpenAIChat,
    "openai-responses": OpenAIResponses,
    "deepseek": DeepSeek,
}
WIRES = (*_VENDORS, *_RELATIVES)


class RecordedRequest(Struct, frozen=True):
    """One request of somebody's: its wire, its body, its headers, and Gemini's model.

    `headers` is `None` where they were not recorded: rules about them are left out then.
    """

    wire: str
    body: dict[str, Any]
    model: str = ""
    headers: dict[str, str] | None = None


class Judge:
    """The simulated vendors as they were on one day."""

    def __init__(self, as_of: datetime.date) -> None:
        self.as_of = as_of
        self._rulebook = Rulebook(as_of)

    def refusal(self, request: RecordedRequest) -> Refusal | None:
        """The vendor's refusal, or `None` if the vendor takes the request.

        Raises ValueError for a wire that no simulated vendor speaks.
        """
        if request.wire not in WIRES:
            raise ValueError(f"no vendor speaks {request.wire!r}; known are {', '.join(WIRES)}")
        vendor = _RELATIVES.get(request.wire) or _VENDORS[request.wire]()
        headers = None
        if request.headers is not None:
            headers = {name.lower(): value for name, value in request.headers.items()}
        route = Route("generate", request.model)
        body = request.body
        if "prompt" in body and "model" not in body and request.wire == "openai-responses":
            # The vendor keeps them with the prompt.
            body = {"input": "a stored prompt", **body, "model": request.model}
        try:
            with signing.foreign_tokens_taken():
                prompt = vendor.check_request(
                    route, body, lambda name: self._spec(vendor, name), headers
                )
        except Refused as refused:
            return _as_refusal(refused)
        return self._rulebook.refusal(vendor.name, vendor.wire, prompt.model, prompt.body, headers)

    def _spec(self, vendor: Vendor, name: str) -> ModelSpec:
        model = self._rulebook.model(vendor.name, name)
        if model is not None:
            return spec_of(self._rulebook, vendor.name, model)
        if self._rulebook.was_retired(vendor.name, name):
            raise vendor.retired_model(name)
        if isinstance(vendor, Relative) and not vendor.lists_models:
            return ModelSpec(name)
        raise vendor.unknown_model(name)


def _as_refusal(refused: Refused) -> Refusal:
    error = refused.body.get("error")
    fields: dict[str, Any] = error if isinstance(error, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    return Refusal(
        refused.status,
        str(fields.get("message", "")),
        str(fields.get("type") or fields.get("status") or ""),
        fields.get("param"),
        fields.get("code") if isinstance(fields.get("code"), str) else None,
    )


# Whose host an address names; a host's names of models are whole (`openai/gpt-oss-120b`).
_HOSTS = {
    "api.x.ai": "xai",
    "api.mistral.ai": "mistral",
    "api.moonshot": "moonshot",
    "api.z.ai": "zai",
    "bigmodel.cn": "zai",
    "api.minimax": "minimax",
    "dashscope": "alibaba",
    "api.groq.com": "groq",
    "api.cerebras.ai": "cerebras",
    "api.fireworks.ai": "fireworks",
    "api.together": "together",
    "openrouter.ai": "openrouter",
}
_MODEL_PATH = re.compile(r"/models/([^/:?]+):(?:stream)?[gG]enerateContent")
_BY_PROVIDER = {"anthropic": "anthropic", "google": "gemini", "deepseek": "deepseek"}


def read_request(value: Any) -> RecordedRequest:
    """One recorded request: a bare body, or an object with `body` (or `request`) and more.

    The wire is reported by `wire`, by `url` or `path`, or else by the body's form and model.
    Raises ValueError, which says what is wrong.
    """
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {json_type(value)}")  # noqa: TRY004 - data
    record = cast("dict[str, Any]", value)
    inner: Any = record.get("body", record.get("request"))
    body: Any = inner if inner is not None else record
    if not isinstance(body, dict):
        raise ValueError(f"'body' must be a JSON object, got {json_type(body)}")  # noqa: TRY004 - data
    fields = cast("dict[str, Any]", body)
    address = str(record.get("url") or record.get("path") or "") if inner is not None else ""
    headers = record.get("headers") if inner is not None else None
    if headers is not None and not isinstance(headers, dict):
        raise ValueError(f"'headers' must be a JSON object, got {json_type(headers)}")
    found = _MODEL_PATH.search(address)
    named = record.get("model") if inner is not None else ""
    model = found[1] if found is not None else str(named or fields.get("model") or "")
    wire = str(record.get("wire") or "") if inner is not None else ""
    wire = wire or next((name for host, name in _HOSTS.items() if host in address.lower()), "")
    provider, _, bare = model.rpartition("/") if wire not in _RELATIVES else ("", "", model)
    first, _, rest = model.partition("/")
    if not wire and first in _RELATIVES:
        wire, provider, bare = first, first, rest
    wire = wire or _wire(address, fields, provider, bare)
    if wire not in WIRES:
        raise ValueError(f"no vendor speaks {wire!r}; known are {', '.join(WIRES)}")
    if provider and "model" in fields:
        fields = {**fields, "model": bare}
    plain = None
    if headers is not None:
        texts = cast("dict[str, Any]", headers)
        plain = {str(name): str(text) for name, text in texts.items()}
    return RecordedRequest(wire, fields, bare, plain)


def _wire(address: str, body: dict[str, Any], provider: str, model: str) -> str:
    path = address.lower()
    if "/responses" in path or ("input" in body and "messages" not in body):
        return "openai-responses"
    if "generatecontent" in path or "contents" in body:
        return "gemini"
    if "deepseek" in path or model.startswith("deepseek"):
        return "deepseek"
    if path.endswith("/messages") or (not path and model.startswith("claude")):
        return "anthropic"
    if "messages" not in body:
        raise ValueError("this is not a request: it has no 'messages', 'input' or 'contents'")
    return _BY_PROVIDER.get(provider, "openai-chat")
