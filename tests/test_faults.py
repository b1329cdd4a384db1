"""Providers that fail: the right typed error in bounded time, and never an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from polycall.client import Client
from polycall.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PolycallError,
    ProtocolError,
    RateLimitError,
    RequestError,
    ServerError,
    UpstreamConnectionError,
    UpstreamError,
    UpstreamTimeoutError,
)
from polycall.ir import PartDelta
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.sim import Simulation
from polycall.transport.base import Deadlines, Retry
from tests.support import simulated

VENDORS = ["openai", "anthropic", "google", "deepseek", "compatible"]
QUICK = Deadlines(connect_s=1, read_s=0.4, total_s=5)
TWICE = Retry(attempts=2, base_s=0.01)

# The model's fault, and what may come of it: asked for a whole answer, and as a stream.
FAULTS: dict[str, tuple[type[PolycallError], ...]] = {
    "fault-500": (ServerError,),
    "fault-503": (OverloadedError,),
    "fault-429": (RateLimitError,),
    "fault-hang": (UpstreamTimeoutError,),
    "fault-close": (UpstreamConnectionError,),
    "fault-garbage": (ProtocolError,),
    "fault-html": (ServerError,),
    "fault-empty": (ProtocolError,),
    "fault-cut": (UpstreamConnectionError, ProtocolError),
    "no-such-model": (NotFoundError,),
}
STREAM_FAULTS: dict[str, tuple[type[PolycallError], ...]] = {
    "fault-hang-midstream": (UpstreamTimeoutError,),
    "fault-error-midstream": (UpstreamError,),
    "fault-error-first": (UpstreamError,),
}


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with Simulation() as running:
        yield running


def client_for(
    simulation: Simulation, vendor: str, *, key: str = "k", retry: Retry = TWICE
) -> Client:
    return Client(
        providers=[simulated(simulation, vendor)],
        keys={vendor: key},
        deadlines=QUICK,
        retry=retry,
    )


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_whole_answer(simulation: Simulation, vendor: str, fault: str) -> None:
    started = time.monotonic()
    async with client_for(simulation, vendor) as client:
        with pytest.raises(FAULTS[fault]):
            await client.generate(f"{vendor}/{fault}", "날씨", max_output_tokens=50)
    assert time.monotonic() - started < 6


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("fault", [*FAULTS, *STREAM_FAULTS])
async def test_a_stream(simulation: Simulation, vendor: str, fault: str) -> None:
    started = time.monotonic()
    expected = {**FAULTS, **STREAM_FAULTS}[fault]
    async with client_for(simulation, vendor) as client:
        stream = client.stream(f"{vendor}/{fault}", "날씨", max_output_tokens=50)
        with pytest.raises(expected):
            async for _ in stream:
                pass
        with pytest.raises(ProtocolError):
            _ = stream.response
    assert time.monotonic() - started < 6


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_wrong_key(simulation: Simulation, vendor: str) -> None:
    async with client_for(simulation, vendor, key="invalid-secret-9") as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.generate(f"{vendor}/sim-1", "x", max_output_tokens=50)
    assert "invalid-secret-9" not in str(caught.value)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_rate_limit_is_waited_for_and_passed(simulation: Simulation, vendor: str) -> None:
    patient = Retry(attempts=3, base_s=0.01)
    async with client_for(simulation, vendor, retry=patient) as client:
        response = await client.generate(f"{vendor}/fault-429-once", "hello", max_output_tokens=50)
    assert response.text


@pytest.mark.parametrize("vendor", VENDORS)
async def test_nothing_is_repeated_after_the_first_event(
    simulation: Simulation, vendor: str
) -> None:
    before = simulation.received
    async with client_for(simulation, vendor, retry=Retry(attempts=5, base_s=0.01)) as client:
        with pytest.raises(UpstreamError):
            async for _ in client.stream(
                f"{vendor}/fault-error-midstream", "x", max_output_tokens=50
            ):
                pass
    assert simulation.received - before == 1


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_first_frame_that_is_an_error_is_tried_again(
    simulation: Simulation, vendor: str
) -> None:
    """B27: a status of 200 whose first event is an error has given nothing yet."""
    before = simulation.received
    async with client_for(simulation, vendor) as client:
        with pytest.raises(UpstreamError):
            async for _ in client.stream(f"{vendor}/fault-error-first", "x", max_output_tokens=50):
                pass
    assert simulation.received - before == 2


@pytest.mark.parametrize("vendor", VENDORS)
async def test_cancelling_closes_the_provider_connection_at_once(
    simulation: Simulation, vendor: str
) -> None:
    async with client_for(simulation, vendor) as client:
        stream = client.stream(f"{vendor}/fault-slow", "x", max_output_tokens=50)

        async def read() -> None:
            async for event in stream:
                if isinstance(event, PartDelta):
                    seen.set()

        seen = asyncio.Event()
        task = asyncio.create_task(read())
        await asyncio.wait_for(seen.wait(), 5)
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 1


async def test_mistakes_of_the_caller_send_nothing(simulation: Simulation) -> None:
    before = simulation.received
    async with client_for(simulation, "openai") as client:
        for model, message in (
            ("sim-1", "does not say its provider"),
            ("nobody/sim-1", "no provider is called 'nobody'"),
            ("/x", "does not say its provider"),
        ):
            with pytest.raises(RequestError, match=message):
                await client.generate(model, "x")
        with pytest.raises(RequestError, match="has no 'temprature'; did you mean 'temperature'"):
            await client.generate("openai/sim-1", "x", temprature=1)
    assert simulation.received == before


async def test_a_missing_key_is_said(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    async with Client(providers=[CATALOGUE["openai"]]) as client:
        with pytest.raises(RequestError, match="set OPENAI_API_KEY"):
            await client.generate("openai/gpt-5.4", "x")


@pytest.mark.parametrize(
    "words",
    [
        "The supported API model names are deepseek-v4-pro or deepseek-v4-flash, but you passed x.",
        "Model Not Exist",
        "The model `gone-1` does not exist or you do not have access to it.",
        "Invalid model name passed in model=gone-1",
        "unknown model 'gone-1'",
    ],
)
@pytest.mark.parametrize("name", DIALECTS)
def test_a_model_that_is_not_there_is_not_found_whatever_the_status(name: str, words: str) -> None:
    for status in (400, 422):
        for kind in ("invalid_request_error", None):
            body = {"error": {"message": words, "type": kind}}
            assert type(DIALECTS[name].parse_error(status, body)) is NotFoundError


@pytest.mark.parametrize("name", DIALECTS)
def test_other_words_of_models_stay_mistakes_of_the_request(name: str) -> None:
    for words in (
        "This model does not support the parameter 'top_k'",
        "temperature is not supported with this model",
        "the file of the message does not exist; the model was not asked",
    ):
        body = {"error": {"message": words, "type": "invalid_request_error"}}
        assert type(DIALECTS[name].parse_error(400, body)) is InvalidRequestError


def test_a_place_is_named_once() -> None:
    assert str(RequestError("tools: none may be there", path="tools")) == "tools: none may be there"
    assert str(RequestError("none may be there", path="tools")) == "tools: none may be there"
    assert str(RequestError("tools: bad", path="a.tools")) == "a.tools: tools: bad"
