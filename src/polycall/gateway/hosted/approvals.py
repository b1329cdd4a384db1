"""Calls that wait for the client's consent, each answered once.

A call that waits is kept under the id of its request.  A client that lost the answer to its
consent gives it again, and gets the same result: nothing is run twice.
"""

from __future__ import annotations

import secrets
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from polycall._support import jsontext
from polycall.errors import MalformedRequestError
from polycall.gateway.store import Store
from polycall.ir import Message, Opaque, ToolCall

_REQUEST, _RESPONSE, _CALL = "mcp_approval_request", "mcp_approval_response", "mcp_call"


class Consent(Struct, frozen=True):
    """A client's answer to a call that waits."""

    name: str  # of the request
    is_given: bool
    reason: str = ""


class Waiting(Struct, frozen=True):
    """A call as it waits: `result` once it has run."""

    label: str
    tool: str
    arguments_json: str
    state: str = "waits"  # taken, done
    result: str = ""
    is_error: bool = False


class Approvals:
    """Those of one key."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner

    async def ask(self, label: str, tool: str, call: ToolCall) -> str:
        """Have a call wait; gives the id of the request for consent."""
        name = f"mcpr_{secrets.token_hex(16)}"
        waiting = Waiting(label, tool, call.arguments_json)
        await self._store.save_state(self._owner, _state(name), jsontext.encode_bytes(waiting))
        return name

    async def take(self, name: str) -> Waiting:
        """The call that waits, which nobody else gets to run; one that has run, with its result.

        Raises `MalformedRequestError` for one that was never asked, or that is being run.
        """
        taken = False

        def take(value: bytes) -> bytes | None:
            nonlocal taken
            waiting = _read(value)
            taken = waiting.state == "waits"
            if not taken:
                return None
            return jsontext.encode_bytes(_changed(waiting, state="taken"))

        value = await self._store.change_state(self._owner, _state(name), take)
        if value is None:
            raise MalformedRequestError(
                f"there is no call that waits for the approval {name[:80]!r}", path="input"
            )
        waiting = _read(value)
        if not taken and waiting.state == "taken":
            raise MalformedRequestError(
                f"the call of the approval {name[:80]!r} is being run, or its process ended before "
                "its result was kept; ask the model again",
                path="input",
            )
        return waiting

    async def finish(self, name: str, waiting: Waiting, text: str, *, is_error: bool) -> None:
        """Keep the result of a call that has run."""
        done = _changed(waiting, state="done", result=text, is_error=is_error)
        await self._store.save_state(self._owner, _state(name), jsontext.encode_bytes(done))


def consents(messages: list[Message]) -> list[Consent]:
    """The client's answers to calls whose results its history lacks."""
    found: list[Consent] = []
    ran: set[str] = set()
    for message in messages:
        for part in message.parts:
            if not isinstance(part, Opaque):
                continue
            if part.kind == _CALL:
                ran.add(str(part.data.get("approval_request_id")))
            elif part.kind == _RESPONSE:
                reason: Any = part.data.get("reason")
                found.append(
                    Consent(
                        str(part.data.get("approval_request_id") or ""),
                        part.data.get("approve") is True,
                        reason if isinstance(reason, str) else "",
                    )
                )
    return [each for each in found if each.name not in ran]


def is_approval(part: object) -> bool:
    """Whether a part is only about consent."""
    return isinstance(part, Opaque) and part.kind in (_REQUEST, _RESPONSE)


def _changed(waiting: Waiting, **values: Any) -> Waiting:
    return replace(waiting, **values)


def _read(value: bytes) -> Waiting:
    return Waiting(**jsontext.decode(value))


def _state(name: str) -> str:
    return f"approval_{name}"
