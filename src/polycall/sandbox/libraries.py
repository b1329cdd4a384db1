"""The shared libraries that a program's interpreter may load, each found by itself.

A folder of libraries has neighbours that do not concern a program, so single files are
mounted.  Which ones, an interpreter of the same kind says: it loads the standard library's modules
and what wheels may rely on, and looks at what came with them.  The host's own process is not
asked: what it has loaded may be anything.
"""

from __future__ import annotations

import glob
import json
import os
import subprocess
from functools import cache

# Wheels may rely on these (PEP 600 and the `manylinux` profiles of auditwheel 6, November 2026),
# as far as they are of use where there is no display and no network.
_OF_WHEELS = (
    *("libgcc_s.so.1", "libstdc++.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libc.so.6"),
    *("libpthread.so.0", "libutil.so.1", "libz.so.1", "libexpat.so.1", "libatomic.so.1"),
)
# None of these is of use without a display or a network.
_NOT_LOADED = ("_tkinter", "_ssl", "_curses", "nis", "readline", "_dbm", "_gdbm")
_PROBE_S = 20.0
_PROBE = """
import ctypes, json, sys
for name in json.loads(sys.argv[1]):
    try:
        ctypes.CDLL(name)
    except OSError:
        pass  # not on this machine, or it needs what is not: then no program can have it
class Info(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("name", ctypes.c_char_p)]
found = []
Seen = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Info), ctypes.c_size_t, ctypes.c_void_p)
def see(info, size, data):
    found.append((info.contents.name or b"").decode("utf-8", "surrogateescape"))
    return 0
ctypes.CDLL(None).dl_iterate_phdr(Seen(see), None)
print(json.dumps(found))
"""


@cache
def needed(python: str, stdlib: str) -> tuple[str, ...]:
    """The libraries alongside the standard library's own, by the paths under which they were found.

    Empty where the interpreter says nothing, which is then said when a jail does not start.
    """
    modules = [
        path
        for path in sorted(glob.glob(os.path.join(stdlib, "lib-dynload", "*.so")))
        if not os.path.basename(path).startswith(_NOT_LOADED)
    ]
    environment = {
        name: os.environ[name] for name in ("LD_LIBRARY_PATH", "LANG") if name in os.environ
    }
    try:
        probe = subprocess.run(  # noqa: S603
            [python, "-I", "-S", "-c", _PROBE, json.dumps([*modules, *_OF_WHEELS])],
            capture_output=True,
            env=environment,
            cwd="/",
            timeout=_PROBE_S,
            check=True,
        )
        found: list[str] = json.loads(probe.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
    libraries = dict.fromkeys(path for path in found if path.startswith("/"))
    return tuple(path for path in libraries if not path.startswith(stdlib))
