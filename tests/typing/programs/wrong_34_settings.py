from polycall import Agent, Client

Agent("a/m", temperature="0.2")  # wrong
Agent("a/m", effort="hgh")  # wrong
Agent("a/m", stop=5)  # wrong
Agent("a/m", parallel_tool_calls="no")  # wrong
Agent("a/m").run_sync("x", settings={"temprature": 1})  # wrong
Client().generate_sync("a/m", "x", max_tokens=5)  # wrong
