"""Tools that the model writes: the bootstrap, what is refused, and what is kept."""

from __future__ import annotations

import importlib.util
import json
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from polycall import Agent, Client, WrittenTools, tool
from polycall.agents import ApprovalRequest, ToolStore
from polycall.agents.model_written_tools.reading import read_function
from polycall.errors import ToolError
from polycall.ir import ToolCall, ToolResult
from polycall.sandbox import Limits, RuntimeUnavailableError, Sandbox
from polycall.sim import Call, Simulation, Turn
from polycall.testing import ScriptedModel

from .support import PROVIDERS, play

WRONG = "def fibonacci(n: int) -> int:\n    return n if n < 2 else fibonacci(n - 1) * 2"
RIGHT = """\
def fibonacci(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a"""
TESTS = "assert fibonacci(1) == 1\nassert fibonacci(10) == 55"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    try:
        async with Sandbox(pool=1, limits=Limits(wall_s=3)) as opened:
            yield opened
    except RuntimeUnavailableError as error:
        pytest.skip(f"no sandbox here: {error}")


def adding(code: str, tests: str, name: str = "fibonacci") -> ToolCall:
    arguments = {"name": name, "code": code, "description": "A number.", "tests": tests}
    return ToolCall(f"add_{abs(hash(code + tests))}", "add_tool", json.dumps(arguments))


async def results_of(written: WrittenTools, *calls: ToolCall, **options: Any) -> list[ToolResult]:
    with ScriptedModel([*calls, "done"]) as model:
        run = await Agent("test/m", tools=[written], client=model).run("go", **options)
    return [result for step in run.steps for result in step.results]


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_the_bootstrap(
    vendor: str, simulation: Simulation, client: Client, sandbox: Sandbox
) -> None:
    about = {"name": "fibonacci", "description": "The n-th of the numbers.", "tests": TESTS}
    model = play(
        simulation,
        vendor,
        Turn(calls=[Call("add_tool", {**about, "code": WRONG})]),
        Turn(calls=[Call("add_tool", {**about, "code": RIGHT})]),
        Turn(calls=[Call("fibonacci", {"n": 30})]),
        Turn(text="832040"),
    )
    written = WrittenTools(sandbox)
    run = await Agent(model, tools=[written], client=client).run("The 30th Fibonacci number?")
    failed, added, used = (step.results[0] for step in run.steps[:3])
    assert failed.is_error
    assert "the tests failed" in failed.text
    assert "assert fibonacci(10) == 55" in failed.text
    assert added.text == "'fibonacci' (version 1) can be called now, with n"
    assert (used.text, used.is_error) == ("832040", False)
    assert run.text == "832040"
    assert [(each.name, each.version) for each in written.store.in_use()] == [("fibonacci", 1)]


@tool
async def price(item: str) -> int:
    """What an item costs."""
    return {"tea": 3, "cake": 5}[item]


@tool(needs_approval=True)
async def pay(amount: int) -> str:
    """Pay an amount."""
    return f"paid {amount}"


TOTAL = """
import asyncio

async def total(items: list[str]) -> int:
    prices = await asyncio.gather(*[price(item=item) for item in items])
    return sum(prices)
"""


async def test_it_may_call_what_it_was_granted(sandbox: Sandbox) -> None:
    written = WrittenTools(sandbox, grants=[price])
    added, used, wrong = await results_of(
        written,
        adding(TOTAL, "assert await total(['tea', 'tea']) == 6", "total"),
        ToolCall("u", "total", '{"items":["tea","cake"]}'),
        ToolCall("w", "total", '{"items":"tea"}'),
    )
    assert not added.is_error, added.text
    assert used.text == "8"
    assert "do not fit 'total'" in wrong.text


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("open('/etc/passwd').read()", "FileNotFoundError"),
        ("open('/tmp/../etc/shadow').read()", "FileNotFoundError"),
        ("__import__('os').listdir('/root')", "Error"),
        ("__import__('socket').create_connection(('127.0.0.1', 80))", "Error"),
        ("__import__('socket').socket()", "Error"),
        ("__import__('subprocess').run(['id'])", "Error"),
        ("pay(amount=5)", "'pay' is not defined"),
        ("globals()['pay'](amount=5)", "KeyError"),
        ("__import__('polycall')", "ModuleNotFoundError"),
        ("any(0 for _ in iter(int, 1))", "timeout|killed"),
        ("[0 for _ in iter(int, 1)]", "MemoryError|killed|timeout"),  # whichever bound is first
    ],
)
async def test_what_it_must_not_do_is_refused(sandbox: Sandbox, body: str, told: str) -> None:
    if sandbox.tier != "jail":
        pytest.skip("the words are those of the jail")
    code = f"def sneak() -> str:\n    return str({body})"
    written = WrittenTools(sandbox, grants=[price])
    (result,) = await results_of(written, adding(code, "assert sneak()", "sneak"))
    assert result.is_error
    assert any(each in result.text for each in told.split("|")), result.text
    assert written.store.versions() == []


async def test_what_a_test_did_not_show_is_refused_when_it_runs(sandbox: Sandbox) -> None:
    code = "def peek(path: str) -> str:\n    return open(path).read() if path else 'x'"
    written = WrittenTools(sandbox)
    added, used = await results_of(
        written,
        adding(code, "assert peek('') == 'x'", "peek"),
        ToolCall("u", "peek", '{"path":"/etc/shadow"}'),
    )
    assert not added.is_error, added.text
    assert used.is_error
    assert "'peek' failed" in used.text


async def test_a_granted_tool_keeps_its_approval(sandbox: Sandbox) -> None:
    code = (
        "async def buy(amount: int) -> str:\n    return await pay(amount=amount) if amount else ''"
    )
    asked: list[ApprovalRequest] = []

    def approve(request: ApprovalRequest) -> bool:
        asked.append(request)
        return len(asked) == 1

    added, first, second = await results_of(
        WrittenTools(sandbox, grants=[pay]),
        adding(code, "assert await buy(0) == ''", "buy"),
        ToolCall("1", "buy", '{"amount":1}'),
        ToolCall("2", "buy", '{"amount":2}'),
        approve=approve,
    )
    assert not added.is_error, added.text
    assert first.text == "paid 1"
    assert "the call of 'pay' was not approved" in second.text
    assert [request.arguments for request in asked] == [{"amount": 1}, {"amount": 2}]


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_policy_may_want_a_person_to_look(sandbox: Sandbox, allowed: bool) -> None:
    def look(name: str, code: str) -> bool:
        return "while" in code or "for" in code

    asked: list[ApprovalRequest] = []

    def approve(request: ApprovalRequest) -> bool | str:
        asked.append(request)
        return allowed or "too clever"

    written = WrittenTools(sandbox, needs_approval=look)
    plain = "def one() -> int:\n    return 1"
    results = await results_of(
        written, adding(RIGHT, TESTS), adding(plain, "assert one() == 1", "one"), approve=approve
    )
    assert [request.tool for request in asked] == ["add_tool"]
    assert asked[0].arguments["code"] == RIGHT
    assert [result.is_error for result in results] == [not allowed, False]


@pytest.mark.parametrize(
    ("code", "tests", "told"),
    [
        ("def f(x: int) -> int:\n  return (", "assert 1", "the code is not Python: line 2"),
        ("x = 1", "assert 1", "must define one function 'f'"),
        ("def f(x: int) -> int:\n  return 1", "f(1)", "the tests assert nothing"),
        ("def f(x) -> int:\n  return 1", "assert 1", "x needs a type"),
        ("def f(x: int):\n  return 1", "assert 1", "the return value needs a type"),
        ("def f(x: set[int]) -> int:\n  return 1", "assert 1", "has the type set[int]"),
        ("def f(x: dict[int, str]) -> int:\n  return 1", "assert 1", "has the type dict[int, str]"),
        ("def f(*x: int) -> int:\n  return 1", "assert 1", "name all parameters"),
        ("def f(x: int) -> int:\n  return y", "assert 1", "line 2: 'y' is not defined"),
        ("print(1)\ndef f(x: int) -> int:\n  return 1", "assert 1", "line 1: only imports"),
        (
            "async def f(x: str) -> int:\n  price(item=x)\n  return 1",
            "assert 1",
            "'price' is a tool; call it with await",
        ),
        ("#" * 20_001, "assert 1", "20000 are the most"),
        ("def f(x: int) -> int:\n  return 1", "assert (", "the code is not Python"),
        ("(" * 500, "assert 1", "the code is not Python"),
    ],
)
async def test_code_that_is_not_fit_is_explained(
    sandbox: Sandbox, code: str, tests: str, told: str
) -> None:
    (result,) = await results_of(WrittenTools(sandbox, grants=[price]), adding(code, tests, "f"))
    assert result.is_error
    assert told in result.text


@pytest.mark.skipif(
    importlib.util.find_spec("pydantic_monty") is None, reason="the type checker is not installed"
)
@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def f(x: int) -> str:\n    return x + 1", "expected `str`, found `int`"),
        ("async def f(x: int) -> int:\n    return await price(item=x)", "Expected `str`"),
        ("def f(x: int) -> int:\n    return len(x)", "found `int`"),
    ],
)
async def test_types_are_checked(sandbox: Sandbox, code: str, told: str) -> None:
    written = WrittenTools(sandbox, grants=[price])
    (result,) = await results_of(written, adding(code, "assert True", "f"))
    assert "the types do not fit" in result.text
    assert told in result.text


async def test_a_result_of_another_type_is_refused(sandbox: Sandbox) -> None:
    code = "import json\ndef f(x: str) -> int:\n    return json.loads(x)"
    _, good, bad = await results_of(
        WrittenTools(sandbox),
        adding(code, "assert f('1') == 1", "f"),
        ToolCall("1", "f", '{"x":"12"}'),
        ToolCall("2", "f", '{"x":"[]"}'),
    )
    assert good.text == "12"
    assert bad.text.startswith("'f' gave something else than its type says")


async def test_versions_are_kept_listed_and_revoked(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "tools.db"
    code = "def f(x: int) -> int:\n    return x + {}"
    results = await results_of(
        WrittenTools(sandbox, store=path),
        adding(code.format(1), "assert f(1) == 2", "f"),
        adding(code.format(2), "assert f(1) == 3", "f"),
        ToolCall("1", "f", '{"x":1}'),
        ToolCall("2", "list_own_tools", "{}"),
        user="min",
    )
    assert results[1].text == "'f' (version 2) can be called now, with x"
    assert results[2].text == "3"
    listed = [{"name": "f", "version": 2, "description": "A number."}]
    assert json.loads(results[3].text) == listed
    store = ToolStore(path)
    assert [each.author for each in store.versions("f")] == ["agent for min"] * 2
    assert store.revoke("f", 2) == 1
    again = WrittenTools(sandbox, store=store)
    used, revoked, gone, unknown = await results_of(
        again,
        ToolCall("1", "f", '{"x":1}'),
        ToolCall("2", "revoke_tool", '{"name":"f"}'),
        ToolCall("3", "f", '{"x":1}'),
        ToolCall("4", "revoke_tool", '{"name":"f"}'),
    )
    assert (used.text, revoked.text) == ("2", "revoked")
    assert "tool 'f' is not registered" in gone.text
    assert unknown.is_error
    assert [each.revoked is None for each in store.versions()] == [False, False]
    store.close()


async def test_names_and_numbers_are_bounded(sandbox: Sandbox) -> None:
    written = WrittenTools(sandbox, grants=[price], tools_max=1)
    taken = "def price(x: int) -> int:\n    return x"
    other = "def other(x: int) -> int:\n    return x"
    results = await results_of(
        written,
        adding(taken, "assert True", "price"),
        adding(taken, "assert True", "1x"),
        adding(RIGHT, TESTS),
        adding(other, "assert other(1) == 1", "other"),
    )
    told = ["there is a tool named 'price' already", "cannot be the name", "can be called now"]
    for result, words in zip(
        results, [*told, "1 tools were written, which is the most"], strict=True
    ):
        assert words in result.text


async def test_a_tool_whose_grants_are_gone_is_not_offered(sandbox: Sandbox) -> None:
    store = ToolStore()
    store.add("total", description="d", code=TOTAL, tests="assert 1", author="")
    assert "total" in WrittenTools(sandbox, grants=[price], store=store)
    assert "total" not in WrittenTools(sandbox, store=store)
    store.close()


def test_annotations_become_schemas_without_being_run() -> None:
    code = textwrap.dedent(
        """
        from typing import Any, Literal, Optional

        LIMIT = 3

        def f(
            a: "str",
            b: int | None,
            c: Optional[float] = None,
            *,
            d: Literal["x", 1] = "x",
            e: list[dict[str, bool]] = [],
        ) -> dict[str, Any]:
            return {}
        """
    )
    function = read_function("f", code, [])
    assert function.parameters == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "c": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "d": {"enum": ["x", 1], "default": "x"},
            "e": {
                "type": "array",
                "items": {"type": "object", "additionalProperties": {"type": "boolean"}},
            },
        },
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    assert (function.returns, function.is_async) == (
        {"type": "object", "additionalProperties": {}},
        False,
    )


def test_nothing_of_it_runs_here(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = f"""
def f(x: int = open({str(mark)!r}, "w").write("x")) -> __import__("os").system("touch {mark}"):
    return 1
"""
    with pytest.raises(ToolError):
        read_function("f", code, [])
    assert not mark.exists()
