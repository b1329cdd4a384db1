"""The filters, run by a small emulator, and the numbers compared with the system's headers."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from polycall.sandbox import seccomp
from polycall.sandbox.errors import SandboxError
from polycall.sandbox.syscalls import ARCHITECTURES, NUMBERS

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the kernel would answer: the few instructions that the filters use."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *padded)
    at, value = 0, 0
    while True:
        code, when_true, when_false, operand = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("=I", data, operand)
            case 0x06:
                return operand
            case 0x15:
                at += when_true if value == operand else when_false
            case 0x35:
                at += when_true if value >= operand else when_false
            case 0x45:
                at += when_true if value & operand else when_false
            case other:
                raise AssertionError(f"an instruction {other:#x} that the emulator lacks")


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_everything_on_the_list_and_nothing_else(machine: str):
    start, program = seccomp.start_filter(machine), seccomp.program_filter(machine)
    by_argument = {"clone", "fcntl", "ioctl", "prctl", "prlimit64", "sendto", "socketpair"}
    at_start = {"execve", "arch_prctl", "seccomp", "setrlimit"}
    at_start |= {name for name in NUMBERS[machine] if name.startswith("landlock_")}
    names = {number: name for name, number in NUMBERS[machine].items()}
    for number in range(600):
        name = names.get(number)
        if name in by_argument or name == "clone3":
            continue
        answer = verdict(program, AUDIT[machine], number)
        assert answer == (EPERM if name is None or name in at_start else ALLOW), name
        assert verdict(start, AUDIT[machine], number) == (ALLOW if name else EPERM), name


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_that_are_allowed_by_an_argument(machine: str):
    program = seccomp.program_filter(machine)

    def ask(name: str, *arguments: int) -> int:
        return verdict(program, AUDIT[machine], NUMBERS[machine][name], *arguments)

    assert ask("clone", 0x00010F00) == ALLOW  # a thread
    assert ask("clone", 17) == EPERM  # a process
    assert ask("clone", 0x10000000 | 17) == EPERM  # a user namespace
    assert ask("clone3") == ENOSYS
    assert ask("socketpair", 1, 1, 0) == ALLOW
    assert ask("socketpair", 2, 1, 0) == EPERM
    assert ask("sendto", 3, 4, 5, 0, 0) == ALLOW
    assert ask("sendto", 3, 4, 5, 0, 0x7FFF_0000_0000) == EPERM
    assert ask("sendto", 3, 4, 5, 0, 1) == EPERM
    assert ask("prlimit64", 0, 7, 0) == ALLOW
    assert ask("prlimit64", 0, 7, 0x1_0000_0000) == EPERM
    assert ask("prctl", 15) == ALLOW
    assert ask("prctl", 22) == EPERM
    assert ask("ioctl", 1, 0x5401) == ALLOW
    assert ask("ioctl", 1, 0x5412) == EPERM  # TIOCSTI
    assert ask("fcntl", 1, 1030) == ALLOW
    assert ask("fcntl", 1, 1031) == EPERM


def test_other_ways_into_the_kernel_end_the_process():
    program = seccomp.program_filter("x86_64")
    assert verdict(program, 0x40000003, 20) == KILL
    assert verdict(program, AUDIT["x86_64"], 0x40000000 + 39) == KILL
    assert verdict(seccomp.program_filter("aarch64"), AUDIT["x86_64"], 39) == KILL


def test_an_unknown_architecture_has_no_filter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert seccomp.architecture() is None
    with pytest.raises(SandboxError, match="riscv64"):
        seccomp.start_filter("riscv64")


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_numbers_are_those_of_the_kernels_headers(machine: str):
    if not HEADERS[machine].exists():
        pytest.skip(f"no {HEADERS[machine]} (linux-libc-dev) to compare with")
    text = HEADERS[machine].read_text()
    defined = {
        name: int(number)
        for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)
    }
    # The generic header calls it by the name of the 64-bit variant.
    defined.setdefault("newfstatat", defined.get("fstatat", -1))
    assert {name: defined.get(name) for name in NUMBERS[machine]} == NUMBERS[machine]
