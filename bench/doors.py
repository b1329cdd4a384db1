"""How much memory, and how long the loop's time, one request or provider can take of the gateway.

    python -m bench.doors                 # every door, one after the other
    python -m bench.doors --only "one long text;a bomb"

A real `polycall serve` runs in front of an upstream that misbehaves by the name of the model.  For
each door the gateway is asked once to warm up, then the door is tried three times (`--rounds`).
`MiB` is the most that the process grew over what it held before the first; `held` is the longest
time for which a probe on a connection of its own had no answer to `/healthz`, less the probe's
median, in the best of the rounds: other work on the machine only adds to it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from bench.answer_doors import AnswerDoor, answer_doors, whole
from bench.answer_wires import WIRES
from bench.client_doors import ANTHROPIC, CHAT, asking, client_doors, messages, post
from bench.door_upstream import PROVIDERS, Upstream, long_answers
from bench.side_doors import SideDoor, config, program_doors, side_doors, warming
from bench.socket_doors import Door, read_on, socket_doors

MIB_MAX = 50.0
HELD_MS_MAX = 50.0
ROUNDS = 3
_DOOR_S = 8.0  # a door that is still open then is closed by us

# Providers of the other wires, by what `answer_doors` calls them.
_DIALECTS = {
    "chat": "openai-chat",
    "anthropic": "anthropic",
    "responses": "openai-responses",
    "gemini": "gemini",
    "ollama": "ollama-chat",
    "interactions": "gemini-interactions",
}


def _providers(upstream: Upstream) -> str:
    """One of each wire, as the configuration has them."""
    root = upstream.url.removesuffix("/v1")
    clouds = {"framed": "bedrock-invoke", "converse": "bedrock"}
    made = [
        f'[providers.{name}]\nlike = "{like}"\nregion = "r"\nbase_url = "{root}"\n'
        for name, like in clouds.items()
    ]
    for name, dialect in _DIALECTS.items():
        url = root if name == "anthropic" else upstream.url
        made.append(f'[providers.{name}]\ndialect = "{dialect}"\nbase_url = "{url}"\n')
    return "".join(f'{each}api_key = "sk-up-aaaaaaaa"\n' for each in made)


class Served:
    """The gateway as a process, with a probe beside it."""

    def __init__(self, folder: Path, upstream: Upstream, more: str) -> None:
        path = folder / "polycall.toml"
        path.write_text(
            "[server]\nattempts = 1\ntotal_s = 30\nread_s = 5\nbody_s = 5\n"
            f'[providers.up]\ndialect = "openai-chat"\nbase_url = "{upstream.url}"\n'
            'api_key = "sk-up-aaaaaaaa"\n' + _providers(upstream) + more,
            encoding="utf-8",
        )
        program = Path(sys.executable).with_name("polycall")
        make = [program, "admins", "create", "a", "--role", "owner", "--key", "--json"]
        made = subprocess.check_output([*make, "--config", path], text=True)
        self.said = ""  # the status of the latest answer
        self.admin_key: str = json.loads(made)["key"]
        self._process = subprocess.Popen(
            [program, "serve", "--config", path, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().rsplit(":", 1)[1])

    @property
    def resident_mib(self) -> float:
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=_DOOR_S)

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=30)


@contextmanager
def probe(port: int) -> Generator[list[float]]:
    """Seconds that each `/healthz` took, measured by a process of its own."""
    command = [sys.executable, "-m", "bench.doors", "--probe", str(port)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert process.stdout is not None
    process.stdout.readline()  # it has begun
    took: list[float] = []
    try:
        yield took
    finally:
        output, _ = process.communicate("stop\n", timeout=60)
        took.extend(json.loads(output))


def run_probe(port: int) -> None:
    """Ask until something comes on standard input; print what each question took."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took: list[float] = []
    print("begun", flush=True)
    while not over.is_set():
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        took.append(time.perf_counter() - began)
        time.sleep(0.001)
    print(json.dumps(took))


def exchange(first: bytes, more: bytes) -> Door:
    """Send, and read the answer until its end, or until the door has been open for long."""

    def door(served: Any, until: float) -> None:
        with served.connect() as peer, suppress(OSError):
            peer.sendall(first)
            while more and time.monotonic() < until:
                peer.settimeout(max(until - time.monotonic(), 0.01))
                peer.sendall(more)
            first_line = peer.recv(12)
            served.said = first_line[9:].decode("latin-1")
            read_on(peer, until)

    return door


def measure(served: Served, door: Door, rounds: int) -> tuple[float, float]:
    """MiB of all rounds, and milliseconds of the best."""
    before = most = served.resident_mib
    served.said = ""
    held: list[float] = []
    for _ in range(rounds):
        with probe(served.port) as took:
            until = time.monotonic() + _DOOR_S
            trying = threading.Thread(target=door, args=(served, until))
            trying.start()
            while trying.is_alive():
                most = max(most, served.resident_mib)
                time.sleep(0.005)
            trying.join()
        held.append((max(took) - statistics.median(took)) * 1000)
    return most - before, min(held)


def _of_answer(door: AnswerDoor, place: int, upstream: Upstream) -> tuple[str, Callable[[], Door]]:
    model = f"door{place}"
    name = f"{door.provider}/{model}"

    def make() -> Door:
        made = door.answer()
        upstream.answers[model] = lambda: made
        body = {key: name if value == "{}" else value for key, value in door.body.items()}
        return exchange(post(door.path.format(name), json.dumps(body).encode()), b"")

    return f"provider: {door.name}", make


def _doors(upstream: Upstream) -> Iterator[tuple[str, Callable[[], Door]]]:
    for name, wire in WIRES.items():  # the model that each has answers well
        upstream.answers[name] = partial(whole, 200, json.dumps(wire.whole).encode())
    for name, make in client_doors():
        yield f"client: {name}", lambda make=make: exchange(*make())
    for name in (*PROVIDERS, *long_answers()):
        body = {"model": f"up/{name.replace(' ', '_')}", "messages": messages(1, 9)}
        for kind, path in (("passed", CHAT), ("translated", ANTHROPIC)):
            asked = asking(path, {**body, "stream": "event" in name or "comment" in name})
            yield f"provider: {name}, {kind}", lambda asked=asked: exchange(asked, b"")
    for place, door in enumerate(answer_doors()):
        yield _of_answer(door, place, upstream)
    yield from socket_doors()


def _side(door: SideDoor, upstream: Upstream) -> Callable[[], Door]:
    def make() -> Door:
        upstream.paths = {path: answer() for path, answer in door.answers.items()}
        requests = iter(door.requests())

        def one_round(served: Any, until: float) -> None:
            exchange(next(requests), b"")(served, until)

        return one_round

    return make


def _side_doors(
    upstream: Upstream, doors: Iterable[SideDoor], kind: str = "side"
) -> Iterator[tuple[str, Callable[[], Door]]]:
    for door in doors:
        yield f"{kind}: {door.name}", _side(door, upstream)


@contextmanager
def serving(upstream: Upstream, more: str) -> Generator[Served]:
    """A gateway that has been asked some."""
    with tempfile.TemporaryDirectory() as folder:
        served = Served(Path(folder), upstream, more)
        try:
            for path in (CHAT, ANTHROPIC) * 20:
                asked = asking(path, {"messages": messages(2, 9)})
                exchange(asked, b"")(served, time.monotonic() + _DOOR_S)
            yield served
        finally:
            served.close()


def _sweep(
    served: Served, doors: Iterator[tuple[str, Callable[[], Door]]], wanted: list[str], rounds: int
) -> int:
    """Try each door, and print its row; gives how many are over."""
    over = 0
    for name, make in doors:
        if wanted and not any(each in name for each in wanted):
            continue
        mib, held_ms = measure(served, make(), rounds)
        is_over = mib > MIB_MAX or held_ms > HELD_MS_MAX
        over += is_over
        end = "  over" if is_over else ""
        print(f"{name:60} {served.said:>6} {mib:8.1f} {held_ms:9.1f}{end}", flush=True)
    return over


def main() -> int:
    """Try each door, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="parts of their names, by semicolon")
    parser.add_argument("--rounds", type=int, default=ROUNDS, choices=range(1, ROUNDS + 1))
    parser.add_argument("--probe", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        run_probe(options.probe)
        return 0
    wanted = [each.strip() for each in options.only.split(";") if each.strip()]
    print(f"{'door':60} {'status':>6} {'MiB':>8} {'held ms':>9}")
    upstream, over = Upstream(), 0
    if not wanted or not all(each.startswith("side:") for each in wanted):
        with serving(upstream, '[mcp.away]\nurl = "http://127.0.0.1:9/mcp"\n') as served:
            over += _sweep(served, _doors(upstream), wanted, options.rounds)
    root = upstream.url.removesuffix("/v1")
    with serving(upstream, config(root)) as served:
        measure(served, _side(warming(), upstream)(), 1)
        over += _sweep(
            served, _side_doors(upstream, side_doors(served.admin_key)), wanted, options.rounds
        )
    with serving(upstream, config(root, "monty")) as served:  # where no jail can be made
        over += _sweep(
            served, _side_doors(upstream, program_doors(), "monty"), wanted, options.rounds
        )
    print(f"{over} over {MIB_MAX:.0f} MiB or {HELD_MS_MAX:.0f} ms")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
