"""Text in a fence, as models put their JSON into one."""

from __future__ import annotations

import re


def inside_fence(text: str, begin: re.Pattern[str]) -> str | None:
    """The inside of the fence that the text is; `None` where it is none.

    `begin` is the fence's first line, with its end.  By hand: a pattern for all of it would try
    each cut of a long run of empty lines, which models do write.
    """
    text = text.strip()
    found = begin.match(text)
    if found is None or len(text) < found.end() + 3 or not text.endswith("```"):
        return None
    return text[found.end() : -3].rstrip()
