from polycall import Agent, Router, triage
from polycall.agents import by_words

sales = Agent("a/m", name="sales", description="Sells.")
help_desk = Agent("a/m", name="help", description="Helps.", output=int)
front = triage("a/m", [sales, help_desk])
router = Router([sales, help_desk], by_words({"sales": ["buy"]}, default="help"))
text: str = front.run_sync("I want to buy").text
other: str = router.run_sync("I want to buy").text
