import re
log = await read_text("log")
slow = [(m["job"], int(m["ms"])) for m in re.finditer(r"ERROR (?P<job>job-\d) took (?P<ms>\d+)ms", log)]
print(slow)
print(re.sub(r"(\d+)ms", lambda m: f"{int(m[1]) / 1000:.3f}s", log.splitlines()[4]))
