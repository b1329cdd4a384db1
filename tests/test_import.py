"""What `import polycall` does: nothing that anybody could notice."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
seen = []

def hook(event, arguments):
    if event.startswith("socket."):
        seen.append(event)
    elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append(f"open {arguments[0]}")
    elif event in ("os.mkdir", "os.rename", "os.remove", "subprocess.Popen", "os.posix_spawn"):
        seen.append(event)

sys.addaudithook(hook)
sys.dont_write_bytecode = True
import polycall
loaded = sorted({"aiohttp", "pydantic", "asyncio", "genai_prices"} & set(sys.modules))
print(seen, loaded)
"""


def test_I10_import_touches_no_network_and_writes_no_file() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] []\n"


def test_every_public_name_exists() -> None:
    import polycall

    for name in polycall.__all__:
        assert getattr(polycall, name) is not None


def test_agents_are_imported_without_the_http_library() -> None:
    program = "import sys; from polycall import Agent; print('aiohttp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_all_names_at_once_need_no_extra() -> None:
    program = """
import importlib.abc, sys

class Base(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("dbos", "mcp", "pydantic_monty", "psycopg", "opentelemetry"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Base())
from polycall import *
import polycall
print(Agent.__name__, "Durable" in dir(polycall))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "Agent True\n"
