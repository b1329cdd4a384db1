"""Functions as Chat Completions had them before tools: `functions`, `function_call`, a role.

The vendor still takes them, and answers in the same words.
"""

from __future__ import annotations

from polycall.sim.shape import JSON, list_in
from polycall.sim.vendors import openai_common as common


def modern(body: JSON) -> JSON:
    """The same request with tools in the place of functions; raises `Refused`."""
    if body.get("function_call") is not None and not body.get("functions"):
        raise common.refuse(
            "Invalid value for 'function_call': 'function_call' is only allowed when 'functions' "
            "are specified.",
            param="function_call",
        )
    fields = {**body, "messages": _messages(body["messages"])}
    functions = list_in(body, "functions")
    if not functions:
        return fields
    tools: list[JSON] = [{"type": "function", "function": function} for function in functions]
    fields["tools"] = [*list_in(body, "tools"), *tools]
    choice = body.get("function_call")
    if choice is not None:
        named = {"type": "function", "function": choice}
        fields["tool_choice"] = choice if isinstance(choice, str) else named
    return fields


def _messages(messages: list[JSON]) -> list[JSON]:
    """Calls with ids and results that refer to them; what stands alone gets its other half."""
    if not any(each["role"] == "function" or each.get("function_call") for each in messages):
        return messages
    result: list[JSON] = []
    waiting = ""
    for place, message in enumerate(messages):
        is_result = message["role"] == "function"
        if waiting and not is_result:
            result.append(_result(waiting, ""))
            waiting = ""
        if is_result:
            if not waiting:
                waiting = f"function_{place}"
                result.append(_call(waiting, {"name": message["name"], "arguments": "{}"}))
            result.append(_result(waiting, message["content"] or ""))
            waiting = ""
        elif message.get("function_call"):
            waiting = f"function_{place}"
            plain = {name: value for name, value in message.items() if name != "function_call"}
            result.append({**plain, **_call(waiting, message["function_call"])})
        else:
            result.append(message)
    return [*result, _result(waiting, "")] if waiting else result


def _call(call_id: str, function: JSON) -> JSON:
    call = {"id": call_id, "type": "function", "function": function}
    return {"role": "assistant", "tool_calls": [call]}


def _result(call_id: str, text: str) -> JSON:
    return {"role": "tool", "tool_call_id": call_id, "content": text}
