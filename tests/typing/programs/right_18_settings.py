from polycall import Agent
from polycall.ir import ToolChoice
from polycall.settings import Settings

shared: Settings = {"temperature": 0.2, "stop": ["END"], "effort": "high"}
agent = Agent("a/m", **shared)
other = Agent("a/m", tool_choice="required", parallel_tool_calls=False, max_output_tokens=500)
third = Agent("a/m", tool_choice=ToolChoice("none"), reasoning=2048, cache=False, seed=1)
run = agent.run_sync("x", model=["a/m", "b/m"], settings={"top_p": 0.5, "service_tier": "flex"})
changed = agent.changed(model="b/m", temperature=0.5)
with agent.override(model="c/m"):
    print(agent.model)
