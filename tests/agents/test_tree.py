"""Trees of tools: found, opened, bounded, loaded from elsewhere, on every provider."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.tool_tree import letter_triples, measure

from polycall import Agent, Client, Toolset, ToolTree, triage
from polycall.agents.tree import Operation
from polycall.cli.bench.tokens import tokenizer
from polycall.errors import ToolDefinitionError
from polycall.ir import JSON, ToolCall
from polycall.sim import Call, Simulation, Turn
from polycall.testing import ScriptedModel
from polycall.tools import tool_from_schema

from .support import PROVIDERS, play


async def send(to: str, text: str) -> str:
    """Send an email to somebody."""
    return f"sent to {to}: {text}"


async def inbox(limit: int = 10) -> list[str]:
    """List the newest emails."""
    return ["hello"][:limit]


async def create(title: str, day: str) -> str:
    """Put an appointment into the calendar."""
    return f"{title} on {day}"


async def remove(title: str) -> str:
    """Delete an appointment from the calendar."""
    return f"removed {title}"


def small(**options: Any) -> ToolTree:
    branches = {
        "email": [send, inbox],
        "calendar": {"events": [create, remove], "today": inbox},
    }
    return ToolTree(branches, about={"email": "Read and write mail"}, **options)


@functools.cache
def large(count: int) -> ToolTree:
    def handler(arguments: JSON) -> JSON:
        return arguments

    schema: JSON = {
        "type": "object",
        "properties": {"name": {"type": "string", "description": "which one"}},
        "required": ["name"],
    }
    branches: dict[str, list[Any]] = {}
    for number in range(count):
        branches.setdefault(f"service_{number // 50}", []).append(
            tool_from_schema(
                f"do_thing_{number % 50}", f"Do thing {number} in its service.", schema, handler
            )
        )
    return ToolTree(branches)


def test_names_namespaces_and_order() -> None:
    tree = small()
    assert list(tree.tools) == [
        "search_tools",
        "open_namespace",
        "calendar.events.create",
        "calendar.events.remove",
        "calendar.today",
        "email.inbox",
        "email.send",
    ]
    assert tree.namespaces() == {"calendar": 3, "email": 2}
    assert tree.namespaces("calendar") == {"calendar.events": 2}
    assert list(tree.branch("calendar").tools) == [
        "calendar.events.create",
        "calendar.events.remove",
        "calendar.today",
    ]
    with pytest.raises(ToolDefinitionError, match="there are calendar, email"):
        tree.branch("mail")
    shuffled = ToolTree({"email": [inbox, send], "calendar": {"events": [remove, create]}})
    assert list(shuffled.leaves) == sorted(shuffled.leaves)


def test_search() -> None:
    tree = small()
    assert [each.name for each in tree.search("send a mail to Kim", limit=1)] == ["email.send"]
    assert tree.search("put appointments", limit=1)[0].name == "calendar.events.create"
    assert [each.name for each in tree.search("newest emails", within="calendar", limit=9)] == [
        "calendar.today"
    ]
    assert small(method="tree").search("delete an appointment")[0].name == "calendar.events.remove"
    assert tree.search("zebra") == []


def test_search_by_vectors() -> None:
    words = [("mail", "post", "letter"), ("calendar", "appointment", "meeting")]

    def embed(texts: list[str]) -> list[list[float]]:
        return [[0.1 + sum(text.lower().count(w) for w in row) for row in words] for text in texts]

    found = small(embed=embed).search("arrange a meeting", limit=3)
    assert all(each.name.startswith("calendar") for each in found[:2])
    assert small().search("arrange a wedding") == []


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_found_then_called(vendor: str, simulation: Simulation, client: Client) -> None:
    model = play(
        simulation,
        vendor,
        Turn(calls=[Call("search_tools", {"query": "send an email"})]),
        Turn(text="wait"),
    )
    agent = Agent(model, tools=[small(found_max=1)], client=client)
    run = await agent.run("Tell Kim hello")
    assert json.loads(run.steps[0].results[0].text) == {
        "found": {"email.send": "Send an email to somebody."}
    }
    assert run.history.opened == ["email.send"]
    # The wire's own spelling of the name, which the simulation calls as it was declared.
    offered = json.dumps(simulation.requests[-1].body)
    start = offered.index("email", offered.index("open_namespace"))
    name = offered[start : offered.index('"', start)]
    play(
        simulation,
        vendor,
        Turn(calls=[Call(name, {"to": "Kim", "text": "hello"})]),
        Turn(text="ok"),
    )
    again = await agent.run("Now", history=run.history.to_json())
    result = again.steps[0].results[0]
    assert (result.name, result.text) == ("email.send", "sent to Kim: hello")


async def names_offered(tree: ToolTree, *calls: ToolCall) -> tuple[list[list[str]], Any]:
    with ScriptedModel([*calls, "done"]) as model:
        run = await Agent("test/m", tools=[tree], client=model).run("go")
    return [[each.name for each in request.tools] for request in model.requests], run


async def test_a_namespace_is_opened() -> None:
    offered, run = await names_offered(
        small(),
        ToolCall("a", "open_namespace", '{"namespace":"calendar"}'),
        ToolCall("b", "open_namespace", '{"namespace":"calendar.events"}'),
        ToolCall("c", "open_namespace", '{"namespace":"nowhere"}'),
    )
    own = ["search_tools", "open_namespace"]
    events = ["calendar.events.create", "calendar.events.remove"]
    everything = [*own, "calendar.today", *events]
    assert offered == [own, [*own, "calendar.today"], everything, everything]
    assert json.loads(run.steps[0].results[0].text) == {
        "namespaces": "calendar.events (2)",
        "tools": {"calendar.today": "List the newest emails."},
    }
    assert run.steps[2].results[0].text == (
        "there is no namespace 'nowhere'. Namespaces: calendar (3), email (2: Read and write mail)"
    )


async def test_what_is_open_is_bounded_and_keeps_its_order() -> None:
    tree = ToolTree({"a": [send, inbox], "b": [create, remove]}, opened_max=3)
    offered, run = await names_offered(
        tree,
        ToolCall("a", "open_namespace", '{"namespace":"b"}'),
        ToolCall("b", "open_namespace", '{"namespace":"a"}'),
        ToolCall("c", "open_namespace", '{"namespace":"a"}'),
        ToolCall("d", "b.create", '{"title":"x","day":"y"}'),
    )
    assert [names[2:] for names in offered] == [
        [],
        ["b.create", "b.remove"],
        ["b.remove", "a.inbox", "a.send"],
        ["b.remove", "a.inbox", "a.send"],
        ["b.remove", "a.inbox", "a.send"],
    ]
    # A tool that exists can be called by whoever knows its name.
    assert run.steps[3].results[0].text == "x on y"


async def test_a_large_namespace_is_not_loaded_at_once() -> None:
    offered, run = await names_offered(
        large(60), ToolCall("a", "open_namespace", '{"namespace":"service_0"}')
    )
    assert len(offered[1]) == 2
    shown = json.loads(run.steps[0].results[0].text)
    assert len(shown["tools"]) == 50
    assert shown["next"] == "too many to load at once: search_tools with within='service_0'"


async def test_nothing_found_says_what_there_is() -> None:
    _, run = await names_offered(small(), ToolCall("a", "search_tools", '{"query":"zebra"}'))
    assert run.steps[0].results[0].is_error
    assert "Namespaces: calendar (3)" in run.steps[0].results[0].text


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_five_thousand_tools_cost_little(
    vendor: str, simulation: Simulation, client: Client
) -> None:
    model = play(simulation, vendor, Turn(text="hello"))
    run = await Agent(model, tools=[large(5_000)], client=client).run("hi")
    body = json.dumps(simulation.requests[-1].body)
    count, _ = tokenizer()
    assert count(body) < 2_000
    assert run.usage.input_tokens < 2_000


@pytest.mark.parametrize(
    ("vendor", "searches"), [(vendor, vendor in ("openai", "anthropic")) for vendor in PROVIDERS]
)
async def test_the_vendors_own_search(
    vendor: str, searches: bool, simulation: Simulation, client: Client
) -> None:
    agent = Agent(play(simulation, vendor, Turn(text="hello")), tools=[small(native=True)])
    agent.client = client
    if searches:
        assert (await agent.run("hi")).output == "hello"
        body = simulation.requests[-1].body
        assert body["tools"][0]["type"].startswith("tool_search")
        assert [each.get("defer_loading") for each in body["tools"][1:]] == [True] * 5
    else:
        assert (await agent.run("hi")).output == "hello"
        assert "search_tools" in json.dumps(simulation.requests[-1].body)


async def test_an_agent_for_each_branch() -> None:
    tree = small()
    agents = tree.agents("test/m")
    assert [(agent.name, agent.description) for agent in agents] == [
        ("calendar", "Tools: create, remove, today"),
        ("email", "Read and write mail"),
    ]
    calls = [
        ToolCall("a", "transfer_to_email", '{"reason":"mail"}'),
        ToolCall("b", "email.send", '{"to":"Kim","text":"hi"}'),
        "done",
    ]
    with ScriptedModel(calls) as model:
        run = await triage("test/m", agents, client=model).run("mail Kim")
    assert run.agents == ["triage", "email", "email"]
    assert run.steps[1].results[0].text == "sent to Kim: hi"


async def test_wrappers_stay_around_their_tools() -> None:
    limited = Toolset([send]).limited(1)
    call = ToolCall("a", "email.send", '{"to":"Kim","text":"hi"}')
    _, run = await names_offered(ToolTree({"email": limited}), call, call)
    assert [step.results[0].is_error for step in run.steps[:2]] == [False, True]


def test_what_is_no_name_is_refused() -> None:
    for name in ("a.b", ""):
        with pytest.raises(ToolDefinitionError, match="cannot be a name in a tree"):
            ToolTree({name: [send]})


def test_the_benchmark_finds_what_is_said_in_a_tools_own_words() -> None:
    rows = measure(500, letter_triples)
    assert [(row["search"], row["plain"]) for row in rows] == [
        ("words", 1.0),
        ("tree", 1.0),
        ("hybrid", 1.0),
    ]
    assert all(row["tokens at start"] < 2_000 < row["all at once"] for row in rows)


# ------------------------------------------------------------------------------------------------
# Loading

PACKAGE = {
    "__init__.py": "def about() -> str:\n    return 'office'\n",
    "email/__init__.py": "",
    "email/drafts.py": "from os.path import join\n\ndef write(text: str) -> str:\n"
    "    '''Write a draft.'''\n    return text\n\ndef _hidden() -> None: ...\n",
    "email/sending.py": "__all__ = ['send']\n\ndef send(to: str) -> str:\n"
    "    '''Send it.'''\n    return to\n\ndef other() -> None: ...\n",
}


def test_from_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, code in PACKAGE.items():
        file = tmp_path / "office_tools" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    tree = ToolTree.from_package("office_tools")
    assert list(tree.leaves) == ["email.drafts.write", "email.sending.send", "office_tools.about"]
    assert tree.leaves["email.drafts.write"].description == "Write a draft."
    for name in [each for each in sys.modules if each.startswith("office_tools")]:
        del sys.modules[name]


DOCUMENT: JSON = {
    "openapi": "3.1.0",
    "paths": {
        "/pets/{pet_id}": {
            "parameters": [{"$ref": "#/components/parameters/PetId"}],
            "get": {
                "tags": ["pets"],
                "operationId": "getPet",
                "summary": "One pet",
                "parameters": [
                    {"name": "fields", "in": "query", "schema": {"type": "array"}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                ],
            },
        },
        "/pets": {
            "post": {
                "operationId": "add pet!",
                "description": "Add a pet",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}
                    },
                },
            }
        },
    },
    "components": {
        "parameters": {
            "PetId": {
                "name": "pet_id",
                "in": "path",
                "required": True,
                "description": "which",
                "schema": {"type": "string"},
            }
        },
        "schemas": {
            "Pet": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "parent": {"$ref": "#/components/schemas/Pet"},
                },
            }
        },
    },
}


async def test_from_an_openapi_document() -> None:
    asked: list[tuple[Operation, JSON]] = []

    async def send_it(operation: Operation, arguments: JSON) -> str:
        asked.append((operation, arguments))
        return operation.url(arguments)

    tree = ToolTree.from_openapi(DOCUMENT, send_it)
    assert list(tree.leaves) == ["pets.add_pet", "pets.getPet"]
    assert tree.leaves["pets.getPet"].parameters == {
        "type": "object",
        "properties": {
            "pet_id": {"type": "string", "description": "which"},
            "fields": {"type": "array"},
            "X-Trace": {"type": "string"},
        },
        "required": ["pet_id"],
    }
    pet = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "parent": {"$ref": "#/$defs/Pet"}},
    }
    assert tree.leaves["pets.add_pet"].parameters == {
        "type": "object",
        "properties": {"body": {"$ref": "#/$defs/Pet"}},
        "required": ["body"],
        "$defs": {"Pet": pet},
    }
    arguments = '{"pet_id":"a b","fields":["x","y"],"X-Trace":"t"}'
    _, run = await names_offered(
        tree,
        ToolCall("a", "pets.getPet", arguments),
        ToolCall("b", "pets.add_pet", '{"body":{"name":1}}'),
        ToolCall("c", "pets.add_pet", '{"body":{"name":"Rex"}}'),
    )
    assert run.steps[0].results[0].text == "/pets/a%20b?fields=x&fields=y"
    assert "do not fit" in run.steps[1].results[0].text
    assert [(each.method, each.has_body) for each, _ in asked] == [("GET", False), ("POST", True)]
    assert asked[0][0].headers(asked[0][1]) == {"X-Trace": "t"}


async def test_from_a_folder(tmp_path: Path) -> None:
    definition = {"description": "Turn it", "parameters": {"type": "object", "properties": {}}}
    (tmp_path / "lamps" / "hall").mkdir(parents=True)
    (tmp_path / "lamps" / "hall" / "on.json").write_text(json.dumps({"name": "on", **definition}))
    both = [{"name": "up", **definition}, {"name": "down", **definition}]
    (tmp_path / "blinds.json").write_text(json.dumps(both))
    called: list[str] = []

    def run_it(name: str, arguments: JSON) -> str:
        called.append(name)
        return "ok"

    tree = ToolTree.from_folder(tmp_path, run_it)
    assert list(tree.leaves) == ["blinds.down", "blinds.up", "lamps.hall.on"]
    await names_offered(tree, ToolCall("a", "lamps.hall.on", "{}"))
    assert called == ["lamps.hall.on"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("no json", "not JSON"),
        ('{"description": "x"}', "has no name"),
        ("[3]", r"x\.json: Expected `object`, got `int`"),
        ('{"name": "a", "description": 3}', r"x\.json: Expected `str`, got `int`"),
        ('{"name": "a", "parameters": []}', r"x\.json: Expected `object"),
        ('[{"name": "a"}, {"name": "a"}]', "there are two of 'x.a'"),
        (None, "there are no JSON files"),
    ],
)
def test_a_folder_that_holds_no_tools_says_why(tmp_path: Path, text: Any, error: str) -> None:
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(ToolDefinitionError, match=error):
        ToolTree.from_folder(tmp_path, lambda name, arguments: None)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"swagger": "2.0"}, "no operations"),
        ("openapi.json", "is a dictionary, as json.load gives it, not a str"),
        (
            {"paths": {"/x": {"get": {"parameters": [{"$ref": "#/components/parameters/No"}]}}}},
            "nothing at '#/components/parameters/No'",
        ),
        ({"paths": []}, r"the document: Expected `object \| null`, got `array` - at `\$.paths`"),
        ({"paths": {"/x": {"get": 3}}}, "get /x: Expected `object`, got `int`"),
        ({"paths": {"/x": {"get": {"tags": [None]}}}}, r"get /x: .* at `\$.tags\[0\]`"),
        ({"paths": {"/x": {"parameters": 1, "get": {}}}}, "/x: parameters: Expected `array`"),
        (
            {"paths": {"/x": {"get": {"parameters": [{"in": "query"}]}}}},
            r"get /x: parameters\[0\]: Object missing required field `name`",
        ),
        (
            {"paths": {"/x": {"put": {"requestBody": {"content": {"application/json": 1}}}}}},
            "put /x: requestBody: Expected `object`",
        ),
    ],
)
def test_a_document_that_is_none_says_why(document: Any, error: str) -> None:
    async def never(operation: Operation, arguments: JSON) -> None:
        raise AssertionError(operation)

    with pytest.raises(ToolDefinitionError, match=error):
        ToolTree.from_openapi(document, never)


def test_outside_an_agent_the_tree_is_a_toolset_like_any_other() -> None:
    assert "email.send" in small()
