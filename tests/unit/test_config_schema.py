"""The JSON Schema of polycall.toml says what the reader accepts, and every example is valid."""

from __future__ import annotations

import datetime
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jsonschema_rs
import msgspec
import pytest

from polycall.cli import main
from polycall.config import parse_config
from polycall.config.loading import SECTIONS
from polycall.config.schema import config_schema
from polycall.errors import ConfigError

ROOT = Path(__file__).parents[2]
SCHEMA = config_schema()
VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA)
# Configurations of other programs.
FOREIGN = {"coding-agents.md"}


def plain(value: Any) -> Any:
    """A TOML value as JSON has it."""
    match value:
        case dict():
            return {key: plain(each) for key, each in cast("dict[str, Any]", value).items()}
        case list():
            return [plain(each) for each in cast("list[Any]", value)]
        case datetime.date() | datetime.time():
            return value.isoformat()
        case _:
            return value


def mistakes(text: str) -> list[str]:
    found = VALIDATOR.iter_errors(plain(tomllib.loads(text)))
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in found]


def examples() -> Iterator[tuple[str, str]]:
    yield "deploy/polycall.toml", (ROOT / "deploy" / "polycall.toml").read_text("utf-8")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if page.name not in FOREIGN:
            text = page.read_text("utf-8")
            for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S)):
                yield f"{page.relative_to(ROOT)}-{number}", block


@pytest.mark.parametrize(("name", "text"), list(examples()))
def test_every_example_is_valid(name: str, text: str) -> None:
    assert mistakes(text) == []


def test_it_is_a_schema_itself() -> None:
    jsonschema_rs.meta.validate(SCHEMA)


def said_by_the_reader(text: str) -> list[str]:
    try:
        parse_config(text, environment={})
    except ConfigError as error:
        return str(error).splitlines()
    return []


def nonsense(place: str, key: str) -> str:
    """A table whose `key` has a value that is nowhere right."""
    return f"{place}\n{key} = [[[1979-05-27]]]\n"


PLACES = {
    "Server": "[server]",
    "Store": "[store]",
    "CacheSettings": "[cache]",
    "TraceSettings": "[traces]",
    "LimitSettings": "[limits]",
    "PriceSettings": "[prices]",
    "ProgramSettings": "[programs]",
    "HostedToolSettings": "[hosted_tools]",
    "AdminSettings": "[admin]",
    "OpenIDSettings": "[admin.openid]",
    "ContentSettings": "[admin.content]",
    "ProviderTable": "[providers.openai]",
    "ModelTable": "[models.m]",
    "McpServer": "[mcp.files]",
    "OAuthSettings": "[mcp.files.oauth]",
    "ClientKey": "[[keys]]",
    "RouteEntry": "[[models.m.route]]",
    "Quirks": "[providers.openai.quirks]",
    "Price": "[providers.openai.prices.m]",
    "Capabilities": "[providers.openai.capabilities.m]",
}


def test_every_table_of_the_schema_is_tried_here() -> None:
    assert set(SCHEMA["$defs"]) == set(PLACES)
    assert list(SCHEMA["properties"]) == list(SECTIONS)


@pytest.mark.parametrize("table", PLACES)
def test_the_reader_knows_the_keys_of_the_schema_and_no_other(table: str) -> None:
    unknown = re.compile(r"is not a (setting|quirk|capability|price|set of quirks)|unknown field")
    for key in SCHEMA["$defs"][table]["properties"]:
        text = nonsense(PLACES[table], key)
        assert not [
            said
            for said in said_by_the_reader(text)
            if unknown.search(said) and f"'{key}'" in said and table != "Quirks"
        ]
    strange = f"{PLACES[table]}\nsurely_unknown = 1\n"
    assert any(unknown.search(said) for said in said_by_the_reader(strange)), strange
    assert any("surely_unknown" in said for said in mistakes(strange)), strange


@pytest.mark.parametrize("section", SECTIONS)
def test_each_field_of_the_structs_has_its_place(section: str) -> None:
    kind = SECTIONS[section]
    fields = {field.encode_name for field in msgspec.structs.fields(kind)}
    assert set(SCHEMA["$defs"][kind.__name__]["properties"]) == fields


# Both refuse each of these.
WRONG = [
    "[serve]\nport = 1",
    "[server]\nport = 70000",
    "[server]\nport = -1",
    '[server]\nport = "80"',
    "[server]\nworkers = 0",
    "[server]\nworkers = 65",
    '[server]\nlog = "loud"',
    "[server]\nbody_s = 0",
    "[server]\nhost = 1",
    '[store]\nwhen_down = "wait"',
    "[limits]\noutput_tokens = 0",
    "[traces]\nsample = 1.0",
    '[traces]\nendpoint = "http://x:4318/v1/traces"\nsample = 1.5',
    "[cache]\nttl_s = -1.0",
    '[programs]\nruntime = "docker"',
    'keys = "sk-x"',
    '[[keys]]\nname = "x"',
    '[[keys]]\nkey = "k"\nbudget_usd = 0',
    '[[keys]]\nkey = "k"\nbudget_usd = 1e12',
    '[[keys]]\nkey = "k"\nbudget_per = "year"',
    "[models.m]\nroute = []",
    "[models.m]\nroute = [1]",
    "[models.m]\nroute = [{weight = 1}]",
    '[models.m]\nroute = [{model = "openai/x", weight = -1}]',
    '[models.m]\nroute = [{model = "openai/x", weigth = 1}]',
    '[providers.openai]\ndialect = "grpc"',
    '[providers.openai]\nquirks = "no-such-set"',
    "[providers.openai]\napi_key = 5",
    "[providers.openai.prices.m]\ninput = 1.0",
    "[providers.openai.prices.m]\ninput = 1.0\noutput = 1.0\ncahced = 0.5",
    "[providers.openai.prices.m]\ninput = -1.0\noutput = 1.0",
    "[providers.openai.capabilities.m]\ncontext_tokens = 0",
    '[providers.openai.capabilities.m]\ntools = "maybe"',
    '[providers.openai.quirks]\nstream_usage = "sometimes"',
]
# Both accept each of these.
RIGHT = [
    "",
    "[server]\nport = 0\nbody_s = 1",
    "[cache]",
    '[[keys]]\nkey = "k"\nexpires = 2027-01-31',
    '[[keys]]\nkey = "k"\nexpires = 2027-01-31T12:00:00Z\nbudget_usd = 20\nmodels = ["openai/*"]',
    '[models."claude-*"]\nroute = ["anthropic/claude-*", {model = "openai/gpt-5.4", weight = 0}]',
    "[providers.openai.prices.m]\ninput = 0\noutput = 4.5",
    '[providers.openai.quirks]\ncall_id_length = 0\nefforts = ["low"]',
    '[providers.openai.capabilities.m]\ntools = "prompted"\nimages = false',
    '[providers.openai]\napi_key = ["a", "b"]',
]


@pytest.mark.parametrize("text", WRONG)
def test_what_the_reader_refuses_the_schema_refuses(text: str) -> None:
    assert said_by_the_reader(text) != []
    assert mistakes(text) != []


@pytest.mark.parametrize("text", RIGHT)
def test_what_the_reader_accepts_the_schema_accepts(text: str) -> None:
    assert said_by_the_reader(text) == []
    assert mistakes(text) == []


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA


def test_the_command_checks_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "polycall.toml"
    path.write_text('[models.fast]\nroute = ["openai/gpt-5.4"]\n')
    assert main(["config", "check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: 0 providers, 1 models; no mistakes\n"
    path.write_text("[server]\nprot = 1\n\n[stor]\n")
    assert main(["config", "check", str(path)]) == 1
    said = capsys.readouterr().err
    assert f"{path}:2: server.prot: 'prot' is not a setting; did you mean 'port'?" in said
    assert f"{path}:4: stor: 'stor' is not a section; did you mean 'store'?" in said
