# expect: nothing outside /tmp can be changed
import os

places = [
    "/",
    "/python",
    "/python/bin",
    "/python/lib",
    "/jail",
    "/jail/inside",
    "/dev",
    "/usr",
    "/lib64",
]
places += [folder for folder, _, _ in os.walk("/usr/lib")][:50]
for place in places:
    for attempt in (
        lambda: open(os.path.join(place, "pwned"), "w"),
        lambda: os.mkdir(os.path.join(place, "pwned")),
        lambda: os.symlink("/tmp", os.path.join(place, "pwned")),
        lambda: os.chmod(place, 0o777),
        lambda: os.rename(place, place + "x"),
    ):
        try:
            attempt()
            print("ESCAPED wrote", place)
        except OSError:
            pass
for name in ("/python/bin/python3", "/jail/inside/channel.py"):
    try:
        open(name, "r+b")
        print("ESCAPED", name)
    except OSError:
        pass
