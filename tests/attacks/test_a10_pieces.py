"""A10: secrets that come in pieces, or in other forms, by ways beside a provider's answer."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import base64
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from polycall.gateway.http.redaction import secrets_of
from polycall.gateway.sessions.relay import Relay
from polycall.mcp.process import Program
from polycall.mcp.servers import StdioServer
from polycall.transport.base import HTTPRequest
from tests.gateway.harness import KEY, Gateway, provider_table
from tests.origins import Handler, serving

SECRET = "ghp_first/secret+0123456789"


@pytest.mark.parametrize(
    "written",
    [SECRET, SECRET.replace("/", "\\/"), "ghp_first%2Fsecret%2B0123456789"],
    ids=["as it is", "in JSON", "in an address"],
)
def test_a10_no_cut_of_what_a_program_says_lets_its_secret_through(
    written: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "polycall.mcp")
    said = f"cannot sign in with {written}: refused".encode()
    for cut in range(len(said)):
        caplog.clear()
        program = Program(StdioServer("files", command=["true"], env={"TOKEN": SECRET}))
        for piece in (said[:cut], said[cut:]):
            program.data_received(piece)
        program.connection_lost(None)
        assert program.last_words == "cannot sign in with [redacted]: refused"
        said_in_logs = "".join(record.getMessage() for record in caplog.records)
        assert SECRET[4:] not in said_in_logs


def test_a_program_that_ends_in_the_middle_of_a_secret_has_last_words() -> None:
    program = Program(StdioServer("files", command=["true"], env={"TOKEN": SECRET}))
    program.data_received(b"stopped at ghp_fir")
    program.connection_lost(None)
    assert program.last_words == "stopped at ghp_fir"


@pytest.mark.parametrize("written", [SECRET, SECRET.replace("/", "\\/")])
@pytest.mark.parametrize("name", ["authorization", "x-goog-api-key", "cf-access-client-secret"])
def test_a10_no_frame_of_a_voice_repeats_what_its_session_was_opened_with(
    name: str, written: str
) -> None:
    secrets = list(secrets_of(HTTPRequest("wss://voice.example/v1", {name: f"Bearer {SECRET}"})))
    request: Any = SimpleNamespace(secrets=secrets)
    nothing: Any = None
    relay = Relay(request, nothing, nothing, nothing, send_s=1.0, note_handle=nothing)
    said = relay._redactor.whole(f'{{"a":"{written}"}}'.encode())
    assert said == b'{"a":"[redacted]"}'


class Proxy(Handler):
    """Refuses, and repeats what it was sent."""

    def do_POST(self) -> None:
        self.read()
        said = self.head()["proxy-authorization"]
        self.answer({"error": {"message": f"{said} {SECRET}"}}, 502, **{"x-request-id": said})


def test_a10_no_proxy_gives_its_password_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = base64.b64encode(f"user:{SECRET}".encode()).decode()
    with serving(Proxy) as url:
        proxy = url.replace("http://", f"http://user:{quote(SECRET, safe='')}@")
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.setenv("NO_PROXY", "")
        table = provider_table("up", "http://provider.example/v1", "openai-chat")
        gateway = Gateway(tmp_path, f'{table}[[keys]]\nkey = "{KEY}"\nname = "first"\n').start()
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/embeddings"):
            body = {"model": "up/m", "input": "x", "max_tokens": 9}
            if path != "/v1/embeddings":
                body = {**body, "messages": [{"role": "user", "content": "x"}]}
                del body["input"]
            answer = gateway.request("POST", path, body)
            assert answer.status >= 500
            assert b"[redacted]" in answer.content
            for secret in (SECRET, sent):
                assert secret not in f"{answer.headers}{answer.content.decode()}"
        gateway.stop()
    assert SECRET not in gateway.log
    assert sent not in gateway.log
