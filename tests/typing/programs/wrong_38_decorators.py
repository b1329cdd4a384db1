from polycall import tool


@tool(need_approval=True)  # wrong
def pay(amount: int) -> str:
    """Pay."""
    return str(amount)


@tool(background="maybe")  # wrong
async def render(scene: str) -> str:
    """Render."""
    return scene


@tool(deadline_s="5")  # wrong
async def wait(scene: str) -> str:
    """Wait."""
    return scene
