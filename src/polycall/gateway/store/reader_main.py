"""The process that reads the ledger for administrators: one operation at a time, until told to end.

`reading_process.py` starts it and speaks with it through its standard input and output, so that the
database's address is in no argument and in no environment.  It ends with the gateway: nothing more
can come then.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO

import msgspec

from polycall.errors import PolycallError
from polycall.gateway.store.base import Reader
from polycall.gateway.store.reading_process import (
    HEAD_BYTES,
    frame_length,
    framed,
    operation_of,
)
from polycall.gateway.store.sqlite import SQLiteReader

IDLE_S = 300.0
_NICE = 10


class _Questions:
    """The open questions, and the one being answered."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.asked: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._now = 0
        self._unwanted = 0  # the number of the last question that nobody waits for

    def listen(self, source: BinaryIO) -> None:
        """Take questions, until there is nobody to ask any."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                number, question = _read(source)
                if question is None:
                    self._interrupt(number)
                else:
                    self.asked.put((number, question))
        # Whatever the other thread is reading, nobody waits for it.
        os._exit(0)

    def _interrupt(self, number: int) -> None:
        with self._lock:
            self._unwanted = number
            if self._now == number:
                self.reader.interrupt()

    def answer(self, number: int, question: bytes) -> tuple[int, bool, Any]:
        """The number, whether it went well, and the result, or the error's type and words."""
        with self._lock:
            if self._unwanted >= number:
                return number, True, None
            self._now = number
        try:
            return number, True, self.reader.run(operation_of(question))
        except PolycallError as error:
            return number, False, (type(error).__name__, str(error))
        finally:
            with self._lock:
                self._now = 0


def _read(source: BinaryIO) -> Any:
    head = source.read(HEAD_BYTES)
    data = source.read(frame_length(head)) if len(head) == HEAD_BYTES else b""
    if not data:
        raise EOFError
    return msgspec.msgpack.decode(data)


def _reader(kind: str, place: str) -> Reader:
    if kind == "postgres":
        from polycall.gateway.store.postgres import PostgresReader  # noqa: PLC0415 - its driver

        return PostgresReader(place)
    return SQLiteReader(place)


def main() -> None:
    """Answer, until nothing was asked for a while or the gateway ends."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    # The terminal's Ctrl-C is the gateway's to handle.  It stays in the gateway's session all the
    # same: Linux weighs sessions before it looks who is nicer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):  # requests go first, on a machine that has too little for both
        os.nice(_NICE)
    questions = _Questions(_reader(*_read(source)))
    threading.Thread(target=questions.listen, args=(source,), daemon=True).start()
    while True:
        try:
            number, question = questions.asked.get(timeout=IDLE_S)
        except queue.Empty:
            return
        sink.write(framed(questions.answer(number, question)))
        sink.flush()


if __name__ == "__main__":
    main()
