"""Tokens that end, are renewed by several at once, or belong to another server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from polycall.errors import ToolServerError
from polycall.mcp import MemoryTokens, OAuth, TokenFile, TokenStore
from tests.mcp.evil_oauth import RESOURCE, SERVER, Party, Person, SentRequest, client_of, oauth_of


@pytest.fixture
async def party() -> AsyncGenerator[Party]:
    async with Party().open() as made:
        yield made


async def signed_in(party: Party, **options: Any) -> OAuth:
    """Options whose tokens are kept; nobody comes to a page any more."""
    oauth = oauth_of(Person(party.url), **options)
    async with client_of(party.mcp, oauth) as http:
        assert (await http.post(party.mcp, json={})).status_code == 200
    return oauth_of(None, **{**options, "tokens": oauth.tokens})


async def age(oauth: OAuth) -> None:
    """Let the kept tokens be over."""
    kept = json.loads(await oauth.tokens.load("tokens") or "")
    await oauth.tokens.save("tokens", json.dumps({**kept, "ends_at": 1.0}))


async def asked(party: Party, oauth: OAuth) -> httpx2.Response:
    async with client_of(party.mcp, oauth) as http:
        return await http.post(party.mcp, json={})


def renewals(party: Party) -> list[dict[str, str]]:
    return [each.form for each in party.of("/token") if each.form["grant_type"] == "refresh_token"]


def one_use(party: Party) -> None:
    """Each refresh token is good once; a second use ends all tokens, as OAuth 2.1 wants it."""
    used: set[str] = set()

    async def answer(sent: SentRequest) -> Any:
        await asyncio.sleep(0.05)
        token = sent.form.get("refresh_token", "")
        if token and token in used:
            party.good.clear()
            return 400, {"content-type": "application/json"}, '{"error": "invalid_grant"}'
        used.add(token)
        return party.tokens()

    party.answers["/token"] = answer


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_replicas_that_share_tokens_renew_them_once(
    party: Party, kind: str, tmp_path: Path
) -> None:
    one_use(party)
    file = tmp_path / "tokens.json"
    first = await signed_in(party, tokens=MemoryTokens() if kind == "memory" else TokenFile(file))
    await age(first)
    replicas = [
        oauth_of(None, tokens=first.tokens if kind == "memory" else TokenFile(file))
        for _ in range(4)
    ]
    for _ in range(2):
        found = await asyncio.gather(*(asked(party, each) for each in replicas))
        assert [each.json() for each in found] == [{"token": "access-2"}] * 4
    assert len(renewals(party)) == 1


async def test_a_replica_that_is_behind_takes_what_another_one_has(party: Party) -> None:
    """Its connection lasts, with a token that ended when another process renewed it."""
    one_use(party)
    oauth = await signed_in(party)
    async with client_of(party.mcp, oauth) as http:
        assert (await http.post(party.mcp, json={})).json() == {"token": "access-1"}
        await age(oauth)
        assert (await asked(party, oauth)).json() == {"token": "access-2"}
        party.good.discard("access-1")
        assert (await http.post(party.mcp, json={})).json() == {"token": "access-2"}
    assert len(renewals(party)) == 1


async def test_a_token_that_is_revoked_early_is_renewed_without_a_person(party: Party) -> None:
    oauth = await signed_in(party)
    party.good.clear()
    assert (await asked(party, oauth)).json() == {"token": "access-2"}


async def test_who_leaves_while_tokens_are_renewed_takes_them_from_nobody(party: Party) -> None:
    one_use(party)
    oauth = await signed_in(party)
    await age(oauth)
    leaving = asyncio.ensure_future(asked(party, oauth))
    async with asyncio.timeout(10):
        while not renewals(party):
            await asyncio.sleep(0.005)
    leaving.cancel()
    await asyncio.wait({leaving})
    assert (await asked(party, oauth)).json() == {"token": "access-2"}
    assert len(renewals(party)) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_cannot_renew_now_is_asked_again(party: Party, status: int) -> None:
    oauth = await signed_in(party)
    await age(oauth)
    party.answers["/token"] = (status, {}, "")
    with pytest.raises(ToolServerError, match=f"refused the sign-in: HTTP status {status}"):
        await asked(party, oauth)
    assert len(party.of("/mcp")) == 2
    del party.answers["/token"]
    assert (await asked(party, oauth)).json() == {"token": "access-2"}


@pytest.mark.parametrize("status", [400, 401, 302])
async def test_a_refused_renewal_wants_a_person_and_is_not_asked_for_ever(
    party: Party, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    oauth = await signed_in(party)
    await age(oauth)
    party.good.clear()
    party.answers["/token"] = (status, {"location": "/x"}, "")
    async with client_of(party.mcp, oauth) as http:
        for _ in range(3):
            with pytest.raises(ToolServerError, match="wants a person to sign in"):
                await http.post(party.mcp, json={})
    assert len(renewals(party)) == 1
    assert "somebody has to sign in again" in caplog.text
    assert len(party.of("/register")) == 1  # in vain it is not registered again


@pytest.mark.parametrize(
    "more", [{"access_token": None}, {"token_type": "mac"}, {"access_token": "a b"}]
)
async def test_a_renewal_that_brings_no_token(
    party: Party, more: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    oauth = await signed_in(party)
    await age(oauth)
    party.answers["/token"] = {**party.tokens(), "refresh_token": "another-secret", **more}
    with pytest.raises(ToolServerError, match="can be used|not of the type Bearer"):
        await asked(party, oauth)
    assert "another-secret" not in caplog.text
    assert json.loads(await oauth.tokens.load("tokens") or "")["tokens"]["access_token"] == (
        "access-1"
    )


async def test_after_a_restart_tokens_are_renewed_where_and_for_what_they_were_given(
    party: Party,
) -> None:
    """By the authorization server, not at the resource; for the same audience."""
    async with Party().open() as server:
        party.answers[RESOURCE] = {"resource": party.url, "authorization_servers": [server.url]}
        party.good = server.good
        oauth = oauth_of(Person(server.url))
        assert (await asked(party, oauth)).status_code == 200
        await age(oauth)
        found = await asked(party, oauth_of(None, tokens=oauth.tokens))
        assert found.json() == {"token": "access-2"}
        sent = [each.form["resource"] for each in server.of("/token")]
        assert sent == [party.url, party.url]
    assert party.of("/token") == []


@pytest.mark.parametrize("grant", ["authorization_code", "client_credentials"])
async def test_another_address_gets_no_token_of_this_one(party: Party, grant: str) -> None:
    """`url` of a server is another one now, or two servers share a file."""
    known = {"client_id": "me", "client_secret": "tops3cret", "issuer": party.url, "grant": grant}
    oauth = await signed_in(party, **known)
    await age(oauth)
    async with Party().open() as other:
        other.answers[SERVER] = (404, {}, "")
        with pytest.raises(ToolServerError):
            await asked(other, oauth)
        said = str(other.asked)
    for secret in ("access-1", "refresh-1", "tops3cret"):
        assert secret not in said


async def test_a_client_of_its_own_secret_renews_by_it(party: Party) -> None:
    """A refresh token has no use there; after a restart it would go to the resource's address."""
    known = {"client_id": "me", "client_secret": "tops3cret", "grant": "client_credentials"}
    oauth = await signed_in(party, **known)
    assert "refresh-1" not in (await oauth.tokens.load("tokens") or "")
    await age(oauth)
    party.good.clear()
    assert (await asked(party, oauth)).json() == {"token": "access-2"}
    assert [each.form["grant_type"] for each in party.of("/token")] == ["client_credentials"] * 2


async def test_a_long_call_does_not_hold_up_others(party: Party) -> None:
    oauth = await signed_in(party)
    done = asyncio.Event()
    calls = 0

    async def slow(sent: SentRequest) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            done.set()
        await done.wait()
        return {"token": sent.headers["authorization"]}

    party.answers["/mcp"] = slow
    async with client_of(party.mcp, oauth) as http, asyncio.timeout(20):
        found = await asyncio.gather(*(http.post(party.mcp, json={}) for _ in range(3)))
    assert [each.json() for each in found] == [{"token": "Bearer access-1"}] * 3


async def test_requests_that_are_refused_at_once_lead_to_one_sign_in(party: Party) -> None:
    oauth = oauth_of(person := Person(party.url))
    async with client_of(party.mcp, oauth) as http:
        found = await asyncio.gather(*(http.post(party.mcp, json={}) for _ in range(5)))
    assert [each.json() for each in found] == [{"token": "access-1"}] * 5
    assert len(person.pages) == 1


async def test_what_was_kept_otherwise_is_as_if_nothing_was(
    party: Party, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = MemoryTokens()
    for name in ("tokens", "client"):
        await tokens.save(name, '{"access_token": ["old-secret"]}')
    assert (await asked(party, oauth_of(Person(party.url), tokens=tokens))).status_code == 200
    assert "what was kept of a sign-in cannot be read" in caplog.text
    assert "old-secret" not in caplog.text


class OwnStore:
    """A store as somebody wrote it for themselves: nothing but what the protocol wants."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def load(self, name: str) -> str | None:
        return self.values.get(name)

    async def save(self, name: str, value: str) -> None:
        self.values[name] = value


async def test_a_store_that_only_loads_and_saves_has_its_tokens_renewed(party: Party) -> None:
    """Once, however many connections have them."""
    one_use(party)
    store: TokenStore = OwnStore()
    oauth = await signed_in(party, tokens=store)
    await age(oauth)
    found = await asyncio.gather(*(asked(party, oauth) for _ in range(4)))
    assert [each.json() for each in found] == [{"token": "access-2"}] * 4
    assert len(renewals(party)) == 1


@pytest.mark.parametrize("ends", ["1.5", "9999999999.0", "", None])
async def test_tokens_that_were_kept_without_an_address_are_taken_over(
    party: Party, ends: str | None
) -> None:
    """The values of older versions; once: from then on they are this address's alone."""
    store = OwnStore()
    oauth = await signed_in(party, tokens=store)
    new, client = (json.loads(store.values.pop(name)) for name in ("tokens", "client"))
    store.values["tokens"] = json.dumps(new["tokens"])
    store.values["client"] = json.dumps(client["client"])
    store.values["server"] = json.dumps(new["server"])
    if ends is not None:
        store.values["expires"] = ends
    is_over = ends == "1.5"
    token = "access-2" if is_over else "access-1"
    assert (await asked(party, oauth)).json() == {"token": token}
    kept = json.loads(store.values["tokens"])
    assert (kept["url"], kept["tokens"]["access_token"]) == (party.mcp, token)
    assert json.loads(store.values["client"]) == client
    if not is_over:
        assert kept.get("ends_at") == (float(ends) if ends else None)
    async with Party().open() as other:
        with pytest.raises(ToolServerError):
            await asked(other, oauth)
        assert token not in str(other.asked)
    assert len(renewals(party)) == is_over
