"""What passes through is watched all the same: usage, tool calls, ends, in all four protocols."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polycall.gateway.passthrough.stream import Observer
from polycall.ir import Event, ResponseEnd, Usage
from polycall.providers.dialects import DIALECTS
from polycall.sim import Call, Simulation, Turn
from tests.gateway.drivers import DRIVERS
from tests.gateway.harness import KEY, UPSTREAMS, Gateway, sim_config
from tests.support import cut, wire_examples

SAME = {
    "openai-chat": "up-chat",
    "openai-responses": "up-responses",
    "anthropic": "up-anthropic",
    "gemini": "up-gemini",
}


TALKS = [Turn(text="x" * 50, calls=[Call("now", {})])]


def test_usage_is_written_down(sim: Simulation, tmp_path: Path) -> None:
    served = Gateway(tmp_path, sim_config(sim)).start()
    expected = []
    for client, upstream in SAME.items():
        for streamed in (False, True):
            model = f"watched-{client}-{streamed}"
            sim.script(
                UPSTREAMS[upstream][0], model, [Turn(text="x" * 50, calls=[Call("now", {})])]
            )
            driver = DRIVERS[client](served.url, KEY, f"{upstream}/{model}", streamed=streamed)
            assert len(driver.ask("hello").calls) == 1
            driver.close()
            expected.append((client, int(streamed), "ok", model))
    rows = served.ledger(len(expected))
    served.stop()
    assert [(r["client"], r["streamed"], r["outcome"], r["model"]) for r in rows] == expected
    for plain, streamed in zip(rows[::2], rows[1::2], strict=True):
        assert plain["input_tokens"] > 0
        assert plain["output_tokens"] > 0
        tokens = ("input_tokens", "output_tokens", "is_estimate")
        assert [plain[name] for name in tokens] == [streamed[name] for name in tokens]


def decoded_usage(dialect: str, data: bytes) -> Usage | None:
    decoder = DIALECTS[dialect].StreamDecoder()
    events: list[Event] = decoder.feed(data)
    try:
        events += decoder.close()
    except Exception:
        return None
    (end,) = [event for event in events if isinstance(event, ResponseEnd)]
    return end.usage


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic", "gemini"])
def test_an_observer_sees_what_a_decoder_sees(dialect: str) -> None:
    seen = 0
    for name, folder in wire_examples(dialect):
        path = folder / "stream.sse"
        if not path.exists():
            continue
        data = path.read_bytes()
        expected = decoded_usage(dialect, data)
        for seed in range(6):
            observer = Observer(DIALECTS[dialect], hides_usage=False, is_sse=True)
            passed = b"".join(observer.feed(piece) for piece in cut(data, seed=seed))
            error: Exception | None = None
            try:
                passed += observer.close()
            except Exception as caught:
                error = caught
            assert passed == data, name
            assert (observer.usage if error is None else None) == expected, (name, seed, error)
            seen += 1
    assert seen > 10


def test_hiding_takes_the_usage_chunk_and_nothing_else() -> None:
    def frame(body: Any) -> bytes:
        return b"data: " + json.dumps(body).encode() + b"\r\n\r\n"

    def choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    text = '"usage": {"choices": [] }'
    head = [frame(choice({"role": "assistant", "content": text})), frame(choice({}, "stop"))]
    tail = b"data: [DONE]\r\n\r\n"
    data = b"".join([b": hello\r\n\r\n", *head, frame({"choices": [], "usage": usage}), tail])
    for seed in range(20):
        observer = Observer(DIALECTS["openai-chat"], hides_usage=True, is_sse=True)
        passed = b"".join(observer.feed(piece) for piece in cut(data, seed=seed))
        passed += observer.close()
        assert passed == b"".join([b": hello\r\n\r\n", *head, tail])
        assert (observer.usage.input_tokens, observer.usage.output_tokens) == (3, 2)


GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


@pytest.mark.parametrize("upstream", ["up-gemini", "up-anthropic", "up-chat"])
def test_gemini_streams_without_sse_are_arrays(
    sim: Simulation, gateway: Gateway, upstream: str
) -> None:
    model = f"array-{upstream}"
    sim.script(UPSTREAMS[upstream][0], model, [Turn(text="hello, array")])
    answer = gateway.post(f"/v1beta/models/{upstream}/{model}:streamGenerateContent", GEMINI)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    chunks = json.loads(answer.content)
    texts = [
        part.get("text", "")
        for chunk in chunks
        for candidate in chunk.get("candidates", [])
        for part in candidate.get("content", {}).get("parts", [])
    ]
    assert "".join(texts) == "hello, array"


_COUNTED = '"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}'


@pytest.mark.parametrize(
    ("frame", "passed"),
    [
        (f'{{"id":"a","choices":[],{_COUNTED}}}', ""),
        (
            f'{{"id":"a","choices":[{{"index":0,"finish_reason":"stop","delta":{{}}}}],{_COUNTED}}}',
            '{"id":"a","choices":[{"index":0,"finish_reason":"stop","delta":{}}]}',
        ),
        (
            '{"usage": {"total_tokens": 5}, "choices": [{"index": 0, "delta": {"content": "é"}}]}',
            '{"choices":[{"index": 0, "delta": {"content": "é"}}]}',
        ),
        ('{"choices":[{"delta":{"content":"\\"usage\\":{"}}]}', None),
        ('{"usage":null,"choices":[{"delta":{"content":"x"}}]}', None),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_usage_that_only_the_gateway_asked_for_is_hidden_wherever_it_stands(
    frame: str, passed: str | None, at_once: bool
) -> None:
    observer = Observer(DIALECTS["openai-chat"], hides_usage=True, is_sse=True)
    opening = 'data: {"id":"a","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n'
    text = f"{opening}data: {frame}\n\ndata: [DONE]\n\n".encode()
    pieces = [text] if at_once else [bytes([byte]) for byte in text]
    found = b"".join(map(observer.feed, pieces)) + observer.close()
    kept = frame if passed is None else passed
    shown = f"data: {kept}\n\n" if kept else ""
    assert found.decode() == f"{opening}{shown}data: [DONE]\n\n"
