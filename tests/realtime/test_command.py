"""`polycall talk` against the simulation: a file in, a file out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polycall.cli import main
from polycall.sim.realtime import SoundFormat
from polycall.voices.audio import PCM24, AudioFormat, read_wav, write_wav


def test_a_file_is_said_and_what_is_heard_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, heard = tmp_path / "in.wav", tmp_path / "out.wav"
    write_wav(said, SoundFormat().silence(200) + SoundFormat().tone(600), PCM24)
    words = ["talk", "--simulation", "--say", str(said), "--out", str(heard), "--wait", "1"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "you: When are you open on Monday?" in shown
    assert '_hours({"day":"Monday"})' in shown
    assert "voice: On Monday we are open from 9 to 17." in shown
    data, sound = read_wav(heard)
    assert sound == AudioFormat("pcm16", 24000)
    # Both sentences are spoken whole, after the question.
    assert sound.ms(len(data)) > 60 * len("One moment.On Monday we are open from 9 to 17.") + 800
    assert main([*words, "--json"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert run["reason"] == "hang_up"
    assert float(run["cost_usd"]) > 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["talk"], "which voice?"),
        (["talk", "openai/gpt-5.4", "--say", "{wav}"], "not a realtime model"),
        (["talk", "opnai/gpt-realtime", "--say", "{wav}"], "did you mean 'openai'?"),
        (["talk", "openai/gpt-realtime", "--say", "{text}"], "cannot be read as WAV"),
        (["talk", "openai/gpt-realtime", "--say", "{wav}", "--agent", "host"], "MODULE:NAME"),
    ],
)
def test_what_cannot_be_is_said(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wav, text = tmp_path / "in.wav", tmp_path / "in.txt"
    write_wav(wav, SoundFormat().tone(100), PCM24)
    text.write_text("no sound")
    assert main([word.format(wav=wav, text=text) for word in words]) == 1
    assert expected in capsys.readouterr().err
