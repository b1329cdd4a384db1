from polycall import Agent, Sessions


async def main(agent: Agent, sessions: Sessions) -> None:
    run = agent.run("x")
    print(run.text)  # wrong
    for event in agent.stream("x"):  # wrong
        print(event)
    with agent.stream("x") as stream:  # wrong
        print(stream)
    print(sessions.open("a").run(agent, "x").output)  # wrong
