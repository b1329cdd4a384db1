"""How laws are tested, and the table of what the recorded traffic gave."""

from __future__ import annotations

import gc
import ssl
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from hypothesis import HealthCheck, settings

from polycall.agents.signing_key import VARIABLE

# Many tests run at once, on machines that do other things as well: a law is not about time.  What a
# change is judged by are the same cases each time; `make fuzz` looks for new ones.
settings.register_profile(
    "polycall",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("fuzz", settings.get_profile("polycall"), derandomize=False)
settings.load_profile("polycall")

# Fifteen thousand tests and the vendors' SDKs are there to stay: nobody looks at them for garbage,
# neither while they are collected nor in any collection of garbage after that.
gc.disable()


_QUICK = ("unit", "tools", "profiles", "pain", "dialects")  # folders of rules alone


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, alternate files of many tests with files of few.

    Many tests take processors, few take their time: they wait for a process or a clock.  Small
    files that wait for nothing come last, so that the workers end at about one moment.
    """
    if not hasattr(config, "workerinput"):
        return
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    by_size = sorted(files.items(), key=lambda file: len(file[1]))
    last = [path for path, own in by_size if len(own) < 20 and path.parent.name in _QUICK]
    others = deque(own for path, own in by_size if path not in last)
    items.clear()
    while others:
        items += others.pop()
        if others:
            items += others.popleft()
    for path in reversed(last):
        items += files[path]


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


_rows: dict[str, Counter[str]] = {}
_COLUMNS = ("bodies", "streams", "events", "calls", "requests", "errors")


@pytest.fixture(autouse=True, scope="session")
def signing_key_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Paused runs are signed with a key of these tests, not with that of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(tmp_path_factory.mktemp("key") / "signing.key"))
        # Conversations of commands stay out of the user's own log.
        patch.setenv("POLYCALL_LOG", "off")
        yield


@pytest.fixture(autouse=True, scope="session")
def no_public_authorities() -> Iterator[None]:
    """Leave out the list of public authorities, which takes each client of an SDK 20 ms to read.

    Tests reach servers of their own; those that use TLS name their own authority.
    """
    load, public = ssl.SSLContext.load_verify_locations, certifi.where()

    def load_others(self: ssl.SSLContext, cafile: Any = None, *more: Any, **named: Any) -> None:
        if cafile is None or str(cafile) != public:
            load(self, cafile, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_verify_locations", load_others)
        yield


@pytest.fixture
def corpus_table() -> Callable[[str, Counter[str]], None]:
    """Adds counts to the row of a dialect."""

    def add(dialect: str, counts: Counter[str]) -> None:
        _rows.setdefault(dialect, Counter()).update(counts)

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _rows:
        return
    terminalreporter.section("recorded traffic")
    terminalreporter.write_line(f"{'':<18}" + "".join(f"{name:>10}" for name in _COLUMNS))
    for dialect, counts in _rows.items():
        row = "".join(f"{counts[name]:>10}" for name in _COLUMNS)
        terminalreporter.write_line(f"{dialect:<18}{row}")
