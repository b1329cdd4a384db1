"""Values of a model's as parts of a request: each stays in its own place, or is refused by name.

What a server, a proxy or a framework does to a path before it looks at it is not known here, so a
path's value is looked at in each form that it may come to: decoded once or several times, with
compatible characters made one, and without what some servers cut off.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote

from polycall.errors import ToolError

_DECODED_MAX = 5
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_QUERY = re.compile("[?#]")
# What has no look of its own (Unicode's Default_Ignorable_Code_Point), and is dropped by some.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
# A character of ASCII as `%u002e`, and in more bytes of UTF-8 than it needs.
_UNICODE = re.compile("%u00[0-7][0-9a-f]", re.IGNORECASE)
_OVERLONG = re.compile("%c[01]%[89ab][0-9a-f]|(?:%f0%80|%e0)%8[01]%[89ab][0-9a-f]", re.IGNORECASE)
# RFC 6265, 4.1.1: cookie-octet.
_COOKIE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# OpenAPI 3.1, 4.8.12.2.1: parameters of these names say nothing.
IGNORED_HEADERS = frozenset({"accept", "content-type", "authorization"})
# Who may set them decides where a message ends, or to whom it goes (RFC 9110, RFC 9112).
_FRAMING = frozenset(
    {
        *("host", "connection", "content-length", "transfer-encoding", "te", "trailer"),
        *("upgrade", "expect", "keep-alive", "proxy-authorization", "proxy-connection", "cookie"),
    }
)


def segment_of(name: str, text: str, *, takes_slashes: bool = False) -> str:
    """A path parameter's value, quoted for its place in a path.

    Raises `ToolError` with the parameter's name for a value that could leave its segment.  One
    that `takes_slashes` may have them (sent as `%2F`), between pieces that are no dots.
    """
    for form in _forms(name, text):
        pieces = form.split("/")
        if takes_slashes and all(map(_is_name, pieces)):
            pieces = []
        if len(pieces) > 1 or "\\" in form:
            raise _refused(name, text, "has a slash or a backslash, and would be several segments")
        if _CONTROL.search(form):
            raise _refused(name, text, "has control characters")
    # Half a surrogate cannot be sent.
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise _refused(name, text, "is not text that can be sent") from None


def check_segments(path: str, values: dict[str, str]) -> None:
    """`ToolError` where a segment with values in it is empty, or nothing but dots.

    `path` is the template; `values` are its parameters' values, as `segment_of` took them.
    """
    for segment in path.split("/"):
        names = [name for name in values if f"{{{name}}}" in segment]
        whole = segment
        for name in names:
            whole = whole.replace(f"{{{name}}}", values[name])
        for form in _forms(names[0], whole) if names else ():
            if not _is_name(form):
                raise _refused(names[0], values[names[0]], "is not a segment of a path")


def _is_name(segment: str) -> bool:
    """Whether a segment is more than dots, for all servers."""
    # Some cut off what follows `;`, others spaces and dots at an end; who decodes twice may find
    # the beginning of a query or a fragment.
    head = _QUERY.split(segment, maxsplit=1)[0]
    is_dots = "." in head and not head.strip(". ")
    return bool(segment.partition(";")[0].strip(". ")) and not is_dots


def header_of(name: str, text: str) -> str:
    """A header parameter's value; `ToolError` with its name where it could be more than one."""
    if not _TOKEN.fullmatch(name) or name.lower() in _FRAMING:
        raise _refused(name, text, "would be in a header that a tool may not set")
    if _CONTROL.search(text) or not text.isascii():
        raise _refused(name, text, "has characters that a header cannot hold")
    return text.strip(" ")


def cookie_of(name: str, text: str) -> str:
    """A cookie parameter as `name=value`; `ToolError` with its name where it could be two."""
    if not _TOKEN.fullmatch(name) or not _COOKIE.fullmatch(text):
        raise _refused(name, text, "has characters that a cookie cannot hold")
    return f"{name}={text}"


def _forms(name: str, text: str) -> list[str]:
    """The text as it is, and as it may be read on its way."""
    forms: list[str] = []
    current = text
    for _ in range(_DECODED_MAX):
        common = unicodedata.normalize("NFKC", current)
        forms += [current, common, _IGNORABLE.sub("", common)]
        decoded = unquote(_OVERLONG.sub(_character, _UNICODE.sub(_character, current)))
        if decoded == current:
            return forms
        current = decoded
    raise _refused(name, text, f"is encoded more than {_DECODED_MAX} times")


def _character(found: re.Match[str]) -> str:
    """One character in a spelling that lenient readers know."""
    digits = found[0].lower().replace("%u", "").replace("%", "")
    if found.re is _UNICODE:
        return chr(int(digits, 16))
    value = 0
    for byte in bytes.fromhex(digits)[1:]:  # the first has no bits of so small a character
        value = value << 6 | byte & 0x3F
    return chr(value | (bytes.fromhex(digits)[0] & 1) << 6 if len(digits) == 4 else value)


def _refused(name: str, text: str, why: str) -> ToolError:
    return ToolError(f"the parameter {name!r} {why}: {text!r:.200}; nothing was sent")
