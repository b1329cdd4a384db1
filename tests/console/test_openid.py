"""Signing in by OpenID Connect: at a provider made by others, and at one that lies."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import importlib.util
import itertools
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from polycall.admin.openid import OpenID, SignInFailedError, person_of
from polycall.config import parse_config
from polycall.errors import ConfigError
from polycall.gateway.store import open_store
from polycall.sim import Simulation
from polycall.transport.http1 import HTTP1Transport
from tests.console.browser import browser
from tests.console.conftest import Served, serve
from tests.gateway.harness import Answer, sim_config
from tests.origins import Handler, started

pytest.importorskip("authlib", reason="the extra 'openid' is not installed")
joserfc_jwt: Any = pytest.importorskip("joserfc.jwt")
joserfc_jwk: Any = pytest.importorskip("joserfc.jwk")

SECRET = "client-secret-of-tests"
BEGIN = "/admin/v1/openid/begin"
CALLBACK = "/admin/v1/openid/callback"


def settings(issuer: str, more: str = "") -> str:
    return (
        f'[admin.openid]\nissuer = "{issuer}"\nclient_id = "polycall"\n'
        f'client_secret = "{SECRET}"\nlabel = "우리 회사"\n'
        f'roles = {{ ops = "operator", boss = "owner", all = "reader" }}\n{more}'
    )


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Provider:
    """A provider that checks what it gets as a strict one does; `lies` says what it changes."""

    def __init__(self) -> None:
        self.key = joserfc_jwk.RSAKey.generate_key(2048, parameters={"kid": "one"})
        self.shown = self.key
        self.lies: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.asked: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.signing: Any = None
        provider = self

        class Issuer(Handler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                if "well-known" in self.path:
                    self.answer(provider.metadata())
                else:
                    self.answer({"keys": [provider.shown.as_dict(is_private=False)]})

            def do_POST(self) -> None:
                form = parse_qs(self.read().decode())
                status, answer = provider.tokens(form, self.headers["authorization"] or "")
                self.answer(answer, status)

        self.server = started(Issuer)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            **self.lies,
        }

    def authorize(self, url: str) -> dict[str, str]:
        """What a person's yes sends the browser back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def tokens(self, form: dict[str, list[str]], authorization: str) -> tuple[int, Any]:
        expected = base64.b64encode(f"polycall:{SECRET}".encode()).decode()
        asked = self.codes.pop(form["code"][0], None)
        if asked is None or authorization != f"Basic {expected}":
            return 400, {"error": "invalid_grant"}
        digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
        if (
            b64(digest) != asked["code_challenge"]
            or form["redirect_uri"][0] != asked["redirect_uri"]
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "s-1",
            "aud": "polycall",
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            "email": "kim@example.com",
            "email_verified": True,
            "groups": ["ops", "others"],
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "RS256", "kid": self.key.kid, **self.header}
        if header["alg"] == "RS256":
            token = joserfc_jwt.encode(header, claims, self.signing or self.key)
        else:
            # The public key as a shared secret: the confusion of RS256 with HS256.
            token = b64(json.dumps(header).encode()) + "." + b64(json.dumps(claims).encode())
            secret = self.key.as_pem(private=False)
            signature = hmac.digest(secret, token.encode(), "sha256")
            token += "." + (b64(signature) if header["alg"] == "HS256" else "")
        return 200, {"access_token": "a", "token_type": "Bearer", "id_token": token}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def honest(provider: Provider) -> None:
    provider.lies, provider.claims, provider.header, provider.signing = {}, {}, {}, None


@pytest.fixture(scope="module")
def gateway(
    provider: Provider, console_sim: Simulation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("openid")
    made = serve(folder, sim_config(console_sim, settings(provider.issuer)))
    yield made
    assert made.gateway.stop() == 0, made.gateway.log
    assert "Traceback" not in made.gateway.log
    assert SECRET not in made.gateway.log


def cookie_of(answer: Answer, name: str) -> str:
    parts = answer.headers.get("set-cookie", "").split("\n")
    return next((p.partition(";")[0] for p in parts if p.startswith(f"{name}=")), "")


visitors = itertools.count(2)


def visit(gateway: Served, path: str, *, cookie: str = "", visitor: int = 0) -> Answer:
    """One request of a browser at an address of its own: failures are counted by address."""
    number = visitor or next(visitors) % 250 + 2
    connection = http.client.HTTPConnection(
        "127.0.0.1", gateway.gateway.port, timeout=30, source_address=(f"127.0.0.{number}", 0)
    )
    try:
        connection.request("GET", path, headers={"cookie": cookie, "sec-fetch-site": "cross-site"})
        answer = connection.getresponse()
        names = {name.lower(): value for name, value in answer.getheaders()}
        cookies = answer.headers.get_all("set-cookie") or []
        return Answer(answer.status, {**names, "set-cookie": "\n".join(cookies)}, answer.read())
    finally:
        connection.close()


def begun(gateway: Served) -> tuple[str, str]:
    """Where the browser is sent, and its cookie."""
    answer = visit(gateway, BEGIN)
    assert answer.status == 303, answer.content
    return answer.headers["location"], cookie_of(answer, "polycall-openid")


def come_back(gateway: Served, query: dict[str, str], cookie: str) -> Answer:
    return visit(gateway, f"{CALLBACK}?{urlencode(query)}", cookie=cookie)


def signed_in(gateway: Served, provider: Provider) -> Answer:
    url, cookie = begun(gateway)
    return come_back(gateway, provider.authorize(url), cookie)


def me(gateway: Served, answer: Answer) -> Any:
    session = cookie_of(answer, "polycall-console")
    found = gateway.gateway.request("GET", "/admin/v1/me", key=None, headers={"cookie": session})
    return found.json() if found.status == 200 else None


def test_a_person_signs_in_with_the_role_of_the_claims(gateway: Served, provider: Provider) -> None:
    answer = signed_in(gateway, provider)
    assert answer.headers["location"] == "/console#/signed-in"
    found = me(gateway, answer)
    assert (found["name"], found["role"]) == ("kim@example.com", "operator")
    # What the provider gives at the next sign-in counts.
    provider.claims = {"groups": ["all"]}
    assert me(gateway, signed_in(gateway, provider))["role"] == "reader"
    assert me(gateway, answer)["role"] == "reader"
    provider.claims = {"groups": "boss"}
    assert me(gateway, signed_in(gateway, provider))["role"] == "owner"
    acts = gateway.ask("GET", "/audit").json()["acts"]
    assert (acts[0]["action"], acts[0]["via"], acts[0]["role"]) == ("sign_in", "openid", "owner")


def test_a_name_of_another_gives_nothing_of_what_that_one_may(
    gateway: Served, provider: Provider
) -> None:
    provider.claims = {"email": "the owner", "groups": ["all"], "sub": "s-2"}
    found = me(gateway, signed_in(gateway, provider))
    assert found["role"] == "reader"
    assert re.fullmatch(r"the owner \([0-9a-f]{8}\)", found["name"])


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"claims": {"aud": "another-client"}}, "aud"),
        ({"claims": {"aud": ["polycall", "another-client"]}}, "azp"),
        ({"claims": {"azp": "another-client"}}, "azp"),
        ({"claims": {"nonce": "of-another-sign-in"}}, "nonce"),
        ({"claims": {"nonce": None}}, "nonce"),
        ({"claims": {"exp": 1_000_000_000}}, "expired"),
        ({"claims": {"exp": None}}, "exp"),
        ({"claims": {"nbf": 9_000_000_000}}, "not yet valid"),
        ({"claims": {"iss": "http://127.0.0.1:1"}}, "iss"),
        ({"claims": {"sub": None}}, "sub"),
        ({"claims": {"sub": ""}}, "sub"),
        ({"claims": {"sub": 7}}, "sub"),
        ({"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}}, "at_hash"),
        ({"header": {"alg": "none"}}, "refused"),
        ({"header": {"alg": "HS256"}}, "refused"),
        ({"signing": "rsa"}, "refused"),
        ({"header": {"kid": "unknown"}, "signing": "rsa"}, "refused"),
    ],
    ids=str,
)
def test_a_token_that_is_not_for_this_sign_in_is_refused(
    gateway: Served, provider: Provider, lie: dict[str, Any], said: str
) -> None:
    provider.claims, provider.header = lie.get("claims", {}), lie.get("header", {})
    if lie.get("signing") == "rsa":
        provider.signing = joserfc_jwk.RSAKey.generate_key(2048, parameters={"kid": "one"})
    before = len(gateway.gateway.log)
    answer = signed_in(gateway, provider)
    assert answer.headers["location"] == "/console#/failed=token", answer.headers
    assert cookie_of(answer, "polycall-console") == ""
    ends_at = time.monotonic() + 5
    while said not in gateway.gateway.log[before:]:
        assert time.monotonic() < ends_at, gateway.gateway.log[before:]
        time.sleep(0.02)


@pytest.mark.parametrize("verified", [False, "false", 0, "", [], None])
def test_an_address_that_is_not_verified_names_nobody(verified: Any) -> None:
    found = parse_config(settings("https://login.example.com")).admin.openid
    assert found is not None
    claims = {"sub": "s-9", "email": "boss@example.com", "email_verified": verified}
    assert person_of(found, claims, "reader").name == "s-9"
    for good in ({**claims, "email_verified": "true"}, {"sub": "s-9", "email": "boss@example.com"}):
        assert person_of(found, good, "reader").name == "boss@example.com"


def test_without_a_role_nobody_comes_in(gateway: Served, provider: Provider) -> None:
    for groups in ([], ["others"], None, {"ops": True}, [["ops"]], 7, "Ops"):
        provider.claims = {"groups": groups}
        answer = signed_in(gateway, provider)
        assert answer.headers["location"] == "/console#/failed=role", groups
        assert me(gateway, answer) is None


def test_an_answer_belongs_to_the_browser_that_began_and_counts_once(
    gateway: Served, provider: Provider
) -> None:
    (url, cookie), (other_url, other_cookie) = begun(gateway), begun(gateway)
    back, other = provider.authorize(url), provider.authorize(other_url)
    failed = "/console#/failed=state"
    assert come_back(gateway, back, other_cookie).headers["location"] == failed
    assert come_back(gateway, {**back, "state": ""}, cookie).headers["location"] == failed
    assert come_back(gateway, back, "").headers["location"] == failed
    assert come_back(gateway, back, "polycall-openid=AAAA").headers["location"] == failed
    assert come_back(gateway, back, "polycall-openid=%00~").headers["location"] == failed
    answer = come_back(gateway, back, cookie)
    assert answer.headers["location"] == "/console#/signed-in"
    again = come_back(gateway, back, cookie)
    assert again.headers["location"] == "/console#/failed=provider"
    # A session that was brought along is not the one that is opened.
    planted = "polycall-console=planted"
    taken = come_back(gateway, other, f"{other_cookie}; {planted}")
    assert cookie_of(taken, "polycall-console") not in ("", planted)


def test_the_answer_of_another_issuer_and_a_no_are_told(
    gateway: Served, provider: Provider
) -> None:
    url, cookie = begun(gateway)
    back = {**provider.authorize(url), "iss": "https://evil.example"}
    assert come_back(gateway, back, cookie).headers["location"] == "/console#/failed=token"
    refused = {"error": "access_denied", "state": back["state"]}
    answer = come_back(gateway, refused, cookie)
    assert answer.headers["location"] == "/console#/failed=refused"


def test_keys_that_the_provider_changed_are_fetched_again(
    gateway: Served, provider: Provider
) -> None:
    provider.key = provider.shown = joserfc_jwk.RSAKey.generate_key(2048, parameters={"kid": "two"})
    answer = signed_in(gateway, provider)
    assert answer.headers["location"] == "/console#/signed-in"


def test_who_was_revoked_here_stays_out(gateway: Served, provider: Provider) -> None:
    provider.claims = {"sub": "s-gone", "email": "gone@example.com"}
    answer = signed_in(gateway, provider)
    assert me(gateway, answer)["name"] == "gone@example.com"
    gateway.ask("POST", "/admins/gone%40example.com/revoke", {})
    admins = gateway.ask("GET", "/admins").json()["admins"]
    number = next(a["id"] for a in admins if a["name"] == "gone@example.com")
    gateway.ask("POST", f"/admins/{number}/revoke", {})
    assert me(gateway, answer) is None
    assert signed_in(gateway, provider).headers["location"] == "/console#/failed=role"


@pytest.mark.parametrize(
    "lies",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": None},
        {"id_token_signing_alg_values_supported": 7},
        {"id_token_signing_alg_values_supported": []},
        {"id_token_signing_alg_values_supported": ["HS256", "none", ["RS256"]]},
        {"token_endpoint_auth_methods_supported": True},
    ],
    ids=str,
)
async def test_a_provider_that_misnames_itself_is_not_asked(
    provider: Provider, tmp_path: Path, lies: dict[str, Any]
) -> None:
    provider.lies = lies
    config = parse_config(settings(provider.issuer), environment={})
    assert config.admin.openid is not None
    store, transport = open_store("sqlite:///polycall.db", tmp_path), HTTP1Transport()
    try:
        with pytest.raises(SignInFailedError) as failed:
            await OpenID(store, transport).begin(config.admin.openid, "http://127.0.0.1/")
        assert failed.value.code == "provider"
    finally:
        await transport.close()
        await store.close()


def test_failures_of_one_address_are_slowed_down(gateway: Served, provider: Provider) -> None:
    statuses = [visit(gateway, f"{CALLBACK}?state=x", visitor=1).status for _ in range(25)]
    assert (statuses[0], statuses[-1]) == (303, 429)
    assert signed_in(gateway, provider).headers["location"] == "/console#/signed-in"


def test_the_sign_in_says_what_ways_there_are(gateway: Served, served: Served) -> None:
    found = gateway.gateway.request("GET", "/admin/v1/sign-in", key=None)
    assert found.json() == {"openid": "우리 회사"}
    none = served.gateway.request("GET", "/admin/v1/sign-in", key=None)
    assert none.json() == {"openid": None}
    assert served.gateway.request("GET", BEGIN, key=None).status == 404


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('issuer = "http://login.example.com"\nclient_id = "a"\nroles = {a = "owner"}', "https://"),
        ('issuer = "https://a.example"\nclient_id = "a"', "names no role"),
        ('issuer = "https://a.example"\nclient_id = "a"\nroles = {a = "god"}', "roles"),
        ('issuer = "https://a.example"\nroles = {a = "owner"}', "'client_id' is missing"),
        ('issuer = "https://a.example"\nclient_id = "a"\nroles = {a = "owner"}\nscopes = []',
         "lacks 'openid'"),
        ('issuer = "https://a.example"\nclient_id = "a"\nroles = {a = "owner"}\n'
         'client_secret = "env:POLYCALL_NOT_SET"', "client_secret"),
    ],
)  # fmt: skip
def test_a_wrong_section_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_config(f"[admin.openid]\n{text}\n", environment={})


@pytest.fixture(scope="module")
def other_provider() -> Iterator[str]:
    """A provider that others wrote: oidc-provider-mock, as a process."""
    if importlib.util.find_spec("oidc_provider_mock") is None:
        pytest.skip("oidc-provider-mock is not installed")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ends_at = time.monotonic() + 30
        while True:
            try:
                put_user(port, "kim", {"groups": ["boss"], "email": "kim@example.com"})
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < ends_at
                time.sleep(0.1)
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(10)


def put_user(port: int, name: str, claims: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection("localhost", port, timeout=5)
    body = json.dumps(claims)
    headers = {"content-type": "application/json"}
    connection.request("PUT", f"/users/{quote(name)}", body, headers)
    assert connection.getresponse().status < 300
    connection.close()


def test_a_provider_of_others_in_a_real_browser(
    other_provider: str, console_sim: Simulation, tmp_path: Path
) -> None:
    made = serve(tmp_path, sim_config(console_sim, settings(other_provider)))
    try:
        with browser() as page:
            page.look(380, "light")
            page.open(made.gateway.url + "/console")
            page.click("Sign in with 우리 회사")
            page.wait_for("document.querySelector('input[name=sub]')")
            page.evaluate("document.querySelector('input[name=sub]').value = 'kim'")
            page.evaluate(
                "document.querySelector('input[name=sub]').form.querySelector('button').click()"
            )
            page.wait_for("document.querySelector('h1')?.textContent === 'Now'")
            assert "kim@example.com (owner)" in page.evaluate(
                "document.querySelector('header').innerText"
            )
            assert page.evaluate("document.cookie") == ""
            assert page.evaluate("location.href") == made.gateway.url + "/console#/now"
            page.click("Sign out")
            page.wait_for("document.body.innerText.includes('Sign in with')")
            assert page.evaluate("fetch('/admin/v1/me').then(r => r.status)") == 401
    finally:
        assert made.gateway.stop() == 0, made.gateway.log
