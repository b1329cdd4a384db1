# ruff: noqa: E501 - an attack is one line
"""A hundred attempts to break out, each a short program that prints ESCAPED where it did.

Those about frames and journals are in `test_escapes.py`, as they need a forged process or host.
"""

from __future__ import annotations

_TRY = """
def tried(label, work):
    try:
        value = work()
    except BaseException:
        return
    if value not in (None, -1, False, "", b""):
        print("ESCAPED", label, str(value)[:80])
"""
_LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"


def _reads(path: str) -> str:
    return f"{_TRY}tried({path!r}, lambda: open({path!r}, 'rb').read(64))"


def _writes(path: str) -> str:
    return f"{_TRY}tried({path!r}, lambda: open({path!r}, 'ab').write(b'x'))"


def _calls(number: int, *arguments: str) -> str:
    text = ", ".join([str(number), *arguments])
    return f"{_LIBC}if libc.syscall({text}) >= 0:\n    print('ESCAPED system call {number}')"


def _runs(code: str) -> str:
    return f"{_TRY}{code}"


_READ = [
    *("/etc/passwd", "/etc/shadow", "/proc/self/environ", "/proc/self/maps", "/proc/self/mem"),
    *(
        "/proc/1/environ",
        f"/proc/self/{'root'}/etc/passwd",
        "/proc/self/cwd/../etc/passwd",
        "/proc/meminfo",
    ),
    *("/proc/loadavg", "/proc/net/tcp", "/sys/kernel/mm/ksm/run", "/sys/class/net/lo/address"),
    *(
        "/dev/mem",
        "/dev/kmsg",
        "/dev/shm/x",
        "/etc/ssl/private/k.pem",
        "/home",
        "/var/run/docker.sock",
    ),
    *(
        "/run/systemd/private",
        "/usr/bin/env",
        "/bin/sh",
        "/tmp/../etc/hostname",
        "/jail/../etc/passwd",
    ),
    *("/tmp/ptc_canary/canary.txt", "/oldroot/etc/passwd", "/newroot/etc/passwd", "//etc//passwd"),
]
_WRITE = [
    *("/jail/inside/plain.py", "/python/bin/python3", "/python/lib/libc.so.6", "/usr/x", "/x"),
    *("/python/lib/python3.11/os.py", "/dev/x", "/dev/zero/x", "/usr/share/zoneinfo/x", "/lib64/x"),
]
# x86_64 numbers; elsewhere they are other calls, which are refused as well or do no harm.
_SYSTEM_CALLS = [
    (101, "16, 1, 0, 0"),  # ptrace
    (165, "0, b'/tmp', b'tmpfs', 0, 0"),  # mount
    (166, "b'/tmp', 0"),  # umount2
    (155, "b'/tmp', b'/tmp'"),  # pivot_root
    (161, "b'/tmp'"),  # chroot
    (272, "0x10000000"),  # unshare
    (308, "0, 0"),  # setns
    (310, "1, 0, 0, 0, 0, 0"),  # process_vm_readv
    (311, "1, 0, 0, 0, 0, 0"),  # process_vm_writev
    (321, "0, 0, 0"),  # bpf
    (298, "0, 0, -1, -1, 0"),  # perf_event_open
    (323, "0"),  # userfaultfd
    (425, "8, 0"),  # io_uring_setup
    (319, "b'x', 0"),  # memfd_create
    (322, "-100, b'/python/bin/python3', 0, 0, 0"),  # execveat
    (57, ""),  # fork
    (58, ""),  # vfork
    (41, "2, 1, 0"),  # socket
    (41, "16, 3, 0"),  # a netlink socket
    (42, "0, 0, 0"),  # connect
    (250, "0, 0, 0"),  # keyctl
    (248, "b'user', b'x', b'y', 1, -3"),  # add_key
    (29, "1, 4096, 0o1666"),  # shmget
    (68, "1, 0o1666"),  # msgget
    (64, "1, 1, 0o1666"),  # semget
    (240, "b'/x', 66, 384, 0"),  # mq_open
    (73, "0, 2"),  # flock
    (99, "ctypes.create_string_buffer(256)"),  # sysinfo
    (137, "b'/', ctypes.create_string_buffer(256)"),  # statfs
    (144, "0, 1, 0"),  # sched_setscheduler
    (203, "0, 8, b'11111111'"),  # sched_setaffinity
    (251, "1, 0, 0"),  # ioprio_set
    (105, "0"),  # setuid
    (126, "b'12345678', b'000000000000'"),  # capset
    (304, "0, 0, 0"),  # open_by_handle_at
    (303, "-100, b'/', 0, 0, 0"),  # name_to_handle_at
    (444, "b'00000000', 8, 0"),  # landlock_create_ruleset
    (442, "-1, 0, 0, 0, 0"),  # mount_setattr
    (428, "-100, b'/', 1"),  # open_tree
    (435, "0, 88"),  # clone3
]
_PROGRAMS = {
    "subprocess": "import subprocess\ntried('run', lambda: subprocess.run(['/bin/sh', '-c', 'id']))",
    "os_system": "import os\ntried('system', lambda: os.system('id') == 0)",
    "spawn": "import os\ntried('spawn', lambda: os.posix_spawn('/python/bin/python3', ['x'], {}))",
    "multiprocessing": "import multiprocessing\ntried('mp', lambda: multiprocessing.Process(target=print).start() or 1)",
    "pty": "import pty\ntried('pty', lambda: pty.fork())",
    "symlink_out": "import os\nos.symlink('/etc/passwd', '/tmp/l')\ntried('link', lambda: open('/tmp/l').read(9))",
    "hard_link": "import os\ntried('hard', lambda: os.link('/jail/inside/plain.py', '/tmp/h') or 1)",
    "mknod": "import os, stat\ntried('mknod', lambda: os.mknod('/tmp/d', stat.S_IFBLK | 0o666, os.makedev(8, 0)) or 1)",
    "setuid_file": "import os\nopen('/tmp/s', 'w').close()\ntried('setuid', lambda: os.chmod('/tmp/s', 0o4777) or os.execv('/tmp/s', ['s']))",
    "chown": "import os\ntried('chown', lambda: os.chown('/tmp', 0, 0) or 1)",
    "chdir_up": "import os\nfor _ in range(50): os.chdir('..')\ntried('up', lambda: os.path.exists('etc'))",
    "descriptors": "import os\ntried('fd', lambda: [n for n in range(3, 64) if n != 3 and _stat(n)] and None)\ndef _stat(n): return False",
    "environment": "import os\ntried('env', lambda: 'PTC_SECRET' in os.environ or None)",
    "arguments": "import sys\ntried('argv', lambda: [a for a in sys.orig_argv if 'secret' in a.lower()] or None)",
    "parent": "import os, signal\ntried('kill', lambda: os.kill(os.getppid(), 0) or os.getppid())",
    "everyone": "import os\ntried('all', lambda: [p for p in range(2, 3000) if _alive(p)] or None)\ndef _alive(p):\n    try:\n        os.kill(p, 0)\n        return True\n    except OSError:\n        return False",
    "dns": "import socket\ntried('dns', lambda: socket.gethostbyname('example.org'))",
    "loopback": "import socket\ntried('tcp', lambda: socket.create_connection(('127.0.0.1', 48123), 1))",
    "abstract": "import socket\ndef go():\n    s = socket.socket(socket.AF_UNIX)\n    s.connect('\\0ptc_canary_abstract')\n    return 1\ntried('abstract', go)",
    "raw": "import socket\ntried('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))",
    "huge_list": "tried('memory', lambda: len([0] * (1 << 33)))",
    "core": "import resource\ntried('core', lambda: resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20)) or 1)",
    "escape_codes": "print('\\x1b]0;x\\x07\\x9b31m')",
    "surrogates": "print('\\ud800' if False else chr(0xd800 + 5) if hasattr(str, 'encode') else '')",
    "long_line": "print('x' * 10_000_000)",
    "deep_value": "value = []\nfor _ in range(100_000): value = [value]\nvalue",
    "pickle_bomb": "import pickle\ntried('pickle', lambda: pickle.loads(b\"cos\\nsystem\\n(S'id'\\ntR.\") == 0 or None)",
}


def attempts() -> dict[str, str]:
    """The programs by name."""
    found = {f"read_{n:02}": _reads(path) for n, path in enumerate(_READ)}
    found |= {f"write_{n:02}": _writes(path) for n, path in enumerate(_WRITE)}
    found |= {
        f"call_{n:02}_{number}": _calls(number, arguments) if arguments else _calls(number)
        for n, (number, arguments) in enumerate(_SYSTEM_CALLS)
    }
    return found | {f"program_{name}": _runs(code) for name, code in _PROGRAMS.items()}
