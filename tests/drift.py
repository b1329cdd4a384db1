"""Vendors that have changed overnight: simulated ones behind a server that refuses in their words.

A drift is one change: a field with another name, a narrower range, a value or a field that is
gone, a header that is wanted.  What passes it is told to the simulation in its own old way.
"""

from __future__ import annotations

import copy
import http.client
import json
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import urlsplit

from polycall.sim import Simulation
from tests.origins import Handler, started

VENDOR_OF = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
}


class Drift(NamedTuple):
    """One change of one wire.  `value` is the new name, the bound, what is taken, or the header's.

    `says` is the vendor's refusal; `{sent}` in it is the value that was sent.
    """

    name: str
    dialect: str
    kind: Literal["rename", "most", "least", "length", "values", "gone", "header"]
    field: str
    value: Any
    says: str
    param: str = ""

    def refusal(self, body: Any, headers: dict[str, str]) -> str:
        """What the vendor says of this request; empty where it is taken."""
        if self.kind == "header":
            wanted = str(self.value)
            sent: Any = headers.get(self.field, "")
            return "" if wanted in [each.strip() for each in sent.split(",")] else self.says
        sent = value_at(body, self.field)
        if sent is None:
            return ""
        bad = {
            "rename": True,
            "gone": True,
            "most": self.kind == "most" and sent > self.value,
            "least": self.kind == "least" and sent < self.value,
            "length": self.kind == "length" and len(sent) > self.value,
            "values": self.kind == "values" and sent not in self.value,
        }[self.kind]
        return self.says.replace("{sent}", str(sent)) if bad else ""

    def undone(self, body: Any) -> Any:
        """The body as the vendor took it before."""
        if self.kind != "rename":
            return body
        body = copy.deepcopy(body)
        parent, _, leaf = self.field.rpartition(".")
        new = self.value if "." in self.value or not parent else f"{parent}.{self.value}"
        value = value_at(body, new)
        if value is not None:
            place(body, new, None)
            place(body, f"{parent}.{leaf}" if parent else leaf, value)
        return body


def value_at(body: Any, path: str) -> Any:
    found = body
    for step in path.split("."):
        found = _inside(found).get(step)
    return found


def place(body: Any, path: str, value: Any) -> None:
    steps = path.split(".")
    fields = _inside(body)
    for step in steps[:-1]:
        fields = _inside(fields.setdefault(step, {}))
    if value is None:
        fields.pop(steps[-1], None)
    else:
        fields[steps[-1]] = value


def _inside(value: Any) -> dict[str, Any]:
    """The object itself, or the first of a list; an empty one for anything else."""
    items: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    first = items[0] if items else None
    return cast("dict[str, Any]", first) if isinstance(first, dict) else {}


def _error(dialect: str, message: str, param: str) -> dict[str, Any]:
    if dialect == "anthropic":
        return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    if dialect == "gemini":
        return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}
    kind = "invalid_request_error"
    fields = {"message": message, "type": kind, "param": param or None, "code": None}
    return {"error": fields}


class DriftingVendors:
    """All drifts on one port: `base_url(drift)` is one of them as its vendor's SDK takes it.

    `seen[drift.name]` has the bodies and headers that came, refused or not.
    """

    def __init__(self, sim: Simulation, drifts: list[Drift]) -> None:
        self.drifts = {each.name: each for each in drifts}
        self.seen: dict[str, list[tuple[Any, dict[str, str]]]] = {}
        self._sim = urlsplit(sim.url)
        self._paths = {v: urlsplit(sim.base_url(v)).path for v in set(VENDOR_OF.values())}
        outer = self

        class Drifting(Handler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                outer.answer(self)

        self._server = started(Drifting)

    def __enter__(self) -> DriftingVendors:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def base_url(self, drift: Drift) -> str:
        host, port = self._server.server_address[:2]
        path = self._paths[VENDOR_OF[drift.dialect]]
        return f"http://{host!s}:{port}/{drift.name}{path}"

    def answer(self, handler: Handler) -> None:
        _, name, *rest = handler.path.split("/")
        drift = self.drifts[name]
        body = json.loads(handler.read())
        headers = handler.head()
        self.seen.setdefault(name, []).append((body, headers))
        says = drift.refusal(body, headers)
        if says:
            handler.answer(_error(drift.dialect, says, drift.param), 400)
            return
        assert self._sim.hostname is not None
        connection = http.client.HTTPConnection(self._sim.hostname, self._sim.port or 80)
        try:
            passed = {k: v for k, v in headers.items() if k not in ("host", "content-length")}
            data = json.dumps(drift.undone(body)).encode()
            connection.request("POST", "/" + "/".join(rest), data, passed)
            response = connection.getresponse()
            content = response.read()
            kind = response.getheader("content-type", "application/json")
            handler.answer(content, response.status, kind)
        finally:
            connection.close()
