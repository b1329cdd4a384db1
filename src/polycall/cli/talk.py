"""`polycall talk`: a conversation by voice, with a microphone or with WAV files."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polycall._support import jsontext
from polycall.agents import Agent
from polycall.cli.named import load_tools, named_agent
from polycall.client import Client
from polycall.errors import RequestError
from polycall.loop import CallEnd, CallStart
from polycall.providers.catalogue import CATALOGUE
from polycall.realtime.events import (
    Audio,
    CallDiscarded,
    Digit,
    End,
    Heard,
    Interrupted,
    Reconnected,
    Said,
    TalkEvent,
    VendorNotice,
)
from polycall.realtime.microphone import Microphone
from polycall.realtime.played import DevicePlayed
from polycall.realtime.talk import Talk
from polycall.tools import tool
from polycall.voices.audio import AudioFormat, read_wav, write_wav

_PIECE_MS = 20
_SIMULATED = "openai/gpt-realtime-2.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Talk with a realtime model. Without --say the microphone is listened to and the "
        "loudspeaker speaks (polycall[voice]); nothing is listened to while it speaks, unless "
        "you say --headphones: a microphone hears the loudspeaker. Calls that need approval "
        "are asked aloud. With --simulation no model is reached, and no key is needed."
    )
    parser.epilog = (
        "Example: polycall talk openai/gpt-realtime-2.1 --tools weather:get_weather; or, "
        "without a model: polycall talk --simulation --say question.wav --out answer.wav"
    )
    parser.add_argument("voice", nargs="?", default="", help="the realtime model: PROVIDER/MODEL")
    parser.add_argument("--agent", default="", help="an Agent of yours: MODULE:NAME")
    parser.add_argument("--tools", action="append", default=[], help="MODULE:NAME; may be repeated")
    parser.add_argument("--instructions", default="Be brief.", help="instructions for the voice")
    parser.add_argument("--speaker", default="", help="the vendor's name of a speaker's voice")
    parser.add_argument("--config", help="a configuration file (default: polycall.toml)")
    parser.add_argument("--say", type=Path, help="a WAV file that is said instead of a microphone")
    parser.add_argument("--out", type=Path, help="a WAV file for what is heard")
    parser.add_argument(
        "--wait", type=float, default=4.0, help="seconds of quiet after which --say hangs up"
    )
    parser.add_argument("--headphones", action="store_true", help="listen while the voice speaks")
    parser.add_argument("--max-cost", type=float, help="end the talk beyond this cost (US dollars)")
    parser.add_argument("--max-time", type=float, help="end the talk after so many seconds")
    parser.add_argument("--simulation", action="store_true", help="a simulated voice: no model")
    parser.add_argument("--json", action="store_true", help="print the run as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Talk until the end; fails where the voice was not reached or refused."""
    if not options.voice and not options.simulation:
        raise RequestError("which voice? write polycall talk PROVIDER/MODEL, or --simulation")
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    said = read_wav(options.say) if options.say is not None else None
    with open_client(options) as client:
        async with client:
            agent = _agent(options, client)
            talk = Talk(
                agent,
                voice=options.voice or _SIMULATED,
                speaker=options.speaker,
                approve="voice",
                cost_max=options.max_cost,
                talk_s_max=options.max_time,
                sound=None if said is None else said[1],
                played=DevicePlayed() if said is None else None,
            )
            async with talk:
                if said is None:
                    await _with_microphone(talk, options)
                else:
                    await _with_file(talk, said[0], options)
    result = talk.run
    if options.json:
        cost = None if result.cost is None else str(result.cost)
        shown = {"reason": result.reason, "detail": result.detail, "cost_usd": cost}
        print(jsontext.encode({**shown, "messages": result.messages, "usage": result.voice_usage}))
    else:
        cost = "unknown" if result.cost is None else f"{result.cost:.6f} USD"
        print(f"{result.reason}: {result.duration_s:.0f} s, cost {cost}", file=sys.stderr)
        for warning in result.warnings:
            print(f"{warning.feature}: {warning.detail}", file=sys.stderr)
    return 0 if result.reason in ("hang_up", "time", "cost", "closed") else 1


async def _with_microphone(talk: Talk, options: argparse.Namespace) -> None:
    async with Microphone(talk, headphones=options.headphones) as microphone:
        async for event in talk:
            match event:
                case Audio(data):
                    microphone.play(data)
                case Interrupted():
                    microphone.clear()
                case _:
                    show_event(event, is_quiet=options.json)


async def _with_file(talk: Talk, data: bytes, options: argparse.Namespace) -> None:
    """Say a file, then be silent until the voice has nothing more to say."""
    loop = asyncio.get_running_loop()
    recording = Recording(talk.sound_out, loop.time())
    last_s = [loop.time()]
    speaking = asyncio.create_task(_say(talk, data, options.wait, last_s))
    try:
        async for event in talk:
            if not isinstance(event, End):
                last_s[0] = loop.time()
            match event:
                case Audio(sound):
                    recording.add(sound, loop.time())
                case Interrupted():
                    recording.clear(loop.time())
                case _:
                    show_event(event, is_quiet=options.json)
    finally:
        speaking.cancel()
    if options.out is not None:
        write_wav(options.out, bytes(recording.data), talk.sound_out)


async def _say(talk: Talk, data: bytes, wait_s: float, last_s: list[float]) -> None:
    loop = asyncio.get_running_loop()
    size = int(talk.sound_in.bytes_per_ms * _PIECE_MS)
    silence, place, next_s = talk.sound_in.silence(_PIECE_MS), 0, loop.time()
    while True:
        is_said = place >= len(data)
        talk.listen(silence if is_said else data[place : place + size].ljust(size, b"\0"))
        place += size
        if not is_said or talk.played.left_ms() > 0:
            last_s[0] = loop.time()
        if loop.time() - last_s[0] > wait_s:
            talk.hang_up()
            return
        next_s += _PIECE_MS / 1000
        await asyncio.sleep(max(next_s - loop.time(), 0))


class Recording:
    """A recording of the sound as it is heard: played sound, and silence between."""

    def __init__(self, sound: AudioFormat, now_s: float) -> None:
        self.data = bytearray()
        self._sound = sound
        self._began_s = now_s

    def add(self, data: bytes, now_s: float) -> None:
        """More sound, played after what waits, or now."""
        missing_ms = self._now_ms(now_s) - self._sound.ms(len(self.data))
        if missing_ms > 0:
            self.data += self._sound.silence(missing_ms)
        self.data += data

    def clear(self, now_s: float) -> None:
        """Drop the sound that is not played by now."""
        size = int(self._now_ms(now_s) * self._sound.bytes_per_ms)
        del self.data[size - size % 2 :]

    def _now_ms(self, now_s: float) -> float:
        return (now_s - self._began_s) * 1000


def show_event(event: TalkEvent, *, is_quiet: bool = False) -> None:
    """Print what happens in a talk, unless a program reads the output."""
    if is_quiet:
        return
    match event:
        case Heard(text):
            print(f"you: {text}", flush=True)
        case Said(text):
            print(f"voice: {text}", flush=True)
        case CallStart(_, call):
            print(f"  {call.name}({call.arguments_json})", flush=True)
        case CallEnd(_, call, result):
            print(f"  {call.name} gave: {result.text}", flush=True)
        case CallDiscarded(_, name, reason):
            print(f"  {name} was not run: {reason}", file=sys.stderr)
        case Reconnected(_, reason):
            print(f"  connected again: {reason}", file=sys.stderr)
        case VendorNotice(code, message):
            print(f"  {code}: {message}", file=sys.stderr)
        case Digit(digit):
            print(f"  key {digit}", file=sys.stderr)
        case End("refused" | "connection" | "guardrail" as reason, detail):
            print(f"  {reason}: {detail}", file=sys.stderr)
        case _:
            pass


def _agent(options: argparse.Namespace, client: Client) -> Agent[Any, Any]:
    if options.agent:
        agent = named_agent(options.agent, "--agent")
        agent.client = agent.client or client
        return agent
    tools = [load_tools(options.tools)] if options.tools else []
    if options.simulation and not tools:
        tools = [_hours]
    model = options.voice or _SIMULATED
    return Agent(model, instructions=options.instructions, tools=tools, client=client)


@tool
async def _hours(day: str) -> str:
    """The opening hours of a day.

    Args:
        day: the day of the week
    """
    return f"{day}: open from 9 to 17"


_QUESTION = "When are you open on Monday?"


@contextmanager
def open_client(
    options: argparse.Namespace, agent: Agent[Any, Any] | None = None
) -> Generator[Client]:
    """The client, or one whose providers are a simulation that says a fixed conversation.

    In it the voice calls the first of the agent's tools that answers at once.
    """
    if not options.simulation:
        yield Client(config=options.config)
        return
    from msgspec.structs import replace  # noqa: PLC0415 - only the simulation needs these

    from polycall.sim.realtime import VoiceSimulation  # noqa: PLC0415
    from polycall.sim.script import Turn  # noqa: PLC0415

    name = (options.voice or _SIMULATED).partition("/")[2]
    calls = _simulated_calls(agent)
    turns = [Turn("One moment.", calls=calls), Turn("On Monday we are open from 9 to 17.")]
    with VoiceSimulation() as simulation:
        simulation.talk(name, turns if calls else turns[1:], heard=[_QUESTION])
        providers = [
            replace(CATALOGUE[vendor], base_url=simulation.base_url(vendor))
            for vendor in ("openai", "google")
        ]
        keys = {"openai": "simulated", "google": "simulated"}
        yield Client(providers=providers, keys=keys)


def _simulated_calls(agent: Agent[Any, Any] | None) -> list[Any]:
    from polycall.sim.arguments import Filler  # noqa: PLC0415 - only the simulation needs these
    from polycall.sim.script import Call  # noqa: PLC0415

    if agent is None:
        return [Call("_hours", {"day": "Monday"})]
    for each in (each for toolset in agent.toolsets for each in toolset):
        if each.background or each.needs_approval or each.name == "stay_silent":
            continue
        (arguments, *_) = Filler(each.parameters, "Monday", []).fill_all()
        return [Call(each.name, arguments)]
    return []
