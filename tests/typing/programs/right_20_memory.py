from datetime import timedelta

from polycall import Agent, Knowledge, Memory

memory = Memory("memory.db", ttl=timedelta(days=30))
entry = memory.add("allergic to nuts", scope="user:mina")
found: list[str] = [each.text for each in memory.search("nuts", scopes=["user:mina"])]
with_pages = Knowledge.from_paths(["docs"], index="pages.db")
best: list[str] = [each.text for each in with_pages.search("tea", limit=3)]
agent = Agent("a/m", memory=memory, tools=[with_pages.tool()])
