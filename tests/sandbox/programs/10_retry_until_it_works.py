import asyncio
async def with_retries(key, tries=5):
    for attempt in range(1, tries + 1):
        try:
            return attempt, await flaky(key)
        except ConnectionError as error:
            print(f"{key}: {error} ({attempt})")
            await asyncio.sleep(0.001 * attempt)
    raise RuntimeError("gave up")
print(await with_retries("alpha"))
print(await with_retries("alpha"))
