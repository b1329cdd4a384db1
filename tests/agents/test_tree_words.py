"""Trees in the words of people, and from documents of every version of OpenAPI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from polycall import ToolTree
from polycall.agents.text_search import stem
from polycall.agents.tree import Operation
from polycall.agents.tree.synonyms import english_sounds, korean_sounds
from polycall.ir import JSON, ToolCall
from polycall.sim import Call, Simulation, Turn
from polycall.tools import execute, tool_from_schema

# Operations of an imagined forge, in the words that such interfaces use.
FORGE: dict[str, str] = {
    "gists.create": "Create a gist",
    "gists.list": "List gists for the authenticated user",
    "gists.delete": "Delete a gist",
    "gists.update": "Update a gist",
    "orgs.create_invitation": "Create an organization invitation",
    "orgs.list_members": "List organization members",
    "orgs.remove_member": "Remove an organization member",
    "orgs.get": "Get an organization",
    "git.create_ref": "Create a reference",
    "git.delete_ref": "Delete a reference",
    "git.get_commit": "Get a commit object",
    "git.create_tag": "Create a tag object",
    "activity.list_stargazers": "List stargazers of a repository",
    "activity.list_watchers": "List watchers of a repository",
    "activity.mark_read": "Mark notifications as read",
    "repos.create_fork": "Create a fork",
    "repos.list_branches": "List branches",
    "repos.merge_branch": "Merge a branch",
    "repos.rename_branch": "Rename a branch",
    "repos.delete": "Delete a repository",
    "repos.create_release": "Create a release",
    "repos.list_contributors": "List repository contributors",
    "repos.compare_commits": "Compare two commits",
    "pulls.create": "Create a pull request",
    "pulls.merge": "Merge a pull request",
    "pulls.create_review": "Create a review for a pull request",
    "issues.create": "Create an issue",
    "issues.list": "List repository issues",
    "issues.create_comment": "Create an issue comment",
    "issues.lock": "Lock an issue",
    "issues.add_labels": "Add labels to an issue",
    "issues.add_assignees": "Add assignees to an issue",
    "actions.create_dispatch": "Create a workflow dispatch event",
    "actions.cancel_run": "Cancel a workflow run",
    "actions.download_artifact": "Download an artifact",
    "actions.create_secret": "Create or update a repository secret",
    "search.code": "Search code",
    "users.get": "Get a user",
    "users.follow": "Follow a user",
    "users.block": "Block a user",
}
QUESTIONS = {
    "Make a gist": "gists.create",
    "Invite someone": "orgs.create_invitation",
    "Delete a branch": "git.delete_ref",
    "Who starred": "activity.list_stargazers",
    "브랜치를 병합해 줘": "repos.merge_branch",
    "이슈에 댓글을 달아 줘": "issues.create_comment",
    "새 이슈를 만들어 줘": "issues.create",
    "Erase my snippet": "gists.delete",
    "Open a PR": "pulls.create",
    "Trigger the pipeline": "actions.create_dispatch",
    "Stop the job": "actions.cancel_run",
    "Duplicate the project": "repos.create_fork",
    "Change the name of the branch": "repos.rename_branch",
    "Show the people in our org": "orgs.list_members",
    "Reply to a ticket": "issues.create_comment",
    "Publish version 2": "repos.create_release",
    "Store a password for the build": "actions.create_secret",
    "누가 별표를 눌렀어?": "activity.list_stargazers",
    "Give the bug to someone": "issues.add_assignees",
    "Difference between commits": "repos.compare_commits",
}


def forge() -> ToolTree:
    branches: dict[str, dict[str, Any]] = {}
    for full, about in FORGE.items():
        branch, _, name = full.partition(".")
        made = tool_from_schema(name, about, {"type": "object", "properties": {}}, lambda _: "")
        branches.setdefault(branch, {})[name] = made
    return ToolTree(branches)


def test_n12_tools_are_found_in_other_words_and_in_korean() -> None:
    tree = forge()
    missed = {
        question: [each.name for each in tree.search(question)]
        for question, wanted in QUESTIONS.items()
        if wanted not in [each.name for each in tree.search(question)]
    }
    assert len(missed) <= 1, missed


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("get rid of my fork of the gist", "gists.delete"),
        ("invite a new colleague to the org", "orgs.create_invitation"),  # not who is a member
        ("who belongs to the org", "orgs.list_members"),
        ("call the run off", "actions.cancel_run"),
        ("브랜치 이름 변경", "repos.rename_branch"),
        ("아티팩트를 내려받아 줘", "actions.download_artifact"),  # sounds like artifact
        ("컨트리뷰터가 누구야?", "repos.list_contributors"),
    ],
)
def test_n12_acts_phrases_and_loanwords(question: str, wanted: str) -> None:
    assert wanted in [each.name for each in forge().search(question, limit=3)]


def test_n12_one_that_looks_does_not_hide_one_that_acts() -> None:
    looking = [_named(f"list_{each}_invitations") for each in ("pending", "old", "failed")]
    tree = ToolTree({"orgs": [*looking, _named("create_invitation")]})
    assert tree.search("invite to the organization")[0].name == "orgs.create_invitation"
    assert tree.search("which invitations has the organization")[0].name.startswith("orgs.list")


def test_n12_a_rare_word_that_stands_for_another_is_not_worth_more() -> None:
    names = [
        "orgs_list_members",
        "orgs_get",
        "orgs_list_plans",
        "orgs_update",
        "teams_list_members",
    ]
    tree = ToolTree({"api": [_named(name) for name in names]})
    assert tree.search("list the members of the org")[0].name == "api.orgs_list_members"


def test_n12_making_is_not_undoing() -> None:
    names = ["delete_comment", "pin_comment", "create_comment", "list_comments"]
    tree = ToolTree({"api": [_named(name) for name in names]})
    assert tree.search("reply with a comment")[0].name == "api.create_comment"
    assert tree.search("drop my comment")[0].name == "api.delete_comment"
    assert tree.search("댓글 지워 줘")[0].name == "api.delete_comment"


def _named(name: str) -> Any:
    about = name.replace("_", " ").capitalize()
    return tool_from_schema(name, about, {"type": "object", "properties": {}}, lambda _: "")


def test_n12_values_within_a_body_are_words_of_a_tool() -> None:
    state = {"type": "string", "enum": ["brewing", "served"]}
    body = {"type": "object", "properties": {"state": state}}
    parameters = {"type": "object", "properties": {"body": body}}
    tree = ToolTree({"a": [tool_from_schema("update", "Change it.", parameters, lambda _: "")]})
    assert [each.name for each in tree.search("brewing")] == ["a.update"]


@pytest.mark.parametrize(
    ("korean", "english"),
    [
        ("브랜치", "branch"),
        ("릴리스", "release"),
        ("웹훅", "webhook"),
        ("인보이스", "invoices"),
        ("메시지", "messages"),
        ("업데이트", "update"),
        ("유저", "user"),
        ("캘린더", "calendar"),
    ],
)
def test_n12_loanwords_sound_alike(korean: str, english: str) -> None:
    assert korean_sounds(korean) in english_sounds(stem(english))


def test_n12_values_of_an_enum_and_examples_are_words_of_a_tool() -> None:
    def made(name: str, **schema: Any) -> Any:
        parameters = {"type": "object", "properties": {"kind": schema}}
        return tool_from_schema(name, "Start it.", parameters, lambda _: "")

    tree = ToolTree(
        {"a": [made("one", enum=["espresso", "latte"])], "b": [made("two", examples=["harbour"])]}
    )
    assert [each.name for each in tree.search("espresso")][:1] == ["a.one"]
    assert [each.name for each in tree.search("harbour")][:1] == ["b.two"]


def operation(**more: Any) -> JSON:
    return {"tags": ["t"], **more}


async def sent(document: JSON, name: str, arguments: str) -> tuple[Operation, JSON]:
    found: list[tuple[Operation, JSON]] = []

    async def send(made: Operation, values: JSON) -> str:
        found.append((made, values))
        return "ok"

    tree = ToolTree.from_openapi(document, send)
    result = await execute(ToolCall("1", name, arguments), tree)
    assert not result.is_error, result.text
    return found[0]


def test_n12_operations_without_an_id_or_with_one_twice_have_names() -> None:
    document = {
        "openapi": "3.0.3",
        "paths": {
            "/a": {"get": operation(), "post": operation()},
            "/a/{id}": {"get": operation(), "delete": operation(operationId="drop")},
            "/a/{id}/b": {"delete": operation(operationId="drop")},
            "/b": {"get": operation(operationId="get_a")},
        },
    }

    async def send(made: Operation, values: JSON) -> str:
        return ""

    tree = ToolTree.from_openapi(document, send)
    assert sorted(tree.leaves) == [
        *("t.drop", "t.drop_delete", "t.get_a", "t.get_a_by_id", "t.get_a_get", "t.post_a"),
    ]
    assert "operationId" not in document["paths"]["/a"]["get"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "nullable": True}, None),
        ({"type": "string", "enum": ["a", "b"], "nullable": True}, None),
        ({"allOf": [{"$ref": "#/components/schemas/M"}], "nullable": True}, None),
        ({"$ref": "#/components/schemas/N"}, None),
        ({"type": "array", "items": {"type": "string", "nullable": True}}, ["x", None]),
        ({"type": "integer", "minimum": 0, "exclusiveMinimum": True}, 1),
    ],
)
async def test_n12_nullable_of_openapi_3_0_is_kept_and_a_null_is_sent(
    schema: JSON, value: Any
) -> None:
    import json

    body = {"type": "object", "properties": {"milestone": schema}}
    document = {
        "openapi": "3.0.3",
        "paths": {
            "/i": {
                "patch": operation(
                    operationId="update",
                    requestBody={"content": {"application/json": {"schema": body}}},
                )
            }
        },
        "components": {
            "schemas": {
                "M": {"type": "object", "properties": {}},
                "N": {"type": "object", "nullable": True, "properties": {}},
            }
        },
    }
    arguments = {"body": {"milestone": value}}
    _, values = await sent(document, "t.update", json.dumps(arguments))
    assert values == arguments


SWAGGER: JSON = {
    "swagger": "2.0",
    "info": {"title": "Pets", "version": "1"},
    "host": "pets.example.com",
    "basePath": "/v2",
    "consumes": ["application/json"],
    "parameters": {"page": {"name": "page", "in": "query", "type": "integer"}},
    "definitions": {
        "Pet": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "owner": {"$ref": "#/definitions/Owner"},
                "age": {"type": "integer", "x-nullable": True},
            },
        },
        "Owner": {"type": "object", "properties": {"id": {"type": "integer"}}},
    },
    "paths": {
        "/pets": {
            "parameters": [{"$ref": "#/parameters/page"}],
            "get": operation(
                operationId="list",
                parameters=[
                    {
                        "name": "status",
                        "in": "query",
                        "type": "array",
                        "items": {"type": "string", "enum": ["here", "gone"]},
                    },
                    {
                        "name": "tag",
                        "in": "query",
                        "type": "array",
                        "items": {"type": "string"},
                        "collectionFormat": "multi",
                    },
                ],
            ),
            "post": operation(
                operationId="add",
                parameters=[
                    {
                        "name": "pet",
                        "in": "body",
                        "required": True,
                        "schema": {"$ref": "#/definitions/Pet"},
                    }
                ],
            ),
        },
        "/pets/{id}/photo": {
            "post": operation(
                operationId="photo",
                consumes=["multipart/form-data"],
                parameters=[
                    {"name": "id", "in": "path", "required": True, "type": "integer"},
                    {"name": "file", "in": "formData", "required": True, "type": "file"},
                    {"name": "note", "in": "formData", "type": "string"},
                ],
            )
        },
    },
}


async def test_n12_swagger_2_is_read_whole() -> None:
    made, values = await sent(
        SWAGGER, "t.list", '{"status": ["here", "gone"], "tag": ["a", "b"], "page": 2}'
    )
    assert values == {"status": "here,gone", "tag": ["a", "b"], "page": 2}
    assert sorted(made.url(values).partition("?")[2].split("&")) == [
        *("page=2", "status=here%2Cgone", "tag=a", "tag=b"),
    ]
    made, values = await sent(
        SWAGGER, "t.add", '{"body": {"name": "Rex", "owner": {"id": 1}, "age": null}}'
    )
    assert (made.method, made.path, made.has_body) == ("POST", "/pets", True)
    assert values == {"body": {"name": "Rex", "owner": {"id": 1}, "age": None}}
    made, values = await sent(SWAGGER, "t.photo", '{"id": 3, "body": {"file": "x", "note": "y"}}')
    assert made.media_type == "multipart/form-data"
    assert made.url(values) == "/pets/3/photo"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"anyOf": [{"type": "string", "nullable": True}, {"type": "integer"}]}, None),
        (
            {"type": "object", "additionalProperties": {"type": "number", "nullable": True}},
            {"a": None},
        ),
        ({"oneOf": [{"$ref": "#/components/schemas/N"}]}, None),
        ({"type": "string", "format": "date", "nullable": True, "default": None}, None),
    ],
)
async def test_n12_null_is_sent_from_within_choices_and_maps(schema: JSON, value: Any) -> None:
    import json

    body = {"type": "object", "properties": {"due": schema}}
    content = {"application/json": {"schema": body}}
    document = {
        "openapi": "3.0.0",
        "paths": {"/i": {"put": operation(operationId="put", requestBody={"content": content})}},
        "components": {"schemas": {"N": {"type": "object", "nullable": True}}},
    }
    arguments = {"body": {"due": value}}
    _, values = await sent(document, "t.put", json.dumps(arguments))
    assert values == arguments


def test_n12_operations_whose_ids_are_no_names_have_names() -> None:
    document = {
        "openapi": "3.1.0",
        "paths": {
            "/a": {"get": operation(operationId="a/list.all"), "post": operation(operationId="")},
            "/b": {"get": operation(operationId="목록"), "post": operation(operationId="9")},
            "/": {"get": operation()},
        },
    }

    async def send(made: Operation, values: JSON) -> str:
        return ""

    tree = ToolTree.from_openapi(document, send)
    assert len(tree.leaves) == 5
    for name in tree.leaves:
        assert name.isascii()
        assert name.replace(".", "_").isidentifier()


async def test_n12_swagger_2_refuses_what_its_schemas_refuse() -> None:
    async def send(made: Operation, values: JSON) -> str:
        return ""

    tree = ToolTree.from_openapi(SWAGGER, send)
    for name, arguments in (
        ("t.add", '{"body": {"owner": {}}}'),
        ("t.list", '{"status": ["lost"]}'),
        ("t.photo", '{"id": 3}'),
    ):
        result = await execute(ToolCall("1", name, arguments), tree)
        assert result.is_error, name


TREE = '''
from polycall import ToolTree

async def merge(one: str, two: str) -> str:
    """Merge two branches."""
    return f"{one}+{two}"

async def send(to: str) -> str:
    """Send an email."""
    return "sent"

tree = ToolTree({"git": [merge], "mail": [send]})
'''


def test_n12_a_tree_stays_a_tree_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(TREE)
    turns = [
        Turn(calls=[Call("search_tools", {"query": "merge branches"})]),
        Turn(calls=[Call("git.merge", {"one": "a", "two": "b"})]),
        Turn(text="Merged."),
    ]
    with Simulation() as simulation:
        simulation.script("compatible", "m", turns)
        table = f'[providers.acme]\nbase_url = "{simulation.base_url("compatible")}"\n'
        (tmp_path / "polycall.toml").write_text(
            f'{table}dialect = "openai-chat"\napi_key = "sk-any-key"\n'
        )
        words = ["run", "acme/m", "merge a and b", "--tools", "shop:tree"]
        done = subprocess.run(
            [sys.executable, "-m", "polycall", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "Merged.\n"), done.stderr
        assert "a+b" in done.stderr
