"""The probabilities of an answer's tokens, as Chat Completions shows them: made up, repeatable."""

from __future__ import annotations

import re
import zlib

from polycall.sim.shape import JSON

_TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]+|\s+")


def logprobs(top: int | None, text: str) -> JSON | None:
    """Those of a text with `top` others each; `None` where the request asks for none of it."""
    if top is None:
        return None
    return {"content": [_token(token, top) for token in _TOKEN.findall(text)], "refusal": None}


def _token(token: str, top: int) -> JSON:
    likely = -(zlib.crc32(token.encode("utf-8", "surrogatepass")) % 500) / 1000
    others = [_entry(token + "'" * rank, likely - 2.0 * rank) for rank in range(top)]
    return {**_entry(token, likely), "top_logprobs": others}


def _entry(token: str, logprob: float) -> JSON:
    data = token.encode("utf-8", "surrogatepass")
    return {"token": token, "logprob": logprob, "bytes": list(data)}
