from polycall import Agent, tool


class Basket:
    def __init__(self) -> None:
        self.items: list[str] = []

    @tool
    async def add(self, item: str) -> int:
        """Add an item."""
        self.items.append(item)
        return len(self.items)

    @tool(needs_approval=True, deadline_s=5)
    def pay(self, amount: int) -> str:
        """Pay."""
        return f"paid {amount}"


basket = Basket()
agent = Agent("a/m", tools=[basket.add, basket.pay])


async def main() -> int:
    return await basket.add("tea")
