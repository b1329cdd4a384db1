import asyncio
try:
    async with asyncio.TaskGroup() as group:
        group.create_task(probe("h1"))
        group.create_task(probe("h5"))
except* TimeoutError as group:
    print([str(error) for error in group.exceptions])
