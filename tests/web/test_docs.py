"""The examples of docs/web.md run in their frameworks, as they stand there."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from polycall.testing import FunctionModel

PAGE = Path(__file__).parents[2] / "docs" / "web.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
VERCEL = {
    "id": "c1",
    "messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}],
}
AG_UI = {
    "threadId": "t1",
    "runId": "r1",
    "messages": [{"id": "u1", "role": "user", "content": "hello"}],
}


def block(word: str) -> str:
    (found,) = [each for each in BLOCKS if word in each]
    return found


def loaded(name: str, code: str, folder: Path, patch: pytest.MonkeyPatch) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(code, "utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def assistant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    made: Any = loaded("assistant", BLOCKS[0], tmp_path, monkeypatch)
    with made.agent.override(client=FunctionModel(lambda request: "안녕하세요")):
        yield made
    made.sessions.close()


def test_all_frameworks_have_an_example() -> None:
    assert len(BLOCKS) == 5


@pytest.mark.parametrize(
    ("framework", "body"),
    [("fastapi", VERCEL), ("starlette.applications", AG_UI), ("django", AG_UI)],
)
async def test_n16_the_example_of_an_asynchronous_framework_streams(
    framework: str,
    body: Any,
    assistant: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(framework.partition(".")[0])
    module: Any = loaded("web_example", block(f"from {framework}"), tmp_path, monkeypatch)
    transport = httpx.ASGITransport(module.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
        answer = await http.post("/chat", json=body)
    assert (answer.status_code, "안녕하세요" in answer.text) == (200, True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    kept = await assistant.sessions.open("c1" if body is VERCEL else "t1").messages()
    assert [each.text for each in kept] == ["hello", "안녕하세요"]


def test_n16_the_example_of_flask_streams(
    assistant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("flask")
    module: Any = loaded("web_example", block("from flask"), tmp_path, monkeypatch)
    answer = module.app.test_client().post("/chat", json={"prompt": "hello"})
    text = answer.get_data(as_text=True)
    assert (answer.status_code, answer.content_type) == (200, "text/event-stream; charset=utf-8")
    assert text.rstrip().rpartition("data: ")[2].startswith('{"type": "run_end"')
