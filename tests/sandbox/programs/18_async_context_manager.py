from contextlib import asynccontextmanager
@asynccontextmanager
async def entry(account):
    print("open", account)
    try:
        yield await book(account, 5.5)
    finally:
        print("close", await balance(account))
async with entry("cash") as made:
    print(made["number"], made["amount"])
