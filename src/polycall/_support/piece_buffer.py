"""Bytes that come in pieces and are wanted as one."""

from __future__ import annotations

from io import BytesIO

_FEW_BYTES = 256 * 1024  # which are joined when they are taken: the fast way


class PieceBuffer:
    """Gathers pieces; many bytes are gathered in one place, and have no second copy when taken."""

    __slots__ = ("_pieces", "_whole", "size")

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes | bytearray] = []
        self._whole: BytesIO | None = None

    def add(self, piece: bytes | bytearray) -> None:
        """One more piece."""
        self.size += len(piece)
        self._pieces.append(piece)
        if self.size > _FEW_BYTES:
            if self._whole is None:
                self._whole = BytesIO()
            self._whole.writelines(self._pieces)
            self._pieces.clear()

    def take(self, end: bytes = b"") -> bytes:
        """All of them and `end`; none is left."""
        pieces, whole = self._pieces, self._whole
        self._pieces, self._whole, self.size = [], None, 0
        pieces.append(end)
        if whole is None:
            return b"".join(pieces)
        whole.writelines(pieces)
        return whole.getvalue()
