"""Our costs beside the price table's own reading: `python -m bench.costs`.

Recorded answers of vendors (POLYCALL_SHARED) are read twice: by our dialects, whose usage is priced
as the client and the gateway price it, and by `genai_prices.extract_usage`, which reads the body by
rules of its own.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from genai_prices import extract_usage

from polycall.errors import PolycallError
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.dialects import DIALECTS
from polycall.providers.prices import cost_usd, special_kinds
from polycall.providers.provider import DialectName

SHARED = Path(os.environ.get("POLYCALL_SHARED", "../shared"))
# Dialect: file, provider, the vendor's host, the table's name for the wire.
SOURCES: dict[DialectName, tuple[str, str, str, str]] = {
    "openai-chat": ("openai_chat.jsonl.gz", "openai", "api.openai.com", "chat"),
    "openai-responses": ("openai_responses.jsonl.gz", "openai", "api.openai.com", "responses"),
    "anthropic": ("anthropic_messages.jsonl.gz", "anthropic", "api.anthropic.com", "default"),
    "gemini": ("gemini.jsonl.gz", "google", "generativelanguage.googleapis.com", "default"),
}
# Paid apart, and no part of the counts that the table's rules read.
_NOT_READ = ("compaction", "advisor_message")


def bodies(dialect: DialectName) -> Iterator[dict[str, Any]]:
    """Whole answers that the vendor itself gave."""
    name, _, host, _ = SOURCES[dialect]
    with gzip.open(SHARED / "corpus" / name, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            body = row["response"]
            if row["host"] == host and row["status"] == 200 and isinstance(body, dict):
                yield body


def both(
    dialect: DialectName, body: dict[str, Any]
) -> tuple[str, Decimal | None, Decimal | None] | None:
    """The kind of usage, our cost and the table's; `None` where one of both cannot read it."""
    _, provider, _, flavor = SOURCES[dialect]
    try:
        response = DIALECTS[dialect].parse_response(body)
    except PolycallError:
        return None
    usage = response.usage
    if not usage.is_reported:
        return None
    entries: Any = usage.metadata.get("anthropic", {}).get("iterations") or []
    if any(entry["type"] in _NOT_READ for entry in entries):
        return None  # what the table's rules leave out
    try:
        tier = body.get("service_tier")
        theirs = extract_usage(body, provider_id=provider, api_flavor=flavor).calc_price(
            price_context={"service_tier": tier} if tier else None
        )
        price: Decimal | None = theirs.total_price
    except (LookupError, ValueError):
        price = None
    except AttributeError:  # the library's own mistake with modalities as numbers
        return None
    kinds = [
        word
        for word, count in (
            ("cached", usage.cached_tokens),
            ("cache written", usage.cache_write_tokens),
            ("reasoning", usage.reasoning_tokens),
            ("sound, images, searches", len(special_kinds(usage))),
        )
        if count
    ]
    return ", ".join(kinds) or "plain", cost_usd(CATALOGUE[provider], response.model, usage), price


def main() -> int:
    """Print the table."""
    if not (SHARED / "corpus").is_dir():
        print("no recorded answers; set POLYCALL_SHARED", file=sys.stderr)
        return 1
    warnings.simplefilter("ignore")
    print("| wire | usage | answers | same | no price in either | differ |")
    print("|---|---|---|---|---|---|")
    for dialect in SOURCES:
        counts: Counter[tuple[str, str]] = Counter()
        for body in bodies(dialect):
            found = both(dialect, body)
            if found is not None:
                kind, ours, theirs = found
                outcome = "differ" if ours != theirs else "none" if ours is None else "same"
                counts[kind, outcome] += 1
        for kind in sorted({kind for kind, _ in counts}):
            row = [counts[kind, outcome] for outcome in ("same", "none", "differ")]
            print(f"| {dialect} | {kind} | {sum(row)} | {row[0]} | {row[1]} | {row[2]} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
