"""JSON Schema for the subsets that vendors take, without changing what a schema means.

Pure functions on plain dictionaries; nothing here changes its input.

    refs.py     references: finding what they name, writing it in their place
    strict.py   the strict subsets of OpenAI and Anthropic
    nulls.py    taking away the nulls that a strict schema made a model write
    gemini.py   Gemini's subset of OpenAPI, and back; gemini_json.py its part of JSON Schema
    merge.py    two schemas in one
    root.py     a plain object at the root, where a wire takes nothing else
    words.py    keywords that a target does not know, written into the description
    root.py     one plain object at the root
    walk.py     where a schema holds schemas
    memo.py     remembering what an adaptation gave
"""

from polycall.schema.gemini import from_gemini, to_gemini
from polycall.schema.gemini_json import gemini_json_schema
from polycall.schema.nulls import strip_nulls
from polycall.schema.refs import inline_refs, is_recursive
from polycall.schema.strict import anthropic_strict, openai_strict

__all__ = [
    "anthropic_strict",
    "from_gemini",
    "gemini_json_schema",
    "inline_refs",
    "is_recursive",
    "openai_strict",
    "strip_nulls",
    "to_gemini",
]
