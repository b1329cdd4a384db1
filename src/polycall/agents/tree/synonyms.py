"""Other words for what tools do: a question says "make", and the tool is called "create".

Groups of words that people use for one thing, written for interfaces of programs in general.  The
first of a group is the word that names of tools have; a Korean stem stands for its group where it
begins or stands in a word of the question.

Korean writes a loanword as it sounds: a question says 브랜치, and the tool is called branch.  Both
are compared by their consonants: those that Korean does not tell apart are one, vowels and the r
that is not heard are left out.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from polycall.agents.text_search import stem

_GROUPS = """
create make add new build generate compose register publish | 만들 만드 생성 추가 등록 작성
delete remove drop erase destroy clear purge | 삭제 지우 지워 제거
list show all browse enumerate see view | 목록 보여 나열
get fetch read retrieve show look describe detail info | 조회 가져 읽어 알려
update edit change modify patch rename set adjust | 수정 변경 바꾸 바꿔 갱신 고쳐
search find lookup query | 검색 찾아 찾기
send post submit deliver message | 보내 전송 발송
invite invitation | 초대
cancel abort stop terminate revoke | 취소 중단
start run trigger dispatch launch execute begin | 시작 실행
close finish complete end resolve | 닫아 닫기 완료 종료
create open raise
open reopen | 열어 열기
merge combine join | 병합 합쳐 합치
copy clone fork duplicate | 복사 복제
star stargazer favorite like bookmark | 별표 즐겨찾기
watch subscribe follow subscription notification | 구독 알림 팔로우
approve accept confirm allow review | 승인 수락 허용
reject decline deny refuse block ban | 거절 거부 차단
assign delegate assignee | 할당 배정 담당
upload import attach put | 업로드 올려 올리기 첨부
download export archive | 다운로드 내려받 내보내
lock protect protection | 잠금 잠가 보호
unlock unprotect | 잠금해제
compare diff difference | 비교
count number total statistic stat metric | 개수 통계 몇
pay payment charge bill invoice | 결제 지불 청구
refund return reimburse | 환불 반품
book reserve reservation schedule appointment | 예약
ship deliver delivery shipment dispatch | 배송 배달
repository repo project | 저장소 리포 레포
pull pr request | 풀리퀘스트
branch ref reference | 브랜치 가지
issue ticket bug problem | 이슈 문제
comment reply note remark | 댓글 코멘트
user member person people someone somebody who collaborator account | 사용자 회원 사람 누가 멤버
team group organization org | 팀 조직 그룹
file document content attachment | 파일 문서
email mail | 이메일 메일
calendar event meeting | 일정 회의 달력 캘린더
order purchase | 주문
customer client buyer | 고객 손님
product item article goods | 상품 제품
price cost amount | 가격 비용 요금
weather forecast temperature | 날씨 기온 예보
translate translation | 번역
release version tag publish | 릴리스 배포 출시
secret credential token key password | 비밀 토큰 암호
label tag category | 라벨 분류
workflow action pipeline job build | 워크플로 작업
gist snippet paste | 기스트
"""
_KOREAN_FROM = "\uac00"


@functools.cache
def _tables() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]], frozenset[str]]:
    """Stems of words, and Korean stems, to the stems of their groups; the first of each group."""
    english: dict[str, frozenset[str]] = {}
    korean: dict[str, frozenset[str]] = {}
    heads: list[str] = []
    for line in _GROUPS.strip().splitlines():
        words, _, others = line.partition("|")
        group = frozenset(stem(word) for word in words.split())
        heads.append(stem(words.split()[0]))
        for word in group:
            english[word] = english.get(word, frozenset()) | group
        for word in others.split():
            korean[word] = korean.get(word, frozenset()) | group
    return english, korean, frozenset(heads)


def is_korean(word: str) -> bool:
    """Whether a word has a stem of the groups."""
    return any(len(each) > 1 and each in word for each in _tables()[1])


def synonyms_of(term: str, question: str) -> set[str]:
    """Terms that mean what a term of the question means, but for the term itself.

    A Korean term is a pair of letters: it stands for the groups whose stem the question has and
    that it is part of.
    """
    english, korean, _ = _tables()
    found = set(english.get(term, frozenset()))
    if term >= _KOREAN_FROM:
        for word, group in korean.items():
            if word in question and (term in word or word in term or term[0] in word):
                found |= group
    return found - {term}


def is_head(term: str) -> bool:
    """Whether a term is the one of its group that names of tools usually have."""
    return term in _tables()[2]


_FIRST = 0xAC00
_INITIALS = "kknttrmppss_sssktph"
_FINALS = "_kkknnntrkmprtprmppttnssktpt"
_PLAIN_VOWELS = frozenset({0, 1, 4, 5, 8, 13, 18, 19, 20})  # that begin with no y or w
_OPEN = "-"  # before a word that begins with a vowel
_ENGLISH: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), sound)
    for pattern, sound in (
        (r"ck|q|x", "k"),
        (r"tion|sion", "sn"),
        (r"sch|sh|tch|ch|dg", "s"),
        (r"ph", "p"),
        (r"th", "t"),
        (r"c(?=[eiy])", "s"),
        (r"gh(?=t|$)", ""),
        (r"r(?=[^aeiouy]|$)", ""),  # not heard, and not written
        (r"[cgk]", "k"),
        (r"[bfpv]", "p"),
        (r"[dt]", "t"),
        (r"[jsz]", "s"),
        (r"[lr]", "r"),
        (r"ng|n", "n"),
        (r"[aeiouwy]", ""),
    )
)
_REPEATED = re.compile(r"(.)\1+")
_RUN = re.compile(r"[\uac00-\ud7a3]{2,}")
_ENDINGS_MAX = 3  # syllables that Korean adds to a word
_SOUNDS_MIN, _TERMS_MAX = 2, 4


def english_sounds(stem: str) -> set[str]:
    """The consonants of an English stem, in each way that it may be read."""
    consonants = stem
    for pattern, sound in _ENGLISH:
        consonants = pattern.sub(sound, consonants)
    consonants = _REPEATED.sub(r"\1", consonants)
    forms = {_OPEN + consonants if stem[0] in "aeio" else consonants}
    if stem[0] == "u":  # user, and update
        forms.add(_OPEN + consonants)
    if stem[-1] in "cg":  # service has lost its e, public had none
        forms |= {_REPEATED.sub(r"\1", each[:-1] + "s") for each in forms}
    return forms


def korean_sounds(word: str) -> str:
    """The consonants of a Korean word."""
    sounds: list[str] = []
    for letter in word:
        initial, rest = divmod(ord(letter) - _FIRST, 588)
        sounds += [_INITIALS[initial], _FINALS[rest % 28]]
    initial, rest = divmod(ord(word[0]) - _FIRST, 588)
    is_open = _INITIALS[initial] == "_" and rest // 28 in _PLAIN_VOWELS
    consonants = _REPEATED.sub(r"\1", "".join(sounds).replace("_", ""))
    return _OPEN + consonants if is_open else consonants


class Loanwords:
    """The English terms of tools by how they sound."""

    def __init__(self, vocabulary: Iterable[str]) -> None:
        self._terms: Mapping[str, set[str]] = defaultdict(set)
        for term in vocabulary:
            if term.isascii() and term.isalpha():
                for sounds in english_sounds(term):
                    self._terms[sounds].add(term)

    def spelt(self, question: str) -> dict[str, set[str]]:
        """English terms that words of the question sound like, by the word."""
        found: dict[str, set[str]] = {}
        for word in _RUN.findall(question):
            if is_korean(word):
                continue
            for end in range(len(word), max(1, len(word) - _ENDINGS_MAX - 1), -1):
                sounds = korean_sounds(word[:end])
                terms = self._terms.get(sounds, set())
                if len(sounds) >= _SOUNDS_MIN and 0 < len(terms) <= _TERMS_MAX:
                    found[word[:end]] = set(terms)
                    break
        return found
