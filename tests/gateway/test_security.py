"""What a client of the gateway cannot do."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from polycall.sim import Simulation
from polycall.voices.routes import ROUTES as SESSION_ROUTES
from tests.gateway.harness import KEY, Gateway, sim_config

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "up-chat/sim-1", "messages": [{"role": "user", "content": "hi"}]}


class Trap:
    """A server that nobody has a reason to come to."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.visits = 0
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.visits += 1
            peer.close()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    found = Trap()
    yield found
    found.close()


@pytest.mark.parametrize("upstream", ["up-chat", "up-anthropic", "up-gemini", "up-compatible"])
@pytest.mark.parametrize(
    "field", ["api_base", "base_url", "api_key", "api_url", "endpoint", "proxy", "custom_llm"]
)
def test_j01_a_client_names_no_address_and_no_key(
    gateway: Gateway, sim: Simulation, trap: Trap, upstream: str, field: str
) -> None:
    body = {**ASK, "model": f"{upstream}/sim-1"}
    headers = {field.replace("_", "-"): trap.url, f"x-{field}": trap.url, "host": trap.url[7:]}
    for place in ({field: trap.url}, {"extra_body": {field: trap.url}}, {"metadata": {}}):
        answer = gateway.post(CHAT, {**body, **place}, **headers)
        assert answer.status in (200, 400), answer
    gateway.post(f"{CHAT}?{field}={trap.url}", body)
    gateway.post(CHAT, {**body, "model": f"{trap.url}/v1/m"})
    gateway.post(f"/v1beta/models/{trap.url}/m:generateContent", {"contents": []})
    assert trap.visits == 0
    assert trap.url not in json.dumps(dict(sim.requests[-1].headers))


@pytest.mark.parametrize("name", ["../../secret", "free/../sim-1", "..", "free/./x", "free/.."])
def test_j13_a_models_name_leads_nowhere_else(sim: Simulation, folder: Path, name: str) -> None:
    narrow = '[[keys]]\nkey = "sk-narrow-for-tests"\nmodels = ["up-gemini/free/*", "up-gemini/*"]\n'
    gateway = Gateway(folder, sim_config(sim, narrow)).start()
    before = sim.received
    for key in (KEY, "sk-narrow-for-tests"):
        body = {**ASK, "model": f"up-gemini/{name}"}
        assert gateway.request("POST", CHAT, body, key=key).status == 404
        quoted = quote(name, safe="")
        path = f"/v1beta/models/up-gemini/{quoted}:generateContent"
        assert gateway.request("POST", path, {"contents": []}, key=key).status == 404
        assert gateway.request("GET", f"/v1/models/up-gemini/{quoted}", key=key).status == 404
    assert sim.received == before
    assert gateway.stop() == 0


SESSIONS = frozenset(SESSION_ROUTES)


def closed_status(path: str) -> int:
    """What a path answers without a key, here without administration and MCP servers."""
    if path.startswith(("/admin/", "/mcp")):
        return 404
    if path.startswith("/model/"):
        return 403  # as AWS says it
    return 426 if path in SESSIONS else 401  # a WebSocket is asked for first


def test_j04_nothing_but_health_is_told_without_a_key(gateway: Gateway) -> None:
    document = gateway.request("GET", "/openapi.json", key=None)
    assert document.status == 200
    open_ones: set[str] = set()
    for path, methods in document.json()["paths"].items():
        filled = path.replace("{model}", "up-chat/sim-1").replace("{", "").replace("}", "")
        for method in methods:
            body = {**ASK, "input": "hi", "max_tokens": 5} if method == "post" else None
            for key in (None, "sk-somebody-elses"):
                answer = gateway.request(method.upper(), filled, body, key=key)
                if answer.status != closed_status(path):
                    open_ones.add(path)
    assert open_ones == {"/healthz", "/readyz"}


ADMIN = ("/admin", "/config", "/api/config", "/keys", "/key/generate", "/key/list", "/user/new",
         "/v1/keys", "/reload", "/shutdown", "/debug/pprof", "/model/new", "/ui", "/docs", "/env",
         "/polycall.toml", "/polycall.db", "/../polycall.toml",
         "/metrics/../polycall.toml")  # fmt: skip
PROCESSES = ("/mcp", "/mcp/tools/list", "/mcp-rest/test/connection", "/mcp-rest/test/tools/list",
             "/v1/mcp/server", "/api/mcp/client", "/prompts/test", "/v1/run",
             "/v1/code")  # fmt: skip
STDIO = {"transport": "stdio", "command": "touch", "args": ["/tmp/started"], "env": {}}


@pytest.mark.parametrize("key", [None, KEY])
def test_j04_there_is_no_administration_over_http(gateway: Gateway, key: str | None) -> None:
    before = gateway.path.read_bytes()
    for path in ADMIN:
        for method in ("GET", "POST", "PUT", "DELETE"):
            body = {"keys": [{"key": "sk-mine"}], "models": {}} if method != "GET" else None
            answer = gateway.request(method, path, body, key=key)
            assert answer.status in (401, 404, 405), (method, path, answer)
    assert gateway.path.read_bytes() == before
    assert gateway.request("GET", "/v1/models", key="sk-mine").status == 401


def test_j05_j06_no_route_starts_a_process_or_renders_a_template(folder: Path) -> None:
    with Simulation(seed=3) as sim:
        gateway = Gateway(folder, sim_config(sim)).start()
        gateway.post(CHAT, ASK)
        children = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children")
        before = children.read_text()
        for path in PROCESSES:
            for body in (STDIO, {"mcpServers": {"x": STDIO}}, {"template": "{{ 7 * 7 }}"}):
                assert gateway.post(path, body).status == 404
        marked = f"touch {folder}/started"
        for text in ("{{ 7 * 7 }}", "${7 * 7}", f"`{marked}`", f"$({marked})"):
            hello = {**ASK, "messages": [{"role": "user", "content": text}], "user": text}
            gateway.post(CHAT, hello)
            # It reaches the provider as it was written.
            assert text in json.dumps(sim.requests[-1].body)
        # Where a secret may be a command, only the operator's file says which.
        gateway.request("POST", CHAT, ASK, key=f"cmd:{marked}")
        assert children.read_text() == before
        assert not (folder / "started").exists()
        assert gateway.stop() == 0
