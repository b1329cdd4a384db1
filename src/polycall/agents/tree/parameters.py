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
    # Some cut off what follows `;`, others spaces and dots at an end.
    return bool(segment.partition(";")[0].strip(". "))


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
        forms += [current, unicodedata.normalize("NFKC", current)]
        decoded = unquote(current)
        if decoded == current:
            return forms
        current = decoded
    raise _refused(name, text, f"is encoded more than {_DECODED_MAX} times")


def _refused(name: str, text: str, why: str) -> ToolError:
    return ToolError(f"the parameter {name!r} {why}: {text!r:.200}; nothing was sent")
