"""Calls that a person must agree to, asked while the talk continues: by events, or by voice."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from polycall._support import jsontext
from polycall.agents.approval_backend import Answer, ApprovalRequest

# A question that nobody answers is taken for a no after so long.
ANSWER_S = 120.0

_WORDS: dict[str, Any] = tomllib.loads(
    (files("polycall.realtime") / "approving.toml").read_text(encoding="utf-8")
)
_PHRASES = tuple(f"{phrase} " for phrase in _WORDS["phrases"])
_YES, _ALONE, _NO, _UNCLEAR, _FILLERS = (
    frozenset(_WORDS[name].split()) for name in ("yes", "alone", "no", "unclear", "fillers")
)
_WORD = re.compile(r"[\w'’]+")


def verdict(text: str) -> bool | None:
    """Whether somebody agreed; `None` where the words say neither, or more than that.

    A word that refuses outweighs, and a question or a condition agrees to nothing: what was not
    clearly agreed to is not done.
    """
    words = [word.casefold().replace("’", "'") for word in _WORD.findall(text)]
    if any(word in _NO or word.endswith("n't") for word in words):
        return False
    if any(mark in text for mark in "?？¿؟") or _UNCLEAR & set(words):
        return None
    while words and words[0] in _FILLERS:
        words = words[1:]
    if not words:
        return None
    is_phrase = f"{' '.join(words)} ".startswith(_PHRASES)
    return True if words[0] in _YES or is_phrase or set(words) <= _ALONE else None


class VoiceApprovals:
    """Requests that the caller answers aloud, one after the other, the oldest first.

    The caller's own words decide, never the model: only what was said after the question counts.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._request: ApprovalRequest | None = None

    async def ask(self, request: ApprovalRequest, put: Callable[[str], Awaitable[None]]) -> Answer:
        """Put the question when those before it are answered; the caller's answer to it."""
        async with self._turn:
            arguments = jsontext.encode(request.arguments)
            await put(
                f"needs the caller's agreement. Ask: may {request.tool} be done with {arguments}?"
            )
            self._request = request
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await request.wait()
            except TimeoutError:
                return f"the caller did not say yes or no within {ANSWER_S:g} s"
            finally:
                self._request = None

    @property
    def is_asking(self) -> bool:
        """Whether a question waits for its answer."""
        return self._request is not None

    def heard(self, text: str) -> bool:
        """The caller said something after the question; whether it answers it."""
        agreed = verdict(text)
        if self._request is None or agreed is None:
            return False
        request, self._request = self._request, None
        if agreed:
            request.allow()
        else:
            request.deny("the caller refused")
        return True
