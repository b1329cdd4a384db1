"""The few everyday words that the simulated model knows, in English and Korean.

A concept is known by any of its words.  Latin words match whole words of a text; Korean ones
match anywhere, since particles follow them without a space.
"""

from __future__ import annotations

import re

CONCEPTS: dict[str, tuple[str, ...]] = {
    "weather": ("weather", "forecast", "temperature", "rain", "날씨", "기온", "예보"),
    "time": ("time", "clock", "시간", "시각", "몇 시"),
    "date": ("date", "day", "calendar", "날짜", "며칠", "일정"),
    "order": ("order", "orders", "주문"),
    "delivery": ("delivery", "shipping", "shipment", "parcel", "배송", "택배"),
    "refund": ("refund", "refunds", "환불"),
    "cancel": ("cancel", "cancellation", "취소"),
    "price": ("price", "cost", "가격", "비용"),
    "stock": ("stock", "inventory", "재고", "주가", "주식"),
    "search": ("search", "find", "look up", "lookup", "검색", "찾아"),
    "email": ("email", "mail", "이메일", "메일"),
    "send": ("send", "보내"),
    "calculate": ("calculate", "compute", "calculator", "sum", "add", "계산", "더해", "합계"),
    "remember": ("remember", "memory", "note", "기억", "메모"),
    "translate": ("translate", "translation", "번역"),
    "user": ("user", "customer", "사용자", "고객", "회원"),
    "team": ("team", "팀"),
    "sales": ("sales", "revenue", "매출", "판매"),
    "region": ("region", "area", "지역"),
    "flight": ("flight", "flights", "항공", "비행기"),
    "hotel": ("hotel", "hotels", "호텔", "숙소"),
    "book": ("book", "booking", "reserve", "reservation", "예약"),
    "restaurant": ("restaurant", "restaurants", "식당", "맛집"),
    "news": ("news", "headline", "headlines", "뉴스"),
    "file": ("file", "files", "파일"),
    "list": ("list", "목록"),
    "delete": ("delete", "remove", "삭제"),
    "create": ("create", "make", "만들", "생성"),
    "update": ("update", "change", "변경", "수정"),
    "status": ("status", "state", "상태", "현황"),
    "expense": ("expense", "expenses", "spending", "지출", "경비"),
    "celsius": ("celsius", "centigrade", "섭씨"),
    "fahrenheit": ("fahrenheit", "화씨"),
    "document": ("document", "documents", "manual", "문서", "매뉴얼"),
    "exchange": ("exchange", "currency", "환율"),
}

# Places by every name they have; the English one is what a tool is given in an English text.
PLACES: dict[str, tuple[str, str]] = {
    "seoul": ("서울", "Asia/Seoul"),
    "busan": ("부산", "Asia/Seoul"),
    "jeju": ("제주", "Asia/Seoul"),
    "incheon": ("인천", "Asia/Seoul"),
    "daegu": ("대구", "Asia/Seoul"),
    "daejeon": ("대전", "Asia/Seoul"),
    "gwangju": ("광주", "Asia/Seoul"),
    "tokyo": ("도쿄", "Asia/Tokyo"),
    "osaka": ("오사카", "Asia/Tokyo"),
    "beijing": ("베이징", "Asia/Shanghai"),
    "shanghai": ("상하이", "Asia/Shanghai"),
    "taipei": ("타이베이", "Asia/Taipei"),
    "hong kong": ("홍콩", "Asia/Hong_Kong"),
    "singapore": ("싱가포르", "Asia/Singapore"),
    "bangkok": ("방콕", "Asia/Bangkok"),
    "sydney": ("시드니", "Australia/Sydney"),
    "new york": ("뉴욕", "America/New_York"),
    "los angeles": ("로스앤젤레스", "America/Los_Angeles"),
    "san francisco": ("샌프란시스코", "America/Los_Angeles"),
    "chicago": ("시카고", "America/Chicago"),
    "london": ("런던", "Europe/London"),
    "paris": ("파리", "Europe/Paris"),
    "berlin": ("베를린", "Europe/Berlin"),
    "madrid": ("마드리드", "Europe/Madrid"),
    "rome": ("로마", "Europe/Rome"),
    "oslo": ("오슬로", "Europe/Oslo"),
    "moscow": ("모스크바", "Europe/Moscow"),
}

# Words that tell nothing of what a tool does, or of what a user wants.
EMPTY_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "do",
        "does",
        "for",
        "from",
        "get",
        "give",
        "given",
        "has",
        "have",
        "how",
        "i",
        "in",
        "is",
        "it",
        "its",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "one",
        "or",
        "our",
        "out",
        "please",
        "return",
        "returns",
        "show",
        "tell",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "this",
        "to",
        "use",
        "used",
        "using",
        "want",
        "was",
        "we",
        "what",
        "when",
        "where",
        "which",
        "who",
        "will",
        "with",
        "would",
        "you",
        "your",
        "all",
        "any",
        "current",
        "data",
        "fetch",
        "info",
        "information",
        "input",
        "name",
        "new",
        "now",
        "query",
        "value",
        "string",
        "number",
        "text",
        "function",
        "tool",
        "about",
        "into",
        "per",
        "each",
        "if",
        "run",
        "make",
        "call",
        "find",
        "list",
        "set",
        "look",
        "up",
    ]
)

_HANGUL = re.compile(r"[가-힣]")
_WORD = re.compile(r"[A-Za-z]+|[가-힣]+|\d+")


def is_korean(text: str) -> bool:
    """Whether a text has Korean letters."""
    return _HANGUL.search(text) is not None


def words_of(text: str) -> list[str]:
    """The words in lower case; `getWeather` and `get_weather` are two each."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return [stem(word) for word in _WORD.findall(spaced.lower())]


def stem(word: str) -> str:
    """A plural without its s."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def concepts_of(text: str) -> dict[str, int]:
    """The concepts in a text, each with the place where it is first named."""
    low = text.lower()
    found: dict[str, int] = {}
    for concept, names in CONCEPTS.items():
        places = [place for name in names if (place := find(name, low)) >= 0]
        if places:
            found[concept] = min(places)
    return found


def find(name: str, text: str, start: int = 0) -> int:
    """Where a word stands in a lower-case text, or -1."""
    if is_korean(name):
        return text.find(name, start)
    match = re.compile(rf"(?<![a-z]){re.escape(name)}(?![a-z])").search(text, start)
    return match.start() if match else -1


def places_of(text: str) -> list[tuple[int, str, str]]:
    """Position, name as written and time zone of each known place, in order."""
    low = text.lower()
    found: list[tuple[int, str, str]] = []
    for english, (korean, zone) in PLACES.items():
        for name in (english, korean):
            position = find(name, low)
            if position >= 0:
                found.append((position, text[position : position + len(name)], zone))
                break
    return sorted(found)
