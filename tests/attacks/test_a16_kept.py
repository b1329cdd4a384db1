"""A16: what one small request may have loaded of what was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polycall.errors import MalformedRequestError
from polycall.gateway.store import open_store
from tests.edge.test_doors import MODELS, UP, ask, serving

SERVER = "[server]\nbody_bytes_max = 1000000\n"


def message(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


@pytest.mark.parametrize("way", ["conversation", "references"])
async def test_a16_what_is_kept_is_weighed_before_it_is_loaded(tmp_path: Path, way: str) -> None:
    async with serving(tmp_path, SERVER + UP + MODELS) as served:
        _, made = await ask(served, "POST", "/v1/conversations", {})
        path = f"/v1/conversations/{made['id']}/items"
        ids: list[str] = []
        for number in range(4):
            body = {"items": [message(str(number) * 400_000)]}
            _, page = await ask(served, "POST", path, body)
            ids += [item["id"] for item in page["data"]]
        store = served.store
        store._cache = type(store._cache)()
        opened: list[int] = []
        unlock = store._vault.unlock

        def watched(owner: str, name: str, value: bytes) -> bytes | None:
            opened.append(len(value))
            return unlock(owner, name, value)

        store._vault.unlock = watched  # type: ignore[method-assign]
        body: dict[str, Any] = {"model": "up/m", "input": "go on", "conversation": made["id"]}
        if way == "references":
            body = {"model": "up/m", "input": [{"type": "item_reference", "id": e} for e in ids]}
        status, said = await ask(served, "POST", "/v1/responses", body)
        assert status == 400
        assert "larger than 1000000 bytes" in said["error"]["message"]
        assert sum(opened) < 10_000
        # One by one, and by pages that have room, they are there.
        status, page = await ask(served, "GET", path, query_string=b"limit=1")
        assert (status, page["data"][0]["id"], page["has_more"]) == (200, ids[-1], True)
        status, item = await ask(served, "GET", f"{path}/{ids[0]}")
        assert (status, len(item["content"][0]["text"])) == (200, 400_000)
        assert sum(opened) < 2_000_000


async def test_a16_no_caller_of_the_store_loads_more_at_once(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/s.db", tmp_path)
    try:
        names = [f"item_{number}" for number in range(600)]
        for name in names:
            await store.save_state("a", name, b"x" * 1000)
        store._cache = type(store._cache)()
        with pytest.raises(MalformedRequestError, match="larger than 100000 bytes"):
            await store.load_states("a", names, bytes_max=100_000)
        assert len(await store.load_states("a", names[:50], bytes_max=100_000)) == 50
    finally:
        await store.close()
