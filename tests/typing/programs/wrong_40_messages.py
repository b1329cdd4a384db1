from polycall import Agent
from polycall.ir import Media, Message, Text, ToolCall
from polycall.testing import ScriptedModel

Message("usr", [Text("x")])  # wrong
Message("user", "x")  # wrong
Media("picture", "image/png")  # wrong
ToolCall("1", 5)  # wrong
ScriptedModel([5])  # wrong
Agent("a/m", client="openai")  # wrong
Agent("a/m", calling="programs")  # wrong
