from polycall import tool


@tool
def get_weather(city: str) -> str:
    """The weather."""
    return city


get_weather(5)  # wrong
get_weather()  # wrong
get_weather(town="Seoul")  # wrong
number: int = get_weather("Seoul")  # wrong
print(get_weather("Seoul").missing)  # wrong
