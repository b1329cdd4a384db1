"""Work done in a forked child of this process."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable


def in_child(work: Callable[[], bool]) -> bool:
    """Whether the work was done well in a child; its traceback is printed where it was not."""
    with warnings.catch_warnings():
        # Python says that threads do not come along, which is what is tried.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if work() else 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0
