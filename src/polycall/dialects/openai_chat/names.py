"""The dialect's name, and its own corner of `metadata`, for all its modules.

The keys written there:

| on            | key                  | value                                                  |
|---------------|----------------------|--------------------------------------------------------|
| request       | `stop`, `..._field`  | how a field was spelled                                |
| reasoning     | the wire's fields    | `reasoning_effort`, `thinking`, `reasoning`            |
| message       | `role`               | `"developer"`                                          |
|               | `content`            | `"parts"`, `"null"`, `"empty"`, `"omit"`: its form     |
|               | `fields`             | all other fields                                       |
| text          | `fields`             | all other fields of the content part                   |
| media         | `type`, `inner`, ... | see `content.py`                                       |
| reasoning part| `field`              | where it stood: `reasoning_content`, `reasoning`, ...  |
|               | `also`, `details`    | what stood alongside it; `reasoning_details`              |
| refusal       | `place`              | `"content"` where it was a content part                |
| tool call     | `legacy`, `function` | a `function_call`; other fields of `function`          |
|               | any other            | the wire's own fields, such as `extra_content`         |
| tool result   | `name`, `content`, `fields`, `legacy` | as in the message                     |
| tool, choice  | see `tools.py`       |                                                        |
| response      | see `response.py`    |                                                        |
"""

from __future__ import annotations

from polycall.ir import JSON, Metadata
from polycall.translation.word_tables import WordTables

NAME = "openai-chat"
WORDS = WordTables("polycall.dialects.openai_chat")

# Where servers put the text of what a model thought; the first is the one we write.
REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text")


def own(metadata: Metadata) -> JSON:
    """This dialect's notes in the metadata; empty where the value came from elsewhere."""
    return metadata.get(NAME) or {}


def mark(notes: JSON) -> Metadata:
    """Metadata with these notes; empty notes leave none."""
    return {NAME: notes} if notes else {}
