"""A8: completions, pictures and speech reserve what they ask for, as any other generation does."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
import random
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from polycall.gateway.forwarding.usage_watch import UsageWatch
from tests.edge.test_doors import ask, serving
from tests.edge.test_every_door import Nobody
from tests.gateway.harness import Gateway
from tests.origins import Handler
from tests.origins import serving as vendor

KEY = [(b"authorization", b"Bearer sk-poor-0123456789")]
CONFIG = (
    '[providers.up]\ndialect = "openai-chat"\nbase_url = "http://127.0.0.1:9/v1"\n'
    'api_key = "sk-u"\nmodels = ["m"]\n[providers.up.prices]\nm = { input = 1, output = 10 }\n'
    '[[keys]]\nkey = "sk-poor-0123456789"\nname = "poor"\nbudget_usd = 0.01\n'
)
BEYOND: dict[str, dict[str, Any]] = {
    "many tokens": {"max_tokens": 100_000},
    "many tokens as a text": {"max_tokens": "100000"},
    "many answers": {"max_tokens": 100, "n": 100},
    "many tries": {"max_tokens": 100, "best_of": 128},
    "many prompts": {"max_tokens": 100, "prompt": ["x"] * 50},
    "many prompts of tokens": {"max_tokens": 100, "prompt": [[1, 2]] * 50},
    "prompts with answers": {"max_tokens": 20, "prompt": ["x"] * 10, "n": 10},
    "as many as the model gives": {},
}


@pytest.mark.parametrize("path", ["/v1/completions", "/openai/deployments/up/m/completions"])
@pytest.mark.parametrize("case", BEYOND)
async def test_a08_a_completion_beyond_the_budget_is_not_sent(
    tmp_path: Path, case: str, path: str
) -> None:
    async with serving(tmp_path, CONFIG) as served:
        nobody = Nobody()
        served._transport._inner = nobody  # type: ignore[assignment]
        body: dict[str, Any] = {"model": "up/m", "prompt": "x", **BEYOND[case]}
        status, said = await ask(served, "POST", path, body, headers=KEY)
        assert (status, nobody.urls) == (400, []), said
        assert "budget" in said["error"]["message"]


@pytest.mark.parametrize("prompt", ["x", ["x"], [1, 2, 3] * 500, ["x", "y"]])
async def test_a_completion_within_the_budget_is_sent(tmp_path: Path, prompt: Any) -> None:
    async with serving(tmp_path, CONFIG + "[server]\nattempts = 1\n") as served:
        body = {"model": "up/m", "prompt": prompt, "max_tokens": 16}
        status, _ = await ask(served, "POST", "/v1/completions", body, headers=KEY)
        assert status == 502  # nobody is there


USED = {"prompt_tokens": 5, "completion_tokens": 50, "total_tokens": 55}
COMPLETION = {"id": "c", "choices": [{"index": 0, "text": 'says "usage": {"prompt_tokens": 9}'}]}
STREAMS: dict[str, tuple[list[Any], Any]] = {
    "completions": (
        [COMPLETION, {"id": "c", "choices": [], "usage": USED}],
        USED,
    ),
    "pictures": (
        [
            {"type": "image_generation.partial_image", "b64_json": "A" * 300_000},
            {
                "type": "image_generation.completed",
                "b64_json": "A" * 300_000,
                "usage": {
                    "input_tokens": 5,
                    "input_tokens_details": {"image_tokens": 1, "text_tokens": 4},
                    "output_tokens": 50,
                    "total_tokens": 55,
                },
            },
        ],
        USED,
    ),
    "counted as it goes": (
        [{**COMPLETION, "usage": {"prompt_tokens": 5, "completion_tokens": n}} for n in (1, 50)],
        USED,
    ),
    "null until the end": ([{**COMPLETION, "usage": None}, {"usage": USED}], USED),
    "none": ([COMPLETION], None),
    "no object": ([{**COMPLETION, "usage": 7}, {"usage": []}, {"usage": "{"}], None),
}


def stream_of(events: list[Any], end: str) -> bytes:
    return "".join(f"data: {json.dumps(each)}{end}{end}" for each in events).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("case", STREAMS)
def test_a08_the_usage_of_a_passed_stream_is_found_wherever_it_is_cut(case: str, end: str) -> None:
    events, used = STREAMS[case]
    data = stream_of(events, end)
    source = random.Random(case)
    for size in (1, 7, 64, 4096, len(data)):
        watch = UsageWatch()
        place = 0
        while place < len(data):
            step = source.randrange(1, size + 1) if len(data) < 20_000 else max(size, 4096)
            watch.feed(data[place : place + step])
            place += step
        watch.close()
        found = watch.usage
        expected = (0, 0) if used is None else (5, 50)
        assert (found.input_tokens, found.output_tokens) == expected
        assert found.is_reported == (used is not None)


@pytest.mark.parametrize(
    "piece", [b'"usage":{', b'{"usage":{"a":[{},{},{},', b'"usage":{}}', b"}" * 4000, b'"usage" : ']
)
def test_a08_a_hostile_stream_takes_little_of_the_processor(piece: bytes) -> None:
    watch = UsageWatch()
    chunk = (piece * (65536 // len(piece) + 1))[:65536]
    began = time.process_time()
    for _ in range(64):
        watch.feed(chunk)
    watch.feed(b"\n")
    assert time.process_time() - began < 3
    assert len(watch._rest) <= 2 * 65536


class Vendor(Handler):
    def do_POST(self) -> None:
        body = json.loads(self.read())
        events, _ = STREAMS[body["prompt"]]
        self.answer(stream_of(events, "\n"), kind="text/event-stream")


def test_a08_what_a_stream_beside_the_chat_used_is_paid(tmp_path: Path) -> None:
    with vendor(Vendor) as url:
        config = CONFIG.replace("http://127.0.0.1:9", url).replace(
            "budget_usd = 0.01", "budget_usd = 1"
        )
        gateway = Gateway(tmp_path, config).start()
        headers = {"authorization": "Bearer sk-poor-0123456789"}
        for path, prompt in (
            ("/v1/completions", "completions"),
            ("/v1/images/generations", "pictures"),
        ):
            body = {"model": "up/m", "prompt": prompt, "stream": True, "max_tokens": 100}
            answer = gateway.request("POST", path, body, key=None, headers=headers)
            assert answer.content == stream_of(STREAMS[prompt][0], "\n")
        rows = gateway.ledger(2)
        gateway.stop()
    assert [row["cost_usd"] for row in rows] == ["0.000505"] * 2


PICTURES = {"model": "up/m", "prompt": "a cat", "n": 10}
SPEECH = {"model": "up/m", "input": "hello " * 100, "voice": "v"}


@pytest.mark.parametrize("prefix", ["/v1", "/openai/deployments/up/m"])
@pytest.mark.parametrize(
    ("path", "body"), [("/images/generations", PICTURES), ("/audio/speech", SPEECH)]
)
async def test_a08_pictures_and_speech_beyond_the_budget_are_not_sent(
    tmp_path: Path, prefix: str, path: str, body: dict[str, Any]
) -> None:
    async with serving(tmp_path, CONFIG) as served:
        nobody = Nobody()
        served._transport._inner = nobody  # type: ignore[assignment]
        status, said = await ask(served, "POST", prefix + path, body, headers=KEY)
        assert (status, nobody.urls) == (400, []), said


class Slow(Handler):
    """Draws and speaks so slowly that nobody waits for it."""

    def do_POST(self) -> None:
        self.read()
        time.sleep(2)


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [("/v1/images/generations", PICTURES, 10_000), ("/v1/audio/speech", SPEECH, 1_288)],
)
def test_a08_who_waits_for_no_picture_pays_what_was_set_aside(
    tmp_path: Path, path: str, body: dict[str, Any], tokens: int
) -> None:
    with vendor(Slow) as url:
        config = CONFIG.replace("http://127.0.0.1:9", url).replace("= 0.01", "= 1")
        gateway = Gateway(tmp_path, config + "[limits]\noutput_tokens = 1000\n").start()
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-poor-0123456789\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(head.encode() + data)
            time.sleep(0.5)
        (row,) = gateway.ledger(1)
        gateway.stop()
    assert (row["outcome"], row["output_tokens"], row["is_estimate"]) == ("cancelled", tokens, 1)
    assert row["cost_usd"] == f"{(row['input_tokens'] + 10 * tokens) / 1e6:.6f}".rstrip("0")


@pytest.mark.parametrize("limits", ['models = ["up/m"]', "budget_usd = 9"])
@pytest.mark.parametrize("field", ["models", "fallbacks", "fallback_models", "preset"])
@pytest.mark.parametrize(
    "path", ["completions", "embeddings", "images/generations", "audio/speech", "moderations"]
)
async def test_a06_what_is_passed_beside_the_chat_names_one_model(
    tmp_path: Path, path: str, field: str, limits: str
) -> None:
    config = CONFIG.replace("budget_usd = 0.01", limits)
    async with serving(tmp_path, config + "[server]\nattempts = 1\n") as served:
        nobody = Nobody()
        served._transport._inner = nobody  # type: ignore[assignment]
        body = {"model": "up/m", "prompt": "x", "input": "x", "voice": "v", "max_tokens": 9}
        status, said = await ask(
            served, "POST", f"/v1/{path}", {**body, field: ["dear"]}, headers=KEY
        )
        assert (status, said["error"]["param"], nobody.urls) == (400, field, [])
        await ask(served, "POST", f"/v1/{path}", body, headers=KEY)
        assert len(nobody.urls) == 1
