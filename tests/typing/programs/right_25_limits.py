from decimal import Decimal

from polycall import Agent, Limits

limits = Limits(steps=5, tokens=10_000, cost_usd=Decimal("0.10"), wall_s=30)
agent = Agent("a/m", limits=limits, output_attempts=2, argument_attempts=2)
run = agent.run_sync("x", limits=Limits(steps=1))
if run.reason == "steps":
    print(run.cost or Decimal(0), run.usage.input_tokens)
