"""What is kept for one key pushes out nothing of another's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from polycall.config import ClientKey
from polycall.config import Store as StoreSettings
from polycall.gateway.accounts.keys import Keys
from polycall.gateway.processes.maintenance import Maintenance
from polycall.gateway.store import open_store

MOST = 100_000


async def test_a_keys_own_oldest_values_go_and_no_others(
    store_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(store_url, tmp_path)
    for number in range(60):
        await store.save_state("much", f"item_{number}", b"x" * 2_000)
    await store.save_states("little", {f"item_{number}": b"y" * 2_000 for number in range(30)})
    await store.save_state("much", "item_0", b"again")  # and so it is the newest
    await store.trim(MOST)
    names = [f"item_{number}" for number in range(60)]
    left = await store.load_states("much", names, may_change=True)
    assert 35 <= len(left) <= 42
    assert set(left) == {"item_0", *names[-len(left) + 1 :]}
    assert len(await store.load_states("little", names, may_change=True)) == 30
    assert "of its oldest values were removed" in caplog.text
    # What was written before this process began is found as well.
    await store.close()
    store = open_store(store_url, tmp_path)
    await store.trim(20_000)
    assert len(await store.load_states("little", names, may_change=True)) == 30
    await store.trim(20_000, looks_at_all=True)
    for owner in ("much", "little"):
        assert len(await store.load_states(owner, names, may_change=True)) < 10
    await store.close()


async def test_many_small_values_are_bounded_too(store_url: str, tmp_path: Path) -> None:
    store = open_store(store_url, tmp_path)
    for start in range(0, 3_000, 500):
        await store.save_states("a", {f"s{start + n}": b"1" for n in range(500)})
    await store.trim(MOST)
    names = [f"s{number}" for number in range(3_000)]
    assert len(await store.load_states("a", names, may_change=True)) < 500
    await store.close()


async def test_it_is_looked_at_while_the_gateway_serves(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.db'}", tmp_path)
    keys = Keys(store)
    keys.configure([ClientKey(key="sk-0123456789", name="k")])
    upkeep = Maintenance(store, keys)
    upkeep.settings = StoreSettings(kept_bytes_max=10_000)
    upkeep.start()
    for number in range(40):
        await store.save_state("a", f"s{number}", b"x" * 1_000)
    names = [f"s{number}" for number in range(40)]
    async with asyncio.timeout(10):
        while len(await store.load_states("a", names, may_change=True)) > 9:
            await asyncio.sleep(0.05)
    await upkeep.close()
    await store.close()
