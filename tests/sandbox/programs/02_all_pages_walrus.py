page, items = 1, []
while page:
    answer = await list_pages(page, size=8)
    items.extend(answer["items"])
    page = answer["next"]
if (count := len(items)) > 30:
    print(count, sorted({i["score"] for i in items}))
