# expect: no secret and no object of the host in the process
import gc, sys

found = 0
marker = "CANARY" + "-"
for thing in gc.get_objects():
    if isinstance(thing, dict):
        for key, value in list(thing.items())[:200]:
            if isinstance(value, str) and value.startswith(marker) and value != marker:
                found += 1
print("ESCAPED" if found else "nothing", "polycall" in sys.modules, "httpx" in sys.modules)
