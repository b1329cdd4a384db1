"""`polycall phone`: a simulated call by the words of the page, and what it refuses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polycall.cli import main
from polycall.voices.audio import read_wav

AGENT = """
from polycall import Agent, tool

@tool
async def _hours(day: str) -> str:
    "The opening hours."
    return "from 9 to 17"

host = Agent("openai/gpt-5.4", tools=[_hours])
other = 5
"""


@pytest.fixture(autouse=True)
def _hotel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "phone_hotel.py").write_text(AGENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "phone_hotel", raising=False)


def test_a_simulated_call_is_heard_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "call.wav"
    assert main(["phone", "phone_hotel.py:host", "--simulation", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert '_hours({"day":"Monday"})' in shown
    assert "voice: On Monday we are open from 9 to 17." in shown
    data, sound = read_wav(out)
    assert sound.rate_hz == 8000
    assert sound.ms(len(data)) > 60 * len("One moment.On Monday we are open from 9 to 17.")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["phone_hotel:host"], "--public-url"),
        (["phone_hotel"], "MODULE:NAME"),
        (["phone_hotel:other", "--public-url", "https://a.example"], "has no agent 'other'"),
        (["phone_hotel:host", "--public-url", "http://a.example"], "begins with 'https://'"),
        (["phone_hotel:host", "--public-url", "https://a.example"], "TWILIO_AUTH_TOKEN"),
        (["phone_hotel:host", "--relay", "--simulation"], "take one"),
    ],
)
def test_what_cannot_be_is_said(
    words: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TWILIO_AUTH_TOKEN", raising=False)
    if "phone_hotel" in words:
        words = [*words, "--simulation"]
    assert main(["phone", *words]) == 1
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--relay", "--greeting", "Good day."]])
def test_sigterm_ends_the_command_in_order(more: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "polycall", "phone", "phone_hotel.py:host"),
            *("--public-url", "https://bell.example.com", "--port", str(port), *more),
        ],
        env={**os.environ, "TWILIO_AUTH_TOKEN": "any", "OPENAI_API_KEY": "any"},
        stderr=subprocess.PIPE,
        text=True,
    )
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, written = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "draining 0 calls" in written
