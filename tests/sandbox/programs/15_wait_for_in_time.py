import asyncio
try:
    print(len(await asyncio.wait_for(get_sales("Busan"), timeout=5)))
    await asyncio.wait_for(asyncio.sleep(10), timeout=0.01)
except asyncio.TimeoutError as error:
    print(type(error).__name__)
