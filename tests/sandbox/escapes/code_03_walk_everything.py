# expect: nothing of the machine's own files is there
import os

seen = 0
for folder, _, files in os.walk("/"):
    for name in files:
        seen += 1
        path = os.path.join(folder, name)
        if not folder.startswith(("/usr/", "/python/")):
            try:
                with open(path, "rb") as file:
                    if b"CANARY-" in file.read(10_000):
                        print("ESCAPED read", path)
            except OSError:
                pass
for place in (
    "/etc",
    "/home",
    "/root",
    "/proc",
    "/sys",
    "/var",
    "/run",
    "/work",
    "/dev/shm",
    "/tmp/ptc_canary",
):
    if os.path.exists(place):
        print("ESCAPED", place, "is there")
print(seen > 100)
