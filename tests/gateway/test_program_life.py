"""Programs that wait: through kill -9, on another replica, asked twice, made up, expired."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from polycall.sim import Call, Simulation, Turn
from tests.gateway.harness import KEY, OTHER_KEY, Gateway, sim_config
from tests.gateway.program_drivers import (
    OUTPUT,
    TOOLS,
    Chat,
    Claude,
    Responses,
    Script,
    scripted,
    seen_by_model,
)

pytestmark = pytest.mark.usefixtures("runs_programs")


@pytest.fixture(scope="module")
def own(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that may be killed."""
    served = Gateway(tmp_path_factory.mktemp("programs"), sim_config(sim)).start()
    yield served
    served.stop()


def pointed(script: Script, gateway: Gateway) -> None:
    """Let the script go on with another process."""
    path = "" if isinstance(script, Claude) else "/v1"
    script.client.base_url = f"{gateway.url}{path}"


EACH = [Chat, *(pytest.param(each, marks=pytest.mark.slow) for each in (Claude, Responses))]


@pytest.mark.parametrize("client", EACH)
def test_killed_between_call_and_result(sim: Simulation, own: Gateway, client: Any) -> None:
    model = scripted(sim, "up-gemini")
    with closing(client(own.url, model, streamed=False)) as driver:
        driver.run("Which region sells best?", once=True)
        own.kill()
        own.start()
        pointed(driver, own)
        driver.go_on(once=True)
        own.kill()
        own.start()
        pointed(driver, own)
        assert driver.go_on().endswith("done")
    # Each tool was asked for once, although the program began three times.
    assert driver.rounds == [["query_sales"] * 3, ["describe"]]
    assert OUTPUT in seen_by_model(sim, model)


@pytest.mark.parametrize("client", EACH)
def test_a_second_replica_goes_on(
    sim: Simulation, own: Gateway, tmp_path: Path, client: Any
) -> None:
    other = Gateway(
        tmp_path, sim_config(sim, f'[store]\nurl = "sqlite:///{own.folder}/polycall.db"')
    )
    other.start()
    try:
        model = scripted(sim, "up-anthropic")
        with closing(client(own.url, model, streamed=True)) as driver:
            driver.run("Which region sells best?", once=True)
            pointed(driver, other)
            driver.go_on(once=True)
            pointed(driver, own)
            assert driver.go_on().endswith("done")
        assert driver.rounds == [["query_sales"] * 3, ["describe"]]
    finally:
        assert other.stop() == 0, other.log


def test_an_answer_that_was_lost_is_given_again(sim: Simulation, own: Gateway) -> None:
    model = scripted(sim, "up-responses")
    with closing(Chat(own.url, model, streamed=False)) as driver:
        driver.run("Which region sells best?", once=True)
        before = list(driver.messages)
        driver.go_on(once=True)
        first = driver.messages[len(before)]
        driver.messages = list(before)
        driver.go_on(once=True)
        assert driver.messages[len(before)] == first
        assert driver.go_on().endswith("done")
        # The model's last answer is lost as well: it is asked again with the same history.
        sim.script("openai", model.partition("/")[2], [Turn(text="done again")])
        driver.messages.pop()
        assert driver.go_on().endswith("done again")


def test_two_replies_at_once(sim: Simulation, own: Gateway) -> None:
    one, two = Turn(text="done"), Turn(text="done")
    program = Turn(calls=[Call("run_code", {"code": 'print(await describe(region="west"))'})])
    model = scripted(sim, "up-chat", program, one, two)
    with closing(Chat(own.url, model, streamed=False)) as driver:
        driver.run("?", once=True)

        async def both() -> list[str]:
            async with openai.AsyncOpenAI(
                base_url=f"{own.url}/v1",
                api_key=KEY,
                max_retries=0,
                default_headers={"polycall-calling": "code"},
            ) as client:
                options: Any = {"model": model, "messages": driver.messages}
                options["tools"] = [{"type": "function", "function": tool} for tool in TOOLS]
                made: list[Any] = [client.chat.completions.create(**options) for _ in range(2)]
                return [
                    str(each.choices[0].message.content) for each in await asyncio.gather(*made)
                ]

        assert asyncio.run(both()) == ["done", "done"]


def test_a_conversation_goes_on_after_its_programs(sim: Simulation, own: Gateway) -> None:
    again = Turn(calls=[Call("run_code", {"code": 'print(await describe(region="south"))'})])
    model = scripted(
        sim,
        "up-anthropic",
        Turn(text="Let me see.", calls=[Call("run_code", {"code": "print(40 + 2)"})]),
        Turn(calls=[Call("run_code", {"code": 'print(await describe(region="west"))'})]),
        Turn(text="west is 서쪽"),
        again,
        Turn(text="south is 남쪽"),
    )
    with closing(Chat(own.url, model, streamed=False)) as driver:
        assert driver.run("west?") == "west is 서쪽"
        assert driver.run("south?") == "south is 남쪽"
    assert driver.rounds == [["describe"], ["describe"]]
    last = sim.requests[-1].body["messages"]
    said = [
        (message["role"], [_short(block) for block in message["content"]])
        if isinstance(message["content"], list)
        else (message["role"], message["content"])
        for message in last
    ]
    assert said == [
        ("user", "west?"),
        ("assistant", ["Let me see.", "run_code"]),
        ("user", ["42"]),
        ("assistant", ["run_code"]),
        ("user", ["서쪽"]),
        ("assistant", "west is 서쪽"),
        ("user", "south?"),
        ("assistant", ["run_code"]),
        ("user", ["남쪽"]),
    ]


def _short(block: dict[str, Any]) -> Any:
    match block["type"]:
        case "text":
            return block["text"]
        case "tool_use":
            return block["name"]
        case _:
            content = block["content"]
            return content if isinstance(content, str) else content[0]["text"]


def test_calls_beside_a_program(sim: Simulation, own: Gateway) -> None:
    """A direct call and a program in one answer: the client gets both kinds at once."""
    model = scripted(
        sim,
        "up-chat",
        Turn(
            calls=[
                Call("run_code", {"code": 'print(await describe(region="west"))'}),
                Call("notify", {"text": "hi"}),
            ]
        ),
        Turn(text="done"),
    )
    direct = {"name": "notify", "description": "Tell", "parameters": {"type": "object"}}
    tools: list[Any] = [{"type": "function", "function": tool} for tool in [*TOOLS, direct]]
    with closing(Chat(own.url, model, streamed=False)) as driver:
        messages: list[Any] = [{"role": "user", "content": "go"}]
        options: Any = {"model": model, "messages": messages, "tools": tools}
        message = driver.client.chat.completions.create(**options).choices[0].message
        calls: Any = message.tool_calls or []
        assert sorted(call.function.name for call in calls) == ["describe", "notify"]
        messages.append(message.model_dump(exclude_none=True))
        for call in calls:
            content = "서쪽" if call.function.name == "describe" else "told"
            messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
        ended = driver.client.chat.completions.create(**options).choices[0].message
        assert ended.content == "done"
    sent = [m["content"] for m in sim.requests[-1].body["messages"] if m["role"] == "tool"]
    assert sent == ["서쪽", "told"]


def test_one_call_at_a_time_where_the_client_wants_that(sim: Simulation, own: Gateway) -> None:
    model = scripted(sim, "up-responses")
    with closing(Chat(own.url, model, streamed=False)) as driver:
        create = driver.client.chat.completions.create
        driver.client.chat.completions.create = lambda **options: create(  # type: ignore[method-assign]
            **options, parallel_tool_calls=False
        )
        assert driver.run("Which region sells best?").endswith("done")
    assert driver.rounds == [["query_sales"], ["query_sales"], ["query_sales"], ["describe"]]


def test_a_program_that_fails_is_the_models_to_mend(sim: Simulation, own: Gateway) -> None:
    model = scripted(
        sim,
        "up-anthropic",
        Turn(calls=[Call("run_code", {"code": "print(undefined_name)"})]),
        Turn(text="I was wrong."),
    )
    with closing(Claude(own.url, model, streamed=True)) as driver:
        assert driver.run("?") == "I was wrong."
    blocks = {block.type: block for block in driver.answers[0].content}
    result = blocks["code_execution_tool_result"].content
    assert (result.return_code, "NameError" in result.stderr) == (1, True)


def test_a_container_keeps_its_variables(sim: Simulation, own: Gateway) -> None:
    model = scripted(
        sim,
        "up-deepseek",
        Turn(calls=[Call("run_code", {"code": 'kept = await describe(region="west")'})]),
        Turn(text="kept"),
        Turn(calls=[Call("run_code", {"code": "print(kept * 2)"})]),
        Turn(text="shown"),
    )
    with closing(Claude(own.url, model, streamed=False)) as driver:
        assert driver.run("keep it") == "kept"
        own.kill()
        own.start()
        pointed(driver, own)
        assert driver.run("show it") == "shown"
    result = next(b for b in driver.answers[-1].content if b.type == "code_execution_tool_result")
    assert result.content.stdout == "서쪽서쪽"


def error_of(action: Any) -> tuple[int, str]:
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
        action()
    return caught.value.status_code, caught.value.message


def test_j11_made_up_callers_and_ids_are_refused(sim: Simulation, own: Gateway) -> None:
    """PAIN J11: a call of a program counts only where its program is alive and this key's."""
    model = scripted(sim, "up-chat")
    with closing(Claude(own.url, model, streamed=False)) as driver:
        driver.run("?", once=True)
        good = driver.messages[:]
        text = json.dumps(good, default=lambda block: block.model_dump(exclude_none=True))
        nobody = "0" * 24
        for pattern, instead, words in [
            ("srvtoolu_pgm_[0-9a-f]{24}", f"srvtoolu_{nobody}", "was not made by"),
            ("_pgm_[0-9a-f]{24}", f"_pgm_{nobody}", "not one that this gateway gave"),
            ('_1"', '_77"', "call number 77"),
            ('"tool_use_id": "[^"]*"', '"tool_use_id": "toolu_x"', "have no result"),
        ]:
            driver.messages = json.loads(re.sub(pattern, instead, text))
            status, message = error_of(driver.ask)
            assert status == 400
            assert words in message
        driver.messages = good
        right = driver.container
        for made_up in ("container_pgm_" + "0" * 24, "a\0b", "가" * 1000):
            driver.container = made_up
            assert error_of(driver.ask)[0] == 400
        driver.container = None
        status, message = error_of(driver.ask)
        assert (status, "container" in message) == (400, True)
        driver.container = right
        more = [*good[-1]["content"], {"type": "text", "text": "and?"}]
        driver.messages = [*good[:-1], {"role": "user", "content": more}]
        status, message = error_of(driver.ask)
        assert (status, "nothing else" in message) == (400, True)
        driver.messages = good
        assert driver.go_on() == "done"


@pytest.mark.parametrize("client", [Chat, Claude, Responses])
def test_another_keys_program_is_out_of_reach(sim: Simulation, own: Gateway, client: Any) -> None:
    model = scripted(sim, "up-chat")
    with closing(client(own.url, model, streamed=False)) as driver:
        driver.run("?", once=True)
        driver.client.api_key = OTHER_KEY
        status, message = error_of(driver.go_on)
        assert status == 400
        assert "container" in message or "this key" in message or "fingerprint" in message
        driver.client.api_key = KEY
        assert driver.go_on().endswith("done")


@pytest.fixture(scope="module")
def forgetful(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose programs expire at once."""
    config = sim_config(sim, "[programs]\nexpiry_s = 0.3")
    gateway = Gateway(tmp_path_factory.mktemp("forgetful"), config).start()
    yield gateway
    assert gateway.stop() == 0, gateway.log


@pytest.mark.parametrize("client", [Chat, Claude, Responses])
def test_an_expired_program_is_refused(sim: Simulation, forgetful: Gateway, client: Any) -> None:
    with closing(client(forgetful.url, scripted(sim, "up-chat"), streamed=False)) as driver:
        driver.run("?", once=True)
        time.sleep(0.5)
        status, message = error_of(driver.go_on)
        assert (status, "expired" in message) == (400, True)


def test_what_the_vendor_refuses_is_refused(sim: Simulation, own: Gateway) -> None:
    model = scripted(sim, "up-chat")
    tool: Any = {"name": "f", "input_schema": {"type": "object"}, "allowed_callers": [Claude.KIND]}
    code: Any = {"type": Claude.KIND, "name": "code_execution"}
    with closing(Claude(own.url, model, streamed=False)) as driver:
        for more, path in [
            ({"tools": [code, {**tool, "strict": True}]}, "strict"),
            ({"tool_choice": {"type": "tool", "name": "f"}}, "tool_choice"),
            ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, "disable"),
        ]:
            options: Any = {"model": model, "max_tokens": 9, "tools": [code, tool], **more}
            options["messages"] = [{"role": "user", "content": "?"}]
            status, message = error_of(partial(driver.client.messages.create, **options))
            assert (status, path in message) == (400, True), message


def test_results_that_are_missing(sim: Simulation, own: Gateway) -> None:
    with closing(Chat(own.url, scripted(sim, "up-chat"), streamed=False)) as driver:
        driver.run("?", once=True)
        kept = driver.messages.pop()
        status, message = error_of(driver.go_on)
        assert (status, "give all results" in message) == (400, True)
        driver.messages.append(kept)
        assert driver.go_on().endswith("done")


def test_auto_says_why(sim: Simulation, own: Gateway) -> None:
    """Two tools and a short prompt are called directly; the header says by which rule."""
    model = scripted(sim, "up-chat", Turn(text="hello"))
    with closing(Chat(own.url, model, streamed=False)) as driver:
        raw = driver.client.chat.completions.with_raw_response.create(
            model=model,
            messages=[{"role": "user", "content": "hi"}],
            tools=[{"type": "function", "function": TOOLS[0]}],  # type: ignore[list-item]
            extra_headers={"polycall-calling": "auto"},
        )
        assert raw.headers["polycall-calling"].startswith("direct; ")
        assert raw.parse().choices[0].message.content == "hello"
        status, message = error_of(
            lambda: driver.client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": "hi"}],
                extra_headers={"polycall-calling": "sometimes"},
            )
        )
        assert (status, "direct, code or auto" in message) == (400, True)


def test_programs_can_be_turned_off(sim: Simulation, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, sim_config(sim, "[programs]\nenabled = false")).start()
    try:
        with closing(Chat(gateway.url, scripted(sim, "up-chat"), streamed=False)) as driver:
            status, message = error_of(lambda: driver.run("?"))
            assert (status, "turned off" in message) == (400, True)
    finally:
        assert gateway.stop() == 0, gateway.log


def test_one_row_for_one_answer(sim: Simulation, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, sim_config(sim)).start()
    with closing(Chat(gateway.url, scripted(sim, "up-chat"), streamed=True)) as driver:
        driver.run("?")
    assert gateway.stop() == 0, gateway.log
    with closing(sqlite3.connect(tmp_path / "polycall.db")) as database:
        rows = database.execute(
            "select outcome, attempts, input_tokens > 0, output_tokens > 0 from ledger "
            "order by created"
        ).fetchall()
    # The second request asks no model: the program waits again.
    assert rows == [("ok", 1, 1, 1), ("ok", 0, None, None), ("ok", 1, 1, 1)]


def test_an_answer_that_was_given_is_not_one_that_the_client_left(
    sim: Simulation, tmp_path: Path
) -> None:
    # Long enough to be looked after; the sandbox is put away after the answer's last byte.
    program = Turn(calls=[Call("run_code", {"code": "import time\ntime.sleep(1.5)"})])
    gateway = Gateway(tmp_path, sim_config(sim)).start()
    for streamed in (True, False):
        model = scripted(sim, "up-chat", program, Turn(text="done"))
        with closing(Chat(gateway.url, model, streamed=streamed)) as driver:
            assert driver.run("?") == "done"
    rows = gateway.ledger(2)
    assert gateway.stop() == 0, gateway.log
    assert [(row["outcome"], row["is_estimate"]) for row in rows] == [("ok", 0)] * 2
