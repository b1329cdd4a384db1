"""What the gateway keeps for one key is not there for another, by any verb of any protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycall.sim import Simulation
from tests.gateway.harness import KEY, OTHER_KEY, Gateway, sim_config

ASKED = {"model": "up-chat/sim-1", "input": "my secret is 4711"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Simulation() as sim:
        served = Gateway(Path(tmp_path_factory.mktemp("keys")), sim_config(sim)).start()
        yield served
        served.stop()


def ask(gateway: Gateway, path: str, body: Any, key: str = KEY) -> Any:
    answer = gateway.request("POST", path, body, key=key)
    assert answer.status == 200, answer.content
    return answer.json()


def ended(gateway: Gateway, name: str, key: str) -> Any:
    """An answer in the background once it is over."""
    ends_at = time.monotonic() + 20
    while True:
        found = gateway.request("GET", f"/v1/responses/{name}", key=key).json()
        if found["status"] not in ("queued", "in_progress"):
            return found
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def made(gateway: Gateway, key: str) -> dict[str, str]:
    """One of each kind of thing that a key may have here."""
    response = ask(gateway, "/v1/responses", ASKED, key)
    background = ask(gateway, "/v1/responses", {**ASKED, "background": True}, key)
    item = {"type": "message", "role": "user", "content": "my secret is 4711"}
    conversation = ask(gateway, "/v1/conversations", {"items": [item]}, key)["id"]
    items = f"/v1/conversations/{conversation}/items"
    page = gateway.request("GET", items, key=key).json()
    body = {"model": "up-chat/sim-1", "input": "my secret is 4711"}
    interaction = ask(gateway, "/v1beta/interactions", body, key)
    assert ended(gateway, background["id"], key)["status"] == "completed"
    return {
        "response": response["id"],
        "answer": response["output"][0]["id"],
        "background": background["id"],
        "conversation": conversation,
        "item": page["data"][0]["id"],
        "interaction": interaction["id"],
    }


@pytest.fixture(scope="module")
def mine(gateway: Gateway) -> dict[str, str]:
    return made(gateway, KEY)


@pytest.fixture(scope="module")
def theirs(gateway: Gateway) -> dict[str, str]:
    return made(gateway, OTHER_KEY)


# Where another's id may stand, and what comes with it; `MINE` is the asker's own conversation.
_OF_ANSWERS: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("GET", "?stream=true", None),
    ("GET", "?stream=true&starting_after=0", None),
    ("GET", "/input_items", None),
    ("GET", "/input_items?after=<answer>", None),
    ("POST", "/cancel", {}),
    ("DELETE", "", None),
]
PATHS: list[tuple[str, str, Any]] = [
    *(
        (method, f"/v1/responses/{kind}{rest}", body)
        for kind in ("<response>", "<background>", "<interaction>")
        for method, rest, body in _OF_ANSWERS
    ),
    *(
        (method, f"/{version}/interactions/{kind}{rest}", None)
        for version in ("v1", "v1beta", "v1beta1")
        for kind in ("<interaction>", "<response>")
        for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"))
    ),
    ("GET", "/v1/conversations/<conversation>", None),
    ("POST", "/v1/conversations/<conversation>", {"metadata": {"a": "taken"}}),
    ("GET", "/v1/conversations/<conversation>/items", None),
    ("POST", "/v1/conversations/<conversation>/items", {"items": [{"role": "user"}]}),
    ("GET", "/v1/conversations/<conversation>/items/<item>", None),
    ("DELETE", "/v1/conversations/<conversation>/items/<item>", None),
    ("DELETE", "/v1/conversations/<conversation>", None),
    ("GET", "/v1/conversations/MINE/items/<item>", None),
    ("GET", "/v1/conversations/MINE/items?after=<item>", None),
    ("DELETE", "/v1/conversations/MINE/items/<item>", None),
    ("GET", "/v1/conversations/<response>", None),
    ("GET", "/v1/responses/<conversation>", None),
]
BODIES: list[tuple[str, Any]] = [
    ("/v1/responses", {**ASKED, "previous_response_id": "<response>"}),
    ("/v1/responses", {**ASKED, "previous_response_id": "<background>"}),
    ("/v1/responses", {**ASKED, "previous_response_id": "<background>", "background": True}),
    ("/v1/responses", {**ASKED, "conversation": "<conversation>"}),
    ("/v1/responses", {**ASKED, "conversation": {"id": "<conversation>"}}),
    ("/v1/responses", {**ASKED, "input": [{"type": "item_reference", "id": "<answer>"}]}),
    ("/v1/responses", {**ASKED, "input": [{"type": "item_reference", "id": "<item>"}]}),
    ("/v1/responses/compact", {**ASKED, "previous_response_id": "<response>"}),
    ("/v1/responses/input_tokens", {**ASKED, "previous_response_id": "<response>"}),
    ("/v1beta/interactions", {**ASKED, "previous_interaction_id": "<interaction>"}),
]


def filled(text: str, ids: dict[str, str], own: str) -> str:
    for kind, name in ids.items():
        text = text.replace(f"<{kind}>", name)
    return text.replace("MINE", own)


@pytest.mark.parametrize("case", PATHS, ids=lambda case: f"{case[0]} {case[1]}")
def test_what_is_kept_for_one_key_is_not_there_for_another(
    gateway: Gateway,
    mine: dict[str, str],
    theirs: dict[str, str],
    case: tuple[str, str, Any],
) -> None:
    method, path, body = case
    target = filled(path, mine, theirs["conversation"])
    answer = gateway.request(method, target, body, key=OTHER_KEY)
    assert answer.status in (400, 404), answer.content
    assert b"4711" not in answer.content


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_no_request_of_another_key_goes_on_with_it(
    gateway: Gateway, mine: dict[str, str], theirs: dict[str, str], number: int
) -> None:
    path, body = BODIES[number]
    said = filled(json.dumps(body), mine, theirs["conversation"])
    answer = gateway.request("POST", path, said.encode(), key=OTHER_KEY)
    if "background" in body:
        assert ended(gateway, answer.json()["id"], OTHER_KEY)["status"] == "failed"
    else:
        assert answer.status in (400, 404), answer.content


def test_all_of_it_is_still_there(gateway: Gateway, mine: dict[str, str]) -> None:
    for path in (
        "/v1/responses/<response>",
        "/v1/responses/<response>/input_items",
        "/v1/responses/<background>",
        "/v1/conversations/<conversation>",
        "/v1/conversations/<conversation>/items/<item>",
        "/v1beta/interactions/<interaction>",
    ):
        answer = gateway.request("GET", filled(path, mine, ""))
        assert answer.status == 200, answer.content
        assert b"taken" not in answer.content


def test_a_summary_is_its_keys_own(gateway: Gateway) -> None:
    compacted = ask(gateway, "/v1/responses/compact", ASKED)["output"]
    body = {**ASKED, "input": [*compacted, {"role": "user", "content": "go on"}]}
    assert gateway.request("POST", "/v1/responses", body, key=OTHER_KEY).status == 400
    assert gateway.request("POST", "/v1/responses", body).status == 200
