for city in ("Seoul", "Atlantis"):
    try:
        print(city, len(await get_sales(city)))
    except ValueError as error:
        print("refused:", error)
    else:
        print("fine")
    finally:
        print("--")
try:
    await read_text("missing")
except FileNotFoundError as error:
    print(type(error).__name__, error.args)
