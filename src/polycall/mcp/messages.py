"""One message of a server, read from its bytes once.

The protocol's library tries the kinds of messages one after the other, each with all that is in it;
here it does so only where the members do not tell the kind.
"""

from __future__ import annotations

from typing import Any, cast

import mcp_types as types
import pydantic_core

from polycall.ir import JSON

_TELLING = frozenset(("method", "result", "error"))


def read_message(data: bytes | str) -> types.JSONRPCMessage:
    """The message; `ValueError` where it is none."""
    found: Any = pydantic_core.from_json(data)
    if not isinstance(found, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - of what was read, as all others
    message = cast("JSON", found)
    if len(_TELLING & message.keys()) != 1:  # such as an error of null beside a result
        return types.jsonrpc_message_adapter.validate_python(message, by_name=False)
    return _kind_of(message).model_validate(message, by_name=False)


def _kind_of(
    message: JSON,
) -> type[
    types.JSONRPCRequest | types.JSONRPCNotification | types.JSONRPCError | types.JSONRPCResponse
]:
    if "method" in message:
        name: Any = message.get("id")
        is_request = isinstance(name, int | str) and not isinstance(name, bool)
        return types.JSONRPCRequest if is_request else types.JSONRPCNotification
    return types.JSONRPCError if "error" in message else types.JSONRPCResponse
