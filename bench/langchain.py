"""LangChain's standard suite through the gateway: four client packages, five targets.

    python -m bench.langchain PYTHON [CLIENT/TARGET ...]

`PYTHON` is the interpreter of an environment with langchain-tests, langchain-openai,
langchain-anthropic, langchain-google-genai and langchain-deepseek, whose versions conflict with no
other test's.  Prints a table, and each test that fails; the status is 1 where one fails that
`REASONS` does not name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tests.gateway.harness import KEY, Gateway, sim_config

from polycall.sim import Simulation

HERE = Path(__file__).parent
CLIENTS = ("openai", "anthropic", "google", "deepseek")
# Names as bench configurations have them; each is a provider of the gateway.
TARGETS = {
    "openai": "up-responses",
    "anthropic": "up-anthropic",
    "google": "up-gemini",
    "deepseek": "up-deepseek",
    "compatible": "up-compatible",
}
# The packages keep connections of one event loop for all tests.
_LOOPS = (
    *("-o", "asyncio_default_test_loop_scope=session"),
    *("-o", "asyncio_default_fixture_loop_scope=session"),
)
# A part of a test's name, the clients and targets it is about (empty: all), and why it fails.
REASONS: tuple[tuple[str, str, str, str], ...] = ()


def reason(test: str, client: str, target: str) -> str:
    """Why a test fails that cannot pass here; empty where nobody knows."""
    for part, of_client, of_target, words in REASONS:
        if part in test and of_client in ("", client) and of_target in ("", target):
            return words
    return ""


def run_suite(
    python: str, client: str, model: str, url: str, *, key: str, folder: str | Path
) -> dict[str, str]:
    """The suite of one client package: how each test ended, with the first line of its error."""
    report = Path(folder, "report.xml")
    report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "LC_CLIENT": client,
        "LC_MODEL": model,
        "LC_URL": url,
        "LC_KEY": key,
        "PYTHONPATH": "",
        "LANGSMITH_TRACING": "false",
    }
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--asyncio-mode=auto", "--rootdir"]
    words += [str(folder), "-c", os.devnull, *_LOOPS, f"--junitxml={report}"]
    words += [str(HERE / "langchain_standard.py")]
    done = subprocess.run(
        [python, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        cwd=folder,
    )
    if not report.exists():
        raise SystemExit(f"the suite did not run: {(done.stdout + done.stderr)[-500:]}")
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        ended = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                lines = (child.get("message") or child.text or "").splitlines()
                ended = f"failed: {lines[0][:300] if lines else ''}"
            elif child.tag == "skipped":
                ended = f"not asked: {(child.get('message') or '').splitlines()[0][:200]}"
        found[case.get("name", "")] = ended
    return found


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    python, *cells = sys.argv[1:]
    wanted = [(c, t) for c in CLIENTS for t in TARGETS if not cells or f"{c}/{t}" in cells]
    unknown = 0
    unasked: dict[str, set[str]] = {}
    with Simulation(seed=7) as sim, tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(Path(folder), sim_config(sim)).start()
        try:
            for client, target in wanted:
                url = f"http://127.0.0.1:{gateway.port}"
                model = f"{TARGETS[target]}/sim-1"
                found = run_suite(python, client, model, url, key=KEY, folder=folder)
                passed = sum(ended == "passed" for ended in found.values())
                failed = {name: each for name, each in found.items() if each.startswith("failed")}
                skipped = len(found) - passed - len(failed)
                print(f"{client:<10}{target:<12}{passed} passed, {len(failed)} failed, ", end="")
                print(f"{skipped} not asked", flush=True)
                for name, ended in found.items():
                    if ended.startswith("not asked: "):
                        unasked.setdefault(f"{name}: {ended[11:]}", set()).add(client)
                for name, ended in failed.items():
                    why = reason(name, client, target)
                    unknown += not why
                    print(f"  {name}: {why or ended}", flush=True)
        finally:
            gateway.stop()
    print("not asked:")
    for name, clients in sorted(unasked.items()):
        print(f"  {name} ({', '.join(sorted(clients))})")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
