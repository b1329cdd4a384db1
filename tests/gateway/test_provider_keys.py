"""Providers' keys come from the configuration, the environment, a file or a command."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.config import parse_config
from polycall.errors import ConfigError
from tests.gateway.harness import KEY, Gateway
from tests.gateway.test_secrets import chat_answer
from tests.gateway.test_workers import until
from tests.origins import Handler, serving

CHAT = "/v1/chat/completions"
ASK = {"model": "up/m", "messages": [{"role": "user", "content": "hi"}]}


class Guarded(Handler):
    """Takes one key, which changes; notes those it was given."""

    wanted = ""
    given: list[str]

    def do_POST(self) -> None:
        self.read()
        key = self.headers["authorization"].removeprefix("Bearer ")
        self.given.append(key)
        is_right = key == type(self).wanted
        body: Any = chat_answer() if is_right else {"error": {"message": "bad key"}}
        self.answer(body, 200 if is_right else 401)


@pytest.fixture
def guarded() -> Iterator[tuple[type[Guarded], str]]:
    class Upstream(Guarded):
        given: list[str] = []  # noqa: RUF012 - one list for this server

    with serving(Upstream) as url:
        yield Upstream, f"{url}/v1"


def config(url: str, key: str) -> str:
    return (
        f'[providers.up]\ndialect = "openai-chat"\nbase_url = "{url}"\napi_key = "{key}"\n'
        f'[[keys]]\nkey = "{KEY}"\n'
    )


@pytest.mark.parametrize("source", ["file:key", "cmd:sh -c 'echo run >> runs; cat key'"])
def test_a_key_that_changes_is_read_again(
    folder: Path, guarded: tuple[type[Guarded], str], source: str
) -> None:
    upstream, url = guarded
    source = source.replace("runs", str(folder / "runs")).replace("cat key", f"cat {folder}/key")
    (folder / "key").write_text("key-number-one\n")
    upstream.wanted = "key-number-one"
    gateway = Gateway(folder, config(url, source)).start()
    for _ in range(3):
        assert gateway.post(CHAT, ASK).status == 200
    # The provider takes another key from now on: no request fails for it.
    upstream.wanted = "key-number-two"
    (folder / "key").write_text("key-number-two\n")
    for _ in range(3):
        assert gateway.post(CHAT, ASK).status == 200
    assert upstream.given == [*["key-number-one"] * 4, *["key-number-two"] * 3]
    # A key that stays wrong is not read for every request.
    upstream.wanted = "key-number-three"
    for _ in range(5):
        assert gateway.post(CHAT, ASK).status == 502
    if source.startswith("cmd:"):
        assert (folder / "runs").read_text().count("run") == 2
    # A reload reads it at once.
    (folder / "key").write_text("key-number-three\n")
    gateway.signal(signal.SIGHUP)
    assert until(lambda: gateway.post(CHAT, ASK).status == 200)
    assert gateway.stop() == 0
    assert "key-number" not in gateway.log


def test_what_is_wrong_with_a_secret_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "two").write_text("one\ntwo\n")
    text = """\
[providers.openai]
api_key = [
  "env:NOT_SET",
  "file:not-there",
  "file:empty",
  "file:two",
  "cmd:false",
  "cmd:true",
  "cmd:not-a-command-anywhere",
]
"""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, name="x.toml", folder=tmp_path, environment={})
    assert caught.value.mistakes == [
        f"x.toml:2: providers.openai.api_key: {what}"
        for what in (
            "the environment variable 'NOT_SET' is not set",
            f"the file cannot be read: No such file or directory: '{tmp_path}/not-there'",
            f"the file is empty: '{tmp_path}/empty'",
            "holds a space, a line break or a character that no key has",
            "the command ended with status 1; run it by hand",
            "the command printed nothing",
            "the command cannot be run: No such file or directory",
        )
    ]


def test_a_command_is_run_once_whoever_asks(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    command = f"cmd:sh -c 'echo run >> {runs}; echo some-key-of-both'"
    text = f'[providers.openai]\napi_key = "{command}"\n[providers.xai]\napi_key = "{command}"\n'
    config = parse_config(text, folder=tmp_path, environment={})
    assert config.provider_keys == {"openai": ("some-key-of-both",), "xai": ("some-key-of-both",)}
    assert runs.read_text() == "run\n"
