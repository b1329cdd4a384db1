import textwrap
rows = [(s["item"], s["amount"]) for s in (await get_sales("Seoul"))[:4]]
width = max(len(item) for item, _ in rows)
print("\n".join(f"| {item:<{width}} | {amount:>7,.2f} |" for item, amount in rows))
print(textwrap.shorten("a long line about the sales of this month", width=20, placeholder="…"))
