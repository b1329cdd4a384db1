import asyncio
gate, running, most = asyncio.Semaphore(3), 0, 0
async def one(n):
    global running, most
    async with gate:
        running += 1
        most = max(most, running)
        try:
            return (await probe(f"h{n}"))["ms"]
        finally:
            running -= 1
values = await asyncio.gather(*[one(n) for n in range(20, 30)])
print(values, most)
