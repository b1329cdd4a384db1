"""`polycall usage`: what was asked for, and what it cost."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import time
import unicodedata
from decimal import Decimal
from typing import Any

from polycall._support.printable import printable_line
from polycall._support.private_files import write_private
from polycall.cli.stored import (
    add_store_options,
    dollars,
    past,
    past_end,
    seconds,
    table,
    with_store,
)
from polycall.errors import RequestError
from polycall.gateway.store import Store
from polycall.gateway.store.usage import GROUPS, UsageRow, sum_row

_NUMBERS = UsageRow.__struct_fields__[1:]
_HEADS = {
    "not_ok": "not ok",
    "input_tokens": "input",
    "cached_tokens": "cached",
    "cache_write_tokens": "written",
    "output_tokens": "output",
    "reasoning_tokens": "reasoning",
    "cost_usd": "cost $",
}
# What a spreadsheet takes for the beginning of a formula, in any width of letters.
_FORMULA = ("=", "+", "-", "@")
# What it may leave out before that: spaces, controls and marks without a shape of their own.
_UNSEEN = "ZCM"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "Sum the gateway's ledger. Tokens are in one arithmetic for all providers: input "
        "includes cached and written, output includes reasoning. 'unpriced' counts requests "
        "that used tokens whose price is not known: they are not in the cost. Times are UTC."
    )
    parser.epilog = "Example: polycall usage --by key,model --since 7d"
    parser.add_argument(
        "--by",
        default="key",
        metavar="WORDS",
        help=f"one or more of {', '.join(GROUPS)}, separated by commas; default: key",
    )
    parser.add_argument(
        "--since",
        type=past,
        metavar="WHEN",
        help="a date, a time, or 7d; default: 30 days before the end",
    )
    parser.add_argument(
        "--until", type=past_end, metavar="WHEN", help="a date (with that day), a time, or 1d"
    )
    parser.add_argument("--key", metavar="NAME", help="only this key")
    parser.add_argument("--json", action="store_true", help="a JSON array")
    parser.add_argument(
        "--csv", metavar="FILE", help="a file for a spreadsheet; '-' for standard output"
    )
    add_store_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the sums."""
    by = [word.strip() for word in options.by.split(",") if word.strip()]
    for word in by:
        if word not in GROUPS:
            raise RequestError(f"cannot sum by {word!r}; known: {', '.join(GROUPS)}")
    until = time.time() + 1 if options.until is None else options.until
    since = until - seconds("30d") if options.since is None else options.since
    if since >= until:
        raise RequestError("--since is not before --until: there is no time between them")

    async def work(store: Store) -> list[UsageRow]:
        return await store.usage(by, since=since, until=until, key=options.key)

    rows = with_store(options, work)
    if options.json:
        print(json.dumps([_as_json(by, row) for row in rows], ensure_ascii=False, indent=1))
    elif options.csv is not None:
        write_csv(by, rows, options.csv)
    elif not rows:
        print("nothing was asked for in that time")
    else:
        print(_as_table(by, rows))
    return 0


def _as_json(by: list[str], row: UsageRow) -> dict[str, Any]:
    numbers = {name: getattr(row, name) for name in _NUMBERS}
    return {**dict(zip(by, row.group, strict=True)), **numbers, "cost_usd": f"{row.cost_usd:f}"}


def _as_table(by: list[str], rows: list[UsageRow]) -> str:
    heads = [*by, *(_HEADS.get(name, name) for name in _NUMBERS)]
    lines = [[*map(_shown, row.group), *_numbers(row)] for row in rows]
    if len(rows) > 1 and by:
        totals = [sum((getattr(row, name) for row in rows), Decimal(0)) for name in _NUMBERS]
        total = sum_row((), totals)
        lines.append(["all", *[""] * (len(by) - 1), *_numbers(total)])
    return table(heads, lines, right=len(by))


def _numbers(row: UsageRow) -> list[str]:
    return [
        dollars(row.cost_usd) if name == "cost_usd" else f"{getattr(row, name):,}"
        for name in _NUMBERS
    ]


def _shown(text: str) -> str:
    return printable_line(text) or "-"


def _cell(word: str) -> str:
    """A word that no spreadsheet reads as a formula."""
    seen = next((sign for sign in word if unicodedata.category(sign)[0] not in _UNSEEN), "")
    starts = unicodedata.normalize("NFKC", seen)
    return f"'{word}" if starts in _FORMULA or word[:1] in ("\t", "\r") else word


def write_csv(by: list[str], rows: list[UsageRow], name: str) -> None:
    """Write a table for spreadsheets to a file, or for `-` to the output."""
    text = io.StringIO()
    # Words in quotes: where cells end with a semicolon or a tab, none begins within a name.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)  # lines end as RFC 4180 says
    writer.writerow([*by, *_NUMBERS])
    for row in rows:
        cells = [_cell(word) for word in row.group]
        numbers = [
            f"{row.cost_usd:f}" if field == "cost_usd" else getattr(row, field)
            for field in _NUMBERS
        ]
        writer.writerow([*cells, *numbers])
    if name == "-" and sys.stdout.isatty():  # to be looked at: cleaned, as all that is
        print(text.getvalue(), end="")
        return
    # The mark at the start tells spreadsheets that it is UTF-8, Korean names included.
    data = text.getvalue().encode("utf-8-sig", "replace")
    if name == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        write_private(name, data)
    except OSError as error:
        raise RequestError(f"cannot write {name!r}: {error.strerror}") from None
