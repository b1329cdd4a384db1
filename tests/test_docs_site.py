"""What the documentation site adds to the pages: a reference, a navigation, links that hold."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import polycall

ROOT = Path(__file__).parents[1]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "deploy" / "docs_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SOURCE", tmp_path / "docs")
    monkeypatch.setattr(module, "SITE", tmp_path / "site")
    return module


def test_the_reference_has_every_public_name(site: ModuleType) -> None:
    titles = re.findall(r"^## (\w+)$", site.reference(), re.MULTILINE)
    assert titles == sorted({*polycall.__all__, "Durable"})


def test_links_between_copied_pages_hold(site: ModuleType) -> None:
    pages = site.copied_pages()
    assert {"readme.md", "index.md", "architecture.md", "theory/replay.md"} <= set(pages)
    for page in pages:
        path = site.SOURCE / page
        for target in re.findall(r"\]\((?!https?://)([^)\s#]+)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), f"{page}: {target}"


def test_the_navigation_has_every_page(site: ModuleType) -> None:
    pages = {*site.copied_pages(), "reference.md"}
    assert set(re.findall(r'"([^"]+\.md)"', site.navigation())) == pages


def test_a_broken_link_or_anchor_of_the_built_pages_is_found(site: ModuleType) -> None:
    site.SITE.mkdir()
    (site.SITE / "b.html").write_text('<h1 id="here">B</h1>')
    links = ("b.html", "b.html#here", "b.html#gone", "c.html", "https://example.com/x")
    text = "".join(f'<a href="{link}">x</a>' for link in links)
    (site.SITE / "a.html").write_text(text)
    assert site.broken_links() == ["a.html: b.html#gone", "a.html: c.html"]
