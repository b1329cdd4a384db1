"""Calls that a person must agree to, asked while the talk continues: by events, or by voice."""

from __future__ import annotations

import re
from typing import Literal

from polycall._support import jsontext
from polycall.agents.approval_backend import ApprovalRequest

# Words by which callers agree and refuse, each a whole word (Korean: a whole ending).
_YES = frozenset(
    """yes yeah yep yup sure okay ok agreed correct right confirm confirmed please ahead
    ja genau gerne oui si sí claro sim はい 네 예 응 그래 좋아요 좋아 맞아요 是 好 好的""".split()  # noqa: SIM905
)
_NO = frozenset(
    """no nope not don't dont never stop cancel wait nein nicht non pas nao não нет
    아니 아니요 아니오 안 하지마 취소 不 不要 いいえ""".split()  # noqa: SIM905
)
_WORD = re.compile(r"[\w'’]+")


def verdict(text: str) -> bool | None:
    """Whether somebody agreed; `None` where the words say neither, or both.

    A word that refuses outweighs: what was not clearly agreed to is not done.
    """
    words = {word.casefold().replace("’", "'") for word in _WORD.findall(text)}
    if words & _NO:
        return False
    return True if words & _YES else None


class VoiceApprovals:
    """Requests that the caller answers aloud, one after the other, the oldest first.

    The caller's own words decide, never the model: only what was said after the question counts.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[ApprovalRequest, frozenset[str]]] = []

    def ask(self, request: ApprovalRequest, heard_before: frozenset[str]) -> str:
        """Add a request; the question for the caller."""
        self._waiting.append((request, heard_before))
        arguments = jsontext.encode(request.arguments)
        return f"needs the caller's agreement. Ask: may {request.tool} be done with {arguments}?"

    def heard(self, text: str, item_id: str) -> Literal["yes", "no", ""]:
        """The caller said something: it may answer the oldest request."""
        if not self._waiting:
            return ""
        request, heard_before = self._waiting[0]
        agreed = verdict(text)
        if item_id in heard_before or agreed is None:
            return ""
        self._waiting.pop(0)
        if agreed:
            request.allow()
            return "yes"
        request.deny("the caller refused")
        return "no"
