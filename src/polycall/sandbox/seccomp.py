"""The seccomp filters of the jail: allow-lists, packed as BPF instructions.

Two filters hold one after the other.  `start_filter` holds from the first instruction of Python;
`program_filter` is added by the process itself when it needs no more of what starting needs, and
leaves out `execve` and everything that sets limits.  A call that is not on the list gets EPERM, so
that libraries fall back; a call in another architecture's numbering kills the process.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

from .errors import SandboxError
from .syscalls import NUMBERS

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

_LOAD = 0x20
_EQUAL = 0x15
_GREATER_OR_EQUAL = 0x35
_ANY_BIT = 0x45
_RETURN = 0x06

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000

_OFFSET_NUMBER = 0
_OFFSET_ARCH = 4

CLONE_THREAD = 0x00010000
AF_UNIX = 1
PR_SET_NAME = 15
PR_GET_NAME = 16
_TERMINAL_AND_FLAG_REQUESTS = (
    0x5401,  # TCGETS: is it a terminal
    0x5413,  # TIOCGWINSZ
    0x5421,  # FIONBIO
    0x541B,  # FIONREAD
    0x5450,  # FIONCLEX
    0x5451,  # FIOCLEX
)

# Not F_SETPIPE_SZ, with which a pipe takes a mebibyte of the kernel's memory, and no leases.
_DESCRIPTOR_REQUESTS = (
    *range(5),  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL
    *(6, 7),  # F_SETLK, F_SETLKW; not F_GETLK, which tells of locks that other jails hold
    1030,  # F_DUPFD_CLOEXEC
    1032,  # F_GETPIPE_SZ
)

_ONLY_AT_START = {
    *("execve", "arch_prctl", "seccomp", "setrlimit"),
    *("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"),
}


@dataclass(frozen=True)
class _Rule:
    """A call that is allowed by one argument: equal to one of `values`, or with a bit set."""

    argument: int
    values: tuple[int, ...] = ()
    bit: int = 0


# glibc falls back from clone3, whose flags a filter cannot see, to clone.
_NOT_IMPLEMENTED = ("clone3",)

_PROGRAM_RULES = {
    "clone": _Rule(0, bit=CLONE_THREAD),
    "fcntl": _Rule(1, values=_DESCRIPTOR_REQUESTS),
    "ioctl": _Rule(1, values=_TERMINAL_AND_FLAG_REQUESTS),
    "prctl": _Rule(0, values=(PR_SET_NAME, PR_GET_NAME)),
    "prlimit64": _Rule(2, values=(0,)),
    # An address would reach beyond the pair that a socket was made in.
    "sendto": _Rule(4, values=(0,)),
    "socketpair": _Rule(0, values=(AF_UNIX,)),
}

_START_RULES = {
    name: rule for name, rule in _PROGRAM_RULES.items() if name not in {"prctl", "prlimit64"}
}


def architecture() -> str | None:
    """This machine's architecture where the filters know its numbers."""
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return machine if machine in NUMBERS and struct.calcsize("P") == 8 else None


def start_filter(machine: str) -> bytes:
    """The filter that bubblewrap applies just before Python starts."""
    return _packed(machine, set(), _START_RULES)


def program_filter(machine: str) -> bytes:
    """The filter that the process adds before it runs a program."""
    return _packed(machine, _ONLY_AT_START, _PROGRAM_RULES)


def _packed(machine: str, refused: set[str], rules: dict[str, _Rule]) -> bytes:
    if machine not in NUMBERS:
        raise SandboxError(f"no seccomp filter for the architecture {machine!r}")
    numbers = NUMBERS[machine]
    program = [
        _instruction(_LOAD, _OFFSET_ARCH),
        _instruction(_EQUAL, _AUDIT_ARCH[machine], when_true=1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _OFFSET_NUMBER),
    ]
    if machine == "x86_64":
        program.append(_instruction(_GREATER_OR_EQUAL, _X32_BIT, when_false=1))
        program.append(_instruction(_RETURN, _KILL_PROCESS))
    for name in _NOT_IMPLEMENTED:
        program += _on_number(numbers[name], [_instruction(_RETURN, _ERRNO | errno.ENOSYS)])
    for name, rule in rules.items():
        program += _on_number(numbers[name], _checked(rule))
    plain = numbers.keys() - refused - rules.keys() - set(_NOT_IMPLEMENTED)
    for name in sorted(plain, key=numbers.__getitem__):
        program += _on_number(numbers[name], [_instruction(_RETURN, _ALLOW)])
    program.append(_instruction(_RETURN, _ERRNO | errno.EPERM))
    return b"".join(program)


def _instruction(code: int, value: int, *, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, when_true, when_false, value)


def _on_number(number: int, body: list[bytes]) -> list[bytes]:
    """`body`, which must return, where the loaded call number is `number`."""
    return [_instruction(_EQUAL, number, when_false=len(body)), *body]


def _checked(rule: _Rule) -> list[bytes]:
    """Allows by an argument's low half, and refuses where the high half is set."""
    offset = 16 + 8 * rule.argument
    allow = _instruction(_RETURN, _ALLOW)
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    body = [
        _instruction(_LOAD, offset + 4),
        _instruction(_EQUAL, 0, when_true=1),
        refuse,
        _instruction(_LOAD, offset),
    ]
    if rule.bit:
        body += [_instruction(_ANY_BIT, rule.bit, when_false=1), allow]
    for value in rule.values:
        body += [_instruction(_EQUAL, value, when_false=1), allow]
    return [*body, refuse]
