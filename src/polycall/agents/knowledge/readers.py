"""Files as sections of text, each with the place where it stands."""

from __future__ import annotations

import csv
import html.parser
import importlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from polycall.errors import RequestError

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_SPACES = re.compile(r"[ \t\r\f\v]+")
_BLANK_LINES = re.compile(r"\n\s*\n\s*")
_ROWS = 20


class Section(Struct, frozen=True):
    """A piece of a file.  `place` says where: a heading, a page, rows, a line."""

    place: str
    text: str


class UnreadableError(RequestError):
    """A file that holds no text that can be read."""


def read_sections(path: Path) -> list[Section]:
    """The text of a file; `UnreadableError` says why it is missing."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(sorted(READERS))
        raise UnreadableError(f"{path.name}: no reader for {path.suffix!r}; there are {known}")
    try:
        sections = list(reader(path.read_bytes()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableError(f"{path.name}: {error}") from None
    return [section for section in sections if section.text.strip()]


def _text(data: bytes) -> Iterator[Section]:
    yield Section("", _decoded(data))


def _markdown(data: bytes) -> Iterator[Section]:
    """Sections by headings; the place is the path of headings, and the line."""
    trail: list[str] = []
    lines: list[str] = []
    start = 1
    is_code = False
    for number, line in enumerate(_decoded(data).splitlines(), 1):
        if _FENCE.match(line):
            is_code = not is_code
        heading = None if is_code else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        yield Section(_place(trail, start), "\n".join(lines))
        level = len(heading[1])
        trail = [*trail[: level - 1], *[""] * (level - 1 - len(trail)), heading[2]]
        lines, start = [line], number
    yield Section(_place(trail, start), "\n".join(lines))


def _place(trail: list[str], line: int) -> str:
    headings = " › ".join(title for title in trail if title)
    return f"{headings} (line {line})" if headings else f"line {line}"


class _PageText(html.parser.HTMLParser):
    """The visible text of a page, in sections by heading."""

    _HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "head"})
    _BLOCKS = frozenset(
        {"p", "div", "li", "tr", "br", "section", "article", "ul", "ol", "table", "pre", "dd", "dt"}
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.sections: list[Section] = []
        self._heading = ""
        self._in_heading = False
        self._hidden = 0
        self._pieces: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._HIDDEN:
            self._hidden += 1
        elif re.fullmatch("h[1-6]", tag):
            self.end_section()
            self._heading, self._in_heading = "", True
        elif tag in self._BLOCKS:
            self._pieces.append("\n")
        elif tag in ("td", "th"):
            self._pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        elif re.fullmatch("h[1-6]", tag):
            self._in_heading = False
            self._pieces.append("\n")
        elif tag in self._BLOCKS:
            self._pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        self._pieces.append(data)
        if self._in_heading:
            self._heading += data

    def end_section(self) -> None:
        """Close the section before a heading, or the last one."""
        text = _SPACES.sub(" ", "".join(self._pieces))
        text = _BLANK_LINES.sub("\n\n", text).strip()
        if text:
            self.sections.append(Section(" ".join(self._heading.split()), text))
        self._pieces = []


def _html(data: bytes) -> Iterator[Section]:
    page = _PageText()
    page.feed(_decoded(data))
    page.close()
    page.end_section()
    yield from page.sections


def _pdf(data: bytes) -> Iterator[Section]:
    try:
        pypdf = importlib.import_module("pypdf")
    except ModuleNotFoundError:
        raise UnreadableError("PDF files need pypdf; install 'polycall[retrieval]'") from None
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        for number, page in enumerate(reader.pages, 1):
            yield Section(f"page {number}", page.extract_text())
    except pypdf.errors.PyPdfError as error:
        raise UnreadableError(f"not a PDF that can be read: {error}") from None


def _table(data: bytes, delimiter: str) -> Iterator[Section]:
    """Rows with their column names, so that each can be understood alone."""
    rows = csv.reader(io.StringIO(_decoded(data)), delimiter=delimiter)
    header = next(rows, list[str]())
    lines: list[str] = []
    number = 0
    for number, row in enumerate(rows, 1):
        pairs = zip(header, row, strict=False)
        lines.append("; ".join(f"{name}: {value}" for name, value in pairs if value))
        if len(lines) == _ROWS:
            yield Section(f"rows {number - _ROWS + 1}-{number}", "\n".join(lines))
            lines = []
    yield Section(f"rows {number - len(lines) + 1}-{number}", "\n".join(lines))


def _decoded(data: bytes) -> str:
    has_mark = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    return data.decode("utf-16" if has_mark else "utf-8-sig")


READERS: dict[str, Callable[[bytes], Iterator[Section]]] = {
    ".txt": _text,
    ".text": _text,
    ".log": _text,
    ".rst": _text,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
    ".csv": lambda data: _table(data, ","),
    ".tsv": lambda data: _table(data, "\t"),
}
