"""A10: secrets that come in pieces, or in other forms, by ways beside a provider's answer."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from polycall.gateway.http.redaction import secrets_of
from polycall.gateway.sessions.relay import Relay
from polycall.mcp.process import Program
from polycall.mcp.servers import StdioServer
from polycall.transport.base import HTTPRequest

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
