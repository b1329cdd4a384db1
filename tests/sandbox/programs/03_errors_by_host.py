import asyncio
results = await asyncio.gather(*(probe(f"h{n}") for n in range(40)), return_exceptions=True)
silent = [str(r) for r in results if isinstance(r, Exception)]
up = sum(1 for r in results if isinstance(r, dict) and r["up"])
print(len(results), up, silent)
