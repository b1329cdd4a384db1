"""The common part of the commands on the gateway's store: its address, and the form of times."""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar
from unicodedata import category, east_asian_width

from polycall.config import (
    NO_STORE,
    default_path,
    is_store,
    load_store,
    moment,
)
from polycall.config import Store as StoreSettings
from polycall.config.reader import BUDGET_USD_MAX, NUMBER_MAX
from polycall.errors import RequestError
from polycall.gateway.accounts.windows import SPANS
from polycall.gateway.store import Store, open_store
from polycall.gateway.store.sqlite import path_of

T = TypeVar("T")

KEY_SHOWN_ONCE = "This is the only time the key is shown; the store keeps a digest of it."
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SECONDS_MAX = 1000 * 366 * 86_400


def add_store_options(parser: Any) -> None:
    """`--config` and `--store`."""
    parser.add_argument("--config", type=Path, help="whose [store] to use; default: polycall.toml")
    parser.add_argument("--store", metavar="URL", help="the store itself, instead of a file's")


def add_store_action(
    actions: Any, name: str, help_text: str, about_name: str
) -> argparse.ArgumentParser:
    """An action on the store; on what `NAME` says, where `about_name` describes it."""
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help_text)
    if about_name:
        parser.add_argument("name", help=about_name)
    parser.add_argument("--json", action="store_true", help="for programs")
    add_store_options(parser)
    return parser


def with_store(
    options: argparse.Namespace, work: Callable[[Store], Awaitable[T]], *, makes: bool = False
) -> T:
    """Do `work` on the store; only where it `makes` something may the store be new."""
    settings, folder = _settings(options)
    if settings.url.startswith("sqlite:") and not makes:
        path = path_of(settings.url, folder)
        if not Path(path).exists():
            raise RequestError(
                f"there is no store at {path!r} yet; 'polycall keys create' or 'polycall serve' "
                "makes it"
            )

    return run_with_store(settings, folder, work)


def run_with_store(
    settings: StoreSettings,
    folder: Path,
    work: Callable[[Store], Awaitable[T]],
    *,
    secret: str = "",
) -> T:
    """Open the store, work with it on an event loop of its own, and close it."""

    async def run() -> T:
        # Sums of a large ledger take their time.
        store = open_store(
            settings.url, folder, secret=secret, spool=settings.spool, deadline_s=600
        )
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def _settings(options: argparse.Namespace) -> tuple[StoreSettings, Path]:
    if options.store is not None:
        if not is_store(options.store):
            raise RequestError(NO_STORE.format(options.store.partition(":")[0]))
        return StoreSettings(url=options.store), Path()
    path = options.config or default_path()
    if path is not None:
        return load_store(path), path.parent
    # Where the gateway was started without a configuration, it left its store here.
    store = StoreSettings()
    if not Path(path_of(store.url, Path())).exists():
        raise RequestError(
            "there is no polycall.toml and no polycall.db here; give --config FILE or --store URL"
        )
    return store, Path()


def seconds(text: str) -> float:
    """`90d`, `12h`, `30m` as seconds."""
    found = re.fullmatch(r"(\d+)\s*([smhdw])", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length of time; write 90d, 12h or 30m")
    length_s = int(found.group(1)) * _UNITS_S[found.group(2)]
    if length_s > _SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is too long; at most 1000 years")
    return float(length_s)


def future(text: str) -> float:
    """A date, a time, or how long from now."""
    at = moment(text)
    if at is None:
        at = time.time() + _length(text)
    if at <= time.time():
        raise argparse.ArgumentTypeError(f"{text!r} is in the past")
    return at


def past(text: str) -> float:
    """A date, a time, or how long ago."""
    at = moment(text)
    return time.time() - _length(text) if at is None else at


def _length(text: str) -> float:
    try:
        return seconds(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or a date as 2027-01-31") from None


def past_end(text: str) -> float:
    """The time, as `past` reads it; a date means the end of that day."""
    is_day = re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip()) is not None
    return past(text) + (86_400 if is_day else 0)


def count(text: str) -> int | None:
    """A number above 0, or `none`."""
    if text == "none":
        return None
    number = int(text) if text.isdecimal() and len(text) < 100 else 0
    if not 0 < number <= NUMBER_MAX:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number from 1 to {NUMBER_MAX}, and not 'none'"
        )
    return number


def budget(text: str) -> tuple[Decimal | None, str]:
    """`20/month`, `1.50/day`, `5/week` or `100/total`, in dollars, or `none`."""
    if text == "none":
        return None, "month"
    amount, _, per = text.partition("/")
    try:
        dollars = Decimal(amount)
    except InvalidOperation:
        dollars = Decimal(0)
    is_amount = dollars.is_finite() and 0 < dollars <= BUDGET_USD_MAX
    if not is_amount or per not in SPANS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a budget; write dollars and a span: 20/month, 1.50/day, 5/week, "
            "100/total, or none "
            f"(at most {BUDGET_USD_MAX})"
        )
    return dollars, per


def shown_time(at: float) -> str:
    """A moment as a person reads it, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def dollars(amount: Decimal) -> str:
    """An amount to its last digit, without zeros that say nothing."""
    text = f"{amount:f}"
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest.rstrip('0'):0<2}"


def table(head: list[str], rows: list[list[str]], *, right: int) -> str:
    """Columns under their heads; those from `right` on stand at the right."""
    widths = [max(_width(row[place]) for row in [head, *rows]) for place in range(len(head))]
    lines: list[str] = []
    for row in [head, *rows]:
        cells = [
            " " * (width - _width(cell)) + cell
            if place >= right
            else cell + " " * (width - _width(cell))
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _width(text: str) -> int:
    # Korean and Chinese letters and most emoji take two places on a terminal.
    return sum(map(_width_of, text))


def _width_of(letter: str) -> int:
    # Signs upon a letter, joiners, and the later letters of a syllable as macOS writes it.
    if category(letter) in ("Mn", "Me", "Cf") or "\u1160" <= letter <= "\u11ff":
        return 0
    return 2 if east_asian_width(letter) in ("W", "F") else 1
