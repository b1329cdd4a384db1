"""Faulty talks in which more meets: handoffs, approvals by voice, typed text, wrong calls."""

from __future__ import annotations

import asyncio
from typing import Any

from polycall import Agent, ToolContext, tool
from polycall.agents import Handoff
from polycall.loop import CallEnd, CallStart
from polycall.realtime import Talk
from polycall.sim.realtime import VoiceScript
from polycall.sim.script import Call, Turn
from tests.realtime.faulty_talks import FaultyTalk
from tests.realtime.harness import Caller, Outcome, hold

# Calls that start and need not run: somebody says no, or there is nothing to run.
_MAYBE = ("pay", "order")
_NEVER = ("stay_silent", "transfer_to_other", "unknown_tool")


class JoinedTalk(FaultyTalk):
    """One conversation with two agents and a caller who is asked, all of it from a seed."""

    def agent(self) -> Agent[Any, Any]:
        host, done = super().agent(), self.done

        def kept(context: ToolContext) -> str:
            assert context.call is not None
            done.append(context.call.id)
            return f"result of {context.call.id};"

        @tool(needs_approval=True)
        async def pay(number: int, context: ToolContext) -> str:
            """Pay."""
            return kept(context)

        @tool(needs_approval=True, background=True)
        async def order(number: int, context: ToolContext) -> str:
            """Order."""
            words = kept(context)
            await asyncio.sleep(1)
            return words

        tools = [*(each for toolset in host.toolsets for each in toolset), pay, order]
        options: dict[str, Any] = {"tools": tools, "client": host.client}
        other = Agent("openai/gpt-5.4", name="other", instructions="You are other.", **options)
        return Agent("openai/gpt-5.4", name="host", handoffs=[Handoff(other)], **options)

    def turn(self) -> Turn:
        turn, chance = super().turn(), self.chance
        calls, kind = list(turn.calls), chance.random()
        if kind < 0.15:
            calls.append(Call("transfer_to_other", {"reason": "x"}))
        elif kind < 0.35:
            calls.append(Call(chance.choice(_MAYBE), {"number": chance.randint(1, 10**6)}))
        elif kind < 0.4:
            calls.append(Call("unknown_tool"))
        return Turn(turn.text, calls=calls)

    async def drive(self, talk: Talk, caller: Caller) -> None:
        match self.chance.choice(["press", "say", "write", ""]):
            case "press":
                talk.press("5")
            case "say":
                talk.say(self.words(6))
            case "write":
                talk.write(f"{self.words(6)} 안녕하세요 👋")
            case _:
                pass
        await super().drive(talk, caller)

    def hold(self) -> Outcome:
        chance = self.chance
        heard = [chance.choice(["Yes.", "No.", "네", "Hm?", self.words(6)]) for _ in range(20)]
        turns = [self.turn() for _ in range(40)]
        script = VoiceScript.of(turns, heard=heard, faults=f"seed:{self.seed}")
        approve = chance.choice(["voice", "voice", None])
        return hold(self.voice, self.agent(), script, self.drive, s_max=400, approve=approve)

    def effects(self, outcome: Outcome) -> list[str]:
        started = {event.call.id: event.call.name for event in outcome.of(CallStart)}
        ended = {event.call.id: event.result for event in outcome.of(CallEnd)}
        must = sorted(each for each, name in started.items() if name not in (*_MAYBE, *_NEVER))
        did = sorted(each for each in self.done if started.get(each) not in _MAYBE)
        found = [] if must == did else [f"side effects {did} are not the calls that ran {must}"]
        for each, name in started.items():
            if name in _MAYBE and each in ended:
                count, is_done = self.done.count(each), not ended[each].is_error
                if count > 1 or (is_done and not count):
                    found.append(f"{each} says {ended[each].text!r}, and ran {count} times")
        return found
