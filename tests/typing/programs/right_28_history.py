from polycall import Agent, History
from polycall.ir import JSON, Media, Message, Text

agent = Agent("a/m")
run = agent.run_sync([Message("user", [Text("Look"), Media("image", "image/png", data="aaaa")])])
kept: str = run.history.to_json()
again = agent.run_sync("and?", history=History.from_json(kept))
openai: list[JSON] = again.history.to_openai()
third = agent.run_sync("and?", history=openai)
fourth = agent.run_sync("and?", history=third.messages)
