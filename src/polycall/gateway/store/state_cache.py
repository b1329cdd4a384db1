"""A process's cache of carried state, so that a next step need not load it."""

from __future__ import annotations

from collections import OrderedDict

_BYTES_MAX = 4 * 1024 * 1024
_ENTRY_BYTES = 400  # that the shortest value takes with its names


class StateCache:
    """The states used last, bounded by their size."""

    def __init__(self) -> None:
        self._values: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._size_bytes = 0

    def get(self, key: tuple[str, str]) -> bytes | None:
        """The value, which is then the last to be forgotten."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: tuple[str, str], value: bytes) -> None:
        """Remember a value in the place of an older one."""
        self.pop(key)
        if len(value) <= _BYTES_MAX // 8:  # a larger one would take the places of all
            self._values[key] = value
            self._size_bytes += len(value) + _ENTRY_BYTES
        while self._size_bytes > _BYTES_MAX:
            _, dropped = self._values.popitem(last=False)
            self._size_bytes -= len(dropped) + _ENTRY_BYTES

    def pop(self, key: tuple[str, str]) -> None:
        """Forget a value."""
        value = self._values.pop(key, None)
        if value is not None:
            self._size_bytes -= len(value) + _ENTRY_BYTES
