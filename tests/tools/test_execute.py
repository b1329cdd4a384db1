"""The one path of all calls: whatever happens becomes a result that the model can read."""

# pyright: basic

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, model_validator

from polycall import ir
from polycall.errors import AbortRunError, ToolDefinitionError, ToolError
from polycall.ir import Media, Text, ToolCall, ToolResult
from polycall.tools import (
    Executor,
    FunctionTool,
    ToolContext,
    Toolset,
    ToolStats,
    execute,
    threads,
    tool,
    tool_from_schema,
)


def call(name: str, arguments_json: str = "{}", **rest: Any) -> ToolCall:
    return ToolCall("call_1", name, arguments_json, **rest)


def ok(text: str, name: str) -> ToolResult:
    return ToolResult("call_1", [Text(text)], name=name)


def error(text: str, name: str) -> ToolResult:
    return ToolResult("call_1", [Text(text)], is_error=True, name=name)


@tool
def double(n: int) -> int:
    """Twice the number."""
    return 2 * n


@tool
async def double_later(n: int) -> dict[str, int]:
    await asyncio.sleep(0)
    return {"n": 2 * n}


@tool
def fail(how: str) -> None:
    if how == "told":
        raise ToolError("the shop is closed; try tomorrow")
    if how == "silent":
        raise KeyError
    if how == "long":
        raise ValueError("x" * 10_000)
    if how == "timeout":
        raise TimeoutError("the database did not answer")
    if how == "stop":
        raise StopIteration
    if how == "exit":
        raise SystemExit(2)
    if how == "cancel":
        raise asyncio.CancelledError
    raise ValueError(how)


TOOLS = Toolset([double, double_later, fail])


async def test_plain_and_asynchronous_functions_run_alike() -> None:
    assert await execute(call("double", '{"n": 2}'), TOOLS) == ok("4", "double")
    assert await execute(call("double_later", '{"n": 2}'), TOOLS) == ok('{"n":4}', "double_later")


async def test_a_tool_still_is_the_function() -> None:
    assert double(3) == 6
    assert await double_later(3) == {"n": 6}


async def test_an_unknown_tool_is_told_with_the_near_miss() -> None:
    assert await execute(call("duble"), TOOLS) == error(
        "tool 'duble' is not registered; did you mean 'double'?", "duble"
    )
    assert await execute(call("zzz"), TOOLS) == error(
        "tool 'zzz' is not registered; there are 'double', 'double_later', 'fail'", "zzz"
    )
    assert await execute(call("zzz"), Toolset()) == error(
        "tool 'zzz' is not registered; there are no tools", "zzz"
    )


async def test_arguments_that_do_not_fit_are_told_and_nothing_runs() -> None:
    ran: list[int] = []

    @tool
    def note(n: int) -> None:
        ran.append(n)

    result = await execute(call("note", '{"n": "x"}'), Toolset([note]))
    assert result == error(
        "the arguments do not fit 'note', so nothing was run:\n"
        '- n: Input should be a valid integer, got "x"\n'
        "correct them and call again",
        "note",
    )
    assert ran == []


@pytest.mark.parametrize("size", [10, 100_000])
async def test_a_functions_own_validators_run_where_it_is_called(size: int) -> None:
    home = threading.get_ident()

    def check(text: str) -> str:
        assert asyncio.get_running_loop() is not None
        assert threading.get_ident() == home
        return text

    @tool
    async def count(text: Annotated[str, AfterValidator(check)]) -> int:
        return len(text)

    arguments = json.dumps({"text": "x" * size})
    assert await execute(call("count", arguments), Toolset([count])) == ok(str(size), "count")


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("told", "the shop is closed; try tomorrow"),
        ("silent", "KeyError"),
        ("plain", "ValueError: plain"),
        ("timeout", "TimeoutError: the database did not answer"),
        ("stop", "RuntimeError: StopIteration"),
        ("exit", "SystemExit: 2"),
        ("cancel", "the tool was cancelled"),
        ("long", f"ValueError: {'x' * 138} ... {'x' * 150}"),
    ],
)
async def test_exceptions_become_results(how: str, text: str) -> None:
    assert await execute(call("fail", f'{{"how": "{how}"}}'), TOOLS) == error(text, "fail")


async def test_a_result_without_a_form_is_an_error() -> None:
    @tool
    def thing() -> Any:
        return object()

    result = await execute(call("thing"), Toolset([thing]))
    assert result.is_error
    assert "an object of type 'object' has no JSON form" in result.text


async def test_a_handler_may_give_a_whole_result() -> None:
    image = Media("image", url="https://example.org/a.png")

    @tool
    def broken() -> ToolResult:
        return ToolResult("other", [Text("partly"), image], is_error=True)

    assert await execute(call("broken"), Toolset([broken])) == ToolResult(
        "call_1", [Text("partly"), image], is_error=True, name="broken"
    )


async def test_an_asynchronous_tool_that_exits_or_gives_up_ends_only_itself() -> None:
    @tool
    async def leave(how: str) -> None:
        if how == "exit":
            raise SystemExit
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    toolset = Toolset([leave])
    assert await execute(call("leave", '{"how": "exit"}'), toolset) == error("SystemExit", "leave")
    assert await execute(call("leave", '{"how": "cancel"}'), toolset) == error(
        "the tool was cancelled", "leave"
    )


async def test_waiting_for_people_does_not_count() -> None:
    @tool(deadline_s=0.1)
    async def work(ctx: ToolContext, seconds: float) -> str:
        with ctx.paused():
            await asyncio.sleep(0.15)
        await asyncio.sleep(seconds)
        return "done"

    async def approve(each: object, arguments: object) -> bool:
        await asyncio.sleep(0.15)
        return True

    toolset = Toolset([work]).approved(approve)
    assert await execute(call("work", '{"seconds": 0}'), toolset) == ok("done", "work")
    late = await execute(call("work", '{"seconds": 9}'), toolset)
    assert late.text == "the tool did not finish within 0.1 s; it may have done its work"
    with ToolContext(deps=None).paused():
        assert await work(ToolContext(deps=None), 0.0) == "done"


@pytest.mark.parametrize("limits", [(0.05, None), (None, 0.05), (0.05, 5), (5, 0.05)])
async def test_the_shorter_deadline_holds(limits: tuple[float | None, float | None]) -> None:
    cancelled: list[str] = []

    @tool(deadline_s=limits[0])
    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append("hang")
            raise

    started = time.monotonic()
    result = await execute(call("hang"), Toolset([hang]), deadline_s=limits[1])
    assert time.monotonic() - started < 2
    assert result == error(
        "the tool did not finish within 0.05 s; it may have done its work", "hang"
    )
    assert cancelled == ["hang"]


async def test_a_thread_that_hangs_does_not_hold_anything_up() -> None:
    release = threading.Event()

    @tool(deadline_s=0.05)
    def hang() -> str:
        release.wait(60)
        return "late"

    toolset = Toolset([hang, double])
    results = await asyncio.gather(*(execute(call("hang"), toolset) for _ in range(20)))
    assert {result.is_error for result in results} == {True}
    assert await execute(call("double", '{"n": 1}'), toolset) == ok("2", "double")
    release.set()


async def test_how_many_threads_may_hang_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_running", threading.Semaphore(1))
    release = threading.Event()

    @tool(deadline_s=0.05)
    def hang() -> None:
        release.wait(60)

    toolset = Toolset([hang])
    assert "did not finish" in (await execute(call("hang"), toolset)).text
    assert "run in threads already" in (await execute(call("hang"), toolset)).text
    release.set()
    while "already" in (await execute(call("hang"), toolset)).text:
        await asyncio.sleep(0.01)


async def test_cancelling_the_run_cancels_the_call() -> None:
    began = asyncio.Event()
    ended: list[str] = []

    @tool
    async def hang() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("hang")

    task = asyncio.create_task(execute(call("hang"), Toolset([hang])))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["hang"]


async def test_a_thread_left_behind_by_a_closed_loop_ends_quietly() -> None:
    release, done = threading.Event(), threading.Event()

    def late() -> None:
        release.wait(60)
        done.set()

    def run() -> None:
        async def leave() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await threads.run_in_thread(late)

        asyncio.run(leave())

    await asyncio.to_thread(run)
    release.set()
    await asyncio.to_thread(done.wait, 5)
    assert done.is_set()


async def test_threads_see_the_context_variables_of_the_caller() -> None:
    user = contextvars.ContextVar("user", default="nobody")

    @tool
    def who() -> str:
        return user.get()

    user.set("kim")
    assert await execute(call("who"), Toolset([who])) == ok("kim", "who")


async def test_the_context_is_given_and_hidden() -> None:
    @tool
    async def whoami(ctx: ToolContext[str], greeting: str) -> str:
        assert ctx.call is not None
        return f"{greeting} {ctx.deps} of {ctx.model} by {ctx.call.id}"

    @tool
    def no_deps(ctx: ToolContext | None = None) -> bool:
        return ctx is not None and ctx.deps is None

    assert list(whoami.parameters["properties"]) == ["greeting"]
    toolset = Toolset([whoami, no_deps])
    context = ToolContext(deps="kim", model="m")
    result = await execute(call("whoami", '{"greeting": "hi"}'), toolset, context=context)
    assert result == ok("hi kim of m by call_1", "whoami")
    assert await execute(call("no_deps"), toolset) == ok("true", "no_deps")
    forged = await execute(call("whoami", '{"greeting": "hi", "ctx": {}}'), toolset)
    assert "ctx: there is no such parameter" in forged.text


@pytest.mark.parametrize(
    ("allowed", "caller", "refusal"),
    [
        ([], "direct", ""),
        ([], "prog_1", "'f' may only be called directly, and not from a program"),
        (["direct"], "direct", ""),
        (["code"], "prog_1", ""),
        (["direct", "code"], "prog_1", ""),
        (["direct"], "prog_1", "'f' may only be called directly, and not from a program"),
        (["code"], "direct", "'f' may only be called from a program"),
    ],
)
async def test_allowed_callers_hold(allowed: list[str], caller: str, refusal: str) -> None:
    made = tool(lambda: "ran", name="f", allowed_callers=allowed)
    result = await execute(call("f", caller=caller), Toolset([made]))
    assert result == (error(f"{refusal}; nothing was run", "f") if refusal else ok("ran", "f"))


@pytest.mark.parametrize("callers", ["code", ["program"]])
def test_unknown_callers_are_refused(callers: Any) -> None:
    with pytest.raises(ToolDefinitionError, match=r'takes a list of "direct" and "code"'):
        tool(lambda: 1, name="f", allowed_callers=callers)


async def test_counts_are_kept_per_model() -> None:
    stats = ToolStats()
    for model, arguments_json in [
        ("a", '{"n": 1}'),
        ("a", '{"n": "1"}'),
        ("a", '{"n": 1.0}'),
        ("b", '{"n": "x"}'),
        ("b", '{"n": '),
    ]:
        context = ToolContext(deps=None, model=model)
        await execute(call("double", arguments_json), TOOLS, context=context, stats=stats)
    await execute(call("unknown"), TOOLS, stats=stats)
    assert stats.table() == {
        "a": {
            "valid": 1,
            "mended": 2,
            "refused": 0,
            "mends": {"integer_as_float": 1, "number_as_text": 1},
        },
        "b": {"valid": 0, "mended": 0, "refused": 2, "mends": {}},
    }


async def test_an_executor_bounds_the_attempts() -> None:
    run = Executor.of([double, fail], attempts_max=2)
    bad, good = call("double", "{}"), call("double", '{"n": 1}')
    assert (await run(bad)).is_error
    assert await run(good) == ok("2", "double")
    assert [(await run(bad)).is_error for _ in range(2)] == [True, True]
    assert await run(good) == error(
        "'double' is closed: its arguments did not fit 2 times in a row; continue without it",
        "double",
    )
    # What a tool does wrong itself does not close it.
    for _ in range(3):
        assert await run(call("fail", '{"how": "a"}')) == error("ValueError: a", "fail")
    assert run.stats.table()[""]["refused"] == 3
    assert await Executor.of(TOOLS)(call("nope")) == await execute(call("nope"), TOOLS)


async def test_methods_belong_to_their_objects() -> None:
    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        @tool
        def order(self, item: str) -> str:
            return f"{item} from {self.name}"

        @tool(name="order_soon")
        async def order_later(self, item: str) -> str:
            return f"{item} later from {self.name}"

    shop = Shop("corner")
    toolset = Toolset([shop.order, shop.order_later])
    assert list(Shop.order.parameters["properties"]) == ["item"]
    assert shop.order("tea") == "tea from corner"
    assert await execute(call("order", '{"item": "tea"}'), toolset) == ok(
        "tea from corner", "order"
    )
    assert await execute(call("order_soon", '{"item": "tea"}'), toolset) == ok(
        "tea later from corner", "order_soon"
    )
    unbound = await execute(call("order", '{"item": "tea"}'), Toolset([Shop.order]))
    assert unbound == error("'order' is a method; use it from an object of its class", "order")


async def test_a_plain_function_may_return_something_to_await() -> None:
    @tool
    def soon(n: int) -> Any:
        async def work() -> int:
            return n

        return work()

    assert await execute(call("soon", '{"n": 1}'), Toolset([soon])) == ok("1", "soon")


# ---------------------------------------------------------------------------------------------
# Definitions


def test_the_definition_is_what_was_said() -> None:
    @tool(
        name="find",
        description="Find it.",
        strict=True,
        examples=[{"query": "a"}],
        allowed_callers=["code"],
        defer_loading=True,
    )
    def search(query: str) -> list[str]:
        """Not this."""
        return [query]

    assert search.definition == ir.Tool(
        name="find",
        description="Find it.",
        parameters={
            "type": "object",
            "properties": {"query": {"type": "string"}},
            "required": ["query"],
            "additionalProperties": False,
        },
        strict=True,
        output_schema={"type": "array", "items": {"type": "string"}},
        examples=[{"query": "a"}],
        allowed_callers=["code"],
        defer_loading=True,
    )


def test_an_example_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ToolDefinitionError) as refusal:
        tool(lambda n: n, name="f")
    assert "it has no annotation" in str(refusal.value)

    def count(n: int) -> int:
        return n

    with pytest.raises(ToolDefinitionError) as refusal:
        tool(count, examples=[{"n": 1}, {"n": "one"}])
    assert str(refusal.value) == (
        "count.examples[1]: example 2 of 'count' does not fit its own parameters (n): "
        "Input should be a valid integer"
    )


def test_a_tool_is_not_made_twice() -> None:
    with pytest.raises(ToolDefinitionError, match="'double' is a tool already"):
        tool(double)


async def test_tools_from_schemas() -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    }

    async def handler(arguments: dict[str, Any], context: ToolContext[Any]) -> str:
        return f"{sorted(arguments)} for {context.deps}"

    made: FunctionTool[..., Any] = tool_from_schema(
        "forecast",
        "Look ahead.",
        parameters,
        handler,
        strict=False,
        output_schema={"type": "string"},
        examples=[{"city": "a"}],
        deadline_s=1.5,
    )
    assert made.definition == ir.Tool(
        name="forecast",
        description="Look ahead.",
        parameters=parameters,
        strict=False,
        output_schema={"type": "string"},
        examples=[{"city": "a"}],
    )
    result = await execute(
        call("forecast", '{"city": "a", "days": "3"}'),
        Toolset([made]),
        context=ToolContext(deps="kim"),
    )
    assert result == ok("['city', 'days'] for kim", "forecast")
    empty = tool_from_schema("ping", "", None, lambda arguments: arguments)
    assert await execute(call("ping", ""), Toolset([empty])) == ok("{}", "ping")


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class MuteToolError(ToolError):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (MuteError(), "MuteError"),
        (MuteToolError("x"), ""),
        (
            ExceptionGroup("two", [ValueError("a"), ExceptionGroup("in", [KeyError("b")])]),
            "ExceptionGroup: two (2 sub-exceptions): ValueError: a; "
            "ExceptionGroup: in (1 sub-exception): KeyError: 'b'",
        ),
        (ExceptionGroup("one", [MuteError()]), "ExceptionGroup: one (1 sub-exception): MuteError"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_whatever_an_exception_says_of_itself_the_model_reads_what_went_wrong(
    raised: Exception, words: str, is_async: bool
) -> None:
    def boom() -> None:
        raise raised

    async def boom_later() -> None:
        raise raised

    made = tool(boom_later if is_async else boom, name="boom")
    assert await execute(call("boom"), Toolset([made])) == error(words, "boom")


@pytest.mark.parametrize("error_type", [AssertionError, AbortRunError])
async def test_l13_what_leaves_the_run_leaves_it_out_of_a_task_group_too(
    error_type: type[Exception],
) -> None:
    @tool(raises=[AssertionError])
    async def both() -> None:
        async def stub() -> None:
            raise error_type("called")

        async with asyncio.TaskGroup() as group:
            group.create_task(stub())

    with pytest.raises(ExceptionGroup) as caught:
        await execute(call("both"), Toolset([both]))
    assert caught.value.subgroup(error_type) is not None


class Checking(BaseModel):
    """Its validators raise what pydantic does not read as a refusal."""

    how: str

    @model_validator(mode="after")
    def look(self) -> Checking:
        match self.how:
            case "key":
                return {}[self.how]  # type: ignore[no-any-return]
            case "stop":
                return next(iter(()))
            case "exit":
                raise SystemExit(3)
            case "assert":
                raise NotImplementedError("called")
            case "interrupt":
                raise KeyboardInterrupt
            case _:
                raise RecursionError("round and round")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("key", "KeyError: 'key'"),
        ("stop", "StopIteration"),
        ("exit", "SystemExit: 3"),
        ("", "RecursionError: round and round"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_what_a_validator_raises_is_read_like_what_its_tool_raises(
    how: str, words: str, is_async: bool
) -> None:
    def look(at: Checking) -> None: ...
    async def look_later(at: Checking) -> None: ...

    made = tool(look_later if is_async else look, name="look")
    arguments = json.dumps({"at": {"how": how}})
    assert await execute(call("look", arguments), Toolset([made])) == error(words, "look")


@pytest.mark.parametrize(
    ("how", "kind"), [("assert", NotImplementedError), ("interrupt", KeyboardInterrupt)]
)
async def test_what_a_validator_raises_leaves_where_its_tool_says_so(
    how: str, kind: type[BaseException]
) -> None:
    @tool(raises=[NotImplementedError])
    def look(at: Checking) -> None: ...

    with pytest.raises(kind):
        await execute(call("look", json.dumps({"at": {"how": how}})), Toolset([look]))


@pytest.mark.parametrize(
    "raised",
    [SystemExit(3), StopIteration(), StopAsyncIteration(), asyncio.CancelledError(), KeyError("x")],
)
@pytest.mark.parametrize("is_async", [False, True])
async def test_whatever_an_approval_raises_ends_the_run(
    raised: BaseException, is_async: bool
) -> None:
    def ask(made: Any, arguments: Any) -> bool:
        raise raised

    async def ask_later(made: Any, arguments: Any) -> bool:
        raise raised

    asked = Toolset([double]).approved(ask_later if is_async else ask)
    is_stop = isinstance(raised, StopIteration)
    with pytest.raises(RuntimeError if is_stop else type(raised)):
        await execute(call("double", '{"n": 1}'), asked)
