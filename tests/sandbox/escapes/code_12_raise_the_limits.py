# expect: limits cannot be raised
import ctypes, resource

for name in ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CORE"):
    soft, hard = resource.getrlimit(getattr(resource, name))
    try:
        resource.setrlimit(
            getattr(resource, name), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
        print("ESCAPED", name)
    except (OSError, ValueError):
        pass
libc = ctypes.CDLL(None)
for option in (22, 38, 4, 1, 35, 59):
    if libc.prctl(option, 0, 0, 0, 0) == 0:
        print("ESCAPED prctl", option)
