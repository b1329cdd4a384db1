import statistics
amounts = [s["amount"] for s in await get_sales("Daegu", 6)]
print(round(statistics.mean(amounts), 3), statistics.median(amounts), round(statistics.stdev(amounts), 3))
print([round(q, 2) for q in statistics.quantiles(amounts, n=4)])
