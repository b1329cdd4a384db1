"""Remembers what an adaptation gave: the same tools come with every request of a conversation.

Results are shared between callers, who treat them as they treat their input: nobody changes them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import TypeVar

import msgspec

from polycall.ir import JSON

T = TypeVar("T")

_ENTRIES_MAX = 1024
_SCHEMA_BYTES_MAX = 64 * 1024


def remembered(adapt: Callable[[JSON], T]) -> Callable[[JSON], T]:
    """The same function, which does its work once for each schema seen lately."""
    results: OrderedDict[bytes, T] = OrderedDict()
    lock = Lock()

    @wraps(adapt)
    def remember(schema: JSON) -> T:
        try:
            key = msgspec.json.encode(schema)
        except (TypeError, ValueError, RecursionError):
            return adapt(schema)  # not JSON, or not Unicode: rare, and the function's own affair
        if key in results:
            try:
                results.move_to_end(key)
                return results[key]
            except KeyError:  # another thread has just dropped it
                pass
        result = adapt(schema)
        if len(key) <= _SCHEMA_BYTES_MAX:
            with lock:
                results[key] = result
                while len(results) > _ENTRIES_MAX:
                    results.popitem(last=False)
        return result

    return remember
