items = (await list_pages(2, size=12))["items"]
items.sort(key=lambda i: (-i["score"], i["id"]))
print([(i["score"], i["id"]) for i in items[:5]])
first, *rest, last = items
print(first["id"], len(rest), last["id"])
