"""`polycall models`: which models there are, what they can do and what they cost."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from polycall.cli.default_model import default_model, set_default_model
from polycall.cli.model_profile import show_profile, show_retired
from polycall.cli.stored import run_with_store
from polycall.client import Client
from polycall.config import Store as StoreSettings
from polycall.config import default_path, load_store
from polycall.errors import RequestError
from polycall.gateway.state.shared_corrections import load
from polycall.gateway.store import Store
from polycall.gateway.store.sqlite import path_of
from polycall.profiles import LIVING
from polycall.profiles.corrections import Correction, CorrectionBook
from polycall.providers.models import ModelInfo, list_models
from polycall.providers.provider import FEATURES, Feature, Provider

_MARKS = {True: "yes", False: "no", None: "?", "prompted": "prompt"}
_HEADERS = {
    "tools": "tools",
    "parallel_calls": "parallel",
    "reasoning": "reason",
    "images": "images",
    "structured_output": "schema",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command, and add its options."""
    parser.description = (
        "List known models. '?' is unknown: capabilities come from rules that ship with "
        "polycall, prices (US dollars for a million tokens) from the genai-prices snapshot. A "
        "model that is not listed can be used all the same. With MODEL, what that model takes: "
        "each feature with what is done where it is not taken, and the source of the rule."
    )
    parser.epilog = (
        "Example: polycall models --provider anthropic --supports tools,images; "
        f"polycall models {LIVING['anthropic']}; polycall models --retired; "
        f"polycall models default {LIVING['anthropic']}"
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="MODEL",
        help="one model's profile; 'default' is the model that run and chat ask where none is "
        "named, and 'default MODEL' sets it",
    )
    parser.add_argument("--retired", action="store_true", help="models that ended or will end")
    parser.add_argument("--provider", action="append", default=[], help="only this provider")
    parser.add_argument(
        "--supports",
        default="",
        metavar="FEATURES",
        help=f"only models known to have these, separated by commas: {', '.join(FEATURES)}",
    )
    parser.add_argument(
        "--forget",
        nargs="?",
        const="",
        metavar="MODEL",
        help="forget what refusals of a provider/model taught, or of all",
    )
    parser.add_argument("--config", help="a polycall.toml with more providers, and its store")
    parser.add_argument("--json", action="store_true", help="a JSON array")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the list, one profile or the retirements."""
    if options.forget is not None:
        print(forget(options.forget, options.config))
        return 0
    if options.retired:
        print(show_retired(as_json=options.json))
        return 0
    if options.words[:1] == ["default"]:
        return _default(options)
    if len(options.words) > 1:
        raise RequestError(f"one model at a time, not {len(options.words)}")
    if options.words:
        known = Client(config=options.config).providers
        learned = entries(options.config)
        shown = [each for each in learned if options.words[0] == f"{each.provider}/{each.model}"]
        print(show_profile(options.words[0], known, as_json=options.json, corrections=shown))
        return 0
    wanted = _features(options.supports)
    providers = _providers(Client(config=options.config).providers, options.provider)
    rows = list(list_models(providers, supports=wanted))
    if options.json:
        print(json.dumps([_as_json(row) for row in rows], ensure_ascii=False, indent=1))
        return 0
    width = max((len(row.name) for row in rows), default=20)
    marks = "".join(f"{title:>10}" for title in _HEADERS.values())
    print(f"{'model':<{width}}{marks}{'context':>10}{'$ in':>9}{'$ out':>9}{'$ cached':>10}")
    for row in rows:
        print(_line(row, width))
    return 0


def _default(options: argparse.Namespace) -> int:
    """Print the default model, or set it."""
    if len(options.words) > 2:
        raise RequestError("several models are one word with commas: 'a/b,c/d'")
    if len(options.words) == 2:
        set_default_model(options.words[1], Client(config=options.config))
    chosen = default_model()
    if options.json:
        print(json.dumps(chosen))
    elif chosen:
        print(chosen)
    else:
        print("there is no default model; polycall models default PROVIDER/MODEL", file=sys.stderr)
    return 0 if chosen or options.json else 1


def _features(text: str) -> list[Feature]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    known: dict[str, Feature] = {feature: feature for feature in FEATURES}
    for name in names:
        if name not in known:
            raise RequestError(f"{name!r} is not a capability; known: {', '.join(FEATURES)}")
    return [known[name] for name in names]


def _providers(known: dict[str, Provider], names: list[str]) -> list[Provider]:
    for name in names:
        if name not in known:
            raise RequestError(f"no provider is called {name!r}; known: {', '.join(sorted(known))}")
    return [known[name] for name in names or sorted(known)]


def _line(row: ModelInfo, width: int) -> str:
    marks = "".join(f"{_MARKS[getattr(row.capabilities, feature)]:>10}" for feature in _HEADERS)
    context = row.capabilities.context_tokens
    price = row.price
    dollars = (None, None, None) if price is None else (price.input, price.output, price.cached)
    return (
        f"{row.name:<{width}}{marks}{'?' if context is None else context:>10}"
        f"{_dollars(dollars[0]):>9}{_dollars(dollars[1]):>9}{_dollars(dollars[2]):>10}"
    )


def _dollars(value: Decimal | None) -> str:
    return "?" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def _as_json(row: ModelInfo) -> dict[str, Any]:
    price = row.price
    return {
        "model": row.name,
        **{feature: getattr(row.capabilities, feature) for feature in FEATURES},
        "context_tokens": row.capabilities.context_tokens,
        "price_usd_per_million": None
        if price is None
        else {
            "input": str(price.input),
            "output": str(price.output),
            "cached": None if price.cached is None else str(price.cached),
            "cache_write": None if price.cache_write is None else str(price.cache_write),
        },
    }


T = TypeVar("T")
VARIABLE = "POLYCALL_CORRECTIONS"


def entries(config: str | None) -> list[Correction]:
    """All corrections that are kept where this configuration keeps them."""
    book = _book()
    found = [] if book is None else book.entries()
    return [*found, *(_with_store(config, load) or [])]


def forget(model: str, config: str | None) -> str:
    """Forget those of a `provider/model`, or all; says how many."""
    book = _book()
    count = 0 if book is None else book.forget(model)

    async def gone(store: Store) -> int:
        names = ("", model)
        keys = [
            each.key
            for each in await load(store)
            if f"{each.provider}/{each.model}" in names or model in ("", each.provider)
        ]
        if keys:
            await store.forget_corrections(keys)
        return len(keys)

    count += _with_store(config, gone) or 0
    return f"forgot {count} correction{'' if count == 1 else 's'}"


def _book() -> CorrectionBook | None:
    path = os.environ.get(VARIABLE)
    return CorrectionBook(path) if path else None


def _with_store(config: str | None, work: Callable[[Store], Awaitable[T]]) -> T | None:
    """Do `work` on the gateway's store; `None` where there is none yet."""
    path = Path(config) if config else default_path()
    settings = load_store(path) if path is not None else StoreSettings()
    folder = path.parent if path is not None else Path()
    if settings.url.startswith("sqlite:") and not Path(path_of(settings.url, folder)).exists():
        return None
    return run_with_store(settings, folder, work)
