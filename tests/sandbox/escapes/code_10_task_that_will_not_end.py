# expect: timeout: a task that swallows its cancellation ends with the run's time
import asyncio


async def stay():
    while True:
        try:
            await slow_tool(100_000)
        except BaseException:
            pass


task = asyncio.create_task(stay())
await asyncio.sleep(0.01)
print("left behind")
