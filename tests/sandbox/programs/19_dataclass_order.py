from dataclasses import dataclass, field, asdict
@dataclass(order=True)
class Sale:
    amount: float
    id: str = field(compare=False)
rows = sorted(Sale(s["amount"], s["id"]) for s in await get_sales("Gwangju", 2))
print(asdict(rows[0]), rows[-1])
