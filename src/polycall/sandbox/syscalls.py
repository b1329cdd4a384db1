"""The system calls that a program may make, with their numbers.

Each entry is a name, its number on x86_64 and its number on aarch64 (`-` if absent).
What is not here is refused, whatever a newer kernel adds: `flock` too, `sysinfo` and `statfs`,
through which jails could see each other, and the load and the disks of the machine.
"""

from __future__ import annotations

_TABLE = """
# files and descriptors
read 0 63; write 1 64; readv 19 65; writev 20 66; pread64 17 67; pwrite64 18 68; open 2 -
openat 257 56; close 3 57; close_range 436 436; stat 4 -; fstat 5 80; lstat 6 -
newfstatat 262 79; statx 332 291; access 21 -; faccessat 269 48; faccessat2 439 439; lseek 8 62
fcntl 72 25; dup 32 23; dup2 33 -; dup3 292 24; pipe 22 -; pipe2 293 59; getcwd 79 17
chdir 80 49; fchdir 81 50; getdents 78 -; getdents64 217 61; mkdir 83 -; mkdirat 258 34
rmdir 84 -; unlink 87 -; unlinkat 263 35; rename 82 -; renameat 264 38; renameat2 316 276
link 86 -; linkat 265 37; symlink 88 -; symlinkat 266 36; readlink 89 -; readlinkat 267 78
chmod 90 -; fchmod 91 52; fchmodat 268 53; utimensat 280 88; utimes 235 -; truncate 76 45
ftruncate 77 46; fallocate 285 47; fsync 74 82; fdatasync 75 83
umask 95 166; fadvise64 221 223; getxattr 191 8; lgetxattr 192 9; fgetxattr 193 10
listxattr 194 11; llistxattr 195 12; flistxattr 196 13
# waiting
poll 7 -; ppoll 271 73; select 23 -; pselect6 270 72; epoll_create 213 -; epoll_create1 291 20
epoll_ctl 233 21; epoll_wait 232 -; epoll_pwait 281 22; epoll_pwait2 441 441; eventfd2 290 19
recvfrom 45 207; shutdown 48 210; getsockopt 55 209; getsockname 51 204; getpeername 52 205
# memory
mmap 9 222; mprotect 10 226; munmap 11 215; mremap 25 216; madvise 28 233; brk 12 214
msync 26 227; membarrier 324 283
# signals and timers of the process itself
rt_sigaction 13 134; rt_sigprocmask 14 135; rt_sigreturn 15 139; rt_sigtimedwait 128 137
rt_sigpending 127 136; rt_sigsuspend 130 133; sigaltstack 131 132; kill 62 129; tkill 200 130
tgkill 234 131; alarm 37 -; getitimer 36 102; setitimer 38 103; pause 34 -
restart_syscall 219 128
# threads
set_robust_list 273 99; get_robust_list 274 100; set_tid_address 218 96; rseq 334 293
futex 202 98; sched_yield 24 124; sched_getaffinity 204 123; getcpu 309 168; exit 60 93
exit_group 231 94
# time
nanosleep 35 101; clock_nanosleep 230 115; clock_gettime 228 113; clock_getres 229 114
gettimeofday 96 169; time 201 -; times 100 153; getrusage 98 165
# who and where am I
getpid 39 172; gettid 186 178; getppid 110 173; getuid 102 174; geteuid 107 175; getgid 104 176
getegid 108 177; getgroups 115 158; getresuid 118 148; getresgid 120 150; getpgrp 111 -
getpgid 121 155; getsid 124 156; getpriority 140 141; getrlimit 97 163; uname 63 160
getrandom 318 278
# allowed in part, or only until the program starts
landlock_create_ruleset 444 444; landlock_add_rule 445 445; landlock_restrict_self 446 446
execve 59 221; prctl 157 167; arch_prctl 158 -; seccomp 317 277; setrlimit 160 164
prlimit64 302 261; clone 56 220; clone3 435 435; ioctl 16 29; sendto 44 206; socketpair 53 199
"""

ARCHITECTURES = ("x86_64", "aarch64")


def _parse() -> dict[str, dict[str, int]]:
    numbers: dict[str, dict[str, int]] = {name: {} for name in ARCHITECTURES}
    lines = [line for line in _TABLE.splitlines() if line and not line.startswith("#")]
    for cell in "; ".join(lines).split("; "):
        name, *of_architectures = cell.split(" ")
        for architecture, number in zip(ARCHITECTURES, of_architectures, strict=True):
            if number != "-":
                numbers[architecture][name] = int(number)
    return numbers


# By architecture, then by name.
NUMBERS = _parse()
