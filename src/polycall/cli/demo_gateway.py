"""The demonstration's second half: a gateway, and the same curl on every provider."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from polycall.ir import JSON
from polycall.sim import Simulation

Say: TypeAlias = Callable[[str], None]

PROVIDERS = ("openai", "anthropic", "google", "deepseek")
_MODEL = "sim-1"
_START_S = 30
_ANSWER_S = 30


class Asking(Struct, frozen=True):
    """The request to every provider: a question, the tool for it, and the tool's result."""

    prompt: str
    tool: JSON
    result: JSON


def demonstrate(simulation: Simulation, asking: Asking, say: Say, detail: Say) -> list[JSON]:
    """Ask four providers through one address; a row for each, `ok` if the cycle was whole.

    `say` prints a line, `detail` one that only a verbose demonstration shows.
    """
    key = f"sk-{secrets.token_hex(12)}"
    with _gateway(simulation, key) as url:
        say(f"\nThe gateway: the same curl reaches four providers   ({url})")
        body = '{"model": MODEL, ...}'
        say(f"  $ curl -s URL/v1/chat/completions -H 'authorization: Bearer KEY' -d '{body}'")
        return [
            _cycle(url, key, f"{name}/{_MODEL}", asking, say=say, detail=detail)
            for name in PROVIDERS
        ]


@contextmanager
def _gateway(simulation: Simulation, key: str) -> Generator[str]:
    """`polycall serve` in front of the simulated providers, and its address."""
    tables = [
        f'[providers.{name}]\nbase_url = "{simulation.base_url(name)}"\napi_key = "simulated-key"\n'
        f"[providers.{name}.prices]\n{_MODEL} = {{ input = 1.0, output = 4.0 }}\n"
        for name in PROVIDERS
    ]
    text = f'[store]\nurl = "sqlite://"\n[[keys]]\nkey = "{key}"\n' + "".join(tables)
    with tempfile.TemporaryDirectory(prefix="polycall-demo-") as folder:
        path = Path(folder) / "polycall.toml"
        path.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "polycall", "serve", "--config", str(path), "--port", "0"]
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
        process = subprocess.Popen(  # noqa: S603 - ourselves
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "http://" not in line:
                _, reason = process.communicate(timeout=_START_S)
                raise SystemExit(f"the gateway did not start: {reason}")
            yield "http://" + line.strip().rpartition("http://")[2]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=_START_S)


def _cycle(url: str, key: str, model: str, asking: Asking, *, say: Say, detail: Say) -> JSON:
    """Question, call, result, answer."""
    messages: list[JSON] = [{"role": "user", "content": asking.prompt}]
    body: JSON = {"model": model, "messages": messages, "tools": [asking.tool]}
    shown = json.dumps({**body, "tools": ["..."]}, ensure_ascii=False)
    detail(f"\n  $ curl -s $URL -H \"authorization: Bearer $KEY\" -d '{shown}'")
    answer = _posted(url, key, body)
    message = _message(answer)
    calls: list[JSON] = message.get("tool_calls") or []
    for call in calls:
        function = call["function"]
        detail(f"    call    {function['name']}({function['arguments']})")
    if calls:
        content = json.dumps(asking.result, ensure_ascii=False)
        messages.append(message)
        for call in calls:
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})
        answer = _posted(url, key, body)
    text = _message(answer).get("content") or ""
    good = bool(calls and text)
    shown = text if good else json.dumps(answer, ensure_ascii=False)
    detail("    text    " + shown.replace("\n", "\n            "))
    say(f"  {model:17} {' '.join(shown.split())}")
    return {"model": model, "client": "curl", "calls": len(calls), "text": text, "ok": good}


def _message(answer: JSON) -> JSON:
    choices: Any = answer.get("choices") or [{}]
    return choices[0].get("message") or {}


def _posted(url: str, key: str, body: JSON) -> JSON:
    """The answer to one request, by curl where there is one."""
    address = f"{url}/v1/chat/completions"
    data = json.dumps(body, ensure_ascii=False)
    curl = shutil.which("curl")
    if curl is not None:
        command = [curl, "-s", "--max-time", str(_ANSWER_S), address]
        command += ["-H", f"authorization: Bearer {key}", "--data-binary", "@-"]
        done = subprocess.run(  # noqa: S603 - curl, with words of our own
            command, input=data.encode(), capture_output=True, check=True
        )
        return json.loads(done.stdout)
    request = urllib.request.Request(  # noqa: S310 - an address of our own
        address, data.encode(), {"authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:  # noqa: S310 - as above
        return json.load(answer)
