from polycall import Agent
from polycall.agents import ApprovalRequest, TaskEvent
from polycall.ir import PartDelta
from polycall.loop import CallEnd, CallStart, ModelEvent, RunEnd, StepEnd, ToolEvent


async def main(agent: Agent) -> int:
    async with agent.stream("hello") as stream:
        async for event in stream:
            match event:
                case ModelEvent(event=PartDelta(kind="text", text=text)):
                    print(text, end="")
                case CallStart(call=call):
                    print(call.name, call.arguments)
                case CallEnd(result=result):
                    print(result.text)
                case ToolEvent(event=inner):
                    print(inner)
                case TaskEvent(task=task):
                    print(task.progress)
                case ApprovalRequest():
                    event.allow(always=True)
                case StepEnd(step=step):
                    print(step.cost)
                case RunEnd(reason=reason):
                    print(reason)
                case _:
                    pass
        return stream.run.usage.total_tokens
