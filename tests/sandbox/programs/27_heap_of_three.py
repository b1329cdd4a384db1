import heapq
from operator import itemgetter
sales = await get_sales("Busan", 9)
print([s["id"] for s in heapq.nlargest(3, sales, key=itemgetter("amount"))])
print(heapq.merge([1, 4], [2, 3]).__class__.__name__, list(heapq.merge([1, 4], [2, 3])))
