"""An agent on the telephone: `polycall phone examples/phone.py:host`; here a simulated call."""

import asyncio

from msgspec.structs import replace

from polycall import Agent, Client, tool
from polycall.loop import CallEnd
from polycall.providers.catalogue import CATALOGUE
from polycall.realtime import Heard, Said, Telephone
from polycall.realtime.telephone import digits_tool, hang_up_tool
from polycall.realtime.telephone.server import TelephoneServer
from polycall.sim import Call, Turn
from polycall.sim.realtime import SoundFormat, VoiceSimulation
from polycall.sim.telephone import Caller, WebLine

VOICE = "openai/gpt-realtime-2.1"


@tool
async def find_booking(number: str) -> str:
    "Find a booking by its number."
    return {"42": "a table for four on Friday"}.get(number, "unknown")


host = Agent(VOICE, tools=[find_booking, digits_tool(), hang_up_tool()])

PLAY = [
    Turn("Please type the number.", calls=[Call("read_digits", {"count": 2})]),
    Turn(calls=[Call("find_booking", {"number": "42"})]),
    Turn("It is a table for four on Friday. Goodbye!", calls=[Call("hang_up")]),
]


def show(_: object, event: object) -> None:
    match event:
        case Heard(text) | Said(text):
            print("caller:" if isinstance(event, Heard) else "host:", text)
        case CallEnd(_, call, result):
            print(f"  {call.name} -> {result.text}")


async def main() -> None:
    with VoiceSimulation() as voices:
        voices.talk("gpt-realtime-2.1", PLAY, heard=["What did I book?"])
        openai = replace(CATALOGUE["openai"], base_url=voices.base_url("openai"))
        host.client = Client(providers=[openai], keys={"openai": "any"})
        url, key = "https://bell.example.com", "any"
        phone = Telephone(host, voice=VOICE, public_url=url, auth_token=key, on_event=show)
        async with host.client, TelephoneServer(phone, port=0) as server:
            line, question = WebLine(f"127.0.0.1:{server.port}"), SoundFormat("audio/pcmu", 8000)
            caller = Caller(line, voice_url=f"{url}/voice", auth_token=key).say(question.tone(700))
            await caller.pause(3).press("42").pause(60).call()
            await line.close()


if __name__ == "__main__":
    asyncio.run(main())
