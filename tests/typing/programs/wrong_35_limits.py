from polycall import Agent, Limits, Memory

Limits(steps="5")  # wrong
Limits(seconds=5)  # wrong
Agent("a/m", limits={"steps": 5})  # wrong
Agent("a/m", memory="memory.db")  # wrong
Memory("memory.db").add(5)  # wrong
