"""`polycall sim COMMAND`: what a newcomer runs before there is any key."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

POLYCALL = [sys.executable, "-m", "polycall"]
AGENT = """
import sys
from polycall import Agent

def get_weather(city: str) -> str:
    "The weather in a city."
    return "snow"

run = Agent(sys.argv[1], tools=[get_weather]).run_sync("Weather in Seoul?")
print(run.text, run.warnings)
"""
SNOW = "Here is what the tools returned.\n- get_weather(Seoul): snow []\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and an environment without keys."""
    for name in list(os.environ):
        if name.endswith("_API_KEY") or name.startswith("POLYCALL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*POLYCALL, *words], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-5.4",
        "anthropic/claude-sonnet-4-6",
        "google/gemini-2.5-flash",
        "deepseek/deepseek-v4-flash",
        "compatible/any-name",
    ],
)
def test_a_program_runs_as_it_is(model: str, folder: Path) -> None:
    (folder / "agent.py").write_text(AGENT, encoding="utf-8")
    done = run("sim", sys.executable, "agent.py", model)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", SNOW)
    assert [each.name for each in folder.iterdir()] == ["agent.py"]


def test_the_status_is_the_command_s() -> None:
    assert run("sim", sys.executable, "-c", "raise SystemExit(7)").returncode == 7


def test_what_cannot_be_done() -> None:
    done = run("sim", "no-such-command")
    assert (done.returncode, done.stderr) == (
        1,
        "polycall sim: cannot run 'no-such-command': No such file or directory\n",
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("sim", "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"polycall sim: cannot listen on 127.0.0.1:{port}: Address")


def ask(url: str, key: str = "") -> Any:
    messages = [{"role": "user", "content": "hello"}]
    body = {"model": "anthropic/claude-sonnet-4-6", "messages": messages}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def wait_until_refused(url: str) -> None:
    """A running gateway notices its first key within seconds."""
    with pytest.raises(urllib.error.HTTPError, match="401"):
        for _ in range(100):
            ask(url)
            time.sleep(0.1)


def test_a_gateway_with_keys_and_money_in_an_empty_folder() -> None:
    serve = [*POLYCALL, "sim", *POLYCALL, "serve", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            made = run("keys", "create", "mina", "--budget", "1/day", "--json")
            key = json.loads(made.stdout)["key"]
            wait_until_refused(url)
            answer = ask(url, key)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert answer["created"] > 1_700_000_000  # Anthropic says no time, and OpenAI has one
    assert answer["usage"]["total_tokens"] > 0
    used = json.loads(run("usage", "--by", "key,model", "--json").stdout)
    row = next(row for row in used if row.get("key") == "mina")
    assert (row["model"], row["requests"]) == ("anthropic/claude-sonnet-4-6", 1)
    assert float(row["cost_usd"]) > 0


def test_a_gateway_without_a_configuration_takes_keys_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = run("serve", "--check")
    assert done.returncode == 1
    assert done.stderr.startswith("there is no polycall.toml here, and no provider's key in the")
    monkeypatch.setenv("GOOGLE_API_KEY", "a-key-of-google")
    monkeypatch.setenv("GROQ_API_KEY", "a-key-of-groq")
    assert run("serve", "--check").stdout == "the environment: no mistakes\n"
    with subprocess.Popen(
        [*POLYCALL, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert line.startswith("polycall gateway on http://127.0.0.1:")
    assert line.endswith(" for google, google-interactions, groq (no polycall.toml here)\n")


def test_a_configuration_by_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYCALL_CONFIG", str(folder / "none.toml"))
    done = run("run", "openai/gpt-5.4", "hello")
    assert done.returncode == 1
    assert "none.toml: cannot be read" in done.stderr
