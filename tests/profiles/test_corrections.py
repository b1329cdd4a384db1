"""A refusal teaches: read, mended, sent once more, remembered, forgotten; and what it may not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polycall import Client
from polycall.errors import InvalidRequestError, RateLimitError, UpstreamError
from polycall.exchange import prepare
from polycall.ir import Message, ReasoningConfig, Request, ResponseFormat, Text, Tool, ToolResult
from polycall.ir import ToolCall as IRCall
from polycall.profiles.corrections import (
    Correction,
    CorrectionBook,
    Refused,
    corrected,
    read_refusal,
)
from polycall.profiles.corrections.policy import canonical
from polycall.providers.catalogue import CATALOGUE
from polycall.sim import Simulation
from tests.drift import VENDOR_OF, Drift, DriftingVendors, value_at
from tests.drifts import DRIFTS, request_of
from tests.drifts_found import FOUND

ALL = [*DRIFTS, *(each.drift for each in FOUND)]
WHO = {"provider": "p", "address": "http://a", "model": "m", "dialect": "openai-chat"}


@pytest.fixture(scope="module")
def vendors() -> Iterator[DriftingVendors]:
    with Simulation(seed=1) as sim, DriftingVendors(sim, ALL) as served:
        yield served


def client_of(vendors: DriftingVendors, book: CorrectionBook | str | Path | None = None) -> Client:
    rows = [
        replace(
            CATALOGUE[VENDOR_OF[each.dialect]],
            name=each.name,
            dialect=each.dialect,
            tools_dialect=None,
            base_url=vendors.base_url(each),
        )
        for each in ALL
    ]
    keys = {each.name: "any-key" for each in ALL}
    return Client(providers=rows, keys=keys, corrections=book)


async def asked(client: Client, drift: Drift, *, stream: bool = False) -> list[str]:
    """The warnings of an answer; raises where there is none."""
    request = request_of(drift, f"{drift.name}/sim-1", stream=stream)
    if stream:
        async with client.stream_request(request) as answer:
            async for _ in answer:
                pass
        response = answer.response
    else:
        response = await client.generate_request(request)
    assert response.finish_reason in ("stop", "length", "tool_calls")
    return [each.detail for each in response.warnings if "refused it on" in each.detail]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_sixty_drifts_cost_one_more_request_and_are_remembered(
    vendors: DriftingVendors, *, stream: bool
) -> None:
    vendors.seen.clear()
    answered: list[str] = []
    async with client_of(vendors) as client:
        for drift in DRIFTS:
            try:
                told = await asked(client, drift, stream=stream)
            except UpstreamError:
                continue
            assert told, f"{drift.name} was answered without a word"
            assert len(vendors.seen[drift.name]) == 2, drift.name
            answered.append(drift.name)
            # The second time nothing is refused, and it is said again.
            assert await asked(client, drift, stream=stream)
            assert len(vendors.seen[drift.name]) == 3, drift.name
        assert len(answered) >= 57, sorted({each.name for each in DRIFTS} - set(answered))
        kept = client.corrections.entries()
        assert {each.provider for each in kept} == set(answered)
        assert all(each.words and each.read[:4] >= "2025" for each in kept)
        assert client.corrections.forget() == len(kept)
        assert len(client.corrections) == 0


async def test_the_words_of_other_vendors_are_read_too(vendors: DriftingVendors) -> None:
    """Each is answered with one more request, and the second time with none."""
    vendors.seen.clear()
    assert len({each.drift.says for each in FOUND}) == 20
    assert all(each.vendor and each.source.startswith("https://") for each in FOUND)
    async with client_of(vendors) as client:
        for drift, vendor, _ in FOUND:
            assert await asked(client, drift), vendor
            assert await asked(client, drift), vendor
            assert len(vendors.seen[drift.name]) == 3, (vendor, vendors.seen[drift.name])


def test_the_drifts_are_sixty_of_four_kinds_and_four_wires() -> None:
    assert len({each.name for each in DRIFTS}) == 60
    assert {each.dialect for each in DRIFTS} == set(VENDOR_OF)
    kinds = [each.name[0] for each in DRIFTS]
    assert [kinds.count(kind) for kind in "rnvh"] == [15] * 4


async def test_a_book_in_a_file_outlives_its_client_and_is_its_owners(
    vendors: DriftingVendors, tmp_path: Path
) -> None:
    drift = DRIFTS[0]
    path = tmp_path / "corrections.json"
    async with client_of(vendors, path) as client:
        await asked(client, drift)
    assert path.stat().st_mode & 0o077 == 0
    vendors.seen.clear()
    async with client_of(vendors, path) as client:
        assert await asked(client, drift)
    assert len(vendors.seen[drift.name]) == 1


async def test_what_is_refused_twice_is_the_callers_error(vendors: DriftingVendors) -> None:
    """One more request, and no more."""
    vendors.seen.clear()
    async with client_of(vendors) as client:
        request = replace(request_of(DRIFTS[0], "r1/sim-1"), temperature=99.0)
        with pytest.raises(InvalidRequestError):
            await client.generate_request(request)
    assert len(vendors.seen["r1"]) == 2


# ---------------------------------------------------------------------------------------------
# A provider that means harm


def bodies() -> dict[str, dict[str, Any]]:
    """A request with everything, on each wire."""
    schema = {"type": "object", "properties": {"cache_control": {"type": "string"}}}
    tool = Tool("look", "Looks.", schema, strict=True)
    messages = [
        Message("system", [Text("Be kind.")]),
        Message("user", [Text("hello")]),
        Message("assistant", [IRCall("c1", "look", '{"name": "x", "cache_control": "y"}')]),
        Message("tool", [ToolResult("c1", [Text("seen")], name="look")]),
        Message("user", [Text("and now?")]),
    ]
    request = Request(
        "m",
        messages,
        tools=[tool],
        max_output_tokens=100,
        temperature=0.5,
        stop=["x"],
        stream=True,
        service_tier="flex",
        end_user="u",
        reasoning=ReasoningConfig(budget_tokens=2048),
        response_format=ResponseFormat("json_schema", {"type": "object", "properties": {}}),
        lossy=True,
    )
    names = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "google": "gemini-2.5-flash"}
    found: dict[str, dict[str, Any]] = {}
    for dialect, vendor in VENDOR_OF.items():
        row = CATALOGUE[vendor]
        found[dialect] = prepare(request, row, names[vendor], "k", dialect).wire.body  # type: ignore[arg-type]
    found["openai-chat"].update({"store": False, "n": 1, "tool_choice": "auto"})
    return found


def paths_of(value: Any, above: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, below in value.items():  # pyright: ignore[reportUnknownVariableType]
            path = f"{above}.{name}" if above else str(name)  # pyright: ignore[reportUnknownArgumentType]
            yield path
            yield from paths_of(below, path)
    elif isinstance(value, list):
        for number, below in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield from paths_of(below, f"{above}.{number}")


EVIL = (
    "{}: Extra inputs are not permitted",
    "Unsupported parameter: '{}' is not supported with this model.",
    "Unknown parameter: '{}'.",
    "Unsupported parameter: '{}' is not supported with this model. Use 'x_other' instead.",
    "Unsupported parameter: '{}' is not supported with this model. Use 'max_tokens' instead.",
    "'{}' has been renamed to 'messages'",
    "{}: Input should be greater than or equal to 1000000",
    "Invalid '{}': integer below minimum value. Expected a value >= 1000000",
    "Invalid '{}': string too long. Expected a string with maximum length 1",
    "Invalid '{}': array too long. Expected an array with maximum length 0",
    "{}: List should have at most 1 items",
    "{}: Input should be 'x' or 'priority'",
    "'{}' must be one of: 'x', 'y'",
    'Invalid JSON payload received. Unknown name "{}": Cannot find field.',
    "Argument not supported on this model: {}",
    "unknown field: parameter '{}' is not a valid field",
    "Malformed input request: #: extraneous key [{}] is not permitted",
    "Malformed input request: #/{}: 1 is not greater or equal to 1000000",
    "invalid {}: only 1000000 is allowed for this model",
    "Range of {} should be [1000000, 2000000]",
    "Input validation error: `{}` must be > 1000000 and < 2000000",
    "Invalid params: {} must be in range (1000000, +inf)",
    "Cannot set both temperature and {}",
    "body -> {}\n  Extra inputs are not permitted",
    "{}参数非法",
)
# What says what is asked, allowed and paid.
SACRED = frozenset(
    {"messages", "input", "contents", "system", "systemInstruction", "instructions", "tools"}
    | {"tool_choice", "toolConfig", "model", "stream", "stream_options", "store", "service_tier"}
    | {"serviceTier", "n", "response_format", "text", "max_tokens", "max_completion_tokens"}
    | {"max_output_tokens"}
)
BUDGETS = ("thinking.budget_tokens", "generationConfig.thinkingConfig.thinkingBudget")


def without_hints(value: Any) -> Any:
    """What must be the same whatever a provider says."""
    if isinstance(value, dict):
        return {
            key: without_hints(below)
            for key, below in value.items()  # pyright: ignore[reportUnknownVariableType]
            if not (key == "strict" or (key == "cache_control" and isinstance(below, dict)))
        }
    if isinstance(value, list):
        return [without_hints(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return value


@pytest.mark.parametrize("dialect", list(VENDOR_OF))
def test_a_hostile_provider_changes_no_content_and_weakens_no_limit(dialect: str) -> None:
    body = bodies()[dialect]
    config = body.get("generationConfig", {})
    read = 0
    for path in list(paths_of(body)):
        for words in EVIL:
            for said in (path, path.rpartition(".")[2]):
                error = InvalidRequestError(words.format(said), status=400, param=path)
                refused = read_refusal(error, body, {}, **{**WHO, "dialect": dialect})
                if refused is None:
                    continue
                read += 1
                sent, _, warnings = corrected(body, {}, refused.corrections)
                assert (sent == body) == (not warnings), (path, words)
                for name in SACRED & body.keys():
                    if name.startswith("max_") or name == "text":
                        continue
                    assert without_hints(sent.get(name)) == without_hints(body[name]), (path, words)
                numbers = [v for k, v in sent.items() if "max" in canonical(k) and "tok" in k]
                for limit in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
                    if limit in body:
                        assert numbers == [value] if (value := min(numbers)) else False
                        assert value <= body[limit], (path, words)
                kept = sent.get("generationConfig", {})
                if "maxOutputTokens" in config:
                    bounds = [v for k, v in kept.items() if "axOutput" in k or "max_t" in k]
                    assert bounds, (path, words)
                    assert min(bounds) <= config["maxOutputTokens"]
                for place in BUDGETS:
                    before, after = value_at(body, place), value_at(sent, place)
                    if before is not None and after is not None:
                        assert after <= before
                    if before is not None and after is None:
                        assert "budget" in json.dumps(sent).lower(), (path, words)
    assert read > 10


@pytest.mark.parametrize(
    "words",
    [
        "The 'authorization' header is required; use 'Bearer mine'",
        "Missing required header: 'x-api-key: mine'",
        "Missing required header: 'x-goog-user-project: mine'",
        "Missing required header: 'openai-organization: other'",
        "Missing required header: 'cookie: a=b'",
        "Missing required header: 'host: evil.example'",
        "Missing required header: 'x-forwarded-version: 1\r\nx-evil: 2'",
        "That requires the `context-1m-2025-08-07` value in the `anthropic-beta` header.",
        "It requires the `fast-mode-2026-02-01` value in the `anthropic-beta` header.",
    ],
)
def test_no_header_of_auth_routing_or_money_is_learned(words: str) -> None:
    error = InvalidRequestError(words, status=400)
    refused = read_refusal(error, {"messages": []}, {"anthropic-beta": "a"}, **WHO)
    if refused is not None:
        _, headers, _ = corrected({}, {"anthropic-beta": "a"}, refused.corrections)
        assert "\n" not in "".join(headers.values())
        assert set(headers) <= {"anthropic-beta"}
        assert headers["anthropic-beta"] == "a"


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("Unsupported parameter: 'temperature' is not supported", status=429),
        InvalidRequestError("Invalid value: 'Unknown parameter: 'temperature'.'", status=400),
        InvalidRequestError("the user wrote: Unknown parameter: 'temperature'.", status=400),
        InvalidRequestError("Unknown parameter: 'seed'.", status=400),  # it was not sent
        InvalidRequestError("Unknown parameter: 'temperature'.", status=409),
        InvalidRequestError("Unknown " * 100_000, status=400),
        InvalidRequestError("{" * 10_000, status=400, body={"detail": [[[[[[[]]]]]]]}),
    ],
)
def test_words_that_say_something_else_teach_nothing(error: UpstreamError) -> None:
    assert read_refusal(error, {"temperature": 1, "messages": []}, {}, **WHO) is None


@pytest.mark.parametrize(
    "words",
    [
        "\n" * 5_000_000,
        "Unknown parameter: 'zzz'\n" * 200_000,
        "Unknown parameter: " + "a." * 500_000,
        "body -> " + "a -> " * 200_000 + "\n  x",
        '{"error":' * 100_000,
    ],
    ids=["lines", "sentences", "path", "place", "nested"],
)
def test_a_refusal_without_end_is_read_in_no_time(words: str) -> None:
    body = {"temperature": 1, **{f"f{n}": {"a": {"b": {}}} for n in range(5_000)}}
    started = time.process_time()
    assert read_refusal(InvalidRequestError(words, status=400), body, {}, **WHO) is None
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    "words",
    [
        # Other models, other providers, other wires, and names that only look the same.
        "Model other/gpt-6 does not support parameter 'messages'",
        "Unknown parameter: 'ｍessages'",
        "Unknown parameter: '\u202etemperature'",
        "Unknown parameter: 'temperature\u0000'",
        "Unknown parameter: 'messages[0].content'. Did you mean 'prompt'?",
        "'temperature' has been renamed to 'tool_choice'",
        "'temperature' has been renamed to 'service_tier'",
        "'temperature' has been renamed to 'provider.order'",
        "Unsupported parameter: 'metadata' is not supported. Use 'system' instead.",
        "tools.0.function.description: Extra inputs are not permitted",
        "Argument not supported on this model: tools",
        "Range of n should be [5, 9]",
        "Cannot set both temperature and tools",
    ],
)
def test_a_hostile_refusal_teaches_nothing_of_content_tools_or_money(words: str) -> None:
    body = bodies()["openai-chat"]
    refused = read_refusal(InvalidRequestError(words, status=400), body, {}, **WHO)
    if refused is not None:
        sent, _, _ = corrected(body, {}, refused.corrections)
        assert {**sent, "temperature": 0} == {**body, "temperature": 0}, refused


def test_a_refusal_that_depends_on_the_rest_is_mended_and_not_remembered() -> None:
    words = "Unsupported parameter: 'temperature' is not supported when thinking is enabled"
    refused = read_refusal(InvalidRequestError(words, status=400), {"temperature": 1}, {}, **WHO)
    assert isinstance(refused, Refused)
    assert not refused.lasts


# ---------------------------------------------------------------------------------------------
# The book


def correction(number: int = 0, **fields: Any) -> Correction:
    now = datetime.now(UTC) - timedelta(seconds=1000 - number)
    known: dict[str, Any] = {
        **WHO,
        "act": "drop",
        "path": "temperature",
        "words": "no",
        "read": now.isoformat(timespec="seconds"),
    }
    return Correction(**{**known, **fields})


def test_a_correction_is_one_providers_at_one_address_for_one_model_and_wire() -> None:
    book = CorrectionBook()
    book.remember([correction()])
    assert book.for_target("p", "http://a", "m", "openai-chat")
    for other in (
        ("q", "http://a", "m", "openai-chat"),
        ("p", "http://b", "m", "openai-chat"),
        ("p", "http://a", "n", "openai-chat"),
        ("p", "http://a", "m", "anthropic"),
    ):
        assert book.for_target(*other) == ()


def test_a_book_is_bounded_and_forgets_what_is_old() -> None:
    book = CorrectionBook()
    book.remember(correction(n, model=f"m{n}") for n in range(900))
    assert len(book) == 512
    assert book.for_target("p", "http://a", "m899", "openai-chat")
    book.remember(correction(n, act="header", path=f"x-{n}-version", value="1") for n in range(40))
    assert len(book.for_target("p", "http://a", "m", "openai-chat")) <= 16
    old = datetime.now(UTC) - timedelta(days=31)
    ended = CorrectionBook()
    ended.remember([correction(read=old.isoformat(timespec="seconds"))])
    assert len(ended) == 0


def test_a_store_that_was_tampered_with_teaches_nothing_forbidden() -> None:
    book = CorrectionBook()
    book.replace(
        [
            correction(act="drop", path="messages"),
            correction(act="drop", path="stream_options"),
            correction(act="rename", path="max_tokens", value="x"),
            correction(act="at_least", path="max_tokens", value=10**6),
            correction(act="header", path="authorization", value="Bearer x"),
            correction(act="quirk", path="max_tokens_default", value=1),
        ]
    )
    assert len(book) == 0
