import asyncio
async with asyncio.TaskGroup() as group:
    tasks = {city: group.create_task(get_sales(city)) for city in ("Daegu", "Incheon")}
print({city: len(task.result()) for city, task in tasks.items()})
