"""Builds the documentation site from docs/ into build/site, offline: `make docs`.

The pages are those of docs/ and the README.  This adds a reference of the public names from their
docstrings, `llms.txt`, the JSON Schema of polycall.toml, and the Markdown of every page next to its
HTML.  It fails on a broken link.
"""

from __future__ import annotations

import html.parser
import inspect
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import polycall
from polycall.config.schema import config_schema

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
SOURCE = BUILD / "docs"
SITE = BUILD / "site"
_ROOT_PAGES = ("readme.md", "contributing.md", "security.md")
# Links from pages to files of the repository lead to text here; on the site they are plain words.
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)([^)\s#]*)(#[^)\s]*)?\)")


def main() -> int:
    shutil.rmtree(BUILD / "docs", ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    pages = copied_pages()
    (SOURCE / "reference.md").write_text(reference(), encoding="utf-8")
    pages.append("reference.md")
    (BUILD / "zensical.toml").write_text(settings(), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--config-file", "zensical.toml"]
    done = subprocess.run(command, cwd=BUILD, check=False)
    if done.returncode != 0:
        return done.returncode
    for page in pages:
        (SITE / page).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SOURCE / page, SITE / page)
    (SITE / "llms.txt").write_text(overview(pages), encoding="utf-8")
    schema = json.dumps(config_schema(), indent=2, ensure_ascii=False)
    (SITE / "polycall.schema.json").write_text(schema, encoding="utf-8")
    broken = broken_links()
    for each in broken:
        print(f"broken link: {each}", file=sys.stderr)
    print(f"{len(pages)} pages in {SITE.relative_to(ROOT)}, {len(broken)} broken links")
    return 1 if broken else 0


def copied_pages() -> list[str]:
    """Copy every page, with links that hold on the site; give their names."""
    for path in (ROOT / "docs").rglob("*"):
        if path.suffix in (".md", ".svg", ".png"):
            target = SOURCE / path.relative_to(ROOT / "docs")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for name in _ROOT_PAGES:
        shutil.copyfile(ROOT / f"{name.removesuffix('.md').upper()}.md", SOURCE / name)
    pages = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.md"))
    for page in pages:
        path = SOURCE / page
        text = path.read_text("utf-8")
        path.write_text(_LINK.sub(partial(held, page), text), encoding="utf-8")
    return pages


def held(page: str, link: re.Match[str]) -> str:
    """The link as the site has it; its words alone if the site does not have its target."""
    words, target, anchor = link[1], link[2], link[3] or ""
    if not target:
        return link[0]
    origin = ROOT if page in _ROOT_PAGES else (ROOT / "docs" / page).parent
    file = (origin / target).resolve()
    if file.parent == ROOT and file.name.lower() in _ROOT_PAGES:
        name = file.name.lower()
    elif file.is_relative_to(ROOT / "docs") and file.is_file():
        name = file.relative_to(ROOT / "docs").as_posix()
    else:
        return words
    if not (SOURCE / name).exists():
        return words
    return f"[{words}]({'../' * page.count('/')}{name}{anchor})"


def reference() -> str:
    """A page of the public names, from their signatures and docstrings."""
    lines = ["# Reference", "", "The public names of `polycall`, from their docstrings.", ""]
    for name in sorted({*polycall.__all__, "Durable"}):  # which `import *` leaves out
        value: Any = getattr(polycall, name)
        lines += [f"## {name}", ""]
        if isinstance(value, str):
            lines += [f"A text: the version, here `{value}`.", ""]
            continue
        if not isinstance(value, ModuleType):
            lines += ["```python", f"{name}{signature(value)}", "```", ""]
        lines += [*documented(value), ""]
        if isinstance(value, type):
            for member, method in inspect.getmembers(value):
                text = inspect.getdoc(method)
                if member.startswith("_") or not text or not callable(method):
                    continue
                lines += [f"### {name}.{member}", "", "```python", f"{member}{signature(method)}"]
                lines += ["```", "", *documented(method), ""]
    return "\n".join(lines)


def signature(value: Any) -> str:
    """The signature; `(...)` for values that state none."""
    try:
        return str(inspect.signature(value))
    except (TypeError, ValueError):
        return "(...)"


def documented(value: Any) -> list[str]:
    """The docstring; its trees and listings stay as they are."""
    text = inspect.getdoc(value) or ""
    head, _, rest = text.partition("\n\n")
    is_listing = any(line.startswith("    ") or "  " in line.strip() for line in rest.splitlines())
    return [head, "", "```text", rest, "```"] if rest and is_listing else [text]


def overview(pages: list[str]) -> str:
    """`llms.txt`: every page as Markdown, with its title."""
    lines = ["# polycall", "", "> Call tools through any language model.", "", "## Pages", ""]
    for page in pages:
        title = (SOURCE / page).read_text("utf-8").partition("\n")[0].lstrip("# ")
        lines.append(f"- [{title}]({page})")
    return "\n".join([*lines, ""])


def navigation() -> str:
    """The sections of docs/index.md with their pages, as the generator reads them."""
    sections = ['{ "Start" = ["index.md", "readme.md"] }']
    for part in (SOURCE / "index.md").read_text("utf-8").split("\n## ")[1:]:
        title = part.partition("\n")[0]
        pages = re.findall(r"\]\(([^)#]+\.md)\)", part)
        if title == "Look up":
            pages.append("reference.md")
        if title == "Understand":
            decisions = [f"adr/{path.name}" for path in sorted((SOURCE / "adr").glob("[0-9]*.md"))]
            pages += [*decisions, "contributing.md", "security.md"]
        listed = ", ".join(f'"{page}"' for page in pages)
        sections.append(f'{{ "{title}" = [{listed}] }}')
    return "nav = [\n" + "".join(f"  {section},\n" for section in sections) + "]"


def settings() -> str:
    """The generator's configuration."""
    return f"""\
[project]
site_name = "polycall"
site_description = "Call tools through any language model."
docs_dir = "docs"
site_dir = "site"
use_directory_urls = false
{navigation()}

[project.theme]
font = false

[project.plugins.search]
"""


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if named.get("id"):
            self.ids.add(str(named["id"]))
        if tag == "a" and named.get("href"):
            self.links.append(str(named["href"]))


def broken_links() -> list[str]:
    """Links of the built pages to files or anchors that are not there."""
    found: dict[Path, _Links] = {}
    for path in SITE.rglob("*.html"):
        found[path] = links = _Links()
        links.feed(path.read_text("utf-8"))
    broken: list[str] = []
    for path, links in found.items():
        if path.name == "404.html":
            continue  # it is shown at any address, and its links are absolute
        for link in links.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                broken.append(f"{path.relative_to(SITE)}: {link}")
            elif parts.fragment not in ("", "__top") and target in found:
                if parts.fragment in found[target].ids:
                    continue
                broken.append(f"{path.relative_to(SITE)}: {link}")
    return broken


if __name__ == "__main__":
    sys.exit(main())
