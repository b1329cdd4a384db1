from concurrent.futures import ThreadPoolExecutor
import asyncio
sales = await get_sales("Busan", 2)
with ThreadPoolExecutor(max_workers=4) as pool:
    print(sum(pool.map(lambda s: round(s["amount"]), sales)))
print(await asyncio.to_thread(sorted, [3, 1, 2]))
