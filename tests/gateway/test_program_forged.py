"""Ids of calls and programs that a client made up: refused as its own protocol refuses."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.gateway.harness import Gateway
from tests.gateway.program_drivers import TOOLS, Chat, Responses, answer, scripted
from tests.gateway.test_program_life import error_of

pytestmark = pytest.mark.usefixtures("runs_programs")


FORGED = [
    (
        r"_pgm_[0-9a-f]{24}",
        "_pgm_" + "0" * 24,
        "not one that this gateway gave|did not|not the one",
    ),
    (r'_1"', '_77"', "no call number 77"),
    (r"call_pgm_[0-9a-f]{24}_1", "call_of_another", "have no result|was not made by"),
]


@pytest.mark.parametrize(("pattern", "instead", "words"), FORGED)
@pytest.mark.parametrize("client", [Chat, Responses])
def test_made_up_ids_of_other_clients(
    sim: Simulation, own: Gateway, client: Any, *, pattern: str, instead: str, words: str
) -> None:
    with closing(client(own.url, scripted(sim, "up-gemini"), streamed=True)) as driver:
        driver.run("?", once=True)
        name = "messages" if client is Chat else "input"
        good = getattr(driver, name)
        setattr(driver, name, json.loads(re.sub(pattern, instead, json.dumps(good))))
        status, message = error_of(driver.go_on)
        assert status == 400
        assert re.search(words, message), message
        setattr(driver, name, good)
        assert driver.go_on().endswith("done")


@pytest.mark.parametrize(("pattern", "instead", "words"), FORGED)
def test_made_up_ids_of_a_gemini_client(
    sim: Simulation, own: Gateway, *, pattern: str, instead: str, words: str
) -> None:
    path = f"/v1beta/models/{scripted(sim, 'up-chat')}:generateContent"
    functions = [
        {
            "name": tool["name"],
            "description": tool["description"],
            "parametersJsonSchema": tool["parameters"],
        }
        for tool in TOOLS
    ]
    asked: Any = {"role": "user", "parts": [{"text": "?"}]}
    body: Any = {"contents": [asked], "tools": [{"functionDeclarations": functions}]}
    headers = {"polycall-calling": "code"}
    content = own.post(path, body, **headers).json()["candidates"][0]["content"]
    results = [
        {
            "functionResponse": {
                "id": call["id"],
                "name": call["name"],
                "response": {"output": answer(call["name"], call["args"])},
            }
        }
        for part in content["parts"]
        if (call := part.get("functionCall"))
    ]
    history = [asked, content, {"role": "user", "parts": results}]
    forged = json.loads(re.sub(pattern, instead, json.dumps(history)))
    refused = own.post(path, {**body, "contents": forged}, **headers)
    error = refused.json()["error"]
    assert (refused.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert re.search(words, error["message"]), error
    good = own.post(path, {**body, "contents": history}, **headers).json()
    (part,) = good["candidates"][0]["content"]["parts"]
    assert part["functionCall"]["name"] == "describe"
