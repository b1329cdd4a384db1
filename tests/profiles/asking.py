"""A request to one model, as it would leave: its body and the warnings, or the refusal."""

from __future__ import annotations

from typing import Any

from polycall.exchange import prepare
from polycall.ir import Message, Request, Text, Tool
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.provider import Provider
from polycall.translation.wire import WireRequest

TOOL = Tool("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}})


def asked(model: str, *, provider: Provider | None = None, **fields: Any) -> WireRequest:
    """What `provider/model` would be sent."""
    prefix, _, name = model.partition("/")
    target = provider or CATALOGUE[prefix]
    name = target.own_name(name)
    messages = fields.pop("messages", None) or [Message("user", [Text("hello")])]
    return prepare(Request(name, messages, **fields), target, name, "key").wire


def said(wire: WireRequest) -> set[tuple[str, str]]:
    """The warnings, by kind and feature."""
    return {(warning.kind, warning.feature) for warning in wire.warnings}
