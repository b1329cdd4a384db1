"""Calls that a person must agree to, asked while the talk continues: by events, or by voice."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from polycall._support import jsontext
from polycall.agents.approval_backend import Answer, ApprovalRequest

# A question that nobody answers is taken for a no after so long.
ANSWER_S = 120.0

# Words by which callers agree, where an utterance begins with one.
_YES = frozenset(
    """yes yeah yep yup sure okay ok agreed confirm confirmed absolutely definitely certainly
    ja genau gerne oui si sí claro sim да はい ええ 네 네네 예 응 그래 그래요 그럼요 좋아 좋아요
    좋습니다 맞아요 맞습니다 동의합니다 是 是的 好 好的 可以""".split()  # noqa: SIM905
)
_PHRASES = (
    "please do",
    "please go ahead",
    "go ahead",
    "do it",
    "i agree",
    "i confirm",
    "of course",
)
# The whole of an utterance, with or without one of the words above.
_ALONE = frozenset(
    ["that's", "that", "is", "it's", "it", "right", "correct", "fine", "good", "exactly"]
)
_NO = frozenset(
    """no nope not never stop cancel wait nein nicht kein keine non pas não nao нет не
    아니 아니요 아니오 안 하지마 하지 마세요 말아요 취소 不 不要 别 いいえ いや だめ""".split()  # noqa: SIM905
)
# With one of these it is a question, or an agreement to something else.
_UNCLEAR = frozenset(
    """what what's how why who when where which whose but if except instead rather first hold later
    only was wie warum wann wer wo aber wenn sondern erst que qué cuánto cuando pero comment combien
    quand pourquoi mais quoi però как что но сколько когда почему
    뭐 뭘 얼마 얼마예요 얼마나 언제 왜 어떻게 누구 어디 근데 그런데 다만 만약 대신 잠깐 나중에
    什么 多少 为什么 怎么 但 但是 いくら 何 でも もし""".split()  # noqa: SIM905
)
_FILLERS = frozenset(
    """um uh er ah oh well so hmm hm and äh ähm euh 음 어 아 그 えーと あの 嗯""".split()  # noqa: SIM905
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
    is_phrase = f"{' '.join(words)} ".startswith(tuple(f"{phrase} " for phrase in _PHRASES))
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
