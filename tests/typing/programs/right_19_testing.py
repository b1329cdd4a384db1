from polycall import Agent
from polycall.ir import Request, ToolCall
from polycall.testing import FunctionModel, ScriptedModel


def answer(request: Request) -> str | ToolCall:
    return "done" if request.messages[-1].role == "tool" else ToolCall("1", "add", '{"a": 1}')


async def test_it() -> None:
    with ScriptedModel([{"add": {"a": 1}}, ToolCall("1", "add"), "done"]) as model:
        run = await Agent("a/m", client=model).run("go")
    assert run.text == "done"
    assert model.requests[0].messages[0].text == "go"
    await Agent("a/m", client=FunctionModel(answer)).run("go")
