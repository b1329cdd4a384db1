"""What a question wants done: to look at something, or to change it.

A tool that lists invitations has the words of "invite somebody", and does not do it.  Verbs of
several words ("get rid of it", "turn it on") are read as the verb that tools have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, TypeAlias

from polycall.agents.text_search import stem, terms

Act: TypeAlias = Literal["look", "make", "undo", "change", ""]

_LOOK = """
list show get fetch read retrieve look describe view see display browse enumerate search find
query lookup check count compare download export watch print tell know head inspect status preview
"""
_MAKE = """
create make add new build generate compose register publish post put insert invite upload import
attach write save store book order generate assign star follow subscribe
"""
_UNDO = """
delete remove drop erase destroy clear purge throw unstar unfollow unsubscribe unassign detach
"""
_CHANGE = """
kill kick update edit change modify patch replace rename set adjust move transfer send submit
cancel abort stop terminate revoke start run trigger dispatch launch execute begin rerun retry
restart close finish open reopen merge combine copy clone fork duplicate block unblock unsubscribe
approve accept confirm allow reject decline deny dismiss refuse ban lock unlock protect enable
disable pay charge refund reserve ship mark pin unpin archive unarchive restore apply grant give
connect disconnect request scale evict bind capture void finalize resume pause mute convert sync
reset
"""
# What a question may say as a verb, and a name has as a thing.
_MAKE_SAID = "comment reply respond answer label tag note raise file"
_ASKED = re.compile(
    r"\s*(?:who|whom|whose|what|which|where|when|why|whether|how|is|are|was|were|has|have|did|does|do)\b",
    re.I,
)
_LOOK_KOREAN = re.compile(
    r"목록|보여|보기|조회|나열|검색|찾아|찾기|알려|읽|비교|누가|누구|무엇|뭐|몇|어떤|어디|언제|[?？]"
)
_MAKE_KOREAN = re.compile(
    r"만들|만드|생성|추가|등록|작성|초대|업로드|올려|올리|달아|달기|붙여|붙이|남겨|남기|배정|할당|예약|배포|출시"
)
_UNDO_KOREAN = re.compile(r"삭제|지우|지워|제거|없애|빼")
_CHANGE_KOREAN = re.compile(
    r"수정|변경|바꾸|바꿔|고쳐|갱신|보내|전송|취소|중단|실행|시작|닫|종료|열어|열기|병합|합치|합쳐|복사|복제"
    r"|승인|수락|거절|차단|잠금|잠가|결제|환불|눌러|설정|켜|끄|꺼"
)
# Verbs of two words, which may have others between them, as the verb that tools have.
_PHRASES: dict[str, str] = {
    "set up": "create",
    "sign up": "create",
    "write down": "create",
    "write up": "create",
    "fill in": "update",
    "rid of": "delete",
    "throw away": "delete",
    "throw out": "delete",
    "kick out": "remove",
    "take off": "remove",
    "take away": "remove",
    "take out": "remove",
    "take down": "delete",
    "turn on": "enable",
    "switch on": "enable",
    "turn off": "disable",
    "switch off": "disable",
    "shut down": "stop",
    "call off": "cancel",
    "give back": "refund",
    "pay back": "refund",
    "money back": "refund",
    "send back": "return",
    "put back": "restore",
    "bring back": "restore",
    "roll back": "revert",
    "put on": "add",
    "hand over": "transfer",
    "look up": "get",
    "look at": "get",
    "look for": "search",
    "log in": "login",
    "sign in": "login",
    "log out": "logout",
}
_APART_MAX, _WORDS_MAX = 4, 64
_WORD = re.compile(r"[^\W_]+")


def _stems(words: str) -> frozenset[str]:
    return frozenset(stem(word) for word in words.split())


_PHRASE_STEMS: dict[str, list[tuple[str, str]]] = {}
for _phrase, _meaning in _PHRASES.items():
    _head, _second = _phrase.split()
    _PHRASE_STEMS.setdefault(stem(_head), []).append((_second, stem(_meaning)))
_ACTS: dict[str, Act] = {
    **dict.fromkeys(_stems(_LOOK), "look"),
    **dict.fromkeys(_stems(_CHANGE), "change"),
    **dict.fromkeys(_stems(_MAKE), "make"),
    **dict.fromkeys(_stems(_UNDO), "undo"),
}
_SAID_ACTS: dict[str, Act] = {**dict.fromkeys(_stems(_MAKE_SAID), "make"), **_ACTS}
_KOREAN: tuple[tuple[re.Pattern[str], Act], ...] = (
    (_LOOK_KOREAN, "look"),
    (_UNDO_KOREAN, "undo"),
    (_MAKE_KOREAN, "make"),
    (_CHANGE_KOREAN, "change"),
)


def differs(asked: Act, done: Act) -> bool:
    """Whether a tool does something else than the question wants; not where one is unclear."""
    if not asked or not done:
        return False
    return (asked == "look") != (done == "look") or {asked, done} == {"make", "undo"}


def act_of_tool(name: Iterable[str], about: Iterable[str]) -> Act:
    """What a tool does, by the first verb of its name, or of its description."""
    for term in (*name, *about):
        act = _ACTS.get(term)
        if act:
            return act
    return ""


def act_of_question(question: str) -> Act:
    """What a question wants; empty where that is not clear."""
    for words, act in _KOREAN:
        if words.search(question):
            return act
    if _ASKED.match(question):
        return "look"
    first = next(iter(terms(question)), "")
    return _SAID_ACTS.get(phrases_of(question).get(first, first), "")


def phrases_of(question: str) -> dict[str, str]:
    """Terms of the question that begin a verb of two words, each with the term of its meaning."""
    words = [word.lower() for word in _WORD.findall(question)[:_WORDS_MAX]]
    found: dict[str, str] = {}
    for place, word in enumerate(map(stem, words)):
        for second, meaning in _PHRASE_STEMS.get(word, ()):
            if second in words[place + 1 : place + 1 + _APART_MAX]:
                found[word] = meaning
    return found
