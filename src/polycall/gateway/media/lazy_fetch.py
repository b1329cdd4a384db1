"""Media by URL, for targets that need the bytes; what that takes is loaded with the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polycall.gateway.media.request_media import media_to_fetch
from polycall.ir import Request

if TYPE_CHECKING:
    from polycall.gateway.media.fetch import Fetcher


class LazyFetcher:
    """A fetcher that may not be needed.  One for the process; `close` it."""

    def __init__(self, *, size_bytes_max: int, sum_bytes_max: int, allows_private: bool) -> None:
        self._size_bytes_max = size_bytes_max
        self._sum_bytes_max = sum_bytes_max
        self._allows_private = allows_private
        self._fetcher: Fetcher | None = None

    async def with_bytes(self, request: Request, dialect: str, owner: str) -> Request:
        """The request with the bytes of its media, where the target needs them."""
        if not media_to_fetch(request, dialect):
            return request
        if self._fetcher is None:
            from polycall.gateway.media.fetch import Fetcher  # noqa: PLC0415 - 12 MB, seldom needed

            self._fetcher = Fetcher(
                size_bytes_max=self._size_bytes_max,
                sum_bytes_max=self._sum_bytes_max,
                allows_private=self._allows_private,
            )
        return await self._fetcher.with_bytes(request, dialect, owner)

    async def close(self) -> None:
        """Close all connections."""
        if self._fetcher is not None:
            await self._fetcher.close()
