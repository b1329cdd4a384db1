"""Answers of Ollama's chat as its older `/api/generate` gives them: `response`, and no message."""

from __future__ import annotations

from typing import Any

from polycall._support import jsontext


class PromptFramer:
    """Lines of a chat in, lines of a completion out; a whole answer by `whole`."""

    def __init__(self) -> None:
        self._rest = b""

    def takes(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether this is a stream, whose content type stays."""
        return any(
            name == b"content-type" and value.startswith(b"application/x-ndjson")
            for name, value in headers
        )

    def feed(self, data: bytes) -> bytes:
        """The lines that are complete with this piece."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return b"".join(self.whole(line) + b"\n" for line in lines if line.strip())

    def whole(self, data: bytes) -> bytes:
        """One answer, or one line of it; an error stays as it is."""
        fields: dict[str, Any] = jsontext.decode(data)
        message: dict[str, Any] | None = fields.pop("message", None)
        if message is None:
            return data
        texts: dict[str, Any] = {"response": message.get("content") or ""}
        if thinking := message.get("thinking"):
            texts["thinking"] = thinking
        return jsontext.encode_bytes({**fields, **texts})
