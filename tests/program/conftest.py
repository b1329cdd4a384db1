from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from polycall.sandbox import Limits, RuntimeUnavailableError, Sandbox


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
