"""The official JavaScript clients, installed once."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ["@ag-ui/client@1", "ai@6", "esbuild"]
SCRIPT = Path(__file__).with_name("node") / "clients.mjs"


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    if known := os.environ.get("POLYCALL_NODE_FOLDER"):  # where they are installed already
        shutil.copy(SCRIPT, known)
        return Path(known)
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    words = ["npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES]
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, timeout=180, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the registry did not give the clients in time")
    if done.returncode:
        pytest.skip(f"the registry does not give the clients: {done.stderr.decode()[-200:]}")
    shutil.copy(SCRIPT, folder)
    return folder


async def play(node: Path, client: str, url: str, *, approve: bool = True, **more: Any) -> Any:
    words = ["node", "clients.mjs", client, url, json.dumps({"approve": approve, **more})]
    process = await asyncio.create_subprocess_exec(
        *words, cwd=node, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, error.decode()[-2000:]
    return json.loads(out)
