"""Authorization servers and resources that lie, in each step of a sign-in."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest

from polycall.errors import ToolServerError
from polycall.mcp import MemoryTokens
from polycall.mcp.token_requests import check_address, exchanged
from tests.mcp.evil_oauth import RESOURCE, SERVER, Party, Person, SentRequest, client_of, oauth_of

JSON_HEAD = {"content-type": "application/json"}


@pytest.fixture
async def party() -> AsyncGenerator[Party]:
    async with Party().open() as made:
        yield made


async def signed_in(party: Party, person: Person | None = None, **options: Any) -> Any:
    """What the server answers after the sign-in."""
    person = person or Person(party.url)
    async with client_of(party.mcp, oauth_of(person, **options)) as http:
        return (await http.post(party.mcp, json={})).json()


async def refused(party: Party, words: str, person: Person | None = None, **options: Any) -> str:
    with pytest.raises(ToolServerError, match=words) as caught:
        await signed_in(party, person, **options)
    return str(caught.value)


async def test_an_honest_one_is_signed_in_to(party: Party) -> None:
    person = Person(party.url)
    assert await signed_in(party, person) == {"token": "access-1"}
    (sent,) = party.of("/token")
    assert sent.form["resource"] == person.asked["resource"] == party.mcp
    assert person.asked["code_challenge_method"] == "S256"
    assert [each.path for each in party.asked if "x-secret" in each.headers] == ["/mcp", "/mcp"]


METADATA = [
    ({"issuer": "http://other.example"}, "issuer mismatch"),
    ({"code_challenge_methods_supported": None}, "PKCE with S256"),
    ({"code_challenge_methods_supported": ["plain"]}, "PKCE with S256"),
    ({"authorization_endpoint": "http://me@127.0.0.1/a"}, "behind a user's name"),
    ({"token_endpoint": "http://me:x@127.0.0.1/t"}, "behind a user's name"),
    ({"registration_endpoint": "http://me@127.0.0.1/r"}, "behind a user's name"),
    ({"token_endpoint": "ftp://127.0.0.1/t"}, "no metadata that can be used"),
    ({"authorization_endpoint": "http://169.254.169.254/a"}, "not of the open internet"),
    ({"registration_endpoint": "http://169.254.169.254/r"}, "not of the open internet"),
    ({"token_endpoint": "http://169.254.169.254/t"}, "not of the open internet"),
]


@pytest.mark.parametrize(("more", "words"), METADATA)
async def test_metadata_that_lie_are_believed_in_nothing(
    party: Party, more: dict[str, Any], words: str
) -> None:
    party.answers[SERVER] = party.metadata(**more)
    with pytest.raises(Exception, match=words):
        await signed_in(party)
    assert party.of("/token") == []


PLACES = ["authorization_endpoint", "token_endpoint", "registration_endpoint"]


@pytest.mark.parametrize("place", ["", *PLACES])
async def test_an_https_server_leads_to_no_http(
    party: Party, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its challenge, or in the metadata.  What goes to https is sent without TLS here."""

    async def sent_plainly(sent: httpx2.Request, server_url: str) -> httpx2.Response:
        check_address(str(sent.url), server_url)
        sent.url = sent.url.copy_with(scheme="http")
        return await exchanged(sent, party.mcp)

    monkeypatch.setattr("polycall.mcp.sign_in.exchanged", sent_plainly)
    secure = party.url.replace("http", "https")
    if not place:
        party.challenge = f'resource_metadata="{party.url}{RESOURCE}"'
    places = {name: f"{secure}/{name}" for name in PLACES}
    party.answers[RESOURCE] = {"resource": f"{secure}/mcp", "authorization_servers": [secure]}
    plain = {place: f"{party.url}/{place}"} if place else {}
    party.answers[SERVER] = party.metadata(**{**places, "issuer": secure, **plain})
    async with client_of(f"{secure}/mcp", oauth_of(Person(secure))) as http:
        with pytest.raises(ToolServerError, match="is not https as the server is"):
            await http.post(party.mcp, json={})
    assert set(party.paths()) <= {"/mcp", RESOURCE, SERVER}


async def test_an_authorization_server_without_metadata_gets_nothing(party: Party) -> None:
    """The library would send the client's secret to the resource's own address instead."""
    async with Party().open() as other:
        other.answers[SERVER] = (404, {}, "")
        party.answers[RESOURCE] = party.resource(authorization_servers=[other.url])
        await refused(party, "has no metadata", client_id="me", client_secret="tops3cret")
    assert [each for each in [*party.asked, *other.asked] if each.method == "POST"] == party.of(
        "/mcp"
    )


@pytest.mark.parametrize("grant", ["authorization_code", "client_credentials"])
async def test_a_secret_goes_to_the_issuer_that_knows_it_alone(party: Party, grant: str) -> None:
    known = {"client_id": "me", "client_secret": "tops3cret", "grant": grant}
    async with Party().open() as other:
        other.answers[RESOURCE] = party.resource(authorization_servers=[other.url])
        party.answers[RESOURCE] = party.resource(authorization_servers=[other.url])
        with pytest.raises(Exception, match="mismatch|is known to"):
            await signed_in(party, Person(other.url), issuer=party.url, **known)
        assert "tops3cret" not in str(other.asked)
        del party.answers[RESOURCE]
        tokens = MemoryTokens()
        found = await signed_in(party, Person(party.url), tokens=tokens, **known)
        assert found == {"token": "access-1"}
        # Without an issuer it is the one that was met first.
        party.good.clear()
        party.answers["/token"] = (400, JSON_HEAD, '{"error": "invalid_grant"}')
        party.answers[RESOURCE] = party.resource(authorization_servers=[other.url])
        await refused(party, "is known to", Person(other.url), tokens=tokens, **known)
        assert "tops3cret" not in str(other.asked)
        assert other.of("/token") == []


@pytest.mark.parametrize("status", [302, 307, 308])
@pytest.mark.parametrize("path", ["/token", "/register"])
async def test_no_step_is_redirected(party: Party, path: str, status: int) -> None:
    async with Party().open() as other:
        party.answers[path] = (status, {"location": f"{other.url}{path}?code=x"}, "")
        await refused(party, "a redirect to .*, which is not followed")
        assert other.asked == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"token_type": "DPoP"}, "not of the type Bearer"),
        ({"token_type": 7}, "not of the type Bearer"),
        ({"access_token": None}, "no access_token that can be used"),
        ({"access_token": ""}, "no access_token that can be used"),
        ({"access_token": ["x"]}, "no access_token that can be used"),
        ({"access_token": "a\r\nx-more: 1"}, "no access_token that can be used"),
        ({"access_token": "é"}, "no access_token that can be used"),
        ({"access_token": "a" * 20_000}, "no access_token that can be used"),
        ({"refresh_token": {"a": 1}}, "no refresh_token that can be used"),
    ],
)
async def test_tokens_that_are_none(party: Party, more: dict[str, Any], words: str) -> None:
    party.answers["/token"] = party.tokens(**more)
    await refused(party, words)
    assert len(party.of("/mcp")) == 1


@pytest.mark.parametrize(
    "life", [-1, 0, 0.5, "soon", "", [], {}, True, None, 10**400, 1e300, "NaN", "1e999", -(10**30)]
)
async def test_a_life_that_is_no_number_of_seconds_says_nothing(party: Party, life: Any) -> None:
    """Neither are tokens renewed for ever, nor does the sign-in fail."""
    party.answers["/token"] = party.tokens(expires_in=life)
    tokens = MemoryTokens()
    for _ in range(3):
        assert await signed_in(party, tokens=tokens) == {"token": "access-1"}
    assert len(party.of("/token")) == 1
    kept = json.loads(await tokens.load("tokens") or "")
    assert "ends_at" not in kept


@pytest.mark.parametrize(
    "body",
    ["", "[]", "null", "{", "[" * 100_000, "x" * 300_000, '{"access_token": "' + "a" * 300_000],
)
@pytest.mark.parametrize("path", ["/token", "/register"])
async def test_answers_that_are_none(party: Party, path: str, body: str) -> None:
    party.answers[path] = (200, JSON_HEAD, body)
    await refused(party, "can be used|over 262144 bytes")


@pytest.mark.parametrize("path", ["/token", "/register", SERVER, RESOURCE])
async def test_answers_that_do_not_come(
    party: Party, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polycall.mcp.token_requests._WITHIN_S", 0.3)

    async def never(_: SentRequest) -> Any:
        await asyncio.sleep(60)

    party.answers[path] = never
    await refused(party, "did not answer the sign-in|cannot be asked")


async def test_a_compressed_answer_is_not_unpacked(party: Party) -> None:
    party.answers["/token"] = (200, {"content-encoding": "gzip"}, b"\x1f\x8b" + bytes(50))
    await refused(party, "compressed")


async def test_a_registration_with_other_addresses_is_not_used(party: Party) -> None:
    party.client = {"client_id": "c1", "redirect_uris": ["http://evil.example/callback"]}
    person = Person(party.url)
    await refused(party, "other addresses to come back to", person)
    assert person.pages == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"state": "of-another"}, "not the answer to this sign-in"),
        ({"state": ""}, "not the answer to this sign-in"),
        ({"iss": "http://other.example"}, "iss mismatch"),
        ({"iss": ""}, "missing iss"),
        ({"code": "", "error": "access_denied\x1b[31m"}, r"failed: access_denied\\u001b"),
        ({"code": "", "error": "x", "state": "of-another"}, "not the answer to this sign-in"),
    ],
)
async def test_what_comes_back_is_of_this_sign_in(
    party: Party, more: dict[str, str], words: str
) -> None:
    person = Person(party.url)
    person.more = more
    with pytest.raises(Exception, match=words):
        await signed_in(party, person)
    assert party.of("/token") == []


async def test_no_more_scopes_are_asked_for_than_the_operator_says(party: Party) -> None:
    """Whatever the challenge, the resource and the authorization server would have."""
    party.challenge = 'scope="read admin"'
    party.answers[RESOURCE] = party.resource(scopes_supported=["admin"])
    party.answers[SERVER] = party.metadata(scopes_supported=["admin", "offline_access"])
    person = Person(party.url)
    assert await signed_in(party, person, scopes=("read", "list")) == {"token": "access-1"}
    assert person.asked["scope"] == "read list offline_access"
    assert json.loads(party.of("/register")[0].body)["scope"] == "read list offline_access"


async def test_a_server_that_wants_more_scopes_later_is_told_of(party: Party) -> None:
    oauth = oauth_of(person := Person(party.url), scopes=("read",))
    async with client_of(party.mcp, oauth) as http:
        assert (await http.post(party.mcp, json={})).status_code == 200
        head = {"www-authenticate": 'Bearer error="insufficient_scope", scope="read admin"'}
        party.answers["/mcp"] = (403, head, "")
        with pytest.raises(ToolServerError, match="wants the scopes 'admin', which are not among"):
            await http.post(party.mcp, json={})
    assert len(person.pages) == 1


async def test_secrets_stand_in_no_error_and_no_log(
    party: Party, caplog: pytest.LogCaptureFixture
) -> None:
    """An authorization server that says what it was sent, as some do when they are debugged."""
    caplog.set_level(logging.DEBUG)

    def echo(asked: SentRequest) -> Any:
        told = f"{asked.body} {asked.headers.get('authorization')} {list(asked.form.values())}"
        return 400, JSON_HEAD, json.dumps({"error": "bad", "error_description": told})

    party.answers["/token"] = echo
    for grant in ("authorization_code", "client_credentials"):
        options: dict[str, Any] = {"client_id": "me", "client_secret": "tops3cret", "grant": grant}
        said = await refused(party, "refused the sign-in: HTTP status 400, bad", **options)
        (*_, sent) = party.of("/token")
        basic = sent.headers.get("authorization", "none-sent").rpartition(" ")[2]
        for secret in ("tops3cret", "code-1", sent.form.get("code_verifier", "none"), basic):
            assert secret not in said + caplog.text, secret
