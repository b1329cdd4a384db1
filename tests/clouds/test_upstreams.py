"""The library towards the clouds: paths, bodies, keys and signatures as each cloud checks them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from msgspec.structs import replace

from polycall import Client, tool
from polycall.errors import AuthenticationError, OverloadedError
from polycall.ir import Message, Text, ToolResult, Usage
from polycall.providers.credentials.aws import AWSCredential, AWSKeys, sign
from polycall.providers.credentials.renewal import Expiring, Renewal
from polycall.sim import Simulation, Turn
from polycall.transport.base import HTTPRequest, Retry
from tests.clouds.support import ASKED, WEATHER, at, aws_key, aws_keys, service_account
from tests.sdk import bedrock_runtime


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: 맑음"


@pytest.fixture(scope="module")
def keys(sim: Simulation) -> dict[str, str]:
    return {
        "azure": "azure-key-simulated",
        "foundry": "azure-key-simulated",
        "foundry-anthropic": "azure-key-simulated",
        "vertex": service_account(sim),
        "vertex-anthropic": "",
        "bedrock": aws_keys(sim),
        "bedrock-anthropic": aws_keys(sim),
        "bedrock-invoke": "bedrock-api-key-simulated",
    }


@pytest.fixture
def client(sim: Simulation, keys: dict[str, str]) -> Iterator[Client]:
    keys["vertex-anthropic"] = keys["vertex"]
    with Client(providers=[at(sim, name) for name in keys], keys=keys) as made:
        yield made


NAMES = (
    "azure",
    "foundry",
    "foundry-anthropic",
    "vertex",
    "vertex-anthropic",
    "bedrock",
    "bedrock-anthropic",
    "bedrock-invoke",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_calls_a_tool_and_reads_its_result(client: Client, name: str) -> None:
    model = f"{name}/sim-1"
    messages = [Message("user", [Text(ASKED)])]
    answer = client.generate_sync(model, messages, tools=[get_weather])
    (call,) = answer.tool_calls
    assert call.name == "get_weather"
    assert answer.finish_reason == "tool_calls"
    assert answer.usage.input_tokens > 0
    result = ToolResult(call.id, [Text("맑음 ☀️")], name=call.name)
    messages += [answer.message, Message("tool", [result])]
    with client.stream_sync(model, messages, tools=[get_weather]) as stream:
        for _ in stream:
            pass
        final = stream.response
    assert "맑음" in final.text
    assert final.usage.output_tokens > 0


@pytest.mark.parametrize(
    "name",
    ["eu.anthropic.claude-v1:0", "arn:aws:bedrock:eu-west-1:1:inference-profile/a~b", "a b+c"],
)
def test_a_models_name_is_signed_as_it_is_sent(client: Client, sim: Simulation, name: str) -> None:
    sim.script("bedrock", name, [Turn("ok"), Turn("ok")])
    assert client.generate_sync(f"bedrock/{name}", "hi").text == "ok"
    with client.stream_sync(f"bedrock/{name}", "hi") as stream:
        for _ in stream:
            pass
        assert stream.response.text == "ok"


def test_thinking_comes_back_signed_over_converse(client: Client, sim: Simulation) -> None:
    messages = [Message("user", [Text(ASKED)])]
    answer = client.generate_sync(
        "bedrock/sim-1-thinking", messages, tools=[get_weather], effort="high"
    )
    (call,) = answer.tool_calls
    result = ToolResult(call.id, [Text("x")], name=call.name)
    messages += [answer.message, Message("tool", [result])]
    client.generate_sync("bedrock/sim-1-thinking", messages, tools=[get_weather])
    body = sim.requests[-1].body
    thought = body["messages"][1]["content"][0]["reasoningContent"]["reasoningText"]
    assert thought["signature"].startswith("sig-")


def test_claudes_thinking_is_written_as_its_profile_says() -> None:
    with Client(keys={"bedrock": "k"}) as client:
        asked = client.request("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "hi",
                               reasoning=2000, max_output_tokens=8000)  # fmt: skip
        row = client.providers["bedrock"]
        client.providers["bedrock"] = replace(row, place={"region": "x-1"})
        exchange = client.prepare(asked)
    assert exchange.http.url == (
        "https://bedrock-runtime.x-1.amazonaws.com/model/"
        "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    )
    thinking = {"type": "enabled", "budget_tokens": 2000}
    assert exchange.wire.body["additionalModelRequestFields"] == {"thinking": thinking}


def test_a_price_is_that_of_the_model_wherever_it_is_served() -> None:
    usage = Usage(1_000_000, 1_000_000)
    with Client() as client:
        home = client.cost("anthropic/claude-sonnet-4-5", usage)
        assert home is not None
        for name in (
            "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "bedrock-anthropic/anthropic.claude-sonnet-4-5-20250929-v1:0",
            "vertex-anthropic/claude-sonnet-4-5@20250929",
            "foundry-anthropic/claude-sonnet-4-5",
        ):
            assert client.cost(name, usage) == home, name
        assert client.cost("bedrock/amazon.nova-lite-v1:0", usage) is not None


# What each official SDK sends is what the simulation takes: it is no stricter and no laxer.


def test_boto_is_taken_by_the_simulation(sim: Simulation) -> None:
    key_id, secret = aws_key(sim)
    runtime = bedrock_runtime(sim.base_url("bedrock"), key_id, secret, region=sim.clouds.region)
    spec = {"toolSpec": {"name": "get_weather", "inputSchema": {"json": WEATHER}}}
    asked: Any = {
        "modelId": "sim-1",
        "messages": [{"role": "user", "content": [{"text": ASKED}]}],
        "toolConfig": {"tools": [spec]},
    }
    assert runtime.converse(**asked)["stopReason"] == "tool_use"
    events = list(runtime.converse_stream(**asked)["stream"])
    assert "metadata" in events[-1]
    runtime.close()


def test_our_signature_is_botocores() -> None:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/a.b%3A0/converse?b=2&a=1%2F1"
    request = HTTPRequest(url, {"content-type": "application/json"}, '{"x":"서울"}'.encode())
    theirs = AWSRequest("POST", url, data=request.body, headers=dict(request.headers))
    signer = SigV4Auth(Credentials("AK", "secret", "token"), "bedrock", "eu-west-1")
    signer.add_auth(theirs)
    stamp = theirs.headers["X-Amz-Date"]
    import calendar
    import time

    now = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    keys = AWSKeys("AK", "secret", "token")
    ours = sign(request, keys, region="eu-west-1", service="bedrock", now=now)
    assert ours["authorization"] == theirs.headers["Authorization"]


def test_anthropics_clients_are_taken_by_the_simulation(sim: Simulation) -> None:
    key_id, secret = aws_key(sim)
    asked: Any = {
        "model": "sim-1",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
    }
    with anthropic.AnthropicBedrock(
        aws_access_key=key_id,
        aws_secret_key=secret,
        aws_region=sim.clouds.region,
        base_url=sim.base_url("bedrock"),
    ) as client:
        assert client.messages.create(**asked).content
        with client.messages.stream(**asked) as stream:
            assert stream.get_final_text()
    token, _ = sim.clouds.issue()
    with anthropic.AnthropicVertex(
        region="global", project_id="p", access_token=token, base_url=sim.url + "/vertex/v1"
    ) as client:
        assert client.messages.create(**asked).content


# Tokens, clocks, refusals


async def ask(client: Client, model: str) -> str:
    return (await client.generate(model, "say hello")).text


async def test_one_token_is_fetched_for_many_requests(sim: Simulation) -> None:
    account = service_account(sim)
    async with Client(providers=[at(sim, "vertex")], keys={"vertex": account}) as client:
        before = sim.clouds.tokens_issued
        await asyncio.gather(*(ask(client, "vertex/sim-1") for _ in range(20)))
        assert sim.clouds.tokens_issued == before + 1
        sim.clouds.revoke_all()
        await asyncio.gather(*(ask(client, "vertex/sim-1") for _ in range(20)))
        assert sim.clouds.tokens_issued == before + 2


async def test_a_token_that_ends_in_mid_stream_leaves_the_stream_alone(sim: Simulation) -> None:
    account = service_account(sim)
    async with Client(providers=[at(sim, "vertex")], keys={"vertex": account}) as client:
        async with client.stream("vertex/sim-1", "count to ten, slowly") as stream:
            seen = 0
            async for _ in stream:
                if not seen:
                    sim.clouds.revoke_all()
                seen += 1
        assert seen > 2
        assert await ask(client, "vertex/sim-1")


async def test_a_refused_token_is_a_typed_error_and_another_model_is_asked(
    sim: Simulation,
) -> None:
    account = service_account(sim)
    sim.clouds.refuses_tokens = True
    try:
        async with Client(providers=[at(sim, "vertex")], keys={"vertex": account}) as client:
            with pytest.raises(AuthenticationError, match="Account has been deleted"):
                await ask(client, "vertex/sim-1")
            with pytest.raises(AuthenticationError):  # at once, without asking again
                await ask(client, "vertex/sim-1")
    finally:
        sim.clouds.refuses_tokens = False


async def test_entra_gives_one_token_for_many_requests(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", sim.url + "/azure/identity")
    monkeypatch.setenv("IDENTITY_HEADER", "simulated-identity-header")
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    row = replace(at(sim, "azure"), auth="entra", needs_key=False)
    async with Client(providers=[row]) as client:
        before = sim.clouds.tokens_issued
        await asyncio.gather(*(ask(client, "azure/sim-1") for _ in range(10)))
        assert sim.clouds.tokens_issued == before + 1


@pytest.mark.parametrize("offset_s", [-400.0, 400.0])
async def test_a_clock_that_is_off_is_learned(sim: Simulation, offset_s: float) -> None:
    sim.clouds.clock_offset_s = offset_s
    try:
        keys = aws_keys(sim)[:-1] + f', "n": {offset_s}}}'
        async with Client(providers=[at(sim, "bedrock")], keys={"bedrock": keys}) as client:
            assert await ask(client, "bedrock/sim-1")
            before = sim.received
            assert await ask(client, "bedrock/sim-1")
            assert sim.received == before + 1
    finally:
        sim.clouds.clock_offset_s = 0.0


@pytest.mark.parametrize("offset_s", [-299.0, 299.0, 1200.0])
async def test_a_clock_that_google_still_takes_is_no_matter(
    sim: Simulation, offset_s: float
) -> None:
    sim.clouds.clock_offset_s = offset_s
    try:
        account = service_account(sim)
        async with Client(providers=[at(sim, "vertex")], keys={"vertex": account}) as client:
            assert await ask(client, "vertex/sim-1")
            before = sim.clouds.tokens_issued
            assert await ask(client, "vertex/sim-1")
            assert sim.clouds.tokens_issued == before
    finally:
        sim.clouds.clock_offset_s = 0.0


async def test_a_clock_far_ahead_of_googles_is_a_typed_error_for_each_who_asks(
    sim: Simulation,
) -> None:
    sim.clouds.clock_offset_s = -400.0  # the cloud's, so that ours is ahead
    keys = {"vertex": service_account(sim)}
    try:
        async with Client(providers=[at(sim, "vertex")], keys=keys) as client:
            work = (ask(client, "vertex/sim-1") for _ in range(5))
            errors = await asyncio.gather(*work, return_exceptions=True)
            with pytest.raises(AuthenticationError, match="iat and exp") as caught:
                await ask(client, "vertex/sim-1")  # at once, without asking again
    finally:
        sim.clouds.clock_offset_s = 0.0
    for error in (*errors, caught.value):
        assert isinstance(error, AuthenticationError)
        assert error.code == "token_refused"
        assert len(error.__notes__) == 1  # of its own request, and no other's


async def test_temporary_keys_are_renewed_when_they_end(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    clouds = sim.clouds
    clouds.aws_keys["ASIATEMP1"] = "temporary-secret"
    clouds.aws_sessions.update({"session-1": float("inf"), "session-2": float("inf")})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIATEMP1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "temporary-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-1")
    provider = at(sim, "bedrock", name="bedrock-temporary")
    async with Client(providers=[provider], keys={}) as client:
        assert await ask(client, "bedrock-temporary/sim-1")
        clouds.aws_sessions["session-1"] = 0.0
        monkeypatch.setenv("AWS_SESSION_TOKEN", "session-2")
        assert await ask(client, "bedrock-temporary/sim-1")
        clouds.aws_sessions["session-2"] = 0.0
        with pytest.raises(AuthenticationError, match="expired"):
            await ask(client, "bedrock-temporary/sim-1")
    del clouds.aws_keys["ASIATEMP1"]


async def test_a_region_that_is_out_is_another_models_turn(sim: Simulation) -> None:
    sim.clouds.regions_out.add("us-east-2")
    row = at(sim, "bedrock", name="bedrock-out", region="us-east-2")
    keys = {"bedrock": aws_keys(sim), "bedrock-out": aws_keys(sim)}
    retry = Retry(attempts=1)
    async with Client(providers=[row, at(sim, "bedrock")], keys=keys, retry=retry) as client:
        answer = await client.generate("bedrock-out/sim-1, bedrock/sim-1", "hi")
        assert answer.model == "bedrock/sim-1"
        with pytest.raises(OverloadedError):
            await client.generate("bedrock-out/sim-1", "hi")


async def test_a_wrong_signature_and_a_wrong_key_are_typed_errors(sim: Simulation) -> None:
    key_id, _ = aws_key(sim)
    wrong = json.dumps({"AccessKeyId": key_id, "SecretAccessKey": "wrong"})
    async with Client(providers=[at(sim, "bedrock")], keys={"bedrock": wrong}) as client:
        with pytest.raises(AuthenticationError, match="does not match the signature"):
            await ask(client, "bedrock/sim-1")
    async with Client(providers=[at(sim, "azure")], keys={"azure": "nope"}) as client:
        with pytest.raises(AuthenticationError, match="subscription key"):
            await ask(client, "azure/sim-1")


# Renewal by itself


class Numbers:
    def __init__(self, life_s: float) -> None:
        self.fetched = 0
        self.life_s = life_s
        self.now = 1000.0

    def fetch(self) -> Expiring[int]:
        self.fetched += 1
        return Expiring(self.fetched, self.now + self.life_s)


async def test_a_value_is_renewed_ahead_of_its_end_while_it_is_still_used() -> None:
    numbers = Numbers(1000.0)
    renewal = Renewal(numbers, clock=lambda: numbers.now)
    assert await renewal.current() == 1
    numbers.now += 800  # within the last five minutes
    assert await renewal.current() == 1
    for _ in range(200):
        if numbers.fetched == 2 and renewal.held == 2:
            break
        await asyncio.sleep(0.005)
    assert await renewal.current() == 2


async def test_a_value_that_is_refused_at_once_is_not_fetched_for_ever() -> None:
    numbers = Numbers(1000.0)
    renewal = Renewal(numbers, clock=lambda: numbers.now)
    assert renewal.reject(await renewal.current())
    assert not renewal.reject(await renewal.current())
    assert numbers.fetched == 2


async def test_whoever_stops_waiting_does_not_stop_the_others() -> None:
    numbers = Numbers(1000.0)
    renewal = Renewal(numbers, clock=lambda: numbers.now)
    first = asyncio.ensure_future(renewal.current())
    second = asyncio.ensure_future(renewal.current())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 1
    assert numbers.fetched == 1


def test_without_keys_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    credential = AWSCredential("bedrock", region="eu-west-1", service="bedrock")
    with pytest.raises(AuthenticationError, match="AWS_BEARER_TOKEN_BEDROCK"):
        asyncio.run(credential.headers(HTTPRequest("http://x/", {})))
