import asyncio
async def main():
    totals = []
    for city in ("Seoul", "Busan"):
        rows = await get_sales(city)
        totals.append(round(sum(row["amount"] for row in rows), 2))
    await book("total", sum(totals))
    return totals, await balance("total")
if __name__ == "__main__":
    result = await main()
    print(result)
