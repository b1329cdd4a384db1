"""The last doors, closed by the program's process itself before any program runs.

The namespaces, the mounts and a first seccomp filter hold already when Python starts.  What only
the start needed (exec, setting limits) goes here, and cannot come back.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2


def set_limits(limits: dict[str, int]) -> None:
    """Hard limits by name, as in `{"RLIMIT_NOFILE": 64}`."""
    for name, value in limits.items():
        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (bound, bound))


def apply_filter(program: bytes) -> None:
    """Adds a seccomp filter, given as packed instructions, to those that hold."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the second seccomp filter was refused")


def refuse_root() -> None:
    """Nothing runs as user 0, not even as the user 0 of a namespace."""
    if 0 in (*os.getresuid(), *os.getresgid()) or 0 in os.getgroups():
        raise PermissionError("the sandbox will not run as root")


def clear_environment() -> None:
    """What the start needed of the environment goes; what libraries read stays."""
    kept = {"HOME", "LANG", "TZ", "TMPDIR", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}
    for name in list(os.environ):
        if name not in kept:
            del os.environ[name]
