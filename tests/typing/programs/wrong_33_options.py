from polycall import Agent

agent = Agent("a/m")
agent.run_sync("x", histroy=[])  # wrong
agent.run_sync("x", approve="stop")  # wrong
agent.run_sync(5)  # wrong
agent.run_sync("x", tasks="later")  # wrong
agent.run_sync("x", limits=5)  # wrong
Agent("a/m", tool=[])  # wrong
Agent(5)  # wrong
