"""One simulation for all tests of this folder, and plain HTTP to it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import pytest

from polycall.sim import Simulation


class Answer(NamedTuple):
    """A whole HTTP answer."""

    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


Post: TypeAlias = Callable[..., Answer]

KEYS = {
    "openai": {"authorization": "Bearer test"},
    "deepseek": {"authorization": "Bearer test"},
    "compatible": {"authorization": "Bearer test"},
    "anthropic": {"x-api-key": "test", "anthropic-version": "2023-06-01"},
    "google": {"x-goog-api-key": "test"},
}


@pytest.fixture(scope="session")
def sim() -> Iterator[Simulation]:
    with Simulation(seed=7) as simulation:
        yield simulation


def request(
    method: str, url: str, data: bytes | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """One exchange on a connection of its own."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, data, headers or {})
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read())
    finally:
        connection.close()


@pytest.fixture(scope="session")
def post(sim: Simulation) -> Post:
    """Post a body to a path below a vendor's base URL, with a valid key."""

    def send(vendor: str, path: str, body: Any, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return request("POST", sim.base_url(vendor) + path, data, {**KEYS[vendor], **headers})

    return send


WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "City name"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city"],
}
