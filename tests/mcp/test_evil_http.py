"""Servers at addresses that mean harm, in some 250 ways: each ends in words and in time, nobody is
led anywhere else, and the server beside it goes on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator

import pytest

from polycall.errors import ToolServerError
from polycall.mcp import Elicitation, ElicitationAnswer, HttpServer, connect
from polycall.mcp import connection as connection_module
from tests.mcp import evil_turns, evil_ways
from tests.mcp.evil_http import Evil, Way
from tests.mcp.support import call

_WORDS = {
    "refused": r"refused 'act': ",
    "invalid": r"gave an invalid answer to 'act': ",
    "broken": r"ended during 'act'; it may have done its work( \(.*\))?$",
    "late": r"did not finish within \S+ s; it may have done its work$",
    "forgotten": r"knows the session no more|does not know the task",
    "unfit": r"the arguments do not fit",
    "unusable": r"is not registered",
    "unreachable": r"cannot be reached: |did not answer within|tools/list|did not list its tools",
}
_AT_ONCE = 8  # that are tried


async def answered(asked: Elicitation, context: object) -> ElicitationAnswer:
    del asked, context
    return ElicitationAnswer("accept", {})


async def outcome(evil: Evil, name: str, *, is_late: bool, is_away: bool) -> str:
    """How a call of the server ends, by what it says."""
    server = HttpServer(
        "s",
        url=evil.url(name),
        connect_s=1.0 if is_away else 60.0,
        deadline_s=1.0 if is_late else 60.0,
    )
    try:
        async with connect(server, elicit=answered) as tools:
            found = await call(tools, "s_act", a="a" * 40 + "!")
    except ToolServerError as error:
        text = str(error)
    else:
        if not found.is_error:
            return "ok"
        text = found.text
    assert len(text) < 1_000
    return next((kind for kind, words in _WORDS.items() if re.search(words, text)), text)


# How the ways of each kind end that do not end well.
ENDS: dict[Callable[[], Iterator[Way]], dict[str, str]] = {
    evil_ways.bodies: {
        "refused": "type-text-html type-none type-xxxxxxxxx body-empty body-null body-number "
        "body-batch body-latin body-utf16 body-half body-digits body-deep body-dense body-twice "
        "body-bom body-both body-no-version body-list-result body-error-text body-error-code "
        "body-error-data body-id-float body-id-null body-id-other body-id-text body-id-list "
        "body-id-none body-notification body-request",
        "invalid": "body-no-content",
    },
    evil_ways.heads: {
        "refused": "status-202 status-204 status-304 status-401 status-402 status-403 status-404 "
        "status-405 status-410 status-429 status-500 status-503 away-none away-itself "
        "endless-body",
        "forgotten": "status-400",
        "broken": "away-301 away-302 away-303 away-307 away-308 away-file away-user away-relative "
        "away-other away-control away-long away-port coding-gzip coding-br coding-identity-gzip "
        "coding-x raw-garbage raw-http09 raw-status raw-closed raw-short raw-lengths raw-negative "
        "raw-chunk raw-coded raw-long-head raw-upgrade raw-null-head endless-head",
        "late": "never stalls endless-early endless-chunks drips-head drips-body",
    },
    evil_ways.streams: {
        "refused": "stream-data-event event-garbage event-null event-batch event-no-event",
        "invalid": "stream-answers event-others-first",
        "broken": "stream-line stream-data stream-fields ends-plain ends-odd-id event-kind "
        "progress-digits",
        "late": "stream-comments stream-blank stream-ids stream-returns "
        "stream-nothing stream-listed stream-updated stream-logged ends-id ends-at-once ends-late "
        "ends-digits ends-long-id ends-negative ends-overflow",
    },
    evil_turns.questions: {"refused": "asks-id-half asks-schema-deep"},
    evil_turns.rounds: {
        "refused": "requires-forms requires-samples task-asks task-asks-much task-list",
        "invalid": "requires-state requires-nothing requires-empty requires-large requires-unknown "
        "requires-list requires-number task-id-none task-id-empty task-id-long task-id-number "
        "task-no-result task-no-error task-odd-error task-a-task task-asks-odd",
        "forgotten": "task-id-control",
        "late": "task-every-nan task-every-zero task-every-negative task-every-infinite "
        "task-every-large task-every-digits task-every-text task-every-null task-every-true "
        "task-every-list task-unknown task-none task-asks-list task-message task-backwards",
    },
    evil_turns.sessions: {
        "unreachable": "session-long session-latin version-future version-number version-long "
        "version-modern discovers-never discovers-drips listens-never initialized-never",
    },
    evil_turns.lists: {
        "unreachable": "pages-same pages-empty pages-number pages-long pages-changing list-never "
        "list-drips schema-in-deep schema-out-deep",
        "unfit": "schema-in-regex schema-in-deeper",
        "unusable": "schema-in-remote schema-in-doubling schema-out-remote schema-out-doubling",
        "invalid": "schema-out-regex schema-out-deeper content-unknown",
    },
}
# Those of which nothing is heard before a bound of time.
_AWAY = {
    *("discovers-never", "discovers-drips", "listens-never"),
    *("initialized-never", "list-never", "list-drips"),
}


@pytest.mark.parametrize("kind", ENDS, ids=lambda kind: kind.__name__)
async def test_each_way_ends_in_words_and_in_time(
    kind: Callable[[], Iterator[Way]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_CLOSE_S", 0.5)
    ends = {name: how for how, names in ENDS[kind].items() for name in names.split()}
    ways = list(kind())
    expected = {way.name: ends.get(way.name, "ok") for way in ways}
    free = asyncio.Semaphore(_AT_ONCE)

    async def ended(name: str) -> tuple[str, str]:
        async with free:
            is_late, is_away = expected[name] == "late", name in _AWAY
            return name, await outcome(evil, name, is_late=is_late, is_away=is_away)

    async with asyncio.timeout(300), Evil(Way("honest", {}), *ways) as evil:
        beside = HttpServer("honest", url=evil.url("honest"), connect_s=60.0)
        async with connect(beside) as tools:
            found = dict(await asyncio.gather(*(ended(way.name) for way in ways)))
            assert (await call(tools, "honest_act")).text == "fine"
        assert found == expected
        assert evil.trapped == []
        assert max(evil.asked[way.name, "GET"] for way in ways) <= 40  # and not 150 a second
    assert ends.keys() <= expected.keys()
