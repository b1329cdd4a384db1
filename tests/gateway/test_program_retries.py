"""Programs whose client asks again, twice at once, or in odd ways: one end, shown to everybody."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from polycall.sim import Call, Failure, Simulation, Turn
from tests.gateway.harness import KEY, UPSTREAMS, Gateway, sim_config
from tests.gateway.program_drivers import (
    CODE,
    OUTPUT,
    TOOLS,
    Chat,
    Claude,
    Responses,
    answer,
    scripted,
    seen_by_model,
)
from tests.gateway.test_program_life import error_of, pointed
from tests.servers import Postgres

ONE_CALL = 'print(await describe(region="west"))'


pytestmark = pytest.mark.usefixtures("runs_programs")


def program(*codes: str) -> Turn:
    return Turn(calls=[Call("run_code", {"code": code}) for code in codes])


def kinds(answer: Any) -> list[str]:
    return [part.type for part in (answer.content if hasattr(answer, "content") else answer.output)]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("client", [Claude, Responses])
def test_the_end_of_a_program_is_shown_to_a_client_that_comes_back(
    sim: Simulation, own: Gateway, client: Any, streamed: bool
) -> None:
    """The model failed after the program had ended, so the answer that had its end was none."""
    keep = program("kept = await describe(region='west')\nprint(kept)")
    refused = Turn(error=Failure(400, "too long"))
    model = scripted(sim, "up-chat", keep, refused, Turn(text="first"), program("print(kept)"))
    with closing(client(own.url, model, streamed=streamed)) as driver:
        driver.run("?", once=True)
        with pytest.raises((anthropic.APIStatusError, openai.APIStatusError, RuntimeError)):
            driver.ask()
        end = "code_execution_tool_result" if client is Claude else "program_output"
        text = "text" if client is Claude else "message"
        assert kinds(driver.ask()) == [end, text]


def test_variables_of_a_program_outlive_a_failed_answer(sim: Simulation, own: Gateway) -> None:
    keep = program("kept = await describe(region='west')")
    refused = Turn(error=Failure(400, "too long"))
    model = scripted(sim, "up-chat", keep, refused, program("print(kept * 2)"), Turn(text="done"))
    with closing(Claude(own.url, model, streamed=False)) as driver:
        driver.run("?", once=True)
        assert error_of(driver.ask)[0] == 400
        assert driver.go_on() == "done"
    assert "서쪽서쪽" in seen_by_model(sim, model)


def test_of_two_different_replies_at_once_one_counts(sim: Simulation, own: Gateway) -> None:
    code = 'first = await describe(region="west")\nprint(first, await describe(region=first))'
    model = scripted(sim, "up-chat", program(code), Turn(text="done"), Turn(text="done"))
    with closing(Chat(own.url, model, streamed=False)) as driver:
        driver.run("?", once=True)
        *before, result = driver.messages

        async def replies() -> list[Any]:
            async with openai.AsyncOpenAI(
                base_url=f"{own.url}/v1",
                api_key=KEY,
                max_retries=0,
                default_headers={"polycall-calling": "code"},
            ) as client:
                tools: Any = [{"type": "function", "function": tool} for tool in TOOLS]
                made = [
                    client.chat.completions.create(
                        model=model, messages=[*before, {**result, "content": text}], tools=tools
                    )
                    for text in ("left", "right")
                ]
                return [each.choices[0].message for each in await asyncio.gather(*made)]

        left, right = asyncio.run(replies())
        # Whichever was first, both are asked for the one call that the program made then.
        (call,) = left.tool_calls
        assert right.tool_calls == left.tool_calls
        region = json.loads(call.function.arguments)["region"]
        for message in (left, right):
            end = {"role": "tool", "tool_call_id": call.id, "content": "seen"}
            driver.messages = [*before, result, message.model_dump(exclude_none=True), end]
            assert driver.go_on() == "done"
    assert region in ("left", "right")
    assert f"{region} seen" in seen_by_model(sim, model)


def test_two_results_for_one_call(sim: Simulation, own: Gateway) -> None:
    with closing(Chat(own.url, scripted(sim, "up-chat", program(ONE_CALL)), streamed=False)) as d:
        d.run("?", once=True)
        d.messages.append({**d.messages[-1], "content": "another"})
        status, message = error_of(d.go_on)
        assert (status, "two results" in message) == (400, True)


def test_words_beside_the_result_of_a_direct_call(sim: Simulation, own: Gateway) -> None:
    """Only replies to programs are results alone and in a container."""
    call = Turn(calls=[Call("describe", {"region": "west"})])
    model = scripted(sim, "up-gemini", call, Turn(text="done"))
    code: Any = {"type": Claude.KIND, "name": "code_execution"}
    both = ["direct", Claude.KIND]
    schema = TOOLS[1]["parameters"]
    tools: Any = [code, {"name": "describe", "input_schema": schema, "allowed_callers": both}]
    with anthropic.Anthropic(base_url=own.url, api_key=KEY, max_retries=0) as client:
        messages: list[Any] = [{"role": "user", "content": "?"}]
        options: Any = {"model": model, "max_tokens": 99, "messages": messages, "tools": tools}
        message = client.messages.create(**options)
        (block,) = message.content
        assert (block.type, block.caller.type, message.stop_reason) == (
            "tool_use",
            "direct",
            "tool_use",
        )
        result = {"type": "tool_result", "tool_use_id": block.id, "content": "서쪽"}
        words = {"type": "text", "text": "be brief"}
        messages += [{"role": "assistant", "content": message.content}]
        messages += [{"role": "user", "content": [result, words]}]
        assert client.messages.create(**options).content[0].text == "done"


@pytest.mark.parametrize("codes", [("print(1)", "print(2)"), (ONE_CALL, "print(2)")])
def test_the_second_program_of_an_answer_is_the_models_to_ask_for_again(
    sim: Simulation, own: Gateway, codes: tuple[str, str]
) -> None:
    model = scripted(sim, "up-chat", program(*codes), program("print(3)"), Turn(text="done"))
    with closing(Claude(own.url, model, streamed=True)) as driver:
        assert driver.run("?") == "done"
        shown = [block for answer in driver.answers for block in answer.content]
    begun = [(each.id, each.input["code"]) for each in shown if each.type == "server_tool_use"]
    ended = [
        (each.tool_use_id, each.content.stdout)
        for each in shown
        if each.type == "code_execution_tool_result"
    ]
    assert [code for _, code in begun] == [codes[0], "print(3)"]
    first = "1" if codes[0] == "print(1)" else "서쪽"
    assert ended == [(begun[0][0], first), (begun[1][0], "3")]
    assert "an answer may have one program" in seen_by_model(sim, model)


def test_a_program_that_was_cut_off_has_an_end(sim: Simulation, own: Gateway) -> None:
    cut = Turn(calls=[Call("run_code", raw_arguments='{"code": "print(')])
    model = scripted(sim, "up-chat", cut, Turn(text="sorry"))
    with closing(Claude(own.url, model, streamed=False)) as driver:
        assert driver.run("?") == "sorry"
        begun, ended, _ = driver.answers[0].content
    assert (begun.type, ended.type) == ("server_tool_use", "code_execution_tool_result")
    assert (ended.tool_use_id, ended.content.return_code) == (begun.id, 1)
    assert "cut off" in ended.content.stderr


@pytest.mark.parametrize(
    ("kind", "caller"),
    [
        ("code_execution_20250825", "code_execution_20250825"),
        # The official SDK has no caller of the third version.
        ("code_execution_20260521", "code_execution_20260120"),
    ],
)
def test_other_versions_of_anthropics_tool(
    sim: Simulation, own: Gateway, kind: str, caller: str
) -> None:
    class Other(Claude):
        KIND = kind
        CALLER = caller

    with closing(Other(own.url, scripted(sim, "up-responses"), streamed=True)) as driver:
        assert driver.run("Which region sells best?") == "done"


def test_a_version_whose_programs_call_nothing(sim: Simulation, own: Gateway) -> None:
    class Old(Claude):
        KIND = "code_execution_20250522"

    with closing(Old(own.url, scripted(sim, "up-chat"), streamed=False)) as driver:
        status, message = error_of(lambda: driver.run("?"))
        assert (status, "code_execution_20260521" in message) == (400, True)


@pytest.mark.parametrize(
    ("upstream", "streamed"), [(name, place % 2 == 0) for place, name in enumerate(UPSTREAMS)]
)
def test_a_responses_client_that_names_the_answer_before(
    sim: Simulation, own: Gateway, upstream: str, streamed: bool
) -> None:
    """OpenAI's other way: only the results are sent, and what was said is kept by the server."""
    more = Turn(text="and bye")
    model = scripted(sim, upstream, program(CODE), Turn(text="done"), more)
    tools: list[Any] = [{"type": "programmatic_tool_calling"}]
    tools += [
        {"type": "function", "strict": False, "allowed_callers": ["programmatic"], **tool}
        for tool in TOOLS
    ]
    rounds: list[list[str]] = []
    with openai.OpenAI(base_url=f"{own.url}/v1", api_key=KEY, max_retries=0) as client:

        def ask(**options: Any) -> Any:
            if not streamed:
                return client.responses.create(model=model, **options)
            with client.responses.stream(model=model, **options) as stream:
                return stream.get_final_response()

        response = ask(input="Which region sells best?", tools=tools)
        while calls := [item for item in response.output if item.type == "function_call"]:
            rounds.append([call.name for call in calls])
            results = [
                {
                    "type": "function_call_output",
                    "call_id": call.call_id,
                    "output": answer(call.name, json.loads(call.arguments)),
                    "caller": call.caller.model_dump(),
                }
                for call in calls
            ]
            response = ask(input=results, previous_response_id=response.id, tools=tools)
        assert [item.type for item in response.output] == ["program_output", "message"]
        assert response.output_text == "done"
        # A last word without any tools; the history still holds a program.
        last = ask(input="thanks", previous_response_id=response.id)
        assert last.output_text == "and bye"
    assert rounds == [["query_sales"] * 3, ["describe"]]
    seen = seen_by_model(sim, model)
    assert OUTPUT in seen
    assert re.search(r"amount\W+\d", seen) is None


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_tokens_are_counted_as_the_model_gets_them(
    sim: Simulation, own: Gateway, upstream: str
) -> None:
    """With the description of `run_code`, and without results that stay in programs."""
    schema = TOOLS[1]["parameters"]
    code: Any = {"type": Claude.KIND, "name": "code_execution"}
    tool: Any = {"name": "describe", "input_schema": schema, "allowed_callers": [Claude.KIND]}
    measure = program('print(len(await describe(region="west")))')
    model = scripted(sim, upstream, measure, Turn(text="done"))
    with closing(Claude(own.url, model, streamed=False)) as driver:
        driver.run("?", once=True)
        driver.messages[-1]["content"][0]["content"] = "서쪽 " * 5_000
        assert driver.go_on() == "done"

        def count(**more: Any) -> int:
            counted = driver.client.messages.count_tokens(model=model, **more)
            return counted.input_tokens

        hello = [{"role": "user", "content": "?"}]
        assert 150 < count(messages=hello, tools=[code, tool]) < 700
        history: Any = [*driver.messages, *hello]
        assert 200 < count(messages=history, tools=[code, tool]) < 900
    with closing(Responses(own.url, model, streamed=False)) as driver:
        tools: Any = [{"type": "programmatic_tool_calling"}]
        tools += [{"type": "function", "allowed_callers": ["programmatic"], **TOOLS[1]}]
        counted = driver.client.responses.input_tokens.count(model=model, input="?", tools=tools)
        assert 150 < counted.input_tokens < 700


@pytest.mark.parametrize(
    ("upstream", "callers"),
    [("up-gemini", ["direct"]), ("up-gemini", [Claude.KIND]), ("up-anthropic", [Claude.KIND])],
)
def test_the_tool_runner_of_anthropics_sdk(
    sim: Simulation, own: Gateway, upstream: str, callers: list[Any]
) -> None:
    """It leaves the conversation to its server, unless that says that it cannot keep it."""
    ran: list[str] = []

    @anthropic.beta_tool(allowed_callers=callers)
    def describe(region: str) -> str:
        """A region in words."""
        ran.append(region)
        return "서쪽"

    call = Turn(calls=[Call("describe", {"region": "west"})])
    is_direct = callers == ["direct"]
    model = scripted(sim, upstream, call if is_direct else program(ONE_CALL), Turn(text="done"))
    code: Any = {"type": Claude.KIND, "name": "code_execution"}
    with anthropic.Anthropic(base_url=own.url, api_key=KEY, max_retries=0) as client:
        runner = client.beta.messages.tool_runner(
            model=model,
            max_tokens=99,
            messages=[{"role": "user", "content": "?"}],
            tools=[describe] if is_direct else [code, describe],
        )
        last = runner.until_done()
    assert (last.content[-1].type, ran) == ("text", ["west"])
    assert [block.text for block in last.content if block.type == "text"] == ["done"]


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_an_answer_that_was_cut_off_in_its_program(
    sim: Simulation, own: Gateway, upstream: str
) -> None:
    """It ends in the client's own word, without a program that never ran."""
    cut = Turn(text="Let me see.", calls=[Call("run_code", {"code": "print(1)"})], finish="length")
    model = scripted(sim, upstream, cut, Turn(text="done"))
    with closing(Claude(own.url, model, streamed=True)) as driver:
        assert driver.run("?").startswith("Let me see.")
        assert (driver.answers[0].stop_reason, kinds(driver.answers[0])) == ("max_tokens", ["text"])
        assert driver.run("go on") == "done"


@pytest.mark.parametrize("upstream", ["up-chat", "up-anthropic", "up-gemini"])
def test_a_choice_among_tools_holds_for_what_the_model_is_offered(
    sim: Simulation, own: Gateway, upstream: str
) -> None:
    call = Turn(calls=[Call("describe", {"region": "west"})])
    tools: Any = [{"type": "function", "function": tool} for tool in TOOLS]
    options: Any = {"messages": [{"role": "user", "content": "?"}], "tools": tools}
    named = {"type": "function", "function": {"name": "describe"}}
    some = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named]}}
    with openai.OpenAI(
        base_url=f"{own.url}/v1",
        api_key=KEY,
        max_retries=0,
        default_headers={"polycall-calling": "code"},
    ) as client:
        model = scripted(sim, upstream, call)
        forced = client.chat.completions.create(model=model, tool_choice=named, **options)
        (made,) = forced.choices[0].message.tool_calls
        assert (made.function.name, made.function.arguments) == ("describe", '{"region":"west"}')
        model = scripted(sim, upstream, program(ONE_CALL))
        among = client.chat.completions.create(model=model, tool_choice=some, **options)
        (made,) = among.choices[0].message.tool_calls
        assert (made.function.name, made.function.arguments) == ("describe", '{"region":"west"}')
        told = seen_by_model(sim, model)
        assert ("describe(region" in told, "query_sales(region" in told) == (True, False)


def test_a_tool_of_programs_alone_cannot_be_forced(sim: Simulation, own: Gateway) -> None:
    with closing(Responses(own.url, scripted(sim, "up-chat"), streamed=False)) as driver:
        status, message = error_of(
            lambda: driver.client.responses.create(
                model=driver.model,
                input="?",
                tool_choice={"type": "function", "name": "describe"},
                tools=[
                    {"type": "programmatic_tool_calling"},
                    {"type": "function", "allowed_callers": ["programmatic"], **TOOLS[1]},
                ],
            )
        )
        assert (status, "cannot force it" in message) == (400, True)


@pytest.mark.slow
@pytest.mark.parametrize("client", [Claude, Responses])
def test_two_gateways_on_postgres_of_which_one_is_killed(
    sim: Simulation, postgres_server: Postgres, tmp_path: Path, client: Any
) -> None:
    config = sim_config(sim, f'[store]\nurl = "{postgres_server.database()}"')
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    first, second = (Gateway(folder, config).start() for folder in folders)
    try:
        model = scripted(sim, "up-deepseek")
        with closing(client(first.url, model, streamed=True)) as driver:
            driver.run("Which region sells best?", once=True)
            first.kill()
            pointed(driver, second)
            driver.go_on(once=True)
            first.start()
            pointed(driver, first)
            assert driver.go_on().endswith("done")
        assert driver.rounds == [["query_sales"] * 3, ["describe"]]
        assert OUTPUT in seen_by_model(sim, model)
    finally:
        assert [first.stop(), second.stop()] == [0, 0]


@pytest.mark.parametrize(
    ("upstream", "declares", "has_tool"),
    [
        ("up-chat", True, False),
        ("up-chat", False, True),
        ("up-anthropic", True, True),
        ("up-anthropic", False, False),
    ],
)
def test_a_conversation_goes_on_with_other_tools_than_its_programs_had(
    sim: Simulation, own: Gateway, upstream: str, *, declares: bool, has_tool: bool
) -> None:
    """The history and the container are still of programs that ran here."""
    model = scripted(sim, upstream, program(ONE_CALL), Turn(text="done"), *[Turn(text="bye")] * 2)
    code: Any = {"type": Claude.KIND, "name": "code_execution"}
    direct: Any = {"name": "describe", "input_schema": TOOLS[1]["parameters"]}
    tools = [*([code] if declares else []), *([direct] if has_tool else [])]
    with closing(Claude(own.url, model, streamed=False)) as driver:
        assert driver.run("?") == "done"
        driver.messages.append({"role": "user", "content": "thanks"})
        for container in (driver.container, anthropic.omit):
            message = driver.client.messages.create(
                model=model,
                max_tokens=99,
                messages=driver.messages,
                container=container,
                tools=tools or anthropic.omit,
            )
            assert message.content[0].text == "bye"
            offered = sim.requests[-1].body.get("tools", [])
            names = [tool.get("name") or tool["function"]["name"] for tool in offered]
            assert names == (["describe"] if has_tool else [])


@pytest.mark.parametrize(
    ("client", "upstream"),
    [(Claude, "up-anthropic"), (Responses, "up-responses"), (Chat, "up-gemini")],
)
def test_a_conversation_of_several_programs_reaches_the_model_as_it_was(
    sim: Simulation, own: Gateway, client: Any, upstream: str
) -> None:
    """The simulated vendors refuse reasoning that is missing, or that stands elsewhere."""
    south = 'print(await describe(region="south"))'
    codes = [ONE_CALL, "", "print(1)", south, "", ""]
    turns = [
        Turn(
            text=f"answer {number}",
            reasoning=f"thought {number}",
            calls=[Call("run_code", {"code": code})] if code else [],
        )
        for number, code in enumerate(codes)
    ]
    model = scripted(sim, upstream, *turns)
    with closing(client(own.url, model, streamed=True)) as driver:
        for number in (1, 4, 5):
            assert driver.run(f"question {number}").endswith(f"answer {number}")
    assert driver.rounds == [["describe"], ["describe"]]
    said = re.findall(r"(?:question|answer) \d|서쪽|남쪽", _texts(sim.requests[-1].body))
    assert said == [
        *("question 1", "answer 0", "서쪽", "answer 1"),
        *("question 4", "answer 2", "answer 3", "남쪽", "answer 4", "question 5"),
    ]


def _texts(body: Any) -> str:
    history = body.get("messages") or body.get("input") or body.get("contents")
    return json.dumps(history, ensure_ascii=False)
