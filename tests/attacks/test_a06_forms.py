"""A06: a form that another reader takes for another one, naming a model that was not checked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from polycall.errors import MalformedRequestError
from polycall.gateway.forwarding.multipart import FormScanner
from tests.gateway.harness import Gateway, provider_table

KEY = "sk-client-for-tests-0001"
NAMED = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nup/cheap\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
END = b"--b--\r\n"
DEAR = b'Content-Disposition: form-data; name="model"\r\n\r\ndear'

# The head of a part that some reader takes for one called `model`.
HEADS = {
    "a tab": b'Content-Disposition: form-data;\tname="model"',
    "a vertical tab": b'Content-Disposition: form-data;\x0bname="model"',
    "space before the sign": b'Content-Disposition: form-data; name ="model"',
    "space after the sign": b'Content-Disposition: form-data; name= "model"',
    "space before the colon": b'Content-Disposition : form-data; name="model"',
    "a folded parameter": b'Content-Disposition: form-data;\r\n name="model"',
    "a folded header": b'Content-Disposition:\r\n\tform-data; name="model"',
    "a folded name": b'Content-Disposition: form-data; name="\r\n model"',
    "a bare line feed": b'X: y\nContent-Disposition: form-data; name="model"',
    "a bare carriage return": b'X: y\rContent-Disposition: form-data; name="model"',
    "single quotes": b"Content-Disposition: form-data; name='model'",
    "an escaped letter": b'Content-Disposition: form-data; name="mod\\el"',
    "a percent": b'Content-Disposition: form-data; name="mod%65l"',
    "an encoded word": b'Content-Disposition: form-data; name="=?utf-8?B?bW9kZWw=?="',
    "a NUL": b'Content-Disposition: form-data; name="model\0"',
    "a list": b'Content-Disposition: form-data; name="model[]"',
    "no such header": b"Content-Type: text/plain",
    "another kind": b'Content-Disposition: attachment; name="model"',
    "an underscore": b'Content_Disposition: form-data; name="model"',
    "wide letters": 'Content-Disposition: form-data; name="model"'.encode("utf-16"),
    "encoded": DEAR.partition(b"\r\n")[0] + b"\r\nContent-Transfer-Encoding: base64",
}
# What follows a whole first part.
BODIES = {
    "a boundary after a line feed": FILE + b"\n--b\n" + DEAR.replace(b"\r", b"") + b"\r\n" + END,
    "a boundary after a return": FILE + b"\r--b\r" + DEAR.replace(b"\n", b"") + b"\r\n" + END,
    "an end that goes on": b"--b--x\r\n--b\r\n" + DEAR + b"\r\n" + END,
    "parts after the end": b"--b--\r\n--b\r\n" + DEAR + b"\r\n" + END,
    "space after a boundary": b"--b \t\r\n" + DEAR + b"\r\n" + END,
    "a longer boundary": b"--bc\r\n" + DEAR + b"\r\n" + END,
}


def refused(form: bytes, step: int) -> bool:
    scanner = FormScanner(b"b")
    try:
        for place in range(0, len(form), step):
            scanner.feed(form[place : place + step])
            if scanner.waits:
                assert scanner.model == "up/cheap"
                scanner.rename("cheap")
            scanner.feed(b"")
        scanner.close()
    except MalformedRequestError:
        return True
    return False


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("case", [*HEADS, *BODIES])
def test_a06_a_form_is_read_in_one_way_or_not_at_all(case: str, step: int) -> None:
    rest = BODIES[case] if case in BODIES else b"--b\r\n" + HEADS[case] + b"\r\n\r\ndear\r\n" + END
    assert refused(NAMED + rest, step)


def test_a06_a_form_of_line_feeds_hides_no_part_before_the_first_one() -> None:
    hidden = b"--b\n" + DEAR.replace(b"\r", b"") + b"\n--b\nX: y\r\n\r\nup/cheap\r\n"
    assert refused(hidden + END, 1 << 20)
    assert refused(b"a preamble\r\n" + NAMED + END, 1 << 20)


# Heads of 16 KiB, but for the first: a reader that tries each cut of it anew would take hours.
LONG_HEADS = {
    "spaces before a control character": b"x:" + b" " * 2_000 + b"\x01",
    "a name and no colon": b"x" * 16_000,
    "parameters and half a text": b"Content-Disposition: form-data" + b"; a=b" * 3_200 + b'"',
    "texts that do not end": b"Content-Disposition: form-data" + b'; a="' * 3_200,
    "escapes that do not end": b'Content-Disposition: form-data; a="' + b"\\" * 15_999,
    "escaped quotes": b'Content-Disposition: form-data; a="' + b'\\"' * 8_000,
    "spaces and no semicolon": b"Content-Disposition: form-data;" + b" " * 16_000 + b"x",
    "a name and spaces": b'Content-Disposition: form-data; a="\\ name' + b" " * 16_000 + b'"',
    "a name and stars": b'Content-Disposition: form-data; a="\\ name' + b"* " * 8_000 + b'"',
    "names": b'Content-Disposition: form-data; a="\\' + b" name " * 2_700 + b'"',
}


@pytest.mark.parametrize("case", LONG_HEADS)
def test_a_long_head_is_refused_at_once(case: str) -> None:
    """On the loop, whose other requests wait: the time is in proportion to the head."""
    form = b"--b\r\n" + LONG_HEADS[case] + b"\r\n\r\ndear\r\n" + END
    began_at = time.process_time()
    assert refused(form, 1 << 20)
    assert time.process_time() - began_at < 0.5


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_form_as_clients_write_it_passes(step: int) -> None:
    odd = FILE.replace(b'"a"', "\"내 음성 (1).wav\"; filename*=UTF-8''a%20b.wav".encode())
    odd = odd.replace(b"\r\n\r\n", b"\r\nContent-Type: audio/wav\r\n\r\n")
    files = odd + b"\r\n--not it\n--\r\r\n\r\n" + FILE.replace(b'"file"', b'"image[]"') + b"\r\n"
    form = b"\r\n" + files + NAMED.replace(b'"model"', b"model") + END
    scanner = FormScanner(b"b")
    out = b""
    for place in range(0, len(form), step):
        out += scanner.feed(form[place : place + step])
        if scanner.waits:
            scanner.rename("cheap")
            out += scanner.feed(b"")
    out += scanner.close()
    assert out == form.replace(b"up/cheap", b"cheap").replace(b'"model"', b"model")


class Taking(BaseHTTPRequestHandler):
    """Notes what a provider reads the form by."""

    seen: ClassVar[list[str]] = []

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.seen.append(self.headers["content-type"])
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    key = f'[[keys]]\nkey = "{KEY}"\nname = "first"\nmodels = ["up/cheap"]\n'
    text = provider_table("up", url, "openai-chat") + key
    served = Gateway(tmp_path_factory.mktemp("forms"), text).start()
    yield served
    served.stop()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "more",
    [
        "; boundary=other",
        "; boundary*=utf-8''other",
        "; boundary*0=o; boundary*1=ther",
        "; BOUNDARY=other",
        '; x="; boundary=other"',
        '; boundary="other',
    ],
)
def test_a06_a_form_has_the_boundary_by_which_it_was_read(gateway: Gateway, more: str) -> None:
    inner = NAMED.replace(b"--b", b"--other").replace(b"up/cheap", b"dear") + b"--other--\r\n"
    form = NAMED + FILE + inner + END
    Taking.seen.clear()
    headers = {"content-type": f"multipart/form-data; boundary=b{more}"}
    answer = gateway.request("POST", "/v1/audio/transcriptions", form, headers=headers)
    assert (answer.status, Taking.seen) == (200, ["multipart/form-data; boundary=b"])


def test_what_a_provider_calls_a_page_is_none_of_the_gateways_own(gateway: Gateway) -> None:
    """Its scripts would have the console's session of whoever opens a link to it."""
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = gateway.request("POST", "/v1/audio/transcriptions", NAMED + END, headers=headers)
    names = ("content-type", "x-content-type-options", "content-security-policy")
    assert [answer.headers.get(name) for name in names] == [
        "text/html",
        "nosniff",
        "default-src 'none'; sandbox",
    ]
