"""The official Node SDKs and Vercel's, as drivers: one Node process holds all conversations.

The SDKs are installed from the registry into a folder on first use.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.gateway.drivers import PIXEL, TOOLS, Call, Driver, Result, Step

PACKAGES = [
    "openai@7",
    "@anthropic-ai/sdk@1",
    "@google/genai@3",
    "ai@7",
    "@ai-sdk/openai@4",
    "@ai-sdk/anthropic@4",
    "@ai-sdk/google@4",
]
SCRIPT = Path(__file__).with_name("node") / "drivers.mjs"
# What the page calls each, and what the script does.
SDKS = {
    "openai (Node), Chat": "chat",
    "openai (Node), Responses": "responses",
    "@anthropic-ai/sdk": "anthropic",
    "@google/genai": "gemini",
    "ai (Vercel), OpenAI Chat": "ai-chat",
    "ai (Vercel), OpenAI Responses": "ai-responses",
    "ai (Vercel), Anthropic": "ai-anthropic",
    "ai (Vercel), Google": "ai-google",
}


class NotInstalledError(Exception):
    """Node or the SDKs cannot be had here; says why."""


class Node:
    """The process.  `close` ends it."""

    def __init__(self, folder: Path) -> None:
        """`folder` keeps the SDKs; raises `NotInstalledError` where they cannot be had."""
        if shutil.which("npm") is None or shutil.which("node") is None:
            raise NotInstalledError("npm and node are not installed")
        shutil.copy(SCRIPT, folder / SCRIPT.name)
        if not all(
            (folder / "node_modules" / name.rpartition("@")[0]).exists() for name in PACKAGES
        ):
            _install(folder)
        self._process = subprocess.Popen(
            ["node", SCRIPT.name],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ids = itertools.count()

    def driver(self, sdk: str) -> Callable[..., Driver]:
        """What opens conversations of one SDK."""

        def opened(url: str, key: str, model: str, *, streamed: bool) -> NodeDriver:
            number = next(self._ids)
            self.ask(
                id=number, op="open", sdk=sdk, url=url, key=key, model=model,
                streamed=streamed, tools=TOOLS, pixel=PIXEL,
            )  # fmt: skip
            return NodeDriver(self, number)

        return opened

    def ask(self, **request: Any) -> dict[str, Any]:
        """One line there and one back; an error of the SDK is raised."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(10)


class NodeDriver:
    """One conversation in the Node process."""

    def __init__(self, node: Node, number: int) -> None:
        self._node = node
        self._number = number

    def ask(self, prompt: str, *, image: bool = False) -> Step:
        return _step(self._node.ask(id=self._number, op="ask", prompt=prompt, image=image))

    def give(self, results: list[Result]) -> Step:
        given = [
            {
                "id": result.call.id,
                "name": result.call.name,
                "content": result.content,
                "is_error": result.is_error,
            }
            for result in results
        ]
        return _step(self._node.ask(id=self._number, op="give", results=given))

    def close(self) -> None:
        self._node.ask(id=self._number, op="close")


def _step(answer: dict[str, Any]) -> Step:
    calls = [Call(call.get("id", ""), call["name"], call["arguments"]) for call in answer["calls"]]
    return Step(answer["text"], calls)


def _install(folder: Path) -> None:
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", *PACKAGES]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    if done.returncode != 0:
        raise NotInstalledError(f"npm cannot install the SDKs: {done.stderr[-300:]}")
