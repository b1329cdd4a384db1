"""No code runs from a database: DBOS's own pickles are refused, whatever a row says of itself.

DBOS reads a row by the name in its column `serialization`, and `py_pickle` is one that it always
knows, besides the serializer that it was given.  Its one reader of pickles is removed here.
Read in `dbos/_serialization.py` of dbos 3.4.0 on 29 November 2026.
"""

from __future__ import annotations

from typing import Any, NoReturn

from dbos._serialization import (  # DBOS has no public name for what reads its pickles
    DBOSDefaultSerializer,
)

from polycall.errors import RequestError


class PickledError(RequestError):
    """A row of the database is a pickle; to read it could run any code."""


def _refuse(_data: Any) -> NoReturn:
    raise PickledError(
        "a row of the database says 'py_pickle', which polycall never writes; it was not read, as "
        "a pickle can run any code: find out who writes to the database, and delete the row"
    )


def refuse_pickles() -> None:
    """Let DBOS read no pickles in this process; called before a database is opened.

    It may write them: of a run that it cannot read DBOS notes the error in the row's own form.
    """
    # On the one instance that DBOS uses, so that a program's own serializers stay as they are.
    DBOSDefaultSerializer.deserialize = _refuse  # pyright: ignore[reportAttributeAccessIssue]
