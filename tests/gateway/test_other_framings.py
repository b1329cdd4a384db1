"""Servers that answer a streamed request in another form than events, through a real gateway."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.harness import Gateway, provider_table
from tests.gateway.scripted import chat_body, chat_chunk
from tests.origins import Handler, started

CHAT, ANTHROPIC = "/v1/chat/completions", "/v1/messages"
CHUNKS = [
    chat_chunk({"role": "assistant", "content": ""}),
    chat_chunk({"content": "fi"}),
    chat_chunk({"content": "ne"}),
    chat_chunk({}, "eos"),
]
LINES = [json.dumps(chunk).encode() for chunk in CHUNKS]
WHOLE = chat_body({"content": "fine"}, "eos")
OLLAMA = {"model": "m", "created_at": "2026-11-29T00:00:00Z", "done": False}
SAID = {"role": "assistant", "content": "fine"}

FORMS: dict[str, tuple[str, bytes]] = {
    "lines of JSON": ("application/x-ndjson", b"\n".join(LINES) + b"\n"),
    "lines of JSON that end in CRLF": ("application/json", b"\r\n".join(LINES)),
    "lines of JSON that are called events": ("text/event-stream", b"\n".join(LINES)),
    "lines of JSON and a mark": ("application/jsonl", b"\n".join([*LINES, b"[DONE]", b""])),
    "an array": ("application/json", b"[" + b",\n".join(LINES) + b"]"),
    "one body": ("application/json", json.dumps(WHOLE).encode()),
    "one body on many lines": ("text/plain", json.dumps(WHOLE, indent=2).encode()),
    "events without lines between": ("text/plain", b"".join(b"data:" + x + b"\n" for x in LINES)),
}
OTHERS: dict[str, tuple[str, bytes, str]] = {
    "a page": ("text/html", b"<html>busy</html>", "not a stream of events"),
    "a page that is called events": ("text/event-stream", b"\n<html>busy", "not a stream of"),
    "another dialect": (
        "application/x-ndjson",
        b"".join(
            json.dumps({**OLLAMA, "message": SAID, "done": done}).encode() + b"\n"
            for done in (False, True)
        ),
        "another dialect",
    ),
    "nothing": ("application/x-ndjson", b"", "ended before an answer began"),
}


class Upstream:
    """Answers `bad` in the form of the test, and `good` with events."""

    def __init__(self) -> None:
        self.kind = ""
        self.data = b""
        upstream = self

        class Framing(Handler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.read())
                kind, data = upstream.kind, upstream.data
                if body["model"] == "good":
                    kind = "text/event-stream"
                    data = b"".join(b"data: " + line + b"\n\n" for line in LINES)
                    data = data.replace(b"eos", b"stop") + b"data: [DONE]\n\n"
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                for place in range(0, len(data), 29):
                    self.wfile.write(data[place : place + 29])

        self.server = started(Framing)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def served(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    url = f"http://127.0.0.1:{upstream.server.server_address[1]}/v1"
    tables = [
        provider_table("plain", url, "openai-chat"),
        provider_table("named", url, "openai-chat", 'quirks = "groq"'),
        '[models.two]\nroute = ["plain/bad", "plain/good"]\n[server]\nwait_s_max = 0.2\n',
    ]
    gateway = Gateway(tmp_path_factory.mktemp("framings"), "\n".join(tables)).start()
    yield gateway
    gateway.stop()


def asked(path: str, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "stream": True, "max_tokens": 9}
    return {**body, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("provider", "form"),
    [
        *(("plain", form) for form in FORMS),
        # A vendor that is known is believed that it sends events.
        *(("named", form) for form in FORMS if FORMS[form][0] != "text/event-stream"),
    ],
)
def test_a_chat_client_gets_events_whatever_the_form(
    served: Gateway, upstream: Upstream, provider: str, form: str
) -> None:
    upstream.kind, upstream.data = FORMS[form]
    answer = served.post(CHAT, asked(CHAT, f"{provider}/bad"))
    assert answer.status == 200
    *events, last, rest = answer.content.decode().split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == "fine"
    assert choices[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize("form", ["lines of JSON", "one body on many lines"])
def test_a_client_of_another_dialect_gets_its_own_events(
    served: Gateway, upstream: Upstream, form: str
) -> None:
    upstream.kind, upstream.data = FORMS[form]
    shown = served.post(ANTHROPIC, asked(ANTHROPIC, "plain/bad")).content.decode()
    assert '"stop_reason":"end_turn"' in shown
    assert shown.endswith('data: {"type":"message_stop"}\n\n')


@pytest.mark.parametrize(("case", "path"), [*zip(OTHERS, [CHAT, ANTHROPIC] * 2, strict=True)])
def test_what_is_no_answer_is_said_and_goes_to_the_next_stop(
    served: Gateway, upstream: Upstream, case: str, path: str
) -> None:
    upstream.kind, upstream.data, words = OTHERS[case]
    answer = served.post(path, asked(path, "two"))
    assert answer.status == 200
    assert b"fi" in answer.content
    ends_at = time.monotonic() + 5
    while words not in served.log:
        assert time.monotonic() < ends_at, served.log
        time.sleep(0.02)
