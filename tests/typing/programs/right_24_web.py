from collections.abc import AsyncIterator
from typing import Any

from polycall import Agent, Durable, Sessions
from polycall.web import Approvals, Verdict, ag_ui, answer_durable, decide, read_ag_ui, sse, vercel


async def chat(agent: Agent, sessions: Sessions, body: dict[str, Any]) -> AsyncIterator[bytes]:
    asked = read_ag_ui(body)
    async for chunk in ag_ui(sessions.open("a").stream(agent, [asked.prompt]), asked):
        yield chunk


async def again(durable: Durable, agent: Agent, body: dict[str, Any]) -> AsyncIterator[bytes]:
    asked = read_ag_ui(body)
    run_id, stream = await answer_durable(durable, asked.verdicts)
    async for chunk in vercel(stream, run_id=run_id, on_approval="interrupt"):
        yield chunk
    async for chunk in sse(durable.handle(run_id).stream(after=3), on_leave="leave"):
        yield chunk
    approvals = Approvals()
    async for chunk in sse(agent.stream("go"), approvals=approvals):
        approvals.answer("id", Verdict(allowed=True))
        yield chunk
    paused = (await agent.run("go", approve="pause")).paused
    if paused is not None:
        decide(paused, asked.verdicts)
