import asyncio
cities = ["Seoul", "Busan", "Daegu"]
sales = await asyncio.gather(*(get_sales(c, month=3) for c in cities))
totals = {c: round(sum(s["amount"] for s in rows), 2) for c, rows in zip(cities, sales)}
best = max(totals, key=lambda c: totals[c])
print(best, totals[best])
