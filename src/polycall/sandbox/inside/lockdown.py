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
# The same numbers on every architecture.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION = 1


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


def restrict_files() -> bool:
    """Let no file be written but in /tmp and /dev, and no socket bound or connected, by landlock.

    A second wall behind the mounts and the namespaces; false where the kernel has none (before
    5.13, or where it is not switched on).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)
    if abi < 1:
        return False
    # linux/landlock.h: truncate came with version 3, device ioctls with 5.
    files = (1 << 13) - 1
    files |= (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0)
    network = 0b11 if abi >= 4 else 0
    # To abstract sockets and processes outside; version 6.
    scoped = 0b11 if abi >= 6 else 0
    attributes = struct.pack("QQQ", files, network, scoped)[
        : 24 if abi >= 6 else 16 if abi >= 4 else 8
    ]
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "a landlock ruleset was refused")
    for folder, access in (("/", 0b1101), ("/tmp", files), ("/dev", 0b1110)):  # noqa: S108
        opened = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", access, opened)
        if libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), f"a landlock rule for {folder} was refused")
        os.close(opened)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")
    if libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock was refused")
    os.close(ruleset)
    return True


def refuse_root() -> None:
    """Nothing runs as user 0, not even as the user 0 of a namespace."""
    if 0 in (*os.getresuid(), *os.getresgid()) or 0 in os.getgroups():
        raise PermissionError("the sandbox will not run as root")


def clear_environment() -> None:
    """Clear the variables that only the start needed; those that libraries read stay."""
    kept = {"HOME", "LANG", "TZ", "TMPDIR", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}
    for name in list(os.environ):
        if name not in kept:
            del os.environ[name]
