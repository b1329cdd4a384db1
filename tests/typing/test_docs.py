"""The documentation's code, page by page, as pyright and mypy read it in strict mode.

A page is one program, in which later blocks use the names of earlier ones.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from ..test_docs import PAGES, PRELUDES, blocks
from .test_programs import mypy, pyright

# What readers of a page have already.
OWN = {
    "README": """
from anthropic import Anthropic
from google import genai
from openai import OpenAI
from polycall import Durable
KEY = "any"
""",
    "durable": """
from pathlib import Path
from polycall.agents import Approval, PausedRun
from polycall.ir import PartDelta
from polycall.loop import ModelEvent
secret = "any"
""",
    "mcp": "",
    "tools": "",
    "tracing": "",
}
# Of pages alone: an example may stop before a name is used, and leave a lambda to be understood.
RULES = dict.fromkeys(
    (
        *("reportUnusedImport", "reportUnusedVariable", "reportUnusedFunction"),
        *("reportUnknownArgumentType", "reportUnknownLambdaType", "reportUnknownMemberType"),
        "reportMissingTypeStubs",
        *("reportUnknownVariableType", "reportMatchNotExhaustive", "reportUnusedClass"),
    ),
    "none",
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    for name, prelude in {**PRELUDES, **OWN}.items():
        code = textwrap.indent("\n".join([prelude, *blocks(PAGES[name], "python")]), "    ")
        module = folder / f"{name.lower().replace('-', '_')}_page.py"
        module.write_text(f"async def page() -> None:\n{code}\n    pass\n", "utf-8")
    web = blocks(PAGES["web"], "python")
    (folder / "assistant.py").write_text(web[0], "utf-8")
    # Django carries no types of its own.
    typed = [code for code in web[1:] if "from django" not in code]
    for number, code in enumerate(typed):
        (folder / f"web_{number}.py").write_text(code, "utf-8")
    return folder


@pytest.mark.slow
def test_pyright_finds_no_error_in_the_pages(pages: Path, tmp_path: Path) -> None:
    assert sorted(pyright(pages, tmp_path, **RULES)) == []


@pytest.mark.slow
def test_mypy_finds_no_error_in_the_pages(pages: Path, tmp_path: Path) -> None:
    # Names of one page are made anew in a later block.
    assert sorted(mypy(pages, tmp_path, "--allow-redefinition")) == []
