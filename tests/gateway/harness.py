"""The gateway as a real process in front of the simulated vendors."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from polycall.gateway.state.sealed_tokens import PREFIX as TOKEN_HEAD
from polycall.sim import Simulation

KEY = "sk-client-for-tests-0001"
_SECRET = re.compile(r'key = "(sk-[^"]+)"')
_MADE_KEY = re.compile(rb"sk-pc-[\w-]{40,}")  # by `polycall keys`
# How signatures of the simulated vendors go on after their MAC, and how tokens of ours begin.
_SIGNED = (base64.b64encode(b'{"scope":'), TOKEN_HEAD.encode())
OTHER_KEY = "sk-client-for-tests-0002"

# Name in the gateway, vendor in the simulation, dialect, more settings.
UPSTREAMS: dict[str, tuple[str, str, str]] = {
    "up-chat": ("openai", "openai-chat", 'quirks = "openai"'),
    "up-responses": ("openai", "openai-responses", ""),
    "up-anthropic": ("anthropic", "anthropic", ""),
    "up-gemini": ("google", "gemini", ""),
    "up-deepseek": ("deepseek", "openai-chat", 'quirks = "deepseek"'),
    "up-compatible": ("compatible", "openai-chat", 'quirks = "compatible"'),
}


def leaked(secrets: Iterable[str], written: bytes) -> list[bytes]:
    """Which of the secrets, and of the signatures, tokens and keys there are, stand in it."""
    sought = {*(secret.encode() for secret in secrets), *_SIGNED}
    return [*(secret for secret in sought if secret in written), *_MADE_KEY.findall(written)]


class Answer(NamedTuple):
    """A whole HTTP answer."""

    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


def provider_table(name: str, base_url: str, dialect: str, more: str = "") -> str:
    return (
        f'[providers.{name}]\ndialect = "{dialect}"\nbase_url = "{base_url}"\n'
        f'api_key = "sk-provider-{name}"\n{more}\n'
    )


def sim_config(sim: Simulation, more: str = "") -> str:
    """A configuration with all simulated upstreams and two client keys."""
    tables = [
        provider_table(name, sim.base_url(vendor), dialect, extra)
        for name, (vendor, dialect, extra) in UPSTREAMS.items()
    ]
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "first"\n[[keys]]\nkey = "{OTHER_KEY}"\n'
    return "\n".join([*tables, more, keys])


# Those that run: a test that fails may leave one behind.
running: set[subprocess.Popen[str]] = set()


class Gateway:
    """One `polycall serve` process.  `kill` is SIGKILL, `stop` a graceful SIGTERM."""

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder
        self.path = folder / "polycall.toml"
        self.path.write_text(config, encoding="utf-8")
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self._log: list[str] = []

    def start(self, port: int = 0) -> Gateway:
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
        self._process = subprocess.Popen(
            self.command(port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        running.add(self._process)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "http://" not in line:
            raise AssertionError(f"the gateway did not start: {self._process.communicate()}")
        self.port = int(line.rsplit(":", 1)[1])
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        return self

    def command(self, port: int) -> list[str]:
        """What is run to serve."""
        program = str(Path(sys.executable).with_name("polycall"))
        return [program, "serve", "--config", str(self.path), "--port", str(port)]

    def _read_log(self) -> None:
        process = self._process
        assert process is not None
        assert process.stderr is not None
        self._log.extend(process.stderr)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """How much memory the process holds."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * 4096

    @property
    def log(self) -> str:
        return "".join(self._log)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, deadline_s: float = 15) -> int:
        assert self._process is not None
        return self._process.wait(deadline_s)

    def _end(self, number: int) -> int:
        process = self._process
        if process is None:
            return 0
        process.send_signal(number)
        status = process.wait(15)
        running.discard(process)
        self._reader.join(5)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        self._process = None
        self._search()
        return status

    def _search(self) -> None:
        """No key of the configuration and no signature may be in anything that was written."""
        secrets = _SECRET.findall(self.path.read_text(encoding="utf-8"))
        assert leaked(secrets, self.log.encode()) == []
        for path in self.folder.glob("polycall*"):
            if path.is_file() and path.suffix != ".toml":
                assert leaked(secrets, path.read_bytes()) == [], path.name

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = KEY,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One exchange on a connection of its own."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        fields = {"content-type": "application/json", **(headers or {})}
        if key is not None:
            fields["authorization"] = f"Bearer {key}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, data, fields)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.request("POST", path, body, headers=headers)

    def ledger(self, expected: int, *, deadline_s: float = 5) -> list[dict[str, Any]]:
        """The rows of the ledger, once there are `expected`; oldest first."""
        ends_at = time.monotonic() + deadline_s
        while True:
            with sqlite3.connect(self.folder / "polycall.db") as connection:
                connection.row_factory = sqlite3.Row
                rows = connection.execute("SELECT * FROM ledger ORDER BY created").fetchall()
            connection.close()
            if len(rows) >= expected or time.monotonic() > ends_at:
                return [dict(row) for row in rows]
            time.sleep(0.05)
