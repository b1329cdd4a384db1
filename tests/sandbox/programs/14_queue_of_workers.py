import asyncio
queue, found = asyncio.Queue(), {}
for n in range(12):
    queue.put_nowait(f"h{n}")
async def worker():
    while not queue.empty():
        host = queue.get_nowait()
        try:
            found[host] = (await probe(host))["ms"]
        except TimeoutError:
            found[host] = None
await asyncio.gather(*(worker() for _ in range(4)))
print(sorted(found.items(), key=lambda pair: int(pair[0][1:])))
