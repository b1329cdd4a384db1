"""Tasks with tools and known answers, given to a model in three modes.

The frame is that of M3ToolEval: `code` (the model writes programs), `json` (it calls tools), `text`
(it writes `Action:` lines).  Tasks and tools come from files; none are shipped.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from polycall._support import jsontext
from polycall.cli.bench.tokens import CountingClient
from polycall.client import Client, ModelClient
from polycall.errors import RequestError
from polycall.ir import Message, Request, Text, ToolCall
from polycall.loop import Limits, RunEnd
from polycall.program import Calling, Catalogue, Programs
from polycall.sandbox import Sandbox
from polycall.testing import Answer, ScriptedModel
from polycall.tools import Executor, FunctionTool, ToolContext, Toolset, tool

Mode: TypeAlias = Literal["code", "json", "text"]
MODES: tuple[Mode, ...] = get_args(Mode)

_END = "When you know the answer, end with one line: Answer: <the answer, as JSON where it is data>"
_TEXT_RULES = """\
You can use these tools:
{stubs}
To call one, write a line such as
Action: {{"tool": "name", "arguments": {{"parameter": "value"}}}}
and nothing after it; the result comes back as an observation."""
_ACTION = re.compile(r"^Action:\s*(\{.*\})\s*$", re.MULTILINE)
_ANSWER = re.compile(r"Answer:\s*(.+?)\s*$", re.DOTALL)


class Task(Struct, frozen=True):
    """One task.  `tools` names functions of the tools file."""

    id: str
    question: str
    expected: Any
    tools: list[str]
    domain: str = ""


class Outcome(Struct, frozen=True):
    """The outcome of a task in a mode.

    `tokens` is what all requests and answers hold together, counted alike in all modes;
    `reported_tokens` what the provider says, with its reasoning.
    """

    id: str
    domain: str
    mode: Mode
    success: bool
    answer: str
    turns: int
    calls: int
    tokens: int
    reported_tokens: int
    end: str


class _Scripted(Struct):
    """A model's answers to one task in one mode: a text, or calls."""

    id: str
    mode: Mode
    answers: list[str | list[dict[str, Any]]]


async def run_tasks(
    tasks_path: Path,
    tools_path: Path,
    *,
    model: str,
    modes: Iterable[str] = MODES,
    script: Path | None = None,
    steps_max: int = 10,
) -> list[Outcome]:
    """Every task in every mode; `script` holds answers that stand in for the model's."""
    tasks: list[Task] = _read_lines(tasks_path, Task)
    functions = load_functions(tools_path)
    scripts = _read_scripts(script) if script is not None else None
    outcomes: list[Outcome] = []
    async with Client() as client, Sandbox() as sandbox:
        for task in tasks:
            unknown = [name for name in task.tools if name not in functions]
            if unknown:
                raise RequestError(f"task {task.id!r} wants tools that are not there: {unknown}")
            for mode in map(_mode, modes):
                chosen = _model(client, scripts, task, mode)
                runner = _Runner(
                    task,
                    [_opened(functions[name]) for name in task.tools],
                    chosen,
                    sandbox,
                    steps_max,
                )
                outcomes.append(await runner.run(mode, model))
    return outcomes


def load_functions(path: Path) -> dict[str, Any]:
    """The public functions and tools of a Python file."""
    spec = importlib.util.spec_from_file_location(f"_tools_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RequestError(f"{str(path)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, FunctionTool)
        or (inspect.isfunction(value) and not name.startswith("_"))
    }


def _opened(function: Any) -> FunctionTool[..., Any]:
    """A tool for both kinds of callers."""
    callers = ("direct", "code")
    if isinstance(function, FunctionTool):
        return dataclasses.replace(function, allowed_callers=callers)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return tool(function, allowed_callers=callers)


def summary(outcomes: Sequence[Outcome]) -> str:
    """A line for each mode, and one for each domain in it."""
    lines = [f"{'mode':<6}{'domain':<18}{'tasks':>6}{'success':>9}{'turns':>7}{'tokens':>9}"]
    for mode in MODES:
        of_mode = [each for each in outcomes if each.mode == mode]
        domains = sorted({each.domain for each in of_mode})
        for domain in [*(domains if len(domains) > 1 else []), None]:
            rows = [each for each in of_mode if domain is None or each.domain == domain]
            if not rows:
                continue
            success = sum(each.success for each in rows) / len(rows)
            turns = sum(each.turns for each in rows) / len(rows)
            tokens = sum(each.tokens for each in rows) / len(rows)
            lines.append(
                f"{mode:<6}{domain or 'all':<18}{len(rows):>6}{success:>9.0%}{turns:>7.1f}"
                f"{tokens:>9,.0f}"
            )
    return "\n".join(lines)


def is_same(expected: Any, answer: str) -> bool:
    """Whether an answer says what is expected; numbers to a millionth, words in any case."""
    try:
        found: Any = jsontext.decode(answer)
    except ValueError:
        found = answer.strip().strip("'\"`")
    return _same(expected, found) or _same(str(expected), answer.strip().strip("'\"`."))


def _same(expected: Any, found: Any) -> bool:
    match expected, found:
        case (bool(), _) | (_, bool()):
            return expected is found
        case (int() | float(), int() | float()):
            return math.isclose(expected, found, rel_tol=1e-6, abs_tol=1e-6)
        case str(), str():
            return expected.casefold().split() == found.casefold().split()
        case list(), list():
            pairs: list[tuple[Any, Any]] = list(zip(expected, found, strict=False))  # pyright: ignore[reportUnknownArgumentType]
            return len(expected) == len(found) and all(_same(one, two) for one, two in pairs)  # pyright: ignore[reportUnknownArgumentType]
        case dict(), dict():
            wanted: dict[Any, Any] = expected  # pyright: ignore[reportUnknownVariableType]
            return wanted.keys() == found.keys() and all(  # pyright: ignore[reportUnknownMemberType]
                _same(value, found[key]) for key, value in wanted.items()
            )
        case _:
            return expected == found


class _Runner:
    """One task with one model."""

    def __init__(
        self,
        task: Task,
        tools: list[FunctionTool[..., Any]],
        model: ModelClient,
        sandbox: Sandbox,
        steps_max: int,
    ) -> None:
        self._task = task
        self._tools = tools
        self._model = CountingClient(model)
        self._sandbox = sandbox
        self._steps_max = steps_max

    async def run(self, mode: Mode, model: str) -> Outcome:
        """The task in a mode."""
        match mode:
            case "text":
                text, calls, end = await self._by_text(model)
            case "json":
                text, calls, end = await self._by_loop(model, "direct")
            case "code":
                text, calls, end = await self._by_loop(model, "code")
        found = _ANSWER.search(text)
        answer = found.group(1) if found else ""
        task, counted = self._task, self._model
        return Outcome(
            id=task.id,
            domain=task.domain,
            mode=mode,
            success=is_same(task.expected, answer),
            answer=answer,
            turns=counted.answers,
            calls=calls,
            tokens=counted.billed_tokens,
            reported_tokens=counted.reported.total_tokens,
            end=end,
        )

    async def _by_loop(self, model: str, calling: Calling) -> tuple[str, int, str]:
        request = Request(model, [Message("user", [Text(f"{self._task.question}\n\n{_END}")])])
        end, direct = None, 0
        async with Programs(self._tools, self._sandbox, calling=calling) as programs:
            limits = Limits(steps=self._steps_max)
            async for event in programs.run(self._model, request, limits=limits):
                if isinstance(event, RunEnd):
                    end = event
            nested = sum(len(run.calls) for run in programs.programs)
        if end is None:
            return "", 0, "error"
        direct = sum(len(step.results) for step in end.steps) if calling == "direct" else 0
        return end.text, nested + direct, end.reason

    async def _by_text(self, model: str) -> tuple[str, int, str]:
        """The model writes its calls; each is run as any other, its result is read as text."""
        executor = Executor(Toolset(self._tools), context=ToolContext(deps=None, model=model))
        stubs = Catalogue(self._tools, stub_tokens_max=10**9).stubs
        prompt = f"{self._task.question}\n\n{_TEXT_RULES.format(stubs=stubs)}\n{_END}"
        messages, calls, text = [Message("user", [Text(prompt)])], 0, ""
        for _ in range(self._steps_max):
            response = await self._model.generate_request(Request(model, messages))
            text = response.text
            actions = _ACTION.findall(text)
            if not actions:
                return text, calls, "finished"
            observations: list[str] = []
            for action in actions:
                calls += 1
                result = await executor(_written_call(action, calls))
                observations.append(f"Observation: {result.text}")
            reply = Message("user", [Text("\n".join(observations))])
            messages = [*messages, response.message, reply]
        return text, calls, "steps"


def _written_call(action: str, number: int) -> ToolCall:
    try:
        written: Any = jsontext.decode(action)
    except ValueError:
        written = {}
    name = str(written.get("tool", ""))
    arguments = jsontext.encode(written.get("arguments", {}))
    return ToolCall(f"action_{number}", name, arguments)


def _mode(word: str) -> Mode:
    for mode in MODES:
        if mode == word:
            return mode
    raise RequestError(f"there is no mode {word!r}; there are {', '.join(MODES)}")


def _model(
    client: Client, scripts: Mapping[tuple[str, str], list[Answer]] | None, task: Task, mode: Mode
) -> ModelClient:
    if scripts is None:
        return client
    answers = scripts.get((task.id, mode))
    if answers is None:
        raise RequestError(f"the script has no answers for task {task.id!r} in mode {mode!r}")
    return ScriptedModel(answers)


def _read_scripts(path: Path) -> dict[tuple[str, str], list[Answer]]:
    found: dict[tuple[str, str], list[Answer]] = {}
    for scripted in _read_lines(path, _Scripted):
        found[scripted.id, scripted.mode] = [
            answer if isinstance(answer, str) else _scripted_calls(answer, place)
            for place, answer in enumerate(scripted.answers)
        ]
    return found


def _scripted_calls(calls: list[dict[str, Any]], place: int) -> list[ToolCall]:
    return [
        ToolCall(f"call_{place}_{number}", each["name"], jsontext.encode(each["arguments"]))
        for number, each in enumerate(calls)
    ]


def _read_lines(path: Path, kind: Any) -> list[Any]:
    """JSON lines, each of a kind."""
    found: list[Any] = []
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), start=1):
        try:
            if line.strip():
                found.append(msgspec.json.decode(line, type=kind))
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise RequestError(f"line {number} of {path.name} cannot be read: {error}") from None
    return found
