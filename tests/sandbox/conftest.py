from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from polycall.sandbox import Limits, RuntimeUnavailableError, Sandbox, Session


@pytest.fixture
async def jail() -> AsyncIterator[Sandbox]:
    """A sandbox of the tier `jail` with short limits."""
    sandbox = Sandbox("jail", Limits(wall_s=5, memory_mib=128), pool=1)
    try:
        await sandbox.__aenter__()
    except RuntimeUnavailableError as error:
        pytest.skip(f"no jail here: {error}")
    try:
        yield sandbox
    finally:
        await sandbox.close()


@pytest.fixture
async def session(jail: Sandbox) -> AsyncIterator[Session]:
    async with jail.session(seed=7) as session:
        yield session
