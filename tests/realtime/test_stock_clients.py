"""The vendors' own clients against the simulation: a call and a barge-in on each."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import types
from openai import AsyncOpenAI

from polycall.sim.realtime import SoundFormat, VoiceScript, VoiceSimulation
from polycall.sim.script import Call, Turn

LONG = "This is a long answer that takes a while to be spoken to its very end. " * 2
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}
PIECES = 0.02


@pytest.fixture
def sim() -> Iterator[VoiceSimulation]:
    with VoiceSimulation() as running:
        yield running


def as_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def speak(send: Any, sound: SoundFormat, ms: float) -> None:
    """So much speech, then 600 ms of silence, in real time."""
    for data, length in ((sound.tone(20), ms), (sound.silence(20), 600)):
        for _ in range(int(length / 20)):
            await send(data)
            await asyncio.sleep(PIECES)


async def test_the_openai_client_talks_realtime(sim: VoiceSimulation) -> None:
    script = sim.talk("gpt-realtime-2.1", TURNS(), heard=["Hello", "Stop"])
    client = AsyncOpenAI(api_key="any", base_url=sim.base_url("openai"))
    kinds: list[str] = []
    async with client, client.realtime.connect(model="gpt-realtime-2.1") as connection:
        tool: Any = {"type": "function", "name": "weather", "parameters": WEATHER}
        await connection.session.update(session={"type": "realtime", "tools": [tool]})
        sound = SoundFormat()

        async def send(data: bytes) -> None:
            await connection.input_audio_buffer.append(audio=as_text(data))

        speaking = asyncio.create_task(speak(send, sound, 400))
        async with asyncio.timeout(30):
            async for event in connection:
                kinds.append(event.type)
                if event.type == "response.output_item.done" and event.item.type == "function_call":
                    output: Any = {"type": "function_call_output", "call_id": event.item.call_id}
                    await connection.conversation.item.create(item={**output, "output": "snow"})
                if event.type == "response.done" and kinds.count(event.type) == 1:
                    await connection.response.create()
                is_answer = "response.done" in kinds
                if event.type == "response.output_audio.delta" and is_answer and speaking.done():
                    speaking = asyncio.create_task(speak(send, sound, 400))
                if event.type == "response.done" and event.response.status == "cancelled":
                    break
        speaking.cancel()
    assert script.record.answers
    assert "input_audio_buffer.speech_started" in kinds
    assert script.record.refusals == []


async def test_the_openai_client_talks_live(sim: VoiceSimulation) -> None:
    script = sim.talk("", [Turn("One moment.", calls=[Call("x")])], heard=["Hello", "Stop"])
    client = AsyncOpenAI(api_key="any", base_url=sim.base_url("openai"))
    kinds: list[str] = []
    async with client, client.live.connect() as connection:
        session: Any = {"model": "gpt-live-1.1", "delegation": {"type": "client"}}
        await connection.send({"type": "session.start", "session": session})

        async def send(data: bytes) -> None:
            append: Any = {"type": "session.input_audio.append", "audio": as_text(data)}
            await connection.send(append)

        speaking = asyncio.create_task(speak(send, SoundFormat(), 400))
        async with asyncio.timeout(30):
            async for event in connection:
                kinds.append(event.type)
                if event.type == "session.delegation.created":
                    answer: Any = {"type": "session.commentary.append", "content": LONG}
                    await connection.send({**answer, "delegation_id": event.delegation.id})
                if event.type == "session.commentary.appended":
                    speaking = asyncio.create_task(speak(send, SoundFormat(), 400))
                if kinds.count("session.input_transcript.delta") == 2 and "closing" not in kinds:
                    kinds.append("closing")
                    speaking.cancel()
                    await connection.send({"type": "session.close"})
                if event.type == "session.closed":
                    break
        speaking.cancel()
    assert script.record.answers
    assert kinds[0] == "session.started"
    assert any(word.endswith("[cut]") for word in script.record.spoken)
    assert script.record.refusals == []


async def test_the_google_client_talks_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VoiceSimulation(tls_folder=tmp_path) as sim:
        assert sim.certificate is not None
        monkeypatch.setenv("SSL_CERT_FILE", str(sim.certificate))
        script = sim.talk("", TURNS(), heard=["Hello", "Stop"])
        options = types.HttpOptions(base_url=sim.base_url("google"))
        client = genai.Client(api_key="any", http_options=options)
        declaration: Any = {"name": "weather", "parameters_json_schema": WEATHER}
        config: Any = {
            "response_modalities": ["AUDIO"],
            "tools": [{"function_declarations": [declaration]}],
            "output_audio_transcription": {},
        }
        seen: list[str] = []
        async with client.aio.live.connect(model="gemini-3.8-live", config=config) as session:
            sound = SoundFormat(rate=16000)

            async def send(data: bytes) -> None:
                blob = types.Blob(data=data, mime_type="audio/pcm;rate=16000")
                await session.send_realtime_input(audio=blob)

            speaking = asyncio.create_task(speak(send, sound, 400))
            async with asyncio.timeout(30):
                while "interrupted" not in seen:
                    async for message in session.receive():
                        if message.tool_call is not None:
                            (call,) = message.tool_call.function_calls or []
                            result = types.FunctionResponse(
                                id=call.id, name=call.name, response={"output": "snow"}
                            )
                            await session.send_tool_response(function_responses=[result])
                            seen.append("call")
                        content = message.server_content
                        if content is not None and content.interrupted:
                            seen.append("interrupted")
                        if message.data and "call" in seen and speaking.done():
                            speaking = asyncio.create_task(speak(send, sound, 400))
            speaking.cancel()
        assert script.record.answers
        assert script.record.refusals == []


def TURNS() -> list[Turn]:
    call = Call("weather", {"city": "Seoul"})
    return [
        Turn("One moment.", calls=[call]),
        Turn(LONG),
        Turn("Yes?"),
    ]


def test_a_script_says_yes_when_it_is_over() -> None:
    script = VoiceScript.of([Turn("One.")])
    assert [script.next_turn().text for _ in range(3)] == ["One.", "Yes.", "Yes."]
