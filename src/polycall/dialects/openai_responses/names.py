"""The dialect's name, and its own corner of `metadata`, for all its modules.

The keys written there:

| on                 | key       | value                                                         |
|--------------------|-----------|---------------------------------------------------------------|
| request            | `input`   | `"text"`, `"items"` or `"none"`; the key says: parsed here    |
| message            | `slot`    | `"instructions"` for the top-level field                      |
|                    | `role`    | `"system"` or `"developer"`, for an item of that role         |
| message, result    | `list`    | content was an array where a string would have done           |
| text, refusal      | `message` | on the first part of a message item: its `id` and `phase`     |
|                    | `string`  | the item's content was a string                               |
|                    | `empty`   | the item had no content at all                                |
|                    | `part`    | other fields of the content part: annotations, logprobs       |
|                    | `type`    | the content part's type, where it is not the usual one        |
| all parts          | `id`      | the item's id                                                 |
|                    | `fields`  | all other fields of the item (on the last part of a message)  |
| media              | `part`, `url`, `bare` | see `content.py`                                  |
| tool, tool choice  | `fields`, `absent`, `namespace`, `definition` | see `tools.py`            |
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from polycall.ir import JSON, Metadata
from polycall.translation.word_tables import WordTables

NAME = "openai-responses"
WORDS = WordTables("polycall.dialects.openai_responses")
CONTENT_PREFIX = "content."  # of the kind of an `Opaque` that is a content part, not an item


def own(metadata: Metadata) -> JSON:
    """This dialect's notes in the metadata; empty where the value came from elsewhere."""
    return metadata.get(NAME) or {}


def mark(values: JSON) -> Metadata:
    """Metadata with these notes; empty notes leave none."""
    return {NAME: values} if values else {}


def others(source: JSON, known: Collection[str]) -> dict[str, Any]:
    """The fields of `source` that are not `known`."""
    return {key: value for key, value in source.items() if key not in known}
