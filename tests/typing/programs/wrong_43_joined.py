"""What joins refuse."""

from polycall import Agent, Limits, ToolTree
from polycall.agents import Guarded, Router, Sessions

agent = Agent("a/m", output=int)
ToolTree([agent])  # wrong
Guarded("agent")  # wrong
Router(agent, lambda words: "agent")  # wrong
Limits(wall_s="2")  # wrong
Sessions("a.db").open(5)  # wrong
text: str = Guarded(agent).run_sync("go").output  # wrong
