first = {s["item"] for s in await get_sales("Seoul", 1) if s["amount"] > 50}
second = {s["item"] for s in await get_sales("Busan", 1) if s["amount"] > 50}
print(sorted(first & second), sorted(first ^ second), first <= second | first, frozenset(first) == first)
