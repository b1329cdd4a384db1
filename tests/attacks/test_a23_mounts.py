# ruff: noqa: E501 - an attack is one line
"""A23, A25: the jail has single files and no neighbours, and tells nothing of the machine."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from polycall.sandbox import Sandbox, layout
from polycall.sandbox.inside import lockdown

from ..sandbox.support import usable

_WALK = """
import os
found = []
for folder, _, files in os.walk("/"):
    found += [os.path.join(folder, file) for file in files]
own = ("/python/lib/python", "/python/lib64/python", "/usr/share/zoneinfo", "/jail/inside", "/dev/")
[each for each in found if not each.startswith(own)]
"""


async def test_a23_every_file_of_the_jail_is_one_that_was_meant() -> None:
    await usable("jail")
    async with Sandbox("jail", pool=0) as sandbox, sandbox.session() as session:
        result = await session.run(_WALK)
    assert result.status == "finished"
    targets = {mount.target for mount in layout.of_this_python().mounts}
    assert set(result.value) <= targets
    for mount in layout.of_this_python().mounts:
        folders = (layout.INSIDE, "/python/lib", "/usr/share/zoneinfo")
        assert not os.path.isdir(mount.source) or mount.target.startswith(folders), mount


@pytest.mark.parametrize(
    ("base", "name", "is_linked"),
    [
        ("/opt", "own", False),
        ("/usr/local/lib", "own", False),
        ("/opt", "own", True),
        ("/opt", ".비 밀", False),
    ],
)
async def test_a23_neighbours_of_a_library_that_the_host_has_loaded_are_not_there(
    base: str, name: str, is_linked: bool
) -> None:
    await usable("jail")
    if not os.access(base, os.W_OK):
        pytest.skip(f"{base} cannot be written")
    outer = Path(base) / f"polycall-test-{os.getpid()}"
    folder = outer / name
    folder.mkdir(parents=True)
    link = outer / "link"
    link.symlink_to(folder)
    try:
        library = next(m.source for m in layout.of_this_python().mounts if "libz.so" in m.target)
        shutil.copy(library, folder / "libmine.so")
        (folder / "secret.txt").write_text("the neighbour")
        ctypes.CDLL(str((link if is_linked else folder) / "libmine.so"))
        async with Sandbox("jail", pool=0) as sandbox, sandbox.session() as session:
            result = await session.run(
                f"import os\n[os.path.exists(p) for p in ({str(folder)!r}, {str(folder / 'secret.txt')!r}, {str(link)!r})]"
            )
        assert result.value == [False] * 3
    finally:
        shutil.rmtree(outer)


_ELSEWHERE = """
import asyncio, sys
from polycall.sandbox import Sandbox, layout
async def main():
    async with Sandbox("jail", pool=0) as sandbox, sandbox.session() as session:
        code = "import os\\n[p for p in %r if os.path.exists(p)]" % (sys.argv[1:],)
        print((await session.run(code)).value)
    mounts = [m for m in layout.of_this_python().mounts if m.source.startswith(sys.argv[1])]
    print([m.source for m in mounts if not m.source.endswith("/libz.so.1")])
asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["by a folder of libraries", "by a link in one"])
async def test_a23_a_library_that_is_found_elsewhere_brings_no_neighbours(
    tmp_path: Path, way: str
) -> None:
    """The operator's own folder of libraries, which the interpreter of a program asks, too."""
    await usable("jail")
    native = tmp_path / "native"
    native.mkdir()
    library = next(m.source for m in layout.of_this_python().mounts if "libz.so" in m.target)
    real = native / "libz.so.1"
    if way == "by a link in one":
        native = tmp_path / "links"
        native.mkdir()
        (native / "libz.so.1").symlink_to(real)
    shutil.copy(library, real)
    for folder in {native, real.parent}:
        (folder / "secret.txt").write_text("the neighbour")
        (folder / "libother.so").write_text("another one")
    places = [str(each) for folder in {native, real.parent} for each in folder.iterdir()]
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(tmp_path), *places],
        env={**os.environ, "LD_LIBRARY_PATH": str(native)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n") == ["[]", "[]", ""], done.stderr


async def test_a23_what_programs_and_wheels_need_is_there() -> None:
    await usable("jail")
    code = """
import ctypes, bz2, decimal, hashlib, lzma, sqlite3, uuid, zlib, zoneinfo, xml.etree.ElementTree
for name in ("libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libz.so.1"):
    ctypes.CDLL(name)
database = sqlite3.connect("/tmp/x.db")
database.execute("create table a (b)")
database.commit()
str(zoneinfo.ZoneInfo("Asia/Seoul")), hashlib.sha256(b"").hexdigest()[:6]
"""
    async with Sandbox("jail", pool=0) as sandbox, sandbox.session() as session:
        result = await session.run(code)
    assert (result.status, result.value) == ("finished", ["Asia/Seoul", "e3b0c4"]), result.error


_TELLING = """
import ctypes, errno, fcntl, os, struct
libc = ctypes.CDLL(None, use_errno=True)
told = {}
shared = os.open("/python/bin/python3", os.O_RDONLY)
def tried(name, work):
    try:
        told[name] = ("ok", str(work()))
    except OSError as error:
        told[name] = ("refused", str(error))
tried("flock", lambda: fcntl.flock(shared, fcntl.LOCK_SH | fcntl.LOCK_NB))
tried("flock own", lambda: fcntl.flock(open("/tmp/own", "w"), fcntl.LOCK_EX))
tried("getlk", lambda: fcntl.fcntl(shared, fcntl.F_GETLK, struct.pack("hhqqi", 1, 0, 0, 0, 0)))
tried("ofd", lambda: fcntl.fcntl(shared, 37, struct.pack("hhqqi", 0, 0, 0, 0, 0)))
tried("lease", lambda: fcntl.fcntl(shared, fcntl.F_SETLEASE, fcntl.F_RDLCK))
tried("statvfs", lambda: os.statvfs("/python"))
def sysinfo():
    buffer = ctypes.create_string_buffer(256)
    if libc.syscall(99 if os.uname().machine == "x86_64" else 179, buffer) != 0:
        raise OSError(ctypes.get_errno(), "sysinfo")
tried("sysinfo", sysinfo)
tried("load", os.getloadavg)
tried("write lock", lambda: fcntl.lockf(open("/tmp/own", "w"), fcntl.LOCK_EX))
told
"""


async def test_a25_no_lock_load_or_memory_of_the_machine_is_seen() -> None:
    await usable("jail")
    async with Sandbox("jail", pool=0) as sandbox, sandbox.session() as session:
        result = await session.run(_TELLING)
    assert result.status == "finished", result.error
    assert {name for name, (state, _) in result.value.items() if state == "ok"} == {"write lock"}


async def test_a25_the_memory_of_the_machine_is_not_counted() -> None:
    await usable("jail")
    async with Sandbox("jail", pool=0) as sandbox, sandbox.session() as session:
        result = await session.run("import os\nos.sysconf('SC_AVPHYS_PAGES')")
    pages = os.sysconf("SC_AVPHYS_PAGES")
    assert result.status == "failed" or not pages / 2 < result.value < pages * 2


def test_landlock_is_a_wall_of_its_own(tmp_path: Path) -> None:
    """Without mounts, namespaces and seccomp: no file is written but in /tmp and /dev."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import lockdown, socket\n"
        "if not lockdown.restrict_files(): print('none'); sys.exit()\n"
        "for path in ('/var/tmp/polycall-x', '/polycall-x', '/proc/self/comm'):\n"
        "    try:\n        open(path, 'w'); print('wrote', path)\n"
        "    except OSError as error: print(type(error).__name__)\n"
        "open('/tmp/polycall-landlock', 'w').write('x'); open('/dev/null', 'w').write('x')\n"
        "print(open('/proc/self/comm').read().strip() != '')\n"
        "import os; os.unlink('/tmp/polycall-landlock')\n"
    )
    inside = str(Path(lockdown.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, inside], capture_output=True, text=True, check=True
    )
    if done.stdout.strip() == "none":
        pytest.skip("this kernel has no landlock")
    assert done.stdout.split() == ["PermissionError"] * 3 + ["True"]
