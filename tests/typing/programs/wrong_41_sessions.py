from polycall import Agent, Guarded, Sessions
from polycall.web import ag_ui, read_ag_ui


async def main(sessions: Sessions) -> int:
    session = sessions.open(5)  # wrong
    run = await sessions.open("a").run(Agent("a/m"), "x")
    Guarded(Agent("a/m"), inputs=[lambda: None])  # wrong
    ag_ui(Agent("a/m").stream("x"), read_ag_ui({}), on_leave="stay")  # wrong
    print(session)
    return run.output  # wrong
