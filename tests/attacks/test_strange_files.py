"""Files that a stranger wrote: an error that says which, soon, and within little memory."""

from __future__ import annotations

import json
import sys
import time
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from polycall._support.yaml_text import load_yaml
from polycall.cli.importing import litellm, portkey
from polycall.config import parse_config, secret_source
from polycall.config.secret_source import read_secret
from polycall.errors import ConfigError, RequestError, ToolDefinitionError
from polycall.mcp import load_servers
from polycall.tool_server import load_document
from polycall.transport.http1 import HTTP1Transport

DIGITS = "9" * 5000
MEMORY_MIB_MAX = 150


@contextmanager
def little(mib_max: int = MEMORY_MIB_MAX) -> Generator[None]:
    """Within little memory and a time that a person waits."""
    tracemalloc.start()
    began = time.process_time()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < mib_max << 20
    assert time.process_time() - began < 20


def repeated(times: int, width: int) -> str:
    """A short text that its aliases make as long as `width` to the power of `times`."""
    lines = ["a0: &a0 [" + ",".join("x" * width) + "]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * width)}]" for n in range(1, times)]
    return "\n".join(lines) + "\n"


def tagged(tag: str) -> str:
    """`a7` is a short text that aliases make as long as 10 to the power of 8, under a tag."""
    lines = [f"a0: &a0 {tag} [{','.join(f'k{n}: 1' for n in range(10))}]"]
    for place in range(1, 8):
        inner = ",".join(f"k{n}: *a{place - 1}" for n in range(10))
        lines.append(f"a{place}: &a{place} {tag} [{inner}]")
    return "\n".join(lines) + "\n"


TAGGED = {  # what is said, where it is said to be, and what is put into a place of any value
    "pairs": (tagged("!!pairs"), "line 1 has the tag '!!pairs'", "*a7"),
    "an omap": (tagged("!!omap"), "line 1 has the tag '!!omap'", "*a7"),
    "a set": ("a: 1\nb: &b !!set {x, y}\n", "line 2 has the tag '!!set'", "*b"),
    "bytes": ("a: 1\nb: &b !!binary aGk=\n", "line 2 has the tag '!!binary'", "*b"),
    "pairs within lists": (
        "a: 1\nb: &b\n- [{c: !!pairs [k: 1, k: 2]}]\n",
        "line 3 has the tag '!!pairs'",
        "*b",
    ),
    "a set within an omap": (
        "b: &b !!omap\n- k: !!set {x}\n",
        "line 1 has the tag '!!omap'",
        "*b",
    ),
    "a tag of a program": ("a: 1\nb: &b !secret x\n", "line 2 has the tag '!secret'", "*b"),
    "the long form of a tag": (
        "a: 1\nb: &b !<tag:yaml.org,2002:pairs> [k: 1]\n",
        "line 2 has the tag '!!pairs'",
        "*b",
    ),
}
YAML = {
    "aliases at the top": repeated(9, 10) + "model_list: *a8\n",
    "aliases in a deployment": repeated(20, 2)
    + "model_list:\n- model_name: x\n  litellm_params: {model: openai/x, more: *a19}\n",
    "aliases of objects": "a: &b0 {x: 1}\n"
    + "".join(f"b{n}: &b{n} {{x: *b{n - 1}, y: *b{n - 1}}}\n" for n in range(1, 30))
    + "model_list: []\n",
    "aliases of one name that is there twice": "a: &b0 {x: 1}\n"
    + "".join(f"b{n}: &b{n} {{x: *b{n - 1}, x: *b{n - 1}}}\n" for n in range(1, 60))
    + "model_list: 5\n",
    "an alias of itself": "model_list: &m\n- *m\n",
    "a deployment in itself": "model_list:\n- &m\n  model_name: x\n  litellm_params: *m\n",
    "an object of Python": "model_list: !!python/object/apply:os.system [id]\n",
    "a number without end": f"model_list:\n- model_name: x\n  rpm: {DIGITS}\n",
    "a date that is none": "model_list: 9999-99-99\n",
    "brackets": "model_list: " + "[" * 900,
}


@pytest.mark.parametrize("case", YAML)
def test_a_strange_yaml_is_refused(case: str) -> None:
    with little(), pytest.raises(RequestError, match=r"^x\.yaml|model_list"):
        litellm.read(YAML[case], "x.yaml")


SCHEMA = "openapi: 3.0.0\n{}\npaths: {{/a: {{post: {{operationId: a, requestBody: {{content: {{application/json: {{schema: {}}}}}}}}}}}}}\n"  # noqa: E501
DOCUMENTS = {
    "a schema of aliases": SCHEMA.format(
        "a0: &a0 {type: string}\n"
        + "\n".join(
            f"a{n}: &a{n} {{properties: {{x: *a{n - 1}, y: *a{n - 1}}}}}" for n in range(1, 40)
        ),
        "*a39",
    ),
    "a schema in itself": SCHEMA.format("x: &s {items: *s}", "*s"),
    "a number without end": SCHEMA.format(f"x: {DIGITS}", "{}"),
    "brackets": "openapi: " + "[" * 900,
    "an object of Python": "openapi: !!python/object/apply:os.system [id]\n",
}


@pytest.mark.parametrize("case", DOCUMENTS)
async def test_a_strange_document_of_an_api_is_refused(case: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(DOCUMENTS[case])
    transport = HTTP1Transport()
    with little(), pytest.raises(ToolDefinitionError, match=r"x\.yaml"):
        await load_document("x.yaml", tmp_path, transport)
    await transport.close()


@pytest.mark.parametrize("case", TAGGED)
def test_yaml_of_other_tags_is_refused_with_its_line(case: str) -> None:
    text, place, name = TAGGED[case]
    text += f"model_list:\n- model_name: x\n  litellm_params: {{model: openai/x, more: {name}}}\n"
    with little(), pytest.raises(RequestError, match=rf"^x\.yaml .*{place}.*; write lists"):
        litellm.read(text, "x.yaml")


@pytest.mark.parametrize("case", TAGGED)
async def test_a_document_of_other_tags_is_refused_with_its_line(case: str, tmp_path: Path) -> None:
    text, place, name = TAGGED[case]
    schema = f"{{type: string, default: {name}}}"
    (tmp_path / "x.yaml").write_text(text + SCHEMA.format("", schema))
    transport = HTTP1Transport()
    with little(), pytest.raises(ToolDefinitionError, match=rf"^x\.yaml .*{place}.*; write lists"):
        await load_document("x.yaml", tmp_path, transport)
    await transport.close()


@pytest.mark.parametrize("value", ["!!bool 5", "!!timestamp x", "!!int ''", "!!float ''"])
def test_a_tag_before_another_value_is_refused_with_its_line(value: str) -> None:
    with pytest.raises(RequestError, match=r"^x\.yaml .*line 2 has the tag '!!\w+' before"):
        litellm.read(f"model_list: []\na: {value}\n", "x.yaml")


def test_yaml_may_name_the_tags_of_plain_values() -> None:
    text = "!!map {model_list: !!seq [], a: !!str 5, b: !!int '5', c: 2026-01-02, d: ~, e: 1.5}"
    assert litellm.read(text, "x.yaml")
    assert load_yaml(text)["a"] == "5"


def merging(keys: int, times: int) -> str:
    """A mapping of many keys that many others take over."""
    base = "".join(f"  k{n}: 1\n" for n in range(keys))
    return f"b: &b\n{base}c:\n" + "- <<: *b\n" * times


REFUSED = {  # what is said of each
    "many merges": (merging(1_000, 1_000), "more than 10000 keys that are merged"),
    "merges of merges": (
        "a0: &a0 {k0: 1, l0: 1}\n"
        + "".join(
            f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: 1, l{n}: 1}}\n" for n in range(1, 120)
        ),
        "more than 10000 keys that are merged",
    ),
    "a merge of a list": ("a: &a [1]\nb: {<<: *a}\n", "line 2 merges .* something else than map"),
    "a merge of a text": ("a: 1\nb:\n  <<: x\n", "line 3 merges .* something else than map"),
    "a long number of sixties": (f"a: 1{':1' * 20_000}\n", "line 1 has a number of 40001 char"),
    "a long number of a base": (f"a: 0x{'1' * 200_000}\n", "line 1 has a number of 200002 char"),
    "a long fraction": (f"a: 0.{'1' * 200_000}\n", "line 1 has a number of 200002 char"),
    "an alias of nothing": ("a: 1\nb: *c\n", "line 2 has the unknown alias 'c'"),
    "an anchor that is there twice": ("a: &a 1\nb: &a 2\n", "line 2 names 'a' a second time"),
    "a key that is a list": ("a: 1\n? [b]\n: 2\n", "line 2 has a key that is a list"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2 begins a second document"),
    "a list that is said to be a text": ("a: !!str [1]\n", "line 1 has the tag '!!str' before"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_yaml_is_refused_with_what_is_wrong(case: str) -> None:
    text, said = REFUSED[case]
    with little(8), pytest.raises(ValueError, match=said):
        load_yaml(text)


READ: dict[str, tuple[str, Any]] = {
    "nothing": ("", None),
    "a comment": ("# x\n", None),
    "own keys before merged ones": ("b: &b {x: 1, y: 2}\nc: {<<: *b, x: 3}\n", {"x": 3, "y": 2}),
    "the first of those merged": (
        "c: {<<: [{long: 1}, {long: 2, more: 3}]}\n",
        {"long": 1, "more": 3},
    ),
    "two merges": ("c: {<<: {x: 1}, <<: {y: 2}}\n", {"x": 1, "y": 2}),
    "keys of kinds": (
        "c: {2: a, ~: b, true: c, 1.5: d}\n",
        {2: "a", None: "b", True: "c", 1.5: "d"},
    ),
    "signs as texts": ("c: ['<<', =, {=: 1}]\n", ["<<", "=", {"=": 1}]),
    "numbers": (
        "c: [0b101, 0x1f, 017, 1_000, 1:30, 1e3, 1.5e+3]",
        [5, 31, 15, 1000, 90, "1e3", 1500],
    ),
    "an empty list": ("c: []\n", []),
    "an alias of a scalar": ("b: &b 7\nc: *b\n", 7),
}


@pytest.mark.parametrize("case", READ)
def test_yaml_is_read_as_it_says(case: str) -> None:
    text, value = READ[case]
    found = load_yaml(text)
    assert (found and found["c"]) == value


@pytest.mark.parametrize(
    "line", ["- x{n}\n", "- [x{n}, 'y{n}']\n", "k{n}: v{n}\n", "- {{a: {n}}}\n"]
)
def test_yaml_takes_little_more_than_its_values(line: str) -> None:
    text = "".join(line.format(n=n) for n in range(4_000))
    tracemalloc.start()
    value = load_yaml(text)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(value) == 4_000
    assert peak < 1.3 * held + 2**18


def test_a_file_may_repeat_what_it_says() -> None:
    base = "b: &b {api_key: os.environ/K, rpm: 9}\nmodel_list:\n"
    each = "- {model_name: x, litellm_params: {<<: *b, model: openai/x}}\n"
    assert litellm.read(base + each * 300, "x.yaml")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"targets":[{"weight":' + DIGITS + "}]}", '{"targets":' * 20_000]
)
def test_a_strange_json_is_refused(text: str) -> None:
    with little(), pytest.raises(RequestError):
        portkey.read(text, "x.json", "default")


TOML = {
    "a number without end": f"[server]\nport = {DIGITS}\n",
    "a table in depth": "[" + ".".join(["a"] * 4000) + "]\nx = 1\n",
    "a key in depth": ".".join(["a"] * 4000) + " = 1\n",
    "an array of tables in depth": "[[" + ".".join(["a"] * 4000) + "]]\n",
    "brackets": "a = " + "[" * 20_000 + "]" * 20_000,
}


@pytest.mark.parametrize("case", TOML)
def test_a_strange_configuration_is_refused_with_its_name(case: str, tmp_path: Path) -> None:
    with little(), pytest.raises(ConfigError, match=r"x\.toml"):
        parse_config(TOML[case], name="x.toml", folder=tmp_path, environment={})


PROVIDER = '[providers.p]\ndialect = "openai-chat"\nbase_url = "http://127.0.0.1:9/v1"\n'
LONG: dict[str, Callable[[int], str]] = {
    "servers": lambda n: f'[mcp.m{n}]\nurl = "http://127.0.0.1:9/{n}"\n',
    "servers of like names": lambda n: f'[mcp.m_{n}_x]\nurl = "http://127.0.0.1:9/{n}"\n',
    "keys": lambda n: f'[[keys]]\nname = "k{n}"\nkey = "sk-aaaaaaaaaaaaaaaaaaaa{n}"\n',
    "aliases": lambda n: f'[models.m{n}]\nroute = ["p/x{n}"]\n',
    "aliases of providers that are missing": lambda n: f'[models.m{n}]\nroute = ["q{n}/x"]\n',
    "providers": lambda n: f'[providers.p{n}]\nlike = "openai"\napi_key = "sk-{n}"\n',
    "unknown settings": lambda n: f'[providers.p{n}]\nlike = "openai"\nbase_ulr = "{n}"\n',
    "prices": lambda n: f"[providers.p.prices.m{n}]\ninput = 1\noutput = 2\n",
}


def steps_of(text: str) -> int:
    """How many functions are called while a configuration is read."""
    count = 0

    def step(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(step)
    try:
        with suppress(ConfigError):
            parse_config(text, name="x.toml", environment={})
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("case", LONG)
def test_a_long_configuration_takes_no_more_than_its_length(case: str) -> None:
    short, long = (
        steps_of(PROVIDER + "".join(LONG[case](n) for n in range(count))) for count in (300, 900)
    )
    assert long < 3.5 * short


def test_a_configuration_of_many_mistakes_shows_the_first_hundred(tmp_path: Path) -> None:
    wrong = [f'[providers.p{n}]\nlike = "openai"\nbase_ulr = "x"\n' for n in range(250)]
    with pytest.raises(ConfigError) as caught:
        parse_config("".join(wrong), name="x.toml", folder=tmp_path, environment={})
    first = "'base_ulr' is not a setting; did you mean 'base_url'?"
    assert caught.value.mistakes == [
        *(f"x.toml:{3 * n + 3}: providers.p{n}.base_ulr: {first}" for n in range(100)),
        "x.toml: 150 more mistakes; mend these first",
    ]


PRINTS = f"{sys.executable} -c"
ENDLESS: dict[str, Callable[[Path], str]] = {
    "a device": lambda _: "file:/dev/zero",
    "a long file": lambda folder: f"file:{_long(folder)}",
    "a command that never ends": lambda _: "cmd:yes secret",
    "a command that prints much": lambda _: f"{'cmd:'}{PRINTS} 'print(\"x\" * 100_000)'",
    "a command that complains much": lambda _: (
        f"{'cmd:'}{PRINTS} 'import sys; [sys.stderr.write(\"x\" * 9999) for _ in range(9999)]'"
    ),
}


def _long(folder: Path) -> Path:
    with (folder / "long").open("wb") as file:
        file.truncate(1 << 40)
    return folder / "long"


@pytest.mark.parametrize("case", ENDLESS)
def test_no_secret_is_read_without_end(case: str, tmp_path: Path) -> None:
    with little(), pytest.raises(ValueError, match=r"more than \d+ bytes|printed nothing"):
        read_secret(ENDLESS[case](tmp_path), {}, tmp_path)


def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(secret_source, "COMMAND_S", 0.5)
    with pytest.raises(ValueError, match=r"within 0\.5 s"):
        read_secret("cmd:sleep 60", {}, tmp_path)
    # One that leaves a process behind is not waited for.
    began = time.monotonic()
    with pytest.raises(ValueError, match="printed nothing"):
        read_secret("cmd:sh -c 'sleep 30 & exit 0'", {}, tmp_path)
    assert read_secret("cmd:sh -c 'echo said; sleep 30 & exit 0'", {}, tmp_path) == "said"
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("timeout", ["1e400", DIGITS, "-1", "true", '"5"', "NaN"])
def test_a_servers_time_is_a_number_that_ends(timeout: str, tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(f'{{"mcpServers":{{"a":{{"url":"http://x","timeout":{timeout}}}}}}}')
    with pytest.raises(ConfigError):
        load_servers(file, {})
    file.write_text(json.dumps({"mcpServers": {"a": {"url": "http://x", "timeout": 5000}}}))
    assert load_servers(file, {})
