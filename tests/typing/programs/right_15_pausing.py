from pathlib import Path

from polycall import Agent
from polycall.agents import PausedRun


async def main(agent: Agent) -> str:
    run = await agent.run("pay", approve="pause", approval_ttl_s=3600)
    if run.paused is not None:
        Path("paused.json").write_text(run.paused.to_json("secret"))
        paused = PausedRun.from_json(Path("paused.json").read_text(), "secret")
        for each in paused.waiting:
            paused.allow(each.id, arguments={"amount": 9})
        run = await agent.resume(paused)
    return run.output
