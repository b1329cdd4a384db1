"""No key, token or signature is found anywhere but where it belongs.

The secrets look like nothing in particular, so that no pattern can help.  Requests succeed and fail
in every way they can; then everything that the gateway wrote is searched.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from polycall.gateway.state.sealed_tokens import PREFIX as TOKEN_HEAD
from tests.collector import collecting
from tests.gateway.harness import KEY, Answer, Gateway, leaked
from tests.origins import Handler, serving

CLIENT = "Numbat.4kWz~plum.18qr.client"
WRONG = "Wombat.8jTn~lime.52ys.wrong"
PROVIDERS = {
    "chat": "Quokka.7pLm~teal.93xv.provider",
    "anthropic": "Kakapo.2dRc~rust.60bf.provider",
    "gemini": "Pangolin.9hXs~gold.77eg.provider",
}
COLLECTOR = "Ocelot.6wQy~jade.24dp.collector"
STORE_SECRET = "Axolotl.5vBq~navy.31mk.store"
SIGNATURES = {
    "anthropic": "T2NlbG90LXNpZ25hdHVyZS1vZi1hLXRob3VnaHQtNDE3",
    "gemini": "Q2FyYWNhbC1zaWduYXR1cmUtb2YtYS1jYWxsLTg4Mw==",
}
SECRETS = [CLIENT, WRONG, *PROVIDERS.values(), STORE_SECRET, COLLECTOR, *SIGNATURES.values()]

TOOL = {"type": "object", "properties": {"city": {"type": "string"}}}


class Echoing(Handler):
    """A provider of three protocols that repeats the key it was given, in every way of failing."""

    def do_GET(self) -> None:
        self.answer({"error": {"message": f"no such key: {self._key()}"}}, 401)

    def do_POST(self) -> None:
        body = json.loads(self.read())
        model = body.get("model") or self.path.split("/")[-1].split(":")[0]
        told = {"error": {"type": "x", "message": f"rejected {self._key()} and {SIGNATURES}"}}
        if model.startswith("status-"):
            self.answer(told, int(model.removeprefix("status-")))
        elif model == "mid-stream":
            chunk = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
            chunk |= {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            self._stream([chunk, told])
        elif model == "first-frame":
            self._stream([told])
        elif model == "nonsense":
            self.answer({"what": self._key()})
        elif self.path.endswith("/messages"):
            self.answer(anthropic_answer())
        elif "/v1beta/" in self.path:
            self.answer(gemini_answer())
        else:
            self.answer(chat_answer())

    def _key(self) -> str:
        names = ("authorization", "x-api-key", "x-goog-api-key")
        return next((self.headers[name] for name in names if self.headers[name]), "none")

    def _stream(self, frames: list[Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for frame in frames:
            self.wfile.write(b"data: " + json.dumps(frame).encode() + b"\n\n")
        self.close_connection = True


def anthropic_answer() -> Any:
    thought = {"type": "thinking", "thinking": "hm", "signature": SIGNATURES["anthropic"]}
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Seoul"}}
    usage = {"input_tokens": 5, "output_tokens": 6}
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [thought, call], "stop_reason": "tool_use", "usage": usage,
    }  # fmt: skip


def gemini_answer() -> Any:
    call = {"name": "weather", "args": {"city": "Seoul"}}
    part = {"functionCall": call, "thoughtSignature": SIGNATURES["gemini"]}
    content = {"role": "model", "parts": [part]}
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 6, "totalTokenCount": 11}
    candidate = {"content": content, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "responseId": "r"}


def chat_answer() -> Any:
    message = {"role": "assistant", "content": "hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [choice], "usage": usage,
    }  # fmt: skip


def config(url: str, folder: Path, collector: str) -> str:
    (folder / "key").write_text(PROVIDERS["anthropic"] + "\n", encoding="utf-8")
    return f"""
[server]
log = "debug"
attempts = 1
[store]
secret = "{STORE_SECRET}"
[providers.chat]
dialect = "openai-chat"
base_url = "{url}/v1"
api_key = "{PROVIDERS["chat"]}"
[providers.anthropic]
base_url = "{url}"
api_key = "file:key"
[providers.gemini]
dialect = "gemini"
base_url = "{url}"
api_key = "cmd:echo {PROVIDERS["gemini"]}"
[traces]
endpoint = "{collector}"
headers = {{ x-collector-key = "{COLLECTOR}" }}
[[keys]]
key = "{CLIENT}"
name = "first"
"""


MESSAGES = [{"role": "user", "content": "hi"}]
CHAT_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}]
FAILURES = ["status-400", "status-401", "status-403", "status-404", "status-429", "status-500",
            "mid-stream", "first-frame", "nonsense"]  # fmt: skip


def ask_all(gateway: Gateway) -> list[Answer]:
    """Requests of all kinds; their answers, but for those that succeed."""
    chat, answers = "/v1/chat/completions", []

    def post(path: str, body: Any, *, key: str | None = CLIENT, **headers: str) -> Answer:
        answers.append(gateway.request("POST", path, body, key=key, headers=headers))
        return answers[-1]

    for provider in PROVIDERS:
        assert talk(gateway, f"{provider}/good").status == 200
        for failure in FAILURES:
            for streams in (False, True):
                model = f"{provider}/{failure}"
                post(chat, {"model": model, "messages": MESSAGES, "stream": streams})
                responses = {"model": model, "input": "hi", "stream": streams}
                post("/v1/responses", responses)
                anthropic = {"model": model, "messages": MESSAGES, "max_tokens": 5}
                post("/v1/messages", {**anthropic, "stream": streams})
                method = "streamGenerateContent?alt=sse" if streams else "generateContent"
                contents = {"contents": [{"parts": [{"text": "hi"}]}]}
                post(f"/v1beta/models/{model}:{method}", contents)
            post("/v1/messages/count_tokens", {**anthropic, "stream": False})
    for path in (chat, "/v1/messages", "/v1beta/models/chat/good:generateContent", "/v1/models"):
        post(path, {"model": "chat/good", "messages": MESSAGES}, key=WRONG)
        for name in ("x-api-key", "x-goog-api-key", "api-key"):
            post(path, {}, key=None, **{name: WRONG})
        post(f"{path}?key={WRONG}", {}, key=None)
        post(f"{path}?alt=sse&key={quote(WRONG, safe='')}", {}, key=None)
    post(chat, b'{"model": ', key=CLIENT)
    post(chat, {"model": f"chat/{WRONG[:4]}", "messages": 3})
    gets = (
        "/metrics",
        "/v1/models",
        "/v1/models/chat/good",
        "/readyz",
        "/openapi.json",
        "/nothing",
    )
    for path in gets:
        for key in (CLIENT, WRONG):
            answers.append(gateway.request("GET", f"{path}?key={key}", key=None))
            answers.append(gateway.request("GET", path, key=key))
    return answers


def talk(gateway: Gateway, model: str) -> Answer:
    """Two steps with a tool, by a client that has no slot for a signature."""
    body: dict[str, Any] = {"model": model, "messages": MESSAGES, "tools": CHAT_TOOLS}
    answer = gateway.request("POST", "/v1/chat/completions", body, key=CLIENT)
    assert answer.status == 200, answer
    message = answer.json()["choices"][0]["message"]
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
        for call in message.get("tool_calls") or []
    ]
    if not results:
        return answer
    body["messages"] = [*MESSAGES, message, *results]
    return gateway.request("POST", "/v1/chat/completions", body, key=CLIENT)


def forms(secret: str) -> set[bytes]:
    """A secret as it is, as a URL has it, and as base64 has it at each of three places."""
    plain = secret.encode()
    encoded = {base64.b64encode(b"\0" * pad + plain)[4 * (pad > 0) : -4] for pad in range(3)}
    return {plain, quote(secret, safe="").encode(), *encoded}


def found_in(name: str, data: bytes) -> list[str]:
    return [f"{secret!r} in {name}" for secret in SECRETS for form in forms(secret) if form in data]


class Ran(NamedTuple):
    """A gateway that has served and ended, what it answered, and the traces it sent."""

    gateway: Gateway
    answers: list[Answer]
    traces: bytes


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("secrets")
    with serving(Echoing) as url, collecting() as collector:
        gateway = Gateway(folder, config(url, folder, collector.url)).start()
        answers = ask_all(gateway)
        assert gateway.stop() == 0
    return Ran(gateway, answers, b"".join(collector.bodies))


def test_j07_no_secret_is_in_a_log(ran: Ran) -> None:
    gateway = ran.gateway
    assert "draining" in gateway.log
    assert found_in("the log", gateway.log.encode()) == []


def test_j07_no_secret_is_in_a_trace(ran: Ran) -> None:
    assert ran.traces.count(b"gen_ai.request.model") > len(ran.answers) / 2
    assert found_in("a trace", ran.traces) == []


def test_j07_no_secret_is_in_the_store(ran: Ran) -> None:
    gateway, answers = ran.gateway, ran.answers
    connection = sqlite3.connect(gateway.folder / "polycall.db")
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
    assert {"ledger", "states"} <= set(tables)
    assert connection.execute("SELECT count(*) FROM states").fetchone()[0] >= 2
    assert connection.execute("SELECT count(*) FROM ledger").fetchone()[0] > len(answers) / 2
    connection.close()
    written = [path for path in gateway.folder.iterdir() if path.name.startswith("polycall.db")]
    for path in written:
        assert found_in(path.name, path.read_bytes()) == []


def test_j07_j08_no_answer_repeats_a_key(ran: Ran) -> None:
    answers = ran.answers
    statuses = {answer.status for answer in answers}
    assert {200, 400, 401, 403, 404, 405, 429, 500, 502} <= statuses
    # A provider's own words may hold a signature, which is the client's anyway; never a key.
    told = [
        (name, answer)
        for answer in answers
        for name in found_in("an answer", answer.content + json.dumps(answer.headers).encode())
        if not any(signature in name for signature in SIGNATURES.values())
    ]
    assert told == []


def test_j07_whatever_a_gateway_of_these_tests_writes_is_searched(folder: Path) -> None:
    gateway = Gateway(folder, f'[[keys]]\nkey = "{KEY}"\n').start()
    spooled = folder / "polycall-spool-1.jsonl"
    spooled.write_text(f"a row with {KEY}")
    with pytest.raises(AssertionError, match="polycall-spool-1.jsonl"):
        gateway.stop()
    assert leaked([], b"a token: " + TOKEN_HEAD.encode()) == [TOKEN_HEAD.encode()]
