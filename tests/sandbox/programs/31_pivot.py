from collections import defaultdict
table = defaultdict(lambda: defaultdict(float))
for month in (1, 2, 3):
    for sale in await get_sales("Incheon", month):
        table[sale["item"]][month] += sale["amount"]
for item in sorted(table):
    print(item, *[f"{table[item][m]:.2f}" for m in (1, 2, 3)], sep="\t")
