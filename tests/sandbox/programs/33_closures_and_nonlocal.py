def counter():
    count = 0
    def up(by=1):
        nonlocal count
        count += by
        return count
    return up
up = counter()
for sale in (await get_sales("Daegu"))[:5]:
    up(int(sale["amount"]))
print(up(0))
del up
print("up" in globals())
