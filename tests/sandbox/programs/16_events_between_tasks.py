import asyncio
ready, log = asyncio.Event(), []
async def producer():
    log.append(("made", await convert(10, "KRW")))
    ready.set()
async def consumer():
    await ready.wait()
    log.append("seen")
await asyncio.gather(consumer(), producer())
print(log)
