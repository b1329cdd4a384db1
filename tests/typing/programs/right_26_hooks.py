from polycall import Agent
from polycall.agents import AgentEvent
from polycall.loop import CallEnd


def on_event(event: AgentEvent) -> None:
    if isinstance(event, CallEnd):
        print(event.call.name)


async def later(event: AgentEvent) -> None:
    print(event)


agent = Agent("a/m", hooks=[on_event, later, print])
