"""Resources that a provider's answer says it keeps: items, containers, files, spoken answers.

Another key must not name them in its requests (`generation/named_resources.py`).
"""

from __future__ import annotations

import re

import msgspec

from polycall.translation.wire import Dialect

# A shorter one may be a mere number, which is given to the answers of other keys, too.
ID_CHARS_MIN = 16
_is_id = re.compile(rf"[\w.:-]{{{ID_CHARS_MIN},200}}", re.ASCII).fullmatch


def may_tell(dialect: Dialect, body: bytes) -> bool:
    """Whether a whole answer may say such a thing: `MadeResources` looks closer."""
    facts = dialect.FACTS.made
    return facts is not None and body.find(facts.body_mark) >= 0


class MadeResources:
    """The ids in one answer, as it comes."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._facts = dialect.FACTS.made
        self.marks = () if self._facts is None else self._facts.event_marks
        # Whether each is an item, which is gone with an answer that is not stored.
        self.ids: dict[str, bool] = {}

    def taken(self) -> dict[str, bool]:
        """The ids that were found since they were taken last."""
        ids, self.ids = self.ids, {}
        return ids

    def in_body(self, body: bytes) -> None:
        """Look at a whole answer."""
        if may_tell(self._dialect, body):
            self._note(body)

    def in_frame(self, frame: bytes) -> None:
        """Look at one event of a stream, which has one of the marks."""
        for line in frame.split(b"\n"):
            if line.startswith(b"data:"):
                self._note(line[len(b"data:") :])

    def _note(self, data: bytes) -> None:
        if self._facts is None:
            return
        try:
            for each, is_item in self._facts.ids_in(data):
                if isinstance(each, str) and _is_id(each):
                    self.ids[each] = is_item
        except (msgspec.DecodeError, RecursionError):
            return  # what is wrong with the answer is said elsewhere
