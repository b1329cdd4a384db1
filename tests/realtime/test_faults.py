"""The laws of talks under faults; all seeds: `python -m bench.realtime_faults`."""

from __future__ import annotations

import pytest

from tests.realtime.faulty_talks import VOICES, violations
from tests.realtime.joined_talks import JoinedTalk


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("seed", range(5))
def test_no_law_is_broken_under_faults(voice: str, seed: int) -> None:
    assert violations(voice, seed) == []


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("seed", range(2))
def test_no_law_is_broken_where_more_meets(voice: str, seed: int) -> None:
    assert violations(voice, seed, JoinedTalk) == []
