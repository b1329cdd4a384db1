"""Which fields a correction may touch, and in which direction.

A provider that means harm can write any words into a refusal.  So what may be left out, bounded or
renamed is listed here, by the place in the body that was sent; everything else stays as it is.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["hint", "limit", "budget", ""]

# What changes how an answer is made and never what is asked, allowed or paid.
_HINTS = frozenset(
    (
        *("temperature", "topp", "topk", "mina", "minp", "topa", "typicalp"),
        *("presencepenalty", "frequencypenalty", "repetitionpenalty", "seed", "randomseed"),
        *("stop", "stopsequences", "logitbias", "reasoningeffort", "reasoning"),
        *("reasoning.effort", "reasoning.summary", "reasoning.generatesummary"),
        *("reasoning.exclude", "reasoning.enabled", "reasoningsummary", "reasoningformat"),
        *("includereasoning", "enablethinking", "thinking", "thinking.display"),
        *("thinking.blockbinding", "thinkinglevel", "thinkingconfig"),
        *("thinkingconfig.thinkinglevel", "thinkingconfig.includethoughts"),
        *("outputconfig.effort", "effort", "verbosity", "text.verbosity", "promptcachekey"),
        *("promptcacheretention", "promptcacheoptions", "cachecontrol", "cachedcontentttl"),
        *("user", "enduser", "safetyidentifier", "metadata", "metadata.userid", "labels"),
        *("paralleltoolcalls", "include", "mediaresolution", "truncation"),
        *("contextmanagement",),
    )
)
# The same inside of lists, wherever they stand.
_LEAVES = frozenset(
    (
        *("cachecontrol", "promptcachebreakpoint", "strict", "eagerinputstreaming"),
        *("inputexamples", "outputschema", "name"),
    )
)
# Leaves that mean something else elsewhere: only in these lists.
_LEAF_PLACES = {"name": ("messages",), "strict": ("tools",), "outputschema": ("tools",)}
# Below these stand a user's own words: schemas, arguments, results.
_FOREIGN = frozenset(
    (
        *("parameters", "inputschema", "properties", "input", "arguments", "args"),
        *("schema", "response", "toolcalls", "function", "output", "toolresult"),
        *("functioncall", "functionresponse", "responseschema"),
    )
)
_LIMITS = frozenset({"maxtokens", "maxcompletiontokens", "maxoutputtokens", "maxnewtokens"})
_BUDGETS = frozenset(
    {"thinking.budgettokens", "thinkingconfig.thinkingbudget", "reasoning.maxtokens"}
    | {"thinkingbudget", "outputconfig.taskbudget.total"}
)
# The names of one limit: a server that does not know one of them knows the other.
TWINS = {"max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens"}

# Patterns are compiled when a refusal is first read: most processes never see one.
_LIMIT_NAME = r"max\w*(token|output|length)|(token|output|length)\w*(max|limit)"
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}(\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,3}"
# No field gets one of these names: they say what is asked, of whom, and who pays for how much.
_TAKEN = (
    r"message|input|content|system|instruction|tool|function|model|stream|store|tier|token|budget"
    r"|max|limit|^n$|count|candidate|best|background|response|conversation|prompt$|plugin|server"
    r"|container|provider|route|fallback|speed|geo|safety_?setting|guardrail|key$|auth|secret|role"
    r"|document|file|format|schema|modal|audio|image|search|transform|usage|logprob"
)
_HEADER_NAME = (
    r"(?!.*(key|auth|token|secret|cookie|forward|host|organi[sz]ation|project|account|user|billing"
    r"|tier|priority))[a-z][a-z0-9-]{2,60}-(version|beta|revision|features?|protocol|api)"
)
_HEADER_VALUE = r"[A-Za-z0-9][A-Za-z0-9._=,/ -]{0,119}"
# Flags that change what a request costs or where it runs.
_DEAR = r"fast|priority|1m|batch|geo|billing"


def canonical(path: str) -> str:
    """A path in lower case without `_` and `-`, list places and Gemini's `generationConfig`."""
    steps = [re.sub(r"[_-]", "", step).lower() for step in path.split(".")]
    named = [step for step in steps if step not in ("*", "**") and not step.isdigit()]
    if named[:1] == ["generationconfig"]:
        named = named[1:]
    return ".".join(named)


def kind_of(path: str) -> Kind:
    """The kind of a body's field for corrections; empty for one that they leave alone."""
    name = canonical(path)
    if name in _LIMITS:
        return "limit"
    if name in _BUDGETS:
        return "budget"
    if name in _HINTS:
        return "hint"
    steps = name.split(".")
    leaf = steps[-1]
    inner = steps[1:-1]
    if steps[0] == "tools" and inner == ["function"]:
        inner = []  # Chat's frame around a definition
    if len(steps) < 2 or leaf not in _LEAVES or _FOREIGN & set(inner):
        return ""
    places = _LEAF_PLACES.get(leaf)
    if leaf == "name" and inner:
        return ""
    return "hint" if places is None or steps[0] in places else ""


def may_be_called(path: str, new: str) -> bool:
    """Whether a field of this place may get another name."""
    if re.fullmatch(_NAME, new) is None or "*" in path:
        return False
    kind = kind_of(path)
    if kind == "limit":
        return re.search(_LIMIT_NAME, new, re.IGNORECASE) is not None
    if kind == "budget":
        return "budget" in new.lower()
    if kind != "hint":
        return False
    steps = new.split(".")
    return kind_of(new) == "hint" or not any(
        re.search(_TAKEN, step, re.IGNORECASE) for step in steps
    )


def may_send(header: str, value: str) -> bool:
    """Whether a header that a refusal asks for may be sent."""
    name = header.lower()
    if not re.fullmatch(_HEADER_NAME, name) or not re.fullmatch(_HEADER_VALUE, value):
        return False
    return not name.endswith("-beta") or re.search(_DEAR, value) is None
