"""The console behind something that ends TLS, whether it passes the browser's `Host` on or not."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from polycall.config import parse_config
from polycall.errors import ConfigError
from polycall.sim import Simulation
from tests.certificates import certificate
from tests.console.conftest import Served, serve
from tests.console.test_openid import BEGIN, CALLBACK, Provider, settings
from tests.gateway.harness import Answer, sim_config
from tests.origins import Handler

HOST = "llm.example.com"


class Proxy:
    """Ends TLS as nginx does; with `keeps_host` it passes the browser's `Host` on."""

    def __init__(self, port: int, pem: Path, *, keeps_host: bool) -> None:
        class Passing(Handler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                own = dict(self.headers.items())
                host = own.pop("host", None) or own.pop("Host", "")
                headers = {
                    **own,
                    "host": host if keeps_host else f"127.0.0.1:{port}",
                    "x-forwarded-for": self.client_address[0],
                    "x-forwarded-proto": "https",
                    "x-forwarded-host": host,
                }
                body = self.read()
                inner = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                inner.request(self.command, self.path, body or None, headers)
                answer = inner.getresponse()
                data = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "content-length"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                inner.close()

            do_POST = do_GET  # noqa: N815 - the base class names it

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.trusted = ssl.create_default_context(cafile=str(pem))
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def ask(
        self, method: str, path: str, body: Any = None, *, host: str = HOST, **headers: str
    ) -> Answer:
        """What a browser at `https://HOST` gets."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20)
        raw = connection.sock = self.trusted.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port)), server_hostname=HOST
        )
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            data = None if body is None else json.dumps(body)
            kind = {} if data is None else {"content-type": "application/json"}
            connection.request(method, path, data, {"host": host, **kind, **named})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            cookies = "\n".join(answer.headers.get_all("set-cookie") or [])
            return Answer(answer.status, {**found, "set-cookie": cookies}, answer.read())
        finally:
            raw.close()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@contextmanager
def behind(
    folder: Path, simulation: Simulation, provider: Provider, *, keeps_host: bool
) -> Iterator[tuple[Served, Proxy]]:
    admin = f'hosts = ["{HOST}"]' if keeps_host else f'url = "https://{HOST}"'
    config = sim_config(simulation, f"[admin]\nremote = true\n{admin}\n{settings(provider.issuer)}")
    made = serve(folder, config)
    proxy = Proxy(made.gateway.port, certificate(folder, HOST), keeps_host=keeps_host)
    try:
        yield made, proxy
    finally:
        proxy.close()
        assert made.gateway.stop() == 0, made.gateway.log


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.mark.parametrize("keeps_host", [True, False], ids=["keeps Host", "changes Host"])
def test_people_sign_in_and_change_through_a_proxy_that_ends_tls(
    keeps_host: bool, provider: Provider, console_sim: Simulation, tmp_path: Path
) -> None:
    with behind(tmp_path, console_sim, provider, keeps_host=keeps_host) as (served, proxy):
        begun = proxy.ask("GET", BEGIN)
        assert begun.status == 303, begun.content
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        assert asked["redirect_uri"] == [f"https://{HOST}{CALLBACK}"]
        first = begun.headers["set-cookie"]
        assert re.fullmatch(
            r"__Host-polycall-openid=\S+; Path=/; HttpOnly; SameSite=Lax; Max-Age=600; Secure",
            first,
        )
        back = provider.authorize(begun.headers["location"])
        path = f"{CALLBACK}?{urlencode(back)}"
        answer = proxy.ask("GET", path, cookie=first.partition(";")[0], sec_fetch_site="cross-site")
        assert answer.headers["location"] == "/console#/signed-in"
        session = answer.headers["set-cookie"].split("\n")[-1]
        flags = "Path=/; HttpOnly; SameSite=Strict; Max-Age=43200; Secure"
        assert re.fullmatch(rf"__Host-polycall-console=\S+; {flags}", session)
        cookie = session.partition(";")[0]
        me = proxy.ask("GET", "/admin/v1/me", cookie=cookie).json()
        assert me["role"] == "operator"
        signed = {"cookie": cookie, "x_polycall_csrf": me["csrf"], "sec_fetch_site": "same-origin"}
        made = proxy.ask(
            "POST", "/admin/v1/keys", {"name": "a"}, origin=f"https://{HOST}", **signed
        )
        assert made.status == 200, made.content
        # Headers that anyone can write decide nothing.
        for origin in ("https://evil.example", "null", f"https://{HOST}.evil.example"):
            refused = proxy.ask("POST", "/admin/v1/keys", {"name": "b"}, origin=origin, **signed)
            assert refused.status == 403, origin
        if keeps_host:
            assert proxy.ask("GET", BEGIN, host="evil.example").status == 404
        forged = served.gateway.request(
            "GET", BEGIN, key=None, headers={"x-forwarded-host": "evil.example"}
        )
        assert "evil.example" not in forged.headers["location"]
        link = served.command("console", "--json")["link"]
        if not keeps_host:
            assert link.startswith(f"https://{HOST}/console#link=")


@pytest.mark.parametrize(
    "url",
    ["llm.example.com", "ftp://a.example", "https://", "https://a.example/path", "https://u@a.example",
     "https://a.example?x", "https://a.example:no", "https://김.example"],
)  # fmt: skip
def test_an_address_for_browsers_is_only_that(url: str) -> None:
    with pytest.raises(ConfigError, match=r"admin\.url|\burl\b"):
        parse_config(f'[admin]\nremote = true\nurl = "{url}"\n', environment={})
