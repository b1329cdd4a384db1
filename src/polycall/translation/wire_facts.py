"""Facts about a wire for code that passes its bodies on, or asks its vendor beyond the chat.

Each dialect states its own as `FACTS`; nobody else compares a dialect's name to learn them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from polycall.ir import Usage
from polycall.translation.made import MadeFacts

ALL_MEDIA = frozenset({"image", "audio", "video", "document", "file"})


class WireFacts(Struct, frozen=True, kw_only=True):
    """Facts of one wire.  Marks are bytes that no text can hold: its quotes are escaped."""

    # The frames of a stream that a decoder has to see: a beginning, usage, an end, an error.
    stream_marks: tuple[bytes, ...]
    # What an answer with tool calls has somewhere, and what stands once in each call.
    call_mark: bytes
    call_pattern: re.Pattern[bytes]
    # The frames in which calls are counted, where a stream tells of each several times.
    counted_frames: bytes = b""
    # What a whole answer has, and where its usage is, which `parse_usage` reads with the service
    # tier; without it, `count_fields` are the answer's own fields that count and that end it.
    answer_field: str = ""
    usage_field: str = ""
    parse_usage: Callable[[Any, Any], Usage] | None = None
    count_fields: tuple[str, ...] = ()
    # Where an answer names its model; empty where it does not.
    model_mark: bytes = b'"model"'
    # What keeps a quiet stream alive; empty where the vendor's own clients take nothing.
    heartbeat: bytes = b""
    # Media that the vendor's servers do not fetch by URL.
    media_as_bytes: frozenset[str] = frozenset()
    # Where a reasoning part has room for a token: keys inside of `metadata[dialect]`.
    reasoning_slot: tuple[str, ...] = ()
    # Clients lose ids of calls and keep what stands in that place of a call: it says whose it is.
    marks_calls: bool = False
    # What the vendor wants back on parts that are not reasoning.
    state_keys: frozenset[str] = frozenset()
    # Where the vendor lists its models, and where it counts a request's tokens.
    models_path: str = ""
    count_path: str = ""
    # Sampling fields, in Chat's words, that the wire has no place for whatever the model.
    absent_fields: frozenset[str] = frozenset()
    # A request must say how many tokens may be answered.
    needs_bound: bool = False
    # Fields by which a request names what was answered before, in the place of what was said.
    earlier_fields: tuple[str, ...] = ()
    # Fields by which a request names what the vendor keeps; with `names_items`, an item that has
    # only its `id` stands for the kept one too.
    naming_fields: tuple[str, ...] = ()
    names_items: bool = False
    # The field by which the vendor is asked to hold the conversation, under the answer's id.
    thread_field: str = ""
    # What an answer says that the vendor keeps.
    made: MadeFacts | None = None
