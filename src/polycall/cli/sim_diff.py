"""`polycall sim diff`: which recorded requests a vendor takes on one day and not on another."""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from polycall.errors import RequestError
from polycall.sim.dated import Refusal
from polycall.sim.judge import Judge, RecordedRequest, read_request

Change: TypeAlias = Literal["breaks", "mends", "refused", "taken"]
_WORDS: dict[Change, str] = {
    "breaks": "breaks",
    "mends": "is taken again",
    "refused": "is refused on both days",
    "taken": "is taken on both days",
}


class Compared(Struct, frozen=True):
    """One request on two days."""

    line: int
    wire: str
    model: str
    change: Change
    before: Refusal | None
    after: Refusal | None


def day(text: str) -> datetime.date:
    """A day on the command line.  Raises ArgumentTypeError for anything else."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day; write it as 2026-11-29") from None


def run(words: Sequence[str]) -> int:
    """Compare; 0 where nothing breaks, 1 where something does."""
    options = _parser().parse_args(words)
    before, after = options.as_of
    if before > after:
        raise RequestError(f"--as-of {before} {after}: the earlier day comes first")
    judges = Judge(before), Judge(after)
    rows = [_compared(line, request, judges) for line, request in _requests(options.requests)]
    breaks = [row for row in rows if row.change == "breaks"]
    if options.json:
        print(json.dumps([_as_json(row) for row in rows], ensure_ascii=False, indent=2))
    else:
        for row in rows:
            if options.all or row.change in ("breaks", "mends"):
                print(_as_text(row))
        refused = sum(row.change == "refused" for row in rows)
        print(
            f"{len(rows)} requests: {len(breaks)} break between {before} and {after}, "
            f"{refused} are refused on both days"
        )
    return 1 if breaks else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="polycall sim diff",
        description=(
            "Compare what the vendors say of recorded requests on two days, by the simulation's "
            "dated rules. REQUESTS is a file of JSON lines: each a body as it was sent, or an "
            "object with `body` (or `request`), and `url`, `path` or `wire`, `headers` and `model` "
            "where the body alone does not tell; or a HAR file, as browsers and proxies export it. "
            "State that a vendor made is taken on trust."
        ),
        epilog="Exit status: 0 nothing breaks, 1 a request breaks, or the file cannot be read. "
        "Example: polycall sim diff requests.jsonl --as-of 2026-09-01 2026-11-29; "
        "polycall sim diff traffic.har --as-of 2026-09-01 2026-11-29",
    )
    parser.add_argument(
        "requests", metavar="REQUESTS", type=Path, help="a file of JSON lines, or a HAR file"
    )
    parser.add_argument(
        "--as-of", nargs=2, type=day, required=True, metavar=("A", "B"), help="the two days"
    )
    parser.add_argument("--json", action="store_true", help="every request, as JSON")
    parser.add_argument("--all", action="store_true", help="also requests that do not change")
    return parser


def _requests(path: Path) -> Iterator[tuple[int, RecordedRequest]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise RequestError(f"{str(path)!r} cannot be read: {why}") from None
    exported = _har_entries(text)
    if exported is not None:
        yield from exported
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield number, read_request(json.loads(line))
        except ValueError as error:
            raise RequestError(f"{str(path)!r}, line {number}: {error}") from None


def _har_entries(text: str) -> list[tuple[int, RecordedRequest]] | None:
    """The requests of a HAR file, by the number of their entry; `None` for any other file.

    What is no request to a model (pages, lists of models, uploads) is passed over.
    """
    try:
        entries = json.loads(text)["log"]["entries"]
    except (ValueError, TypeError, KeyError):
        return None
    found: list[tuple[int, RecordedRequest]] = []
    for number, entry in enumerate(entries, 1):
        try:
            asked = entry["request"]
            body = json.loads(asked["postData"]["text"])
            headers = {each["name"]: each["value"] for each in asked.get("headers", ())}
            record = {"url": asked["url"], "headers": headers, "body": body}
            found.append((number, read_request(record)))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def _compared(line: int, request: RecordedRequest, judges: tuple[Judge, Judge]) -> Compared:
    before, after = (judge.refusal(request) for judge in judges)
    change: Change = "taken"
    if after is not None:
        change = "breaks" if before is None else "refused"
    elif before is not None:
        change = "mends"
    model = request.model or str(request.body.get("model", ""))
    return Compared(line, request.wire, model, change, before, after)


def _as_text(row: Compared) -> str:
    head = f"line {row.line}: {row.model} ({row.wire}) {_WORDS[row.change]}"
    refusal = row.after or row.before
    if refusal is None:
        return head
    source = f"\n    {refusal.rule}: {refusal.source}" if refusal.rule else ""
    return f"{head}: {refusal.status} {refusal.message}{source}"


def _as_json(row: Compared) -> dict[str, Any]:
    return {
        "line": row.line,
        "wire": row.wire,
        "model": row.model,
        "change": row.change,
        "before": _refusal_json(row.before),
        "after": _refusal_json(row.after),
    }


def _refusal_json(refusal: Refusal | None) -> dict[str, Any] | None:
    if refusal is None:
        return None
    return {
        "status": refusal.status,
        "message": refusal.message,
        "param": refusal.param,
        "code": refusal.code,
        "rule": refusal.rule or None,
        "source": refusal.source or None,
    }
