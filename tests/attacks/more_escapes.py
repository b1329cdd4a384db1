# ruff: noqa: E501 - an attack is one line
"""Another hundred attempts to break out: by descriptors, by the language, by values and by time.

Each prints ESCAPED where it did, or what it found, in which the secret would be seen.  Those that
begin with `frame_` speak to the host in the process's name; resumed journals are in `resumed.py`.
"""

from __future__ import annotations

_TRY = """
def tried(label, work, fine=(None, -1, False, 0, "", b"")):
    try:
        value = work()
    except BaseException as error:
        return
    if value not in fine:
        print("ESCAPED", label, str(value)[:80])
def shown(label, work):
    try:
        print(label, str(work())[:3000])
    except BaseException as error:
        print(label, type(error).__name__)
"""
_SEND = """
import json, os, sys
channel = int(sys.argv[1])
def raw(body):
    os.write(channel, len(body).to_bytes(4, "big") + body)
def send(*frames):
    for frame in frames:
        raw(json.dumps(frame).encode())
"""
_LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"

_FILES = {
    "climb_by_descriptors": "import os\nfd = os.open('/tmp', os.O_RDONLY | os.O_DIRECTORY)\nfor _ in range(20):\n    fd = os.open('..', os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)\ntried('up', lambda: os.stat('etc/passwd', dir_fd=fd))",
    "climb_from_inherited": "import os\nfor fd in range(0, 200):\n    tried(f'from {fd}', lambda: os.open('../../../../etc/passwd', 0, dir_fd=fd))\n    tried(f'chdir {fd}', lambda: os.fchdir(fd) or os.path.exists('etc/passwd'))",
    "writable_inherited": "import fcntl, os, stat\nfor fd in range(3, 200):\n    def look():\n        info = os.fstat(fd)\n        return stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode) or stat.S_ISBLK(info.st_mode)\n    tried(f'inherited {fd}', look)",
    "rename_the_library": "import os\nfor name in ('/python', '/jail', '/python/lib', '/jail/inside/plain.py', '/usr'):\n    tried(name, lambda: os.rename(name, '/tmp/taken') or 1)",
    "remove_the_library": "import os, shutil\ntried('rmdir', lambda: os.rmdir('/jail/inside') or 1)\ntried('unlink', lambda: os.unlink('/jail/inside/plain.py') or 1)",
    "shared_mapping_of_a_library": "import mmap, os\nfd = os.open('/jail/inside/plain.py', os.O_RDONLY)\ntried('map', lambda: mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE))",
    "truncate_by_path": "import os\nfor name in ('/jail/inside/plain.py', '/python/bin/python3', '/dev/null/x'):\n    tried(name, lambda: os.truncate(name, 0) or 1)",
    "times_and_modes": "import os\ntried('utime', lambda: os.utime('/jail/inside/plain.py', (1, 1)) or 1)\ntried('chmod', lambda: os.chmod('/python/bin/python3', 0o777) or 1)",
    "attributes": "import os\ntried('user', lambda: os.setxattr('/jail/inside/plain.py', 'user.x', b'1') or 1)\ntried('tmp', lambda: os.setxattr('/tmp', 'security.capability', b'1') or 1)",
    "links_in_a_chain": "import os\nplace = '/'\nfor n in range(30):\n    os.symlink(place, f'/tmp/l{n}')\n    place = f'/tmp/l{n}/../..'\ntried('chain', lambda: open('/tmp/l29/etc/passwd').read(9))",
    "link_swapped_while_opened": "import os, threading\nos.makedirs('/tmp/d')\nopen('/tmp/d/passwd', 'w').write('')\nstop = []\ndef swap():\n    while not stop:\n        for target in ('/tmp/d', '/etc'):\n            os.symlink(target, '/tmp/n')\n            os.replace('/tmp/n', '/tmp/s')\nthread = threading.Thread(target=swap, daemon=True)\nthread.start()\nfor _ in range(2000):\n    tried('race', lambda: open('/tmp/s/passwd').read(9))\nstop.append(1)",
    "terminals": "import os\nfor name in ('/dev/tty', '/dev/ptmx', '/dev/pts/0', '/dev/console', '/dev/tty1', '/dev/stdin', '/dev/fd/0', '/dev/fd/3'):\n    tried(name, lambda: os.open(name, os.O_RDWR))",
    "devices": "import os\nfor name in ('/dev/kvm', '/dev/fuse', '/dev/net/tun', '/dev/vsock', '/dev/loop0', '/dev/sda', '/dev/nvidia0', '/dev/port', '/dev/uinput', '/dev/mapper/control', '/dev/vhost-net'):\n    tried(name, lambda: os.open(name, os.O_RDONLY))",
    "kernel_files": "import os\nfor name in ('/proc/kcore', '/proc/kallsyms', '/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger', '/sys/fs/cgroup/cgroup.procs', '/sys/kernel/debug', '/sys/firmware', '/boot', '/lib/modules', '/proc/thread-self/environ', '/proc/1/root/etc/passwd', '/proc/self/fd/3'):\n    tried(name, lambda: os.stat(name))",
    "secrets_of_clouds": "import os\nfor name in ('~/.aws/credentials', '~/.ssh/id_rsa', '~/.kube/config', '~/.netrc', '/var/run/secrets/kubernetes.io/serviceaccount/token', '/run/secrets', '/opt', '/srv', '/var/lib/docker', '/var/log'):\n    tried(name, lambda: os.stat(os.path.expanduser(name)))",
    "sparse_file": "import os\nfd = os.open('/tmp/big', os.O_RDWR | os.O_CREAT)\ntried('truncate', lambda: os.ftruncate(fd, 1 << 45) or 1)\ntried('far', lambda: os.pwrite(fd, b'x', 1 << 44))",
    "fill_by_small_files": "import os\nmade = 0\ntry:\n    for n in range(100_000):\n        os.mkdir(f'/tmp/{n}')\n        made += 1\nexcept OSError:\n    pass\nprint('ESCAPED' if made > 5000 else 'bounded')",
    "deep_folders": "import os\nmade = 0\ntry:\n    for n in range(20_000):\n        os.mkdir('d')\n        os.chdir('d')\n        made += 1\nexcept OSError:\n    pass\nprint('ESCAPED' if made > 5000 else 'bounded')",
    "zone_that_is_a_path": "import zoneinfo\nshown('zone', lambda: zoneinfo.ZoneInfo('../../../etc/passwd'))\nshown('root', lambda: zoneinfo.ZoneInfo('/etc/passwd'))",
}
_KERNEL = {
    name: f"{_LIBC}for number, *rest in {calls!r}:\n    if libc.syscall(number, *rest) >= 0:\n        print('ESCAPED', number)"
    for name, calls in {
        "mounts_of_the_new_kind": [(430, b"tmpfs", 0), (429, -100, b"/", -100, b"/tmp", 0), (433, -100, b"/", 0), (432, -1, 0, 0)],
        "descriptors_of_others": [(434, 1, 0), (438, 3, 3, 0), (424, 3, 9, 0, 0), (312, 1, 1, 0, 0, 0)],
        "memory_of_others": [(440, 3, 0, 0, 0, 0), (279, 1, 0, 0, 0, 0, 0), (256, 1, 0, 0, 0), (447, 0)],
        "clocks": [(164, b"0" * 16, 0), (227, 0, b"0" * 16), (159, b"0" * 208), (305, 0, b"0" * 208)],
        "names_of_the_machine": [(170, b"x", 1), (171, b"x", 1)],
        "the_kernels_log": [(103, 3, b"0" * 64, 64), (103, 10, 0, 0)],
        "ports_and_tables": [(172, 3), (173, 0, 1024, 1), (154, 0, b"0" * 64, 64), (135, 0x0040000)],
        "watching_files": [(300, 0, 0), (294, 0), (253,), (301, 3, 1, 1, -100, b"/")],
        "moving_bytes": [(40, 1, 0, 0, 1), (326, 0, 0, 1, 0, 1, 0), (275, 0, 0, 1, 0, 1, 0), (278, 1, b"0" * 16, 1, 0)],
        "asynchronous_io": [(206, 8, b"0" * 8), (426, 3, 1, 1, 0, 0, 0), (427, 3, 0, 0, 0)],
        "the_kernel_itself": [(169, -18751933, 672274793, 0, 0), (246, 0, 0, 0, 0), (320, 0, 0, 0, 0, 0), (175, b"", 0, b""), (313, 3, b"", 0), (176, b"x", 0), (163, b"/tmp/acct"), (167, b"/tmp/s", 0)],
        "another_user": [(106, 0), (113, 0, 0), (114, 0, 0), (117, 0, 0, 0), (119, 0, 0, 0), (116, 1, b"0000"), (122, 0), (112,)],
        "sockets_of_all_kinds": [(41, family, kind, 0) for family in (1, 2, 10, 16, 17, 31, 38, 40, 44) for kind in (1, 2, 3, 5)],
        "pairs_that_are_not_local": [(53, family, kind, 0, b"0" * 8) for family in (2, 10, 16, 30, 38, 40) for kind in (1, 2, 5)],
        "servers": [(49, 3, b"\0" * 16, 16), (50, 3, 8), (43, 3, 0, 0), (288, 3, 0, 0, 0), (46, 3, b"\0" * 56, 0)],
        "opening_by_the_new_way": [(437, -100, b"/etc/passwd", b"\0" * 24, 24), (437, -100, b"/tmp", b"\0" * 24, 24)],
        "clones": [(56, 17), (56, 0x10000000 | 17), (56, 0x00020000 | 17), (56, 0x20000000 | 17), (56, 0x4000 | 0x100 | 17)],
        "through_the_other_table": [(0x40000000 | 41, 2, 1, 0), (0x40000000 | 57,)],
        "priorities": [(141, 0, 0, -20), (314, 0, b"0" * 56, 0), (142, 0, b"0000"), (30, 0, 0, 0)],
        "keys_of_the_kernel": [(249, b"user", b"x", 0, 0), (250, 11, -3, 0, 0), (250, 6, -3)],
    }.items()
}  # fmt: skip
_CONTROL = {
    "let_others_trace": f"{_LIBC}for option in (4, 22, 35, 38, 47, 53, 59, 0x59616d61):\n    if option == 38:\n        tried('privileges', lambda: libc.prctl(38, 0, 0, 0, 0) == 0)\n    else:\n        tried(f'prctl {{option}}', lambda: libc.prctl(option, 1, 0, 0, 0) == 0)",
    "type_into_the_terminal": "import fcntl, termios\nfor fd in range(0, 20):\n    tried(f'type {fd}', lambda: fcntl.ioctl(fd, termios.TIOCSTI, b'x'))\n    tried(f'take {fd}', lambda: fcntl.ioctl(fd, termios.TIOCSCTTY, 0) or 1)",
    "raise_limits": "import resource\nfor name in dir(resource):\n    if name.startswith('RLIMIT_'):\n        number = getattr(resource, name)\n        soft, hard = resource.getrlimit(number)\n        if hard >= 0:\n            tried(name, lambda: resource.setrlimit(number, (hard + 1, hard + 1)) or 1)",
    "signal_everyone": "import os, signal\nfor pid in (-1, 2, 3, 100, 1000, 1 << 22):\n    tried(f'kill {pid}', lambda: os.kill(pid, 0) or pid, fine=(-1,))",
    "stop_itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nimport ctypes\nctypes.CDLL(None).syscall(35, b'\\x05' + b'\\0' * 31, 0)",
    "die_of_every_signal": "import os, signal\nfor number in range(1, 65):\n    try:\n        signal.signal(number, signal.SIG_DFL)\n    except (OSError, ValueError):\n        pass\nctypes = __import__('ctypes')\nctypes.string_at(0)",
    "machine_code": "import ctypes, mmap\ndef run():\n    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n    # socket(AF_INET, SOCK_STREAM, 0), by the instruction itself\n    page.write(bytes.fromhex('b829000000bf02000000be0100000031d20f05c3'))\n    address = ctypes.addressof(ctypes.c_char.from_buffer(page))\n    return ctypes.CFUNCTYPE(ctypes.c_long)(address)() >= 0\ntried('socket', run)",
    "environment_in_memory": f"{_LIBC}environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, 'environ')\nshown('environ', lambda: [environ[n] for n in range(20) if environ[n]])\nbase = ctypes.cast(environ, ctypes.c_void_p).value or 0\nshown('around', lambda: [text for text in ctypes.string_at(base, 4000).split(b'\\0') if b'CANARY' in text])",
    "stack_of_the_start": "import ctypes, sys\ndef look():\n    name = ctypes.c_char_p.in_dll(ctypes.pythonapi, '_Py_path_config') if False else None\n    return [each for each in sys.orig_argv if 'CANARY' in each or 'secret' in each.lower()]\nshown('argv', look)",
    "processor_that_never_ends": "import threading\ndef burn():\n    while True:\n        pass\nfor _ in range(8):\n    threading.Thread(target=burn, daemon=True).start()\nburn()",
    "threads_that_outlive": "import threading, time\ndef later():\n    time.sleep(0.2)\n    print('after the end')\nfor _ in range(20):\n    threading.Thread(target=later).start()",
    "memory_in_pieces": "kept = []\nwhile True:\n    kept.append(bytearray(1 << 20))",
    "memory_by_a_bomb": "import zlib\nbomb = zlib.compress(b'\\0' * 50_000_000)\nfor _ in range(3):\n    data = zlib.decompress(bomb) + zlib.decompress(bomb) + zlib.decompress(bomb)",
    "descriptors_by_pairs": "import socket\nkept = []\ntry:\n    while True:\n        kept.append(socket.socketpair())\nexcept OSError:\n    print('ESCAPED' if len(kept) > 200 else 'bounded')",
    "pipes_that_hold_memory": "import os\nkept = []\ntry:\n    while len(kept) < 1000:\n        r, w = os.pipe()\n        os.set_blocking(w, False)\n        kept.append((r, w, os.write(w, b'x' * 65536)))\nexcept OSError:\n    print('bounded' if len(kept) < 200 else 'ESCAPED')",
}
_LANGUAGE = {
    "subclasses": "shown('classes', lambda: [c for c in ().__class__.__base__.__subclasses__() if 'Popen' in c.__name__])",
    "globals_of_a_tool": "for name in ('__globals__', '__closure__', '__code__', '__self__', '__wrapped__', 'func', '__dict__', '__module__'):\n    shown(name, lambda: getattr(echo, name))",
    "frames_of_a_failure": "try:\n    await echo(*range(9))\nexcept BaseException as error:\n    place = getattr(error, '__traceback__', None)\n    while place is not None:\n        shown('frame', lambda: sorted(place.tb_frame.f_globals)[:50])\n        place = place.tb_next",
    "frames_of_a_coroutine": "made = echo(1)\nshown('frame', lambda: made.cr_frame.f_globals.keys())\nshown('await', lambda: made.cr_await)\nawait made",
    "format_of_a_tool": "shown('format', lambda: '{0.__class__.__mro__} {0.__globals__}'.format(echo))\nshown('map', lambda: '{x.__init__.__globals__}'.format_map({'x': echo}))",
    "builtins_by_name": "for name in ('open', 'eval', 'exec', 'compile', 'input', 'breakpoint', 'help', '__import__', 'globals', 'memoryview'):\n    shown(name, lambda: __builtins__[name] if isinstance(__builtins__, dict) else getattr(__builtins__, name))",
    "modules_of_the_host": "import sys\nshown('modules', lambda: [name for name in sys.modules if name.startswith(('polycall', 'msgspec', 'pydantic', 'httpx', 'aiohttp'))])\ntried('host', lambda: 'polycall' in sys.modules)",
    "evaluate_the_environment": "shown('eval', lambda: eval(\"__import__('os').environ\"))\nshown('exec', lambda: exec(\"import os; print(dict(os.environ))\"))",
    "names_with_underscores": "for name in ('__class__', '__dict__', '__init__', '_', '__loader__', '__spec__'):\n    try:\n        shown(name, lambda: globals()[name])\n    except BaseException as error:\n        print(type(error).__name__)",
    "arguments_with_underscores": "for given in ({'__class__': 1}, {'self': 1}, {'value': 1, 'context': 2}, {'**': 1}, {'': 1}):\n    try:\n        print(await echo(**given))\n    except BaseException as error:\n        print(type(error).__name__)",
    "a_tool_that_is_not_declared": "try:\n    print(await run_shell('id'))\nexcept BaseException as error:\n    print(type(error).__name__)",
    "a_tool_put_in_its_place": "async def echo(value):\n    return 'ESCAPED'[:0]\nprint(await echo(1))",
    "a_value_whose_text_never_ends": "class Endless:\n    def __repr__(self):\n        while True:\n            pass\nEndless()",
    "a_value_whose_text_leaves": "class Leaves:\n    def __repr__(self):\n        raise SystemExit(9)\nLeaves()",
    "a_value_with_endless_items": "import collections.abc\nclass Endless(collections.abc.Mapping):\n    def __getitem__(self, name):\n        return self\n    def __iter__(self):\n        n = 0\n        while True:\n            n += 1\n            yield str(n)\n    def __len__(self):\n        return 1\nEndless()",
    "a_value_that_contains_itself": "value = {}\nvalue['again'] = [value, (value, {'x': value})]\nvalue",
    "text_that_is_another": "class Text(str):\n    def __str__(self):\n        return 'x' * 100_000_000\nText('a')",
    "an_error_whose_text_is_long": "raise ValueError('\\x1b[2J' + 'x' * 5_000_000)",
    "an_error_with_endless_causes": "error = None\nfor n in range(5000):\n    new = ValueError(n)\n    new.__cause__ = error\n    error = new\nraise error",
    "an_error_group_in_depth": "error = ValueError('x')\nfor n in range(500):\n    error = ExceptionGroup('\\x1b]0;x\\x07', [error])\nraise error",
    "code_in_depth": "exec('x = ' + '(' * 150 + '1' + ')' * 150)\ntry:\n    compile('-' * 200_000 + '1', 'x', 'eval')\nexcept BaseException as error:\n    print(type(error).__name__)",
    "recursion_without_a_bound": "import sys\ntry:\n    sys.setrecursionlimit(1 << 30)\nexcept BaseException:\n    pass\ndef down(n):\n    return down(n + 1) + 1\ndown(0)",
    "numbers_without_a_bound": "x = 7\nwhile True:\n    x = x * x",
    "words_that_steer_a_terminal": "print('\\x1b]8;;http://evil\\x1b\\\\click\\x1b]8;;\\x1b\\\\', '\\x9b2J', '\\u202e', '\\x1bP+q\\x1b\\\\', '\\x07' * 9)\nraise RuntimeError('\\x1b[31m\\x9b31m')",
    "written_to_the_descriptors": "import os\nfor fd in (0, 1, 2):\n    tried(f'write {fd}', lambda: os.write(fd, b'\\x1b[31m\\0ESCAPED\\n') and None)",
    "cancelled_for_ever": "import asyncio\nasync def stubborn():\n    while True:\n        try:\n            await slow_tool(50)\n        except BaseException:\n            pass\ntask = asyncio.create_task(stubborn())\nawait asyncio.sleep(0.05)\nfor _ in range(5):\n    task.cancel()\n    await asyncio.sleep(0)",
    "time_that_was_never": "import asyncio, time\nfor wait in (float('inf'), float('nan'), 1e300, 1e308, -1e308):\n    try:\n        await asyncio.wait_for(asyncio.sleep(wait), 0.01)\n    except BaseException as error:\n        print(type(error).__name__)\n    try:\n        time.sleep(wait if wait < 0 else float('nan'))\n    except BaseException as error:\n        print(type(error).__name__)",
    "imports_of_the_machine": "for name in ('ctypes', 'socket', 'subprocess', '_posixsubprocess', 'multiprocessing', 'mmap', 'signal', 'pty', 'fcntl', 'site', 'pip', 'antigravity'):\n    try:\n        module = __import__(name)\n        shown(name, lambda: getattr(module, '__file__', ''))\n    except BaseException as error:\n        print(type(error).__name__)",
}
_FRAMES = {
    "deep_where_text_is": "raw(b'{\"type\":\"end\",\"ok\":false,\"error\":{\"name\":' + b'[' * 985 + b']' * 985 + b'}}')\nraw(b'[1]')",
    "deep_beyond_reading": "raw(b'{\"type\":\"cancel\",\"id\":' + b'[' * 200_000 + b']' * 200_000 + b'}')",
    "cancel_by_truth": "task = __import__('asyncio').ensure_future(slow_tool(400))\nawait __import__('asyncio').sleep(0.05)\nsend({'type': 'cancel', 'id': True})",
    "ends_twice": "send({'type': 'end', 'ok': True, 'value': 1}, {'type': 'end', 'ok': True, 'value': 2})",
    "begins_a_run": "send({'type': 'run', 'number': 2, 'code': '1', 'now': 1, 'tools': {}, 'limits': {}})",
    "says_ready": "send({'type': 'ready'})",
    "type_is_a_list": "send({'type': ['call'], 'id': 1})",
    "no_object": "raw(b'\"end\"')",
    "no_text": "raw(bytes(range(256)))",
    "text_of_another_encoding": "raw('{\"type\":\"end\",\"ok\":true}'.encode('utf-16')[:-1])",
    "two_types": "raw(b'{\"type\":\"output\",\"type\":\"evil\",\"stream\":\"stdout\",\"text\":\"x\"}')",
    "an_empty_frame": "raw(b'')",
    "a_length_of_all_ones": "os.write(channel, b'\\xff\\xff\\xff\\xff')",
    "a_length_of_the_bound": "os.write(channel, (1_064_001).to_bytes(4, 'big') + b'x')",
    "a_number_of_many_digits": "raw(b'{\"type\":\"call\",\"id\":' + b'9' * 5000 + b',\"name\":\"echo\",\"args\":[],\"kwargs\":{}}')",
    "an_argument_too_long": "raw(b'{\"type\":\"call\",\"id\":1,\"name\":\"echo\",\"args\":[' + b'9' * 4301 + b'],\"kwargs\":{}}')",
    "an_argument_too_deep": "raw(b'{\"type\":\"call\",\"id\":1,\"name\":\"echo\",\"args\":[' + b'[' * 70 + b']' * 70 + b'],\"kwargs\":{}}')",
    "keywords_that_are_lists": "send({'type': 'call', 'id': 1, 'name': 'echo', 'args': [], 'kwargs': [['value', 1]]})",
    "a_name_in_another_case": "send({'type': 'call', 'id': 1, 'name': 'ECHO', 'args': [1], 'kwargs': {}})",
    "a_name_that_looks_alike": "send({'type': 'call', 'id': 1, 'name': 'echo\\u200b', 'args': [1], 'kwargs': {}})",
    "a_method_of_a_tool": "send({'type': 'call', 'id': 1, 'name': 'echo.__globals__', 'args': [], 'kwargs': {}})",
    "time_before_the_beginning": "send({'type': 'wait', 'number': 1, 'now': -1, 'for': None})",
    "time_after_all_dates": "send({'type': 'wait', 'number': 1, 'now': 5e11, 'for': 0})",
    "a_wait_for_ever": "send({'type': 'wait', 'number': 1, 'now': 1, 'for': 1e308})",
    "a_wait_that_is_text": "send({'type': 'wait', 'number': 1, 'now': '1', 'for': 1})",
    "output_that_counts_backwards": "send({'type': 'output', 'stream': 'stdout', 'text': 'x', 'dropped': -1})",
    "output_that_counts_in_truths": "send({'type': 'output', 'stream': 'stdout', 'text': 'x', 'dropped': True})",
    "an_end_without_its_error": "send({'type': 'end', 'ok': False})",
    "an_end_with_a_value_too_deep": "raw(b'{\"type\":\"end\",\"ok\":true,\"value\":' + b'[' * 80 + b']' * 80 + b'}')",
    "an_end_with_a_value_too_long": "send({'type': 'end', 'ok': True, 'value': 'x' * 600_000})",
}  # fmt: skip


def attempts() -> dict[str, str]:
    """The programs by name."""
    kinds = {"file": _FILES, "kernel": _KERNEL, "control": _CONTROL, "language": _LANGUAGE}
    found = {
        f"{kind}_{name}": f"{_TRY}{code}"
        for kind, programs in kinds.items()
        for name, code in programs.items()
    }
    wait = "\nimport time\ntime.sleep(0.5)"
    return found | {f"frame_{name}": f"{_SEND}{code}{wait}" for name, code in _FRAMES.items()}
