from polycall import Agent
from polycall.mcp import HttpServer, StdioServer, connect


async def main() -> str:
    weather = StdioServer("weather", command=["polycall", "mcp", "serve", "weather:get"])
    shop = HttpServer("shop", url="https://shop.example/mcp", allowed_callers=["direct", "code"])
    async with connect(weather, shop, pins="mcp.lock.json") as tools:
        run = await Agent("a/m", tools=[tools.filtered(lambda each: "buy" not in each.name)]).run(
            "x"
        )
    return run.output
