"""What a newcomer meets: names, reprs, line numbers, `doctor`, and answers in plain values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import polycall
from polycall import Agent
from polycall.cli import main
from polycall.config import parse_config
from polycall.errors import ConfigError, RequestError
from polycall.ir import Media, Message, Text, ToolCall
from polycall.testing import ScriptedModel


@pytest.mark.parametrize("arguments", [{"city": "x"}, {}, {"a": [1, {"b": None}], "서울": 1.5}])
def test_n15_a_calls_arguments_may_be_a_dictionary(arguments: dict[str, Any]) -> None:
    call = ToolCall("1", "f", arguments)  # type: ignore[arg-type]
    assert json.loads(call.arguments_json) == arguments
    assert call.arguments == arguments
    assert call == ToolCall("1", "f", call.arguments_json)


@pytest.mark.parametrize("arguments", [None, 3, ["x"]])
def test_n15_a_calls_arguments_of_another_kind_are_refused(arguments: Any) -> None:
    with pytest.raises(RequestError, match="JSON text or a dictionary, not"):
        ToolCall("1", "f", arguments)


async def test_n15_a_scripted_model_takes_dictionaries_and_keeps_its_requests() -> None:
    async def add(one: int, two: int) -> int:
        """Add."""
        return one + two

    with ScriptedModel([{"add": {"one": 1, "two": 2}}, "3"]) as model:
        run = await Agent("any/model", tools=[add], client=model).run("1+2?")
    assert run.steps[0].results[0].text == "3"
    assert [request.messages[0].text for request in model.requests] == ["1+2?", "1+2?"]


async def test_n15_reprs_are_bounded() -> None:
    long = "x" * 1_000_000
    run = await Agent("any/model", client=ScriptedModel([long])).run(long)
    for value in (run, run.history, Media("image", "image/png", data=long)):
        assert len(repr(value)) < 600, type(value)
    assert repr(run).startswith("Run('finished', 1 steps, ")


def test_l12_an_agent_shows_who_it_is_also_where_two_know_each_other() -> None:
    def look() -> str:
        """Look."""
        return ""

    one = Agent("a/m", name="one", tools=[look])
    two = Agent("a/m, b/m", name="two", handoffs=[one])
    one.hand_to(two)
    assert repr(one) == "Agent('one', 'a/m', tools: look, handoffs to two)"
    assert "tools: none" in repr(two)
    many = Agent("a/m", tools=[one.as_tool(name=f"t{n}") for n in range(500)])
    assert len(repr(many)) < 200


def test_n15_the_root_has_the_names_of_the_first_hour() -> None:
    names = dir(polycall)
    for name in ("Durable", "Sandbox", "Sessions", "errors", "testing", "__version__"):
        assert name in names
        assert getattr(polycall, name) is not None
    assert polycall.RateLimitError is polycall.errors.RateLimitError
    assert issubclass(polycall.RequestError, polycall.PolycallError)
    assert polycall.__version__[0].isdigit()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n\n\n[modles.fast]\nroute = []\n", 4),
        ("[server]\nport = 1\n\n[[kyes.x]]\nkey = 'a'\n", 4),
        ("\n[providers.up.cpabilities.m]\ntools = true\n", 2),
    ],
)
def test_n15_a_misspelt_table_is_reported_where_it_stands(text: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, name="polycall.toml")
    assert f"polycall.toml:{line}" in str(caught.value)


def doctor(folder: Path, **environment: str) -> dict[str, dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-m", "polycall", "doctor", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**{k: v for k, v in _environment().items() if not k.endswith("_KEY")}, **environment},
    )
    return {each["name"]: each for each in json.loads(done.stdout)}


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def test_n15_doctor_looks_at_keys_configuration_store_extras_versions_and_ports(
    tmp_path: Path,
) -> None:
    found = doctor(tmp_path)
    assert {"versions", "extras", "configuration", "keys", "store", "port"} <= found.keys()
    assert found["keys"]["state"] == "warn"
    secret = "sk-very-secret-0001"
    (tmp_path / "polycall.toml").write_text("[serverr]\n")
    found = doctor(tmp_path, OPENAI_API_KEY=secret)
    assert found["configuration"]["state"] == "fail"
    assert "serverr" in found["configuration"]["detail"]
    assert "openai" in found["keys"]["detail"]
    assert secret not in json.dumps(found)


def test_n15_a_missing_key_is_one_line_on_the_command_line(tmp_path: Path) -> None:
    for words in (["run", "openai/gpt-5.4", "x"], ["run", "anthropic/claude-sonnet-4.6", "x"]):
        done = subprocess.run(
            [sys.executable, "-m", "polycall", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={k: v for k, v in _environment().items() if not k.endswith("_KEY")},
        )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert "_API_KEY" in done.stderr


def test_n15_messages_may_be_printed() -> None:
    assert "hello" in repr(Message("user", [Text("hello")]))


def test_n15_kubernetes_mounts_the_configuration_as_a_directory() -> None:
    text = (Path(__file__).parents[2] / "deploy" / "kubernetes.yaml").read_text()
    assert "subPath:" not in text
    assert "mountPath: /etc/polycall\n" in text
    assert "value: /etc/polycall/polycall.toml" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["modles"], "no command is called 'modles'; did you mean 'models'?"),
        (["run", "--tols", "a:b", "hi"], "--tols; did you mean '--tools'?"),
        (["serve", "--prot", "80"], "--prot 80; did you mean '--port'?"),
    ],
)
def test_n15_a_misspelt_command_or_option_is_named(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert told in capsys.readouterr().err


def test_n15_help_is_a_word_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["help", "run"])
    assert "polycall run" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["help"])
    assert "models" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_n15_output_that_holds_few_letters_ends_well(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "weather.py").write_text(
        'def get_weather(city: str) -> str:\n    """날씨 weather."""\n    return city\n', "utf-8"
    )
    words = ["run", "openai/gpt-5.4", "서울 날씨", "--tools", "weather:get_weather", "--no-log"]
    polycall_again = [sys.executable, "-m", "polycall"]
    done = subprocess.run(
        [*polycall_again, "sim", *polycall_again, *words],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, b"Error" in done.stderr) == (0, False), done.stderr
    assert b"get_weather(\\uc11c\\uc6b8)" in done.stdout
