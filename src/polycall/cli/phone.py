"""`polycall phone`: an agent answers telephone calls, or one simulated call."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import sys
from pathlib import Path
from typing import Any

from polycall.agents import Agent
from polycall.cli.named import named_agent
from polycall.cli.talk import open_client, show_event
from polycall.client import Client
from polycall.errors import RequestError
from polycall.realtime.events import TalkEvent
from polycall.realtime.telephone import PhoneCall, RelayTelephone, Telephone
from polycall.realtime.telephone.server import TelephoneServer, serve
from polycall.realtime.telephone.signed_calls import SignedCalls
from polycall.voices.audio import PCMU, Resampler, read_wav, write_wav

_SIMULATED = "openai/gpt-realtime-2.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Answer calls of a Twilio number with an agent of yours. Point the number's voice "
        "webhook (POST) at PUBLIC-URL/voice; docs/telephone.md has it step by step. SIGTERM "
        "and Ctrl-C take no new call and let the others end. With --simulation a "
        "simulated caller calls a simulated voice once: no number, key or network is needed."
    )
    parser.epilog = (
        "Example: polycall phone hotel.py:host --voice openai/gpt-realtime-2.1 "
        "--public-url https://bell.example.com; or, without a telephone: "
        "polycall phone hotel.py:host --simulation --out call.wav"
    )
    parser.add_argument("agent", help="an Agent of yours: MODULE:NAME or FILE.py:NAME")
    parser.add_argument("--voice", default=_SIMULATED, help="the realtime model: PROVIDER/MODEL")
    parser.add_argument("--public-url", default="", help="https address that Twilio reaches us by")
    parser.add_argument(
        "--auth-token",
        default="env:TWILIO_AUTH_TOKEN",
        help="where the account's token is: env:NAME or file:PATH",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="the port to listen on")
    parser.add_argument("--greeting", default="", help="what is said first")
    parser.add_argument("--speaker", default="", help="the vendor's name of a speaker's voice")
    parser.add_argument("--digits", default="event", help="event (the model reads each) or tool")
    parser.add_argument("--config", help="a configuration file (default: polycall.toml)")
    parser.add_argument("--max-calls", type=int, default=50, help="calls at a time")
    parser.add_argument("--max-time", type=float, default=1800, help="seconds of a call")
    parser.add_argument("--max-cost", type=float, help="US dollars of a call")
    parser.add_argument("--drain", type=float, default=30, help="seconds that calls have to end")
    parser.add_argument(
        "--relay",
        action="store_true",
        help="no voice: Twilio hears and speaks (ConversationRelay), the agent's own model answers",
    )
    parser.add_argument("--simulation", action="store_true", help="one simulated call")
    parser.add_argument("--say", type=Path, help="a WAV file that the simulated caller says")
    parser.add_argument("--out", type=Path, help="a WAV file for what the simulated caller hears")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Answer calls until a signal, or one simulated call."""
    if not options.simulation and not options.public_url:
        raise RequestError(
            "--public-url is the https address by which Twilio reaches this machine; without a "
            "telephone, try --simulation"
        )
    if options.simulation and options.relay:
        raise RequestError("--simulation has a simulated voice, and --relay has none; take one")
    agent = named_agent(options.agent, "phone")
    with open_client(options, agent) as client:
        agent.client = agent.client or client
        if options.simulation:
            agent.client = client
            return asyncio.run(_simulate(options, agent, client))
        logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
        logging.getLogger("polycall.realtime.telephone").setLevel(logging.INFO)
        return asyncio.run(_serve(options, agent, client))


async def _serve(options: argparse.Namespace, agent: Agent[Any, Any], client: Client) -> int:
    phone: SignedCalls
    if options.relay:
        phone = RelayTelephone(
            agent,
            public_url=options.public_url,
            auth_token=options.auth_token,
            calls_max=options.max_calls,
            call_s_max=options.max_time,
            cost_max=options.max_cost,
            greeting=options.greeting,
            attributes={"voice": options.speaker} if options.speaker else None,
        )
    else:
        phone = _telephone(options, agent, options.public_url, options.auth_token)
    print(f"voice webhook: POST {options.public_url.rstrip('/')}/voice", file=sys.stderr)
    async with client:
        await serve(phone, host=options.host, port=options.port, drain_s=options.drain)
    return 0


async def _simulate(options: argparse.Namespace, agent: Agent[Any, Any], client: Client) -> int:
    """A simulated caller calls, says something, listens, and hangs up."""
    from polycall.sim.realtime.sound import SoundFormat  # noqa: PLC0415 - for simulations alone
    from polycall.sim.telephone import Caller, WebLine  # noqa: PLC0415

    def show(_: PhoneCall, event: TalkEvent) -> None:
        show_event(event)

    public_url, token = "https://bell.example.com", secrets.token_hex(16)
    phone = _telephone(options, agent, public_url, token, on_event=show)
    question = SoundFormat("audio/pcmu", 8000).tone(800)
    if options.say is not None:
        data, sound = read_wav(options.say)
        question = Resampler(sound, PCMU).feed(data)
    async with client, TelephoneServer(phone, port=0) as server:
        line = WebLine(f"127.0.0.1:{server.port}")
        caller = Caller(line, voice_url=f"{public_url}/voice", auth_token=token)
        caller.pause(0.5).say(question).wait_for_speech(100).wait_for_silence(2500).hang_up()
        record = await caller.call()
        await line.close()
        await phone.drain(2.0)
    if options.out is not None:
        write_wav(options.out, record.heard, PCMU)
    print(f"the caller heard {PCMU.ms(len(record.heard)) / 1000:.1f} s", file=sys.stderr)
    return 0 if record.answered else 1


def _telephone(
    options: argparse.Namespace,
    agent: Agent[Any, Any],
    public_url: str,
    auth_token: str,
    **more: Any,
) -> Telephone:
    return Telephone(
        agent,
        voice=options.voice,
        public_url=public_url,
        auth_token=auth_token,
        calls_max=options.max_calls,
        call_s_max=options.max_time,
        cost_max=options.max_cost,
        digits=options.digits,
        greeting=options.greeting,
        speaker=options.speaker,
        **more,
    )
