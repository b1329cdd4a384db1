"""Knowledge: what is read of files, what is found, and what is read again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall import Agent, Client, Knowledge
from polycall.agents.knowledge import Section, UnreadableError
from polycall.agents.knowledge.knowledge import chunked
from polycall.agents.knowledge.readers import read_sections
from polycall.errors import RequestError
from polycall.ir import ToolCall
from polycall.sim import Call, Simulation, Turn
from polycall.testing import ScriptedModel

from .support import PROVIDERS, play


def pdf(*pages: str) -> bytes:
    """A PDF with one line of text on each page."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids: list[str] = []
    for text in pages:
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
        content = len(objects) + 2
        kids.append(f"{len(objects) + 1} 0 R")
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources "
            b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>"
            % content
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    body, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    table = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(places) + 1, rows)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF"
    return body + table + trailer % (len(places) + 1, len(body))


MARKDOWN = """intro

# Shipping
Parcels leave every day.

## Abroad
Ten days to Norway.

```
# no heading
```
### Customs
Paid by you.
# Returns
Thirty days.
"""
HTML = """<html><head><title>x</title><style>p {}</style></head><body><p>Top &amp; more</p>
<h1>Hours</h1><p>Open <b>daily</b>.</p><script>hidden()</script><ul><li>Mon</li><li>Tue</li></ul>
<h2>Holidays</h2><p>Closed.</p></body></html>"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of each kind, as `docs` below the current one."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "shop.md").write_text(MARKDOWN)
    (docs / "hours.html").write_text(HTML)
    (docs / "note.txt").write_text("환불은 30일 안에 됩니다.")
    (docs / "terms.pdf").write_bytes(pdf("The warranty lasts two years.", "Repairs are free."))
    rows = "".join(f"{n},item {n},{n * 10}\n" for n in range(1, 46))
    (docs / "prices.csv").write_text("sku,name,price\n" + rows)
    (docs / "picture.png").write_bytes(b"\x89PNG")
    (docs / ".hidden.md").write_text("secret")
    monkeypatch.chdir(tmp_path)
    return docs


def test_markdown_is_read_by_headings(folder: Path) -> None:
    assert read_sections(folder / "shop.md") == [
        Section("line 1", "intro\n"),
        Section("Shipping (line 3)", "# Shipping\nParcels leave every day.\n"),
        Section(
            "Shipping › Abroad (line 6)",
            "## Abroad\nTen days to Norway.\n\n```\n# no heading\n```",
        ),
        Section("Shipping › Abroad › Customs (line 12)", "### Customs\nPaid by you."),
        Section("Returns (line 14)", "# Returns\nThirty days."),
    ]


def test_html_is_read_as_it_is_seen(folder: Path) -> None:
    assert read_sections(folder / "hours.html") == [
        Section("", "Top & more"),
        Section("Hours", "Hours\n\nOpen daily.\n\nMon\n\nTue"),
        Section("Holidays", "Holidays\n\nClosed."),
    ]


def test_pdf_is_read_by_pages(folder: Path) -> None:
    assert read_sections(folder / "terms.pdf") == [
        Section("page 1", "The warranty lasts two years."),
        Section("page 2", "Repairs are free."),
    ]


def test_tables_are_read_by_rows_that_stand_alone(folder: Path) -> None:
    sections = read_sections(folder / "prices.csv")
    assert [section.place for section in sections] == ["rows 1-20", "rows 21-40", "rows 41-45"]
    assert sections[2].text.splitlines()[0] == "sku: 41; name: item 41; price: 410"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("x.pdf", b"no pdf", "not a PDF that can be read"),
        ("x.txt", b"\xff\x00\xfe\xff", "can't decode"),
        ("x.exe", b"", "no reader for '.exe'"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnreadableError, match=reason):
        read_sections(tmp_path / name)


def test_utf_16_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("한국어".encode("utf-16"))
    assert read_sections(tmp_path / "x.txt") == [Section("", "한국어")]


@given(st.lists(st.text(alphabet="ab .\n", max_size=60), max_size=20), st.integers(10, 50))
def test_cutting_keeps_every_letter_and_its_bound(paragraphs: list[str], size: int) -> None:
    text = "\n\n".join(paragraphs)
    chunks = list(chunked([Section("p", text)], size))
    assert all(len(chunk.text) <= size + 2 * size for chunk in chunks)
    joined = "".join(chunk.text for chunk in chunks)
    for letter in "ab":
        assert joined.count(letter) >= text.count(letter)


def test_long_sections_are_cut_between_paragraphs_with_a_short_overlap() -> None:
    paragraphs = ["a" * 40, "b" * 10, "c" * 45, "d" * 30]
    chunks = list(chunked([Section("p", "\n\n".join(paragraphs))], 60))
    assert [chunk.text for chunk in chunks] == [
        f"{'a' * 40}\n\n{'b' * 10}",
        f"{'b' * 10}\n\n{'c' * 45}",
        "d" * 30,
    ]


def sources(knowledge: Knowledge, query: str, limit: int = 1) -> list[tuple[str, str]]:
    return [(each.source, each.place) for each in knowledge.search(query, limit)]


def test_each_kind_is_found_with_its_source(folder: Path) -> None:
    knowledge = Knowledge.from_paths("docs")
    assert sources(knowledge, "How long does it take to Norway?") == [
        ("docs/shop.md", "Shipping › Abroad (line 6)")
    ]
    assert sources(knowledge, "on holidays?") == [("docs/hours.html", "Holidays")]
    assert sources(knowledge, "warranties") == [("docs/terms.pdf", "page 1")]
    assert sources(knowledge, "price of item 43") == [("docs/prices.csv", "rows 41-45")]
    assert sources(knowledge, "환불 기간") == [("docs/note.txt", "")]
    assert sources(knowledge, "secret") == []
    assert sources(knowledge, "???") == []
    knowledge.close()


def test_only_what_changed_is_read_again(folder: Path) -> None:
    index = folder.parent / "index.db"
    knowledge = Knowledge.from_paths("docs", index=index)
    before = len(knowledge)
    knowledge.close()
    knowledge = Knowledge(index=index)
    assert knowledge.refresh("docs") == 0
    assert len(knowledge) == before
    os.utime(folder / "shop.md", (1, 1))  # looks changed, and is not
    assert knowledge.refresh("docs") == 0
    (folder / "note.txt").write_text("Refunds take thirty days.")
    (folder / "hours.html").unlink()
    (folder / "new.txt").write_text("A new file about bicycles.")
    assert knowledge.refresh("docs") == 2
    assert sources(knowledge, "bicycle") == [("docs/new.txt", "")]
    assert sources(knowledge, "refund") == [("docs/note.txt", "")]
    assert sources(knowledge, "holidays") == []
    assert sources(knowledge, "환불") == []
    assert knowledge.refresh(["docs/shop.md"]) == 0
    assert sources(knowledge, "bicycle") == []
    knowledge.close()


def test_a_broken_file_is_skipped_and_named(folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"nothing")
    knowledge = Knowledge.from_paths("docs")
    assert list(knowledge.skipped) == ["docs/broken.pdf"]
    assert sources(knowledge, "warranty") == [("docs/terms.pdf", "page 1")]
    with pytest.raises(RequestError, match="there is no such file"):
        Knowledge.from_paths("docs/none.md")
    with pytest.raises(RequestError, match="no reader for '.png'"):
        Knowledge.from_paths("docs/picture.png")
    knowledge.close()


class Concepts:
    """An embedder that knows what a few words mean."""

    name = "concepts-1"
    meanings = (("car", "automobile", "vehicle"), ("doctor", "physician"), ("fruit", "apple"))

    def __init__(self) -> None:
        self.texts = 0

    def __call__(self, texts: list[str]) -> Sequence[Sequence[float]]:
        self.texts += len(texts)
        return [
            [0.01 + sum(text.lower().count(word) for word in words) for words in self.meanings]
            for text in texts
        ]


def test_a_vector_finds_what_is_meant_and_words_what_is_said(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    facts = {"a": "The automobile stands outside.", "b": "A physician is in.", "c": "Item XK-42."}
    for name, text in facts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    embed = Concepts()
    index = tmp_path / "index.db"
    knowledge = Knowledge.from_paths(tmp_path, index=index, embed=embed)
    assert embed.texts == 3
    assert knowledge.search("my vehicle")[0].text == facts["a"]
    assert knowledge.search("outside, doctor, doctor!")[0].text == facts["b"]
    assert knowledge.search("XK-42")[0].score > knowledge.search("XK-42")[1].score
    knowledge.close()
    embed.texts = 0
    again = Knowledge.from_paths(tmp_path, index=index, embed=embed)
    assert embed.texts == 0
    again.close()
    other = Concepts()
    other.name = "concepts-2"
    changed = Knowledge.from_paths(tmp_path, index=index, embed=other)
    assert other.texts == 3  # vectors of another embedder cannot be compared
    changed.close()
    short = Knowledge(embed=lambda texts: [[1.0]])
    (tmp_path / "d.txt").write_text("more")
    with pytest.raises(RequestError, match="one vector for each text"):
        short.refresh(tmp_path)
    short.close()


def test_progress_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int, str]] = []
    Knowledge.from_paths("docs", progress=lambda *step: seen.append(step)).close()
    assert seen[-1][:2] == (5, 5)
    Knowledge.from_paths("docs", progress=None).close()
    assert capsys.readouterr().err == ""
    Knowledge.from_paths("docs", progress=True).close()
    assert capsys.readouterr().err.endswith("5/5 docs/terms.pdf" + " " * 22 + "\n")


@pytest.mark.parametrize("vendor", PROVIDERS)
async def test_as_a_tool_on_every_provider(
    vendor: str, simulation: Simulation, client: Client, folder: Path
) -> None:
    knowledge = Knowledge.from_paths("docs")
    model = play(
        simulation,
        vendor,
        Turn(calls=[Call("search_knowledge", {"query": "days to Norway"})]),
        Turn(text="Ten days (docs/shop.md)."),
    )
    run = await Agent(model, tools=[knowledge.tool(limit=1)], client=client).run("To Norway?")
    assert json.loads(run.steps[0].results[0].text) == [
        {
            "source": "docs/shop.md, Shipping › Abroad (line 6)",
            "text": "## Abroad\nTen days to Norway.\n\n```\n# no heading\n```",
        }
    ]
    knowledge.close()


async def test_nothing_found_says_what_to_do(folder: Path) -> None:
    knowledge = Knowledge.from_paths("docs")
    call: Any = ToolCall("c", "search_knowledge", '{"query":"zebra"}')
    with ScriptedModel([call, "no"]) as model:
        run = await Agent("test/m", tools=[knowledge.tool()], client=model).run("zebras?")
    assert run.steps[0].results[0].is_error
    assert "nothing was found" in run.steps[0].results[0].text
    knowledge.close()
