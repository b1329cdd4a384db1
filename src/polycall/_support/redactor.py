"""Takes secrets out of what somebody else says, however it is cut into pieces."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from polycall._support.memo import Memo

REDACTED = b"[redacted]"
# A shorter one is not a key, and would tear holes into ordinary words.
SECRET_LENGTH_MIN = 8


class Redactor:
    """Bytes in, the same without the secrets out, however they are cut.

    What may be the beginning of a secret waits for the next piece, and comes with `close`.
    """

    __slots__ = ("_held", "_letters", "_secrets")

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets, self._letters = _patterns[tuple(secrets)]
        self._held = b""

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """All that is taken out."""
        return self._secrets

    def feed(self, piece: bytes) -> bytes:
        """The bytes that certainly hold no secret; may be empty."""
        data = self._held + piece if self._held else piece
        data = self.whole(data)
        if not data or data[-1] not in self._letters:
            self._held = b""
            return data
        keep = max((_overlap(data, secret) for secret in self._secrets), default=0)
        if not keep:
            self._held = b""
            return data
        self._held = data[-keep:]
        return data[:-keep]

    def close(self) -> bytes:
        """The rest."""
        held, self._held = self._held, b""
        return held

    def whole(self, data: bytes) -> bytes:
        """All of something, without the secrets."""
        for secret in self._secrets:
            if data.find(secret) >= 0:
                data = data.replace(secret, REDACTED)
        return data

    def text(self, value: str) -> str:
        """All of a text, without the secrets."""
        data = value.encode("utf-8", "surrogateescape")
        clean = self.whole(data)
        return value if clean is data else clean.decode("utf-8", "surrogateescape")


def _pattern(secrets: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], frozenset[int]]:
    """The patterns to look for, the longest first since one may be a part of another, and their
    bytes.
    """
    found = {form for secret in secrets for form in _forms(secret)}
    return tuple(sorted(found, key=len, reverse=True)), frozenset(b"".join(found))


def _forms(secret: bytes) -> tuple[bytes, ...]:
    """A secret as it is written in JSON and in addresses, too."""
    text = secret.decode("utf-8", "replace")
    return (secret, secret.replace(b"/", b"\\/"), quote(text, safe="").encode())


def _overlap(data: bytes, secret: bytes) -> int:
    """The number of bytes at the end of the data that begin the secret."""
    tail = data[1 - len(secret) :]
    first = secret[:1]
    place = tail.find(first)
    while place >= 0:
        if secret.startswith(tail[place:]):
            return len(tail) - place
        place = tail.find(first, place + 1)
    return 0


_patterns = Memo(_pattern)
