"""Every mistake in a configuration is told with its line, and nothing starts."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.config import Alias, ClientKey, RouteEntry, parse_config
from polycall.config.toml_lines import TOMLLines
from polycall.errors import ConfigError
from polycall.providers.provider import Price
from polycall.providers.quirks import NAMED_QUIRKS

MISTAKES = '''\
[server]
port = 99999
hots = "x"
drain_s = 0

[providers.up-openai]
dialect = "openai-chatt"
base_url = "127.0.0.1:9009/v1"
api_key = "env:NOT_SET_ANYWHERE"
text = """
[providers.not-a-table]
"""
[providers."a/b"]
dialect = "gemini"
base_url = "http://x"

[providers.b]
dialect = "anthropic"
base_url = "http://x"
quirks = "depseek"
[providers.c]
dialect = "openai-chat"
[providers.c.quirks]
late_system = 3
[providers.c.prices]
m = { input = "x", output = 1 }

[models.fast]
route = [
  "anthropic/c",
  "nope/d",
  "noslash",
]
[models.empty]
route = []
[[keys]]
key = "a"
[[keys]]
kay = "b"
[[keys]]
key = "a"
[extra]
[store]
url = "mysql://host/db"
'''


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, name="x.toml", environment={})
    return caught.value.mistakes


def test_all_mistakes_at_once() -> None:
    assert [mistake.split(": ", 1)[0] for mistake in mistakes(MISTAKES)] == [
        f"x.toml:{line}"
        for line in (2, 3, 4, 7, 8, 9, 10, 13, 20, 21, 24, 26, 29, 29, 35, 38, 39, 41, 42, 44)
    ]
    text = "\n".join(mistakes(MISTAKES))
    assert "server.hots: 'hots' is not a setting; did you mean 'host'?" in text
    assert "providers.b.quirks.depseek: 'depseek' is not a set of quirks; did you mean" in text
    assert "the environment variable 'NOT_SET_ANYWHERE' is not set" in text
    assert "models.fast.route.nope: 'nope' is not a provider" in text
    sections = (
        "admin, cache, hosted_tools, keys, limits, mcp, models, prices, programs, providers, "
        "server, store, traces"
    )
    assert f"extra: 'extra' is not a section; known: {sections}" in text


def test_not_toml() -> None:
    (only,) = mistakes("[server\nport = 1")
    assert only.startswith("x.toml: not TOML: ")
    assert "line 1" in only


def test_nested_too_deeply() -> None:
    assert mistakes("a = " + "[" * 100_000) == [
        "x.toml: not TOML that can be read: nested too deeply"
    ]


GOOD = """
[server]
port = 8081
[store]
url = "sqlite://"
[providers.anthropic]
api_key = ["env:FIRST", "second"]
[providers.mine]
dialect = "openai-chat"
base_url = "https://x.example/v1"
api_key = "k"
quirks = { base = "deepseek", developer_role = true }
models = ["m-1"]
headers = { X-Team = "7" }
[providers.mine.prices]
m-1 = { input = 1.5, output = 6, cached = "0.15" }
[models.fast]
route = ["anthropic/c", { model = "mine/m-1", weight = 3 }]
[[keys]]
key = "env:CLIENT"
name = "ops"
models = ["fast"]
requests_per_minute = 10
"""


def test_a_good_one() -> None:
    config = parse_config(GOOD, environment={"FIRST": "one", "CLIENT": "secret"})
    assert config.server.port == 8081
    assert config.provider_keys == {"anthropic": ("one", "second"), "mine": ("k",)}
    mine = config.providers["mine"]
    assert mine.quirks.developer_role
    assert mine.quirks.reasoning_field == NAMED_QUIRKS["deepseek"].reasoning_field
    assert mine.headers == {"x-team": "7"}
    assert mine.prices == {"m-1": Price(Decimal("1.5"), Decimal(6), Decimal("0.15"))}
    assert config.models == {
        "fast": Alias("fast", (RouteEntry("anthropic/c"), RouteEntry("mine/m-1", 3)))
    }
    assert config.keys == (
        ClientKey("secret", name="ops", models=("fast",), requests_per_minute=10),
    )
    assert config.providers["anthropic"].vendor == "anthropic", "the catalogue's row is kept"


KEYS = """
[store]
url = "mysql://user:hidden@host/name"
counters = "memcached://x"
ledger_days = 0
when_down = "hope"
[limits]
output_tokens = -1
unpriced = "free"
[[keys]]
key = "a"
budget_usd = 2.5
budget_per = "day"
tokens_per_minute = 1000
expires = 2027-01-31
[[keys]]
key = "b"
budget_usd = -1
budget_per = "year"
expires = "soon"
"""


def test_mistakes_of_limits_and_the_store() -> None:
    found = mistakes(KEYS)
    assert [mistake.split(": ", 1)[0] for mistake in found] == [
        f"x.toml:{line}" for line in (3, 4, 5, 6, 8, 9, 18, 19, 20)
    ]
    assert "hidden" not in str(found)


@pytest.mark.parametrize("number", ["nan", "inf", "1e308", "9" * 400])
@pytest.mark.parametrize(
    ("place", "more"),
    [
        ("server.drain_s", ""),
        ("server.body_bytes_max", ""),
        ("programs.wall_s", ""),
        ("store.ledger_days", ""),
        ("keys.budget_usd", 'key = "k"'),
        ("keys.tokens_per_minute", 'key = "k"'),
    ],
)
def test_numbers_that_nothing_can_count_with(place: str, more: str, number: str) -> None:
    section, _, name = place.partition(".")
    head = f"[[{section}]]" if section == "keys" else f"[{section}]"
    (only,) = mistakes(f"{head}\n{more}\n{name} = {number}\n")
    assert only.startswith("x.toml:3: ")
    assert name in only


@pytest.mark.parametrize("amount", ["nan", "inf", "-0.5", '"NaN"', "true", '"x"'])
def test_prices_are_amounts(amount: str) -> None:
    head = '[providers.h]\ndialect = "openai-chat"\nbase_url = "http://x"\n'
    (only,) = mistakes(f"{head}[providers.h.prices]\nm = {{ input = 0, output = {amount} }}\n")
    assert only.startswith("x.toml:5: providers.h.prices.m")
    (only,) = mistakes(f"{head}[providers.h.capabilities]\nm = {{ output_tokens = -1 }}\n")
    assert only.startswith("x.toml:5: providers.h.capabilities.m.output_tokens: must be more")


def test_a_keys_name_can_be_printed() -> None:
    (only,) = mistakes('[[keys]]\nkey = "k"\nname = "a\\u0000b"\n')
    assert only.startswith("x.toml:3: keys.0.name: 'a\\x00b' cannot be a key's name")


def test_limits_of_a_key() -> None:
    good = KEYS[KEYS.index("[[keys]]") :].partition('[[keys]]\nkey = "b"')[0]
    assert parse_config(good, environment={}).keys == (
        ClientKey(
            "a",
            name="key-1",
            tokens_per_minute=1000,
            budget_usd=Decimal("2.5"),
            budget_per="day",
            expires=datetime(2027, 1, 31, tzinfo=UTC).timestamp(),
        ),
    )


def serve(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    path = folder / "polycall.toml"
    path.write_text(text)
    command = [str(Path(sys.executable).with_name("polycall")), "serve", "--config", str(path)]
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "FIRST": "one", "CLIENT": "secret"},
    )  # fmt: skip


def test_the_command(tmp_path: Path) -> None:
    checked = serve(tmp_path, GOOD, "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    broken = serve(tmp_path, MISTAKES)
    assert broken.returncode == 1
    assert broken.stderr.count("polycall.toml:") == 20
    open_to_all = serve(tmp_path, "", "--host", "0.0.0.0")
    assert open_to_all.returncode == 1
    assert "refusing to listen on '0.0.0.0' without any [[keys]]" in open_to_all.stderr
    assert not (tmp_path / "polycall.db").exists()


names = st.text(st.sampled_from("ab-_ .#[]=\"'"), min_size=1, max_size=6)


def quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


VALUES = ["1", '"# [x]"', "'''\n[t]\na = 1\n'''", "[\n 1, # ]\n]", '{ a = "}" }', '"""x\\"""" ']


@given(st.lists(st.tuples(names, st.sampled_from(VALUES)), max_size=6, unique_by=lambda x: x[0]))
def test_lines_of_values_after_values_of_several_lines(items: list[tuple[str, str]]) -> None:
    text = "[table]\n"
    expected: dict[str, int] = {}
    for name, value in items:
        expected[name] = text.count("\n") + 1
        text += f"{quoted(name)} = {value}\n"
    lines = TOMLLines(text)
    for name, line in expected.items():
        assert lines.line(("table", name.replace('"', '\\"'))) == line


def test_more_workers_than_there_can_be_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="server.workers: at most 64, got 65"):
        parse_config("[server]\nworkers = 65\n")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (
            '[providers.x]\nbase_url = "http://x"\ndialect = "OpenAI-Chat"',
            "x.toml:3: providers.x.dialect: 'OpenAI-Chat' is not one of its values; "
            "did you mean 'openai-chat'?",
        ),
        (
            '[limits]\nunpriced = "Sometimes"',
            "x.toml:2: limits.unpriced: 'Sometimes' is not one of its values; known: refuse, allow",
        ),
        (
            '[[keys]]\nname = "a"\nkey = "sk-0123456789012345"\nbudget_per = "Monthly"',
            "x.toml:4: keys.0.budget_per: 'Monthly' is not one of its values; "
            "did you mean 'month'?",
        ),
        (
            '[providers.openai.capabilities.m]\ntools = "Maybe"',
            "x.toml:2: providers.openai.capabilities.m.tools: 'Maybe' is not one of its values; "
            "known: prompted, true or false without quotes",
        ),
    ],
)
def test_a_word_that_a_setting_does_not_have_is_told_as_it_was_written(
    place: str, words: str
) -> None:
    assert mistakes(place) == [words]


def test_i12_what_no_dialect_can_serve_is_a_mistake_before_anything_starts() -> None:
    text = '[providers.x]\ndialect = "cohere"\nbase_url = "http://x"\n[models.y]\nroute = ["z/m"]\n'
    dialect, route = mistakes(text)
    assert dialect == (
        "x.toml:2: providers.x.dialect: 'cohere' is not one of its values; known: openai-chat, "
        "openai-responses, anthropic, gemini, bedrock-converse, gemini-interactions, ollama-chat"
    )
    assert route.startswith("x.toml:5: models.y.route.z: 'z' is not a provider; known: ")
