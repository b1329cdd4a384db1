from polycall import Agent, Handoff

clerk = Agent("a/m", name="clerk")
boss = Agent("a/m", name="boss", handoffs=[clerk, Handoff(Agent("a/m", name="guard"))])
clerk.hand_to(boss)
team = Agent("a/m", tools=[clerk, boss.as_tool(name="ask_boss", description="Ask.")])
run = team.run_sync("go")
speakers: list[str] = run.agents
again = team.run_sync("and?", history=run.history)
