"""Scores of official and independent suites: `python -m bench.fidelity`, and docs/fidelity.md.

Each suite speaks to a gateway that has the simulated vendors behind it: `llm-comply` in all its
formats, the types of the Open Responses specification and LangChain's standard tests with four
client packages (`--judges PYTHON`: the interpreter of a venv that has `openresponses-types` and
them), and the compatibility matrix of our own tests.  `--litellm COMMAND` and `--portkey FOLDER`
(where `npm install @portkey-ai/gateway` was run) add peers with the same vendors behind them;
without them the page says so.  The gateways are judged side by side.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from msgspec import Struct
from msgspec.structs import replace

from bench.langchain import run_suite
from polycall.sim import Simulation

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "fidelity.md"
KEY = "sk-fidelity-client-0001"
# What stands behind: provider, the simulation's vendor, the dialect, LiteLLM's prefix.
TARGETS: dict[str, tuple[str, str, str]] = {
    "openai": ("openai", "openai-chat", "openai/"),
    "anthropic": ("anthropic", "anthropic", "anthropic/"),
    "google": ("google", "gemini", "gemini/"),
    "deepseek": ("deepseek", "openai-chat", "deepseek/"),
}
# llm-comply's formats: the path below a gateway's address, and the client's headers.
FORMATS: dict[str, tuple[str, list[str]]] = {
    "open-responses": ("/v1", []),
    "openai-chat": ("/v1", []),
    "anthropic": (
        "/v1",
        ["--auth-header", "x-api-key", "--no-bearer"],
    ),
    "google-genai": ("", ["--auth-header", "x-goog-api-key", "--no-bearer"]),
}
LANGCHAIN = ("openai", "openai-responses", "anthropic", "google")


class Door(Struct, frozen=True):
    """Where a gateway is, and how a client of it names a model of each target."""

    base: str
    model: str = "up-{}/sim-1"
    version: str = ""
    headers: dict[str, list[str]] = {}
    suites: frozenset[str] = frozenset({"comply", "specification", "langchain"})


class Score(Struct, frozen=True):
    """What one suite made of one target behind one gateway."""

    gateway: str
    suite: str
    target: str
    passed: int
    total: int
    failed: list[str] = []


@contextmanager
def polycall(sim: Simulation, folder: Path) -> Generator[Door]:
    """Our gateway."""
    tables = [
        f'[providers.up-{name}]\ndialect = "{dialect}"\nbase_url = "{sim.base_url(vendor)}"\n'
        f'api_key = "any-key"\n' + ('quirks = "deepseek"\n' if name == "deepseek" else "")
        for name, (vendor, dialect, _) in TARGETS.items()
    ]
    path = folder / "polycall.toml"
    keys = f'[[keys]]\nkey = "{KEY}"\nname = "fidelity"\n'
    path.write_text("\n".join([*tables, keys]), encoding="utf-8")
    program = Path(sys.executable).with_name("polycall")
    command = [str(program), "serve", "--config", str(path), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().rsplit(":", 1)[1].strip()
        try:
            yield Door(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


@contextmanager
def litellm(command: str, sim: Simulation, folder: Path) -> Generator[Door]:
    """LiteLLM's proxy, with the same vendors behind it."""
    rows = [
        {
            "model_name": f"up-{name}/sim-1",
            "litellm_params": {
                "model": f"{prefix}sim-1",
                "api_base": sim.base_url(vendor),
                "api_key": "any-key",
            },
        }
        for name, (vendor, _, prefix) in TARGETS.items()
    ]
    path = folder / "litellm.json"
    settings = {
        "model_list": rows,
        "general_settings": {"master_key": KEY},
        # A call that fails must not fail the next test.
        "router_settings": {"disable_cooldowns": True},
    }
    path.write_text(json.dumps(settings), encoding="utf-8")
    port = 18431
    environment = {
        **os.environ,
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    words = [command, "--config", str(path), "--port", str(port), "--host", "127.0.0.1"]
    words += ["--keepalive_timeout", "75"]  # a slow judge may pause longer than its usual 5 s
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/health/liveliness", process)
            yield Door(f"http://127.0.0.1:{port}", version=_version(command))
        finally:
            process.terminate()


def _version(command: str) -> str:
    code = "from importlib.metadata import version; print(version('litellm'))"
    words = [str(Path(command).with_name("python")), "-c", code]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


# A slow judge may pause for longer than the five seconds after which Node's servers hang up.
_PATIENT = """const http = require("node:http"), make = http.createServer;
http.createServer = (...all) => Object.assign(make(...all), {keepAliveTimeout: 75000});
require("node:module").syncBuiltinESMExports();
"""


@contextmanager
def portkey(folder: str, sim: Simulation) -> Generator[Door]:
    """Portkey's gateway as its package installs; a client names the vendor in headers."""
    package = Path(folder, "node_modules", "@portkey-ai", "gateway")
    port = 18432
    with tempfile.NamedTemporaryFile("w", suffix=".cjs", delete=False) as script:
        script.write(_PATIENT)
    words = ["node", "--require", script.name, str(package / "build" / "start-server.js")]
    words += [f"--port={port}", "--headless"]
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
    ) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/", process)
            headers = {
                name: [
                    f"x-portkey-provider:{name}",
                    f"x-portkey-custom-host:{_host(sim.base_url(vendor), name)}",
                ]
                for name, (vendor, _, _) in TARGETS.items()
            }
            version = json.loads((package / "package.json").read_text("utf-8"))["version"]
            suites = frozenset({"comply", "specification"})
            yield Door(f"http://127.0.0.1:{port}", "sim-1", version, headers, suites)
        finally:
            process.terminate()


def _host(url: str, name: str) -> str:
    """The vendor's address as Portkey wants it."""
    return {"anthropic": f"{url}/v1", "deepseek": url.removesuffix("/v1")}.get(name, url)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        if process.poll() is not None:
            raise SystemExit(f"the peer ended at once: {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"nothing answers at {url}")


def comply(gateway: str, door: Door) -> Iterator[Score]:
    """`llm-comply` in each format, with each vendor behind."""
    for form, (path, more) in FORMATS.items():
        for target in TARGETS:
            words = ["-u", door.base + path, "-m", door.model.format(target), "--format", form]
            headers = list(door.headers.get(target, ()))
            if form == "anthropic":
                headers.append("anthropic-version:2023-06-01")
            words += ["--json", *(["-H", ",".join(headers)] if headers else [])]
            done = subprocess.run(
                [sys.executable, "-m", "llm_comply.cli", *words, "-k", KEY, *more],
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            try:
                found: Any = json.loads(done.stdout)
            except ValueError:
                continue
            rows = cast("list[Any]", found["results"] if isinstance(found, dict) else found)
            bad = [
                str(row.get("id") or row.get("name"))
                for row in rows
                if str(row.get("status")).lower() not in ("passed", "pass", "skipped", "skip")
            ]
            passed = len(rows) - len(bad)
            yield Score(gateway, f"llm-comply, {form}", target, passed, len(rows), bad)


def specification(python: str, gateway: str, door: Door) -> Iterator[Score]:
    """What the types of the Open Responses specification say of answers and of streams."""
    script = Path(__file__).with_name("open_responses.py")
    for target in TARGETS:
        words = [python, str(script), f"{door.base}/v1", door.model.format(target), KEY]
        done = subprocess.run(
            [*words, *door.headers.get(target, ())],
            capture_output=True,
            text=True,
            timeout=900,
            check=True,
        )
        found: Any = json.loads(done.stdout)
        failed = list(found["failed"])
        count = found["checked"]
        yield Score(gateway, "Open Responses' types", target, count - len(failed), count, failed)


def langchain(python: str, gateway: str, door: Door) -> Iterator[Score]:
    """LangChain's standard tests with each client package, with each vendor behind."""

    def judge(client: str, target: str) -> Score:
        with tempfile.TemporaryDirectory() as folder:
            model = door.model.format(target)
            found = run_suite(python, client, model, door.base, key=KEY, folder=folder)
        failed = [name for name, ended in found.items() if ended.startswith("failed")]
        passed = sum(ended == "passed" for ended in found.values())
        count = passed + len(failed)
        return Score(gateway, f"LangChain, {client}", target, passed, count, failed)

    # Two at a time: they wait for longer than they work.
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(judge, *zip(*itertools.product(LANGCHAIN, TARGETS), strict=True))


NOTES = {
    "LiteLLM": (
        "The newest whose proxy installs: later ones want a package that no registry has. Its\n"
        "idle connections last 75 seconds, since the judges pause for longer than its usual five,\n"
        "and a failed call makes no next one wait."
    ),
    "Portkey": (
        "As its package installs: its `postinstall` applies patches that the package does not\n"
        "carry, and streams that it only passes answer 500. It has no route of Gemini's protocol."
    ),
}
INTRODUCTION = """# Fidelity

Suites that others wrote, run against the gateway with the simulated vendors behind it,
one column a vendor: tests passed, of all. Written by one command,

```sh
python -m bench.fidelity --judges VENV/bin/python --litellm VENV/bin/litellm --portkey FOLDER
```

on {day}. The simulated model is `sim-1`, with no language model behind it: a test that wants
sense in the answer fails for every gateway alike. LangChain's packages retry a failed call once,
and its tests that fetch a picture from the network are left out. Peers are set up as their own
pages say, with the simulated vendors' addresses: some of what fails may be due to that set-up.

The Open Responses project's own suite is in no registry. Its specification is judged by
`llm-comply`, and by the types that `openresponses-types` generates from its OpenAPI document:
twelve requests, whole and streamed. Bifrost is no package: what npm has of it fetches a program
when it is started.
"""


def matrix() -> tuple[int, int]:
    """Our own matrix, as docs/compatibility.md has it: cells that pass, and all."""
    text = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    cells = [cell.strip() for line in text.splitlines() if line.startswith("|") for cell in
             line.strip("|").split("|")[1:]]  # fmt: skip
    good = sum(cell.startswith("✓") for cell in cells)
    bad = sum(cell.startswith("✗") for cell in cells)
    return good, good + bad


def page(scores: list[Score], missing: list[str]) -> str:
    """docs/fidelity.md."""
    good, cells = matrix()
    lines = [INTRODUCTION.format(day=f"{datetime.now(UTC):%Y-%m-%d}")]
    for gateway in dict.fromkeys(score.gateway for score in scores):
        lines += [f"## {gateway}", ""]
        if note := NOTES.get(gateway.split()[0]):
            lines += [note, ""]
        lines += [f"| suite | {' | '.join(TARGETS)} |"]
        lines.append("|---" * (len(TARGETS) + 1) + "|")
        own = [score for score in scores if score.gateway == gateway]
        for suite in dict.fromkeys(score.suite for score in own):
            found = {each.target: each for each in own if each.suite == suite}
            shown = [
                f"{found[t].passed}/{found[t].total}" if t in found else "no answer"
                for t in TARGETS
            ]
            lines.append(f"| {suite} | {' | '.join(shown)} |")
        lines.append("")
        failed: dict[str, set[str]] = {}
        for score in own:
            for name in score.failed:
                failed.setdefault(f"{score.suite}: `{name}`", set()).add(score.target)
        if failed:
            lines += ["Not passed:", ""]
            lines += [f"- {name} ({', '.join(sorted(ts))})" for name, ts in sorted(failed.items())]
            lines.append("")
    lines += [
        "## Our own matrix",
        "",
        f"[Clients and providers](compatibility.md): {good} of {cells} cells pass.",
        "",
    ]
    if missing:
        lines += ["Not measured here: " + ", ".join(missing) + ".", ""]
    return "\n".join(lines)


def judged(
    judges: str, name: str, opened: AbstractContextManager[Door]
) -> tuple[str, str, list[Score]]:
    """The scores of one gateway, printed as they come."""
    scores: list[Score] = []
    with opened as door:
        suites = [comply(name, door)]
        if judges:
            suites.append(specification(judges, name, door))
        if judges and "langchain" in door.suites:
            suites.append(langchain(judges, name, door))
        for score in itertools.chain.from_iterable(suites):
            at = f"{datetime.now(UTC):%H:%M:%S} {score.gateway}"
            print(f"{at} {score.suite} {score.target}: {score.passed}/{score.total}", flush=True)
            scores.append(score)
    return name, door.version, scores


def main() -> int:
    """Run all suites, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judges", default="", metavar="PYTHON")
    parser.add_argument("--litellm", default="", metavar="COMMAND")
    parser.add_argument("--portkey", default="", metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    with Simulation(seed=11) as sim, tempfile.TemporaryDirectory() as folder:
        gateways = {"polycall": polycall(sim, Path(folder))}
        if options.litellm:
            gateways["LiteLLM"] = litellm(options.litellm, sim, Path(folder))
        if options.portkey:
            gateways["Portkey"] = portkey(options.portkey, sim)
        with ThreadPoolExecutor(len(gateways)) as pool:
            found = list(pool.map(partial(judged, options.judges), gateways, gateways.values()))
    versions = {name: version for name, version, _ in found}
    scores = [score for _, _, own in found for score in own]
    missing = [name for name in ("LiteLLM", "Portkey") if name not in versions]
    if "Portkey" in versions:
        missing.append("LangChain with Portkey, whose clients must send headers of its own")
    if not options.judges:
        missing.append("the suites of `--judges`")
    named = [replace(each, gateway=_titled(each.gateway, versions)) for each in scores]
    options.out.write_text(page(named, missing), encoding="utf-8")
    return 0


def _titled(gateway: str, versions: dict[str, str]) -> str:
    return f"{gateway} {versions[gateway]}".strip()


if __name__ == "__main__":
    sys.exit(main())
