"""Tools that the model writes for itself, and uses in the same run."""

from __future__ import annotations

import contextlib
import importlib.util
import keyword
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from polycall._support import jsontext
from polycall.agents.approval import AskingToolset, ask
from polycall.agents.context import AgentContext
from polycall.agents.model_written_tools.reading import ReadFunction, has_assertion, read_function
from polycall.agents.model_written_tools.store import ToolStore, ToolVersion
from polycall.errors import ToolError
from polycall.ir import JSON
from polycall.program import Catalogue, ProgramRun
from polycall.program.nested_calls import Nested, ResultCapture
from polycall.sandbox import RunResult, Sandbox, SandboxError
from polycall.tools import (
    AbstractToolset,
    Executor,
    FunctionTool,
    ToolContext,
    Toolset,
    tool_from_schema,
)
from polycall.tools.threads import run_in_thread
from polycall.tools.validate import SchemaChecker

ADD, LIST, REVOKE = "add_tool", "list_own_tools", "revoke_tool"
# The sandbox's clock bounds each run; this one ends only what that cannot.
_DEADLINE_S = 600.0
_REPORT_CHARS = 4_000
# The checker knows fewer modules than the sandbox has, and names are checked elsewhere.
_IGNORED = ("unresolved-import", "unresolved-reference", "unresolved-attribute")
_PROBLEM = re.compile(r"^error\[([\w-]+)\]: ", re.MULTILINE)
_LIMITS = {"max_feed_duration_secs": 2, "max_memory": 64 << 20, "max_suspensions": 1}

_ADD_ABOUT = """\
Make a new tool where no tool does what is needed. Give one Python function with types for all its \
parameters and its result (JSON types), and tests as plain code with assert, which run first; \
write `await name(...)` in them where the function is async. The tool can be called from the next \
step on. It runs in a sandbox without network and files."""


class WrittenTools(AbstractToolset):
    """Lets a model write tools: `add_tool`, `list_own_tools`, `revoke_tool`, and what it wrote.

    Nothing of a model's is ever run by this process: code is read, checked for names and types,
    and run in `sandbox` alone, a new session each time.  It may call the tools in `grants` and no
    others, under the same approvals as the model.  `needs_approval` says which new tools a person
    must agree to: all, none, or those that a function picks.  `store` keeps what was written.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        grants: AbstractToolset | Iterable[Any] = (),
        store: ToolStore | str | Path | None = None,
        needs_approval: bool | Callable[[str, str], bool] = False,
        tools_max: int = 50,
    ) -> None:
        self._sandbox = sandbox
        self.store = store if isinstance(store, ToolStore) else ToolStore(store or ":memory:")
        inner = grants if isinstance(grants, AbstractToolset) else Toolset(grants)
        self._granted = _OpenedToolset(inner)
        self._catalogue = Catalogue(self._granted.tools.values(), stub_tokens_max=1_000_000)
        self._needs_approval = needs_approval
        self._tools_max = tools_max
        self._made: dict[tuple[str, int], FunctionTool[..., Any]] = {}
        own = [self._add_tool(), self._list_tool(), self._revoke_tool()]
        self._own = {tool.name: tool for tool in own}

    @property
    def tools(self) -> Mapping[str, FunctionTool[..., Any]]:
        found = dict(self._own)
        for version in self.store.in_use():
            # A tool of an earlier day may need tools that are not granted today.
            with contextlib.suppress(ToolError):
                found.setdefault(version.name, self._tool_of(version))
        return found

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        return await self[name].run(arguments, context)

    def _add_tool(self) -> FunctionTool[..., Any]:
        granted = self._catalogue.stubs
        about = f"{_ADD_ABOUT} It may call, with await:\n{granted}" if granted else _ADD_ABOUT
        return tool_from_schema(
            ADD,
            about,
            _schema(
                name="the function's name, which becomes the tool's",
                code="the Python code, with imports where it needs any",
                description="what the tool does, for its callers",
                tests="code that asserts what the function gives",
            ),
            self._add,
            deadline_s=_DEADLINE_S,
        )

    def _list_tool(self) -> FunctionTool[..., Any]:
        def listed(arguments: JSON) -> list[JSON]:
            return [
                {"name": each.name, "version": each.version, "description": each.description}
                for each in self.store.in_use()
            ]

        return tool_from_schema(LIST, "The tools that were written here.", _schema(), listed)

    def _revoke_tool(self) -> FunctionTool[..., Any]:
        def revoke(arguments: JSON) -> str:
            if not self.store.revoke(arguments["name"]):
                raise ToolError(f"no tool of that name was written: {arguments['name']!r}")
            return "revoked"

        return tool_from_schema(
            REVOKE, "Take a written tool out of use.", _schema(name="its name"), revoke
        )

    async def _add(self, arguments: JSON, context: ToolContext[Any]) -> str:
        name, code, tests = arguments["name"], arguments["code"], arguments["tests"]
        self._check_name(name)
        function = read_function(name, code, self._catalogue.signatures)
        if not has_assertion(tests):
            raise ToolError("the tests assert nothing; show with assert what the function gives")
        problems = await type_problems(code, self._catalogue.stubs or "")
        if problems:
            raise ToolError(_clipped("the types do not fit:\n" + "\n\n".join(problems)))
        needs = self._needs_approval
        if needs if isinstance(needs, bool) else needs(name, code):
            why = f"the model wrote the tool {name!r}"
            instead = await ask(context, ADD, arguments, why=why)
            if instead is not None:
                reported = jsontext.encode(instead)
                raise ToolError(f"nothing was added; add it again, written so: {reported}")
        result = await self._ran(f"{code}\n\n{tests}\n", context)
        if not result.ok:
            raise ToolError(_clipped(f"the tests failed:\n{_report(result)}"))
        author = f"{context.agent} for {context.user}" if isinstance(context, AgentContext) else ""
        version = self.store.add(
            name, description=arguments["description"], code=code, tests=tests, author=author
        )
        inputs = ", ".join(function.parameters["properties"]) or "no parameters"
        return f"{name!r} (version {version.version}) can be called now, with {inputs}"

    def _check_name(self, name: str) -> None:
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise ToolError(f"{name!r} cannot be the name of a function")
        if name in self._own or name in self._granted or name in self._catalogue.signatures:
            raise ToolError(f"there is a tool named {name!r} already; choose another name")
        used = {version.name for version in self.store.in_use()}
        if name not in used and len(used) >= self._tools_max:
            raise ToolError(f"{len(used)} tools were written, which is the most; revoke one first")

    def _tool_of(self, version: ToolVersion) -> FunctionTool[..., Any]:
        key = (version.name, version.version)
        if key not in self._made:
            function = read_function(version.name, version.code, self._catalogue.signatures)
            self._made[key] = self._made_of(version, function)
        return self._made[key]

    def _made_of(self, version: ToolVersion, function: ReadFunction) -> FunctionTool[..., Any]:
        result_checker = SchemaChecker({"properties": {"result": function.returns}}, label="result")

        async def call(arguments: JSON, context: ToolContext[Any]) -> Any:
            # JSON's values, written as Python writes them.
            call = f"{function.name}(**{arguments!r})"
            word = "await " if function.is_async else ""
            result = await self._ran(f"{version.code}\n\n{word}{call}\n", context)
            if not result.ok:
                raise ToolError(_clipped(f"{version.name!r} failed:\n{_report(result)}"))
            problems = result_checker.problems({"result": result.value})
            if problems:
                raise ToolError(
                    f"{version.name!r} gave something else than its type says: "
                    f"{problems[0].message}; write a new version"
                )
            return result.value

        return tool_from_schema(
            version.name, version.description, function.parameters, call, deadline_s=_DEADLINE_S
        )

    async def _ran(self, program: str, context: ToolContext[Any]) -> RunResult:
        """Run a program in a session of its own, with the granted tools and nothing else."""
        run = ProgramRun(f"written_{secrets.token_hex(4)}", program, calls=[])
        capture = ResultCapture(AskingToolset(self._granted))
        nested = Nested(run, Executor(capture, context), capture, self._catalogue)
        try:
            async with self._sandbox.session() as session:
                return await session.run(program, nested.functions())
        except SandboxError as error:
            raise ToolError(f"the sandbox could not run it: {error}") from None


class _OpenedToolset(AbstractToolset):
    """The granted tools, open to programs: granting one is what opens it."""

    def __init__(self, inner: AbstractToolset) -> None:
        self._inner = inner
        self._tools = {
            name: replace(tool, allowed_callers=("direct", "code"))
            for name, tool in inner.tools.items()
        }

    @property
    def tools(self) -> Mapping[str, FunctionTool[..., Any]]:
        return self._tools

    async def run(self, name: str, arguments: JSON, context: ToolContext[Any]) -> Any:
        return await self._inner.run(name, arguments, context)


def _report(result: RunResult) -> str:
    reported = [result.stderr, result.stdout]
    if result.status != "failed":
        reported.insert(0, f"{result.status}: {result.error}")
    return "\n".join(part.strip() for part in reported if part.strip())


def _clipped(text: str) -> str:
    half = _REPORT_CHARS // 2
    return text if len(text) <= _REPORT_CHARS else f"{text[:half]}\n...\n{text[-half:]}"


def _schema(**properties: str) -> JSON:
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": about} for name, about in properties.items()
        },
        "required": list(properties),
        "additionalProperties": False,
    }


async def type_problems(code: str, stubs: str) -> list[str]:
    """The type errors with their lines; `stubs` declares the functions that the code may call."""
    if importlib.util.find_spec("pydantic_monty") is None:
        return []
    return await run_in_thread(lambda: _checked(code, stubs))


def _checked(code: str, stubs: str) -> list[str]:
    monty: Any = importlib.import_module("pydantic_monty")
    # Annotations alone are looked at: the code is inside a function that nobody calls.
    body = "\n".join(f"    {line}" for line in code.splitlines())
    with (
        monty.Monty(min_processes=0, max_processes=1) as pool,
        pool.checkout(
            script_name="tool.py", type_check=True, type_check_stubs=stubs, limits=_LIMITS
        ) as session,
    ):
        try:
            session.feed_run(f"def _unused() -> None:\n{body}\n")
        except monty.MontyTypingError as error:
            return _told(str(error))
        except monty.MontyError:
            # Python that the checker's interpreter does not know; the sandbox's may.
            return []
    return []


def _told(report: str) -> list[str]:
    starts = [match.start() for match in _PROBLEM.finditer(report)]
    ends = [*starts[1:], len(report)]
    problems = [report[start:end].strip() for start, end in zip(starts, ends, strict=True)]
    return [
        problem
        for problem in problems
        if not any(problem.startswith(f"error[{rule}]") for rule in _IGNORED)
    ]
