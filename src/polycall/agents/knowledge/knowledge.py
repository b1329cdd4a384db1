"""Knowledge that an agent can look up: files, indexed once and searched by a tool."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from polycall.agents.knowledge.index import Chunk, FileState, Index
from polycall.agents.knowledge.readers import READERS, Section, UnreadableError, read_sections
from polycall.client import Client
from polycall.errors import RequestError, ToolError
from polycall.ir import JSON
from polycall.tools import FunctionTool, tool_from_schema

# Texts to vectors, one each.
Embed: TypeAlias = Callable[[list[str]], Sequence[Sequence[float]]]
# Called with what is done, what there is in all, and what is being done.
Progress: TypeAlias = Callable[[int, int, str], None]

# A vector finds what is meant, words only what is said: it counts for more, but names and numbers
# are found by words.  Equal weights were measured to be worse than the vector alone.
_VECTOR_WEIGHT, _WORDS_WEIGHT = 0.75, 0.25
_CANDIDATES = 50
_BATCH = 64
_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__"})
_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?<=[.!?。])\s+|\n")


class Passage(Struct, frozen=True):
    """Something that was found, and where."""

    source: str
    place: str
    text: str
    score: float


class Knowledge:
    """Files that can be searched.

    `index` is where the index is kept: a path, so that only what has changed is read again the
    next time, or nothing for memory.  With `embed`, passages are ranked by vectors as well as by
    words: it is a function, or the name of a model of embeddings.  `skipped` says which files could
    not be read, and why.
    """

    def __init__(
        self,
        *,
        index: str | Path = ":memory:",
        embed: Embed | str | None = None,
        size_chars: int = 1_500,
    ) -> None:
        if isinstance(embed, str):
            embed = ModelEmbedder(embed)
        self.skipped: dict[str, str] = {}
        self._index = Index(index)
        self._embed = embed
        self._size_chars = size_chars
        if embed is not None:
            self._index.use_embedder(str(getattr(embed, "name", None) or _name_of(embed)))

    @classmethod
    def from_paths(
        cls,
        paths: str | Path | Iterable[str | Path],
        *,
        index: str | Path = ":memory:",
        embed: Embed | str | None = None,
        size_chars: int = 1_500,
        progress: bool | Progress | None = None,
    ) -> Knowledge:
        """The knowledge in files and folders: text, Markdown, HTML, PDF, CSV.

        `progress` shows a bar where standard error is a terminal; true and false say so, and a
        function is called instead.
        """
        knowledge = cls(index=index, embed=embed, size_chars=size_chars)
        knowledge.refresh(paths, progress=progress)
        return knowledge

    def refresh(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        progress: bool | Progress | None = None,
    ) -> int:
        """Bring the index to what the paths hold now; how many files were read for that.

        Files that are gone, or no longer among the paths, are taken out.
        """
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        files = {path.as_posix(): path for path in _found(given)}
        known = self._index.files()
        for path in known.keys() - files.keys():
            self._index.remove_file(path)
        self.skipped = {}
        show = _shower(progress)
        read = 0
        for number, (name, path) in enumerate(sorted(files.items()), 1):
            show(number, len(files), name)
            read += self._read(name, path, known.get(name))
        self._embed_all(show)
        return read

    def search(self, query: str, limit: int = 5) -> list[Passage]:
        """The passages that fit best, best first."""
        scores = self._index.search(query, _CANDIDATES)
        if self._embed is not None and query.strip():
            near = self._index.nearest(self._embed([query])[0], _CANDIDATES)
            scores = {
                number: _WORDS_WEIGHT * scores.get(number, 0.0)
                + _VECTOR_WEIGHT * near.get(number, 0.0)
                for number in {**scores, **near}
            }
        best = sorted(scores, key=lambda number: (-scores[number], number))[:limit]
        return [_passage(self._index.chunk(number), scores[number]) for number in best]

    def tool(
        self, name: str = "search_knowledge", description: str = "", *, limit: int = 5
    ) -> FunctionTool[..., Any]:
        """The search as a tool; its results name their sources."""
        sources = sorted({_folder_of(Path(path)) for path in self._index.files()})
        about = description or (
            f"Search {', '.join(sources[:5])} for passages. Answer from what they say, and name "
            "the source of each fact."
        )
        parameters: JSON = {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "what to look for, in its own words"}
            },
            "required": ["query"],
            "additionalProperties": False,
        }

        def search(arguments: JSON) -> list[JSON]:
            found = self.search(arguments["query"], limit)
            if not found:
                raise ToolError(
                    "nothing was found; ask with other words, or say that it is not there"
                )
            return [{"source": _cited(passage), "text": passage.text} for passage in found]

        return tool_from_schema(name, about, parameters, search)

    def __len__(self) -> int:
        """The number of chunks."""
        return self._index.count()

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def _read(self, name: str, path: Path, before: FileState | None) -> bool:
        status = path.stat()
        if before and (before.size, before.modified) == (status.st_size, status.st_mtime_ns):
            return False
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        state = FileState(status.st_size, status.st_mtime_ns, digest)
        if before is not None and before.digest == digest:
            self._index.touch(name, state)
            return False
        try:
            sections = read_sections(path)
        except UnreadableError as error:
            self.skipped[name] = error.message
            self._index.remove_file(name)
            return False
        self._index.replace_file(name, state, chunked(sections, self._size_chars))
        return True

    def _embed_all(self, show: Progress) -> None:
        if self._embed is None:
            return
        waiting = self._index.without_vectors()
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            vectors = self._embed([f"{chunk.place}\n{chunk.text}" for chunk in batch])
            self._index.add_vectors([chunk.number for chunk in batch], vectors)
            show(start + len(batch), len(waiting), "vectors")


def _found(paths: Iterable[str | Path]) -> Iterable[Path]:
    for given in paths:
        path = Path(given)
        if path.is_dir():
            yield from (each for each in sorted(path.rglob("*")) if _is_wanted(each, path))
        elif path.is_file():
            if path.suffix.lower() not in READERS:
                raise RequestError(
                    f"{given}: no reader for {path.suffix!r}; there are "
                    f"{', '.join(sorted(READERS))}"
                )
            yield path
        else:
            raise RequestError(f"{given}: there is no such file or folder")


def _is_wanted(path: Path, root: Path) -> bool:
    inner = path.relative_to(root).parts
    is_hidden = any(part.startswith(".") or part in _SKIPPED_FOLDERS for part in inner)
    if path.suffix.lower() not in READERS or is_hidden or not path.is_file():
        return False
    # A link, of the file or of a folder above it, may lead anywhere: not out of the root.
    return path.resolve().is_relative_to(root.resolve())


def _folder_of(path: Path) -> str:
    """The folder's own name: a model learns no more of where a file lies."""
    return path.parent.name or path.name


def _passage(chunk: Chunk, score: float) -> Passage:
    return Passage(chunk.path, chunk.place, chunk.text, score)


def _cited(passage: Passage) -> str:
    return f"{passage.source}, {passage.place}" if passage.place else passage.source


def _name_of(embed: Embed) -> str:
    kind = type(embed)
    return getattr(embed, "__qualname__", f"{kind.__module__}.{kind.__qualname__}")


def _shower(progress: bool | Progress | None) -> Progress:
    if callable(progress):
        return progress
    if progress is False or (progress is None and not sys.stderr.isatty()):
        return lambda done, total, what: None
    return _bar


def _bar(done: int, total: int, what: str) -> None:
    width = 24  # so that all of it fits into 80 columns
    full = width * done // max(total, 1)
    line = f"\r[{'#' * full}{'.' * (width - full)}] {done}/{total} {what[-36:]:<36}"
    sys.stderr.write(line + ("\n" if done == total else ""))
    sys.stderr.flush()


class ModelEmbedder:
    """Asks a model for vectors, by the configuration and the keys that a `Client` finds."""

    def __init__(self, model: str) -> None:
        self.name = model  # the index keeps it: vectors of two models cannot be compared

    def __call__(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""
        with Client() as client:
            return client.embed_sync(self.name, texts)


def chunked(sections: Iterable[Section], size_chars: int) -> Iterator[Section]:
    """The sections, long ones in several chunks of up to `size_chars`.

    Cut between paragraphs, else between sentences, else anywhere.  The last paragraph of a chunk
    stands in the next one again where it is short, since a thought may go across.
    """
    for section in sections:
        text = section.text.strip()
        if len(text) <= size_chars:
            yield Section(section.place, text)
            continue
        for piece in _packed(_pieces(text, size_chars), size_chars):
            yield Section(section.place, piece)


def _pieces(text: str, size_chars: int) -> Iterator[str]:
    for paragraph in _PARAGRAPH.split(text):
        if len(paragraph) <= size_chars:
            yield paragraph
            continue
        for sentence in _SENTENCE.split(paragraph):
            for start in range(0, len(sentence), size_chars):
                yield sentence[start : start + size_chars]


def _packed(pieces: Iterable[str], size_chars: int) -> Iterator[str]:
    held: list[str] = []
    length = 0
    fresh = False  # whether something is held that no chunk has yet
    for piece in pieces:
        if not piece.strip():
            continue
        if held and length + len(piece) > size_chars:
            yield "\n\n".join(held)
            last = held[-1]
            repeats = len(last) <= size_chars // 4 and len(last) + len(piece) <= size_chars
            held = [last] if repeats else []
            length = len(last) if repeats else 0
        held.append(piece)
        length += len(piece)
        fresh = True
    if fresh:
        yield "\n\n".join(held)
