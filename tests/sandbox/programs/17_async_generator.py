async def pages():
    page = 1
    while page is not None:
        answer = await list_pages(page=page)
        yield answer["items"]
        page = answer["next"]
sizes = [len(items) async for items in pages()]
print(sizes, sum(sizes))
