"""Token counts: this wire's `input_tokens` leaves out what caches read and wrote."""

from __future__ import annotations

from typing import Any

from polycall.dialects.anthropic.names import NAME
from polycall.ir import JSON, Usage
from polycall.translation.wire import response_reader

_READ = "cache_read_input_tokens"
_WRITTEN = "cache_creation_input_tokens"


def parse_usage(value: Any, path: str = "usage") -> Usage:
    """A `usage` object; the object itself is kept, without nulls."""
    reader = response_reader
    if value is None:
        return Usage()
    wire = reader.object(value, path)
    if None in wire.values():
        wire = {key: count for key, count in wire.items() if count is not None}
    read = reader.get_int(wire, _READ, path) or 0
    written = reader.get_int(wire, _WRITTEN, path) or 0
    if not written:
        split = reader.get_object(wire, "cache_creation", path)
        if split:
            written = sum(count for count in split.values() if isinstance(count, int))
    details = reader.get_object(wire, "output_tokens_details", path)
    plain = reader.get_int(wire, "input_tokens", path) or 0
    output = reader.get_int(wire, "output_tokens", path) or 0
    if "iterations" in wire:
        apart = _beside(wire, path)
        read, written = read + apart[_READ], written + apart[_WRITTEN]
        plain, output = plain + apart["input_tokens"], output + apart["output_tokens"]
    return Usage(
        input_tokens=plain + read + written,
        output_tokens=output,
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reader.get_int(details, "thinking_tokens", path) or 0,
        metadata={NAME: wire},
    )


def _beside(wire: JSON, path: str) -> JSON:
    """The cost of compacting the conversation: it is paid, and is in no other count.

    Read 2026-11-29 in anthropic 2.14, types/beta/beta_usage.py.
    """
    reader = response_reader
    sums: JSON = dict.fromkeys(("input_tokens", "output_tokens", _READ, _WRITTEN), 0)
    for index, entry in enumerate(reader.get_array(wire, "iterations", path)):
        place = f"{path}.iterations[{index}]"
        fields = reader.object(entry, place)
        if fields.get("type") == "compaction":
            for name in sums:
                sums[name] += reader.get_int(fields, name, place) or 0
    return sums


def merge_usage(first: JSON, second: JSON) -> JSON:
    """The counts of a stream so far: cumulative, so later ones win, unless they are empty.

    Some servers repeat a field as zero, or leave it out, after they have given it.
    """
    merged = dict(first)
    for key, value in second.items():
        known = merged.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            merged[key] = merge_usage(known, value)  # pyright: ignore[reportUnknownArgumentType]
        elif known is None or value not in (None, 0, [], {}):
            merged[key] = value
    return merged


def render_usage(usage: Usage) -> JSON:
    """The `usage` object of an answer."""
    own = usage.metadata.get(NAME)
    read, written = usage.cached_tokens, usage.cache_write_tokens
    wire: JSON = dict(own) if own is not None else {}
    apart = _beside(wire, "usage")
    counts = {
        "input_tokens": max(usage.input_tokens - read - written - apart["input_tokens"], 0),
        _WRITTEN: max(written - apart[_WRITTEN], 0),
        _READ: max(read - apart[_READ], 0),
        "output_tokens": max(usage.output_tokens - apart["output_tokens"], 0),
    }
    for key, count in counts.items():
        if own is None or count or key in own:
            wire[key] = count
    wire.setdefault("input_tokens", 0)
    wire.setdefault("output_tokens", 0)
    if usage.reasoning_tokens:
        details: JSON = wire.get("output_tokens_details") or {}
        wire["output_tokens_details"] = {**details, "thinking_tokens": usage.reasoning_tokens}
    return wire
