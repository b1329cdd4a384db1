from polycall import Agent, Sessions


async def main(agent: Agent, sessions: Sessions) -> None:
    run = agent.run("x")
    print(run.text)  # wrong
    for _ in agent.stream("x"):  # wrong
        pass
    with agent.stream("x"):  # wrong
        pass
    print(sessions.open("a").run(agent, "x").output)  # wrong
