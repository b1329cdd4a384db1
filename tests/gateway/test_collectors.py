"""Collectors that mean no good: they cost the gateway neither memory nor its end."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateway.harness import Gateway
from tests.gateway.test_traces import CHAT, ask, config
from tests.gateway.upstream import bad_upstream

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 400000000\r\n"


def _says_much(peer: socket.socket) -> None:
    peer.sendall(HEAD + b"\r\n")
    for _ in range(400):
        peer.sendall(b"x" * 1_000_000)


def _swells(peer: socket.socket) -> None:
    body = gzip.compress(b"0" * 300_000_000, 1)
    peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n")
    peer.sendall(b"content-length: %d\r\n\r\n%b" % (len(body), body))


def _drips(peer: socket.socket) -> None:
    peer.sendall(HEAD + b"\r\n")
    while True:
        peer.sendall(b"x")
        time.sleep(0.2)


def _drips_headers(peer: socket.socket) -> None:
    peer.sendall(HEAD + b"x: ")
    while True:
        peer.sendall(b"x")
        time.sleep(0.2)


def _leads_elsewhere(peer: socket.socket) -> None:
    host, port = peer.getsockname()
    peer.sendall(b"HTTP/1.1 307 X\r\nlocation: http://%b:%d/secret\r\n" % (host.encode(), port))
    _drips(peer)


def _is_silent(peer: socket.socket) -> None:
    peer.recv(1 << 20)
    time.sleep(40)


COLLECTORS: dict[str, Callable[[socket.socket], None]] = {
    "says much": _says_much,
    "swells": _swells,
    "drips": _drips,
    "drips headers": _drips_headers,
    "leads elsewhere": _leads_elsewhere,
    "is silent": _is_silent,
}


@contextlib.contextmanager
def collector(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """The address of one, and the paths that were asked for."""
    asked: list[bytes] = []

    def serve(peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            asked.append(peer.recv(65536).split(b" ")[1])
            answer(peer)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = bound.accept()
                threading.Thread(target=serve, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as bound:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1/traces", asked
        with contextlib.suppress(OSError):
            bound.shutdown(socket.SHUT_RDWR)


def peak_mib(pid: int) -> int:
    (line,) = (
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line
    )
    return int(line.split()[1]) // 1024


@pytest.mark.slow
@pytest.mark.parametrize("case", COLLECTORS)
def test_no_collector_holds_the_gateways_memory_or_its_end(case: str, tmp_path: Path) -> None:
    with bad_upstream() as upstream, collector(COLLECTORS[case]) as (url, asked):
        gateway = Gateway(tmp_path, config(upstream.base_url, url)).start()
        before = peak_mib(gateway.pid)
        for _ in range(3):
            assert gateway.post(CHAT, ask("up/plain")).status == 200
        ends_at = time.monotonic() + 20
        while not asked and time.monotonic() < ends_at:
            time.sleep(0.1)
        time.sleep(2)
        assert peak_mib(gateway.pid) - before < 50
        assert gateway.stop() == 0  # within the 15 s that it waits
        assert asked
        assert set(asked) == {b"/v1/traces"}
