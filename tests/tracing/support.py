"""Spans as trees, and as values that can be written down."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from polycall.ir import ToolCall

from ..collector import Collector, Seen

KINDS = {1: "internal", 2: "server", 3: "client"}
# They differ from run to run; whoever wants to see them looks at the span.
VARYING = ("polycall.run.id", "gen_ai.response.id", "polycall.task.id")


class Tree(NamedTuple):
    """A span and those below it, in the order in which they began."""

    name: str
    attributes: dict[str, Any]
    below: list[Tree]
    kind: str = "internal"
    error: str = ""


def call(call_id: str, name: str, **arguments: Any) -> ToolCall:
    return ToolCall(call_id, name, json.dumps(arguments))


def trees(collector: Collector) -> list[Tree]:
    """All spans that came, from those down whose parents did not."""
    spans = sorted(collector.spans(), key=lambda span: span.start)
    assert len({span.id for span in spans}) == len(spans)
    known = {span.id for span in spans}
    return [_tree(span, spans) for span in spans if span.parent not in known]


def names(tree: Tree) -> Any:
    """The names alone."""
    return (tree.name, [names(each) for each in tree.below]) if tree.below else tree.name


def one(collector: Collector, name: str) -> Seen:
    """The only span of this name."""
    (found,) = [span for span in collector.spans() if span.name == name]
    return found


def _tree(span: Seen, spans: list[Seen]) -> Tree:
    attributes = {key: value for key, value in span.attributes.items() if key not in VARYING}
    error = attributes.pop("error.type", "")
    assert bool(error) == span.is_error, span
    below = [each for each in spans if each.parent == span.id]
    assert all(each.trace == span.trace for each in below)
    return Tree(
        span.name,
        attributes,
        [_tree(each, spans) for each in below],
        KINDS[span.kind],
        error,
    )
