from decimal import Decimal, ROUND_HALF_UP
total = sum((Decimal(str(s["amount"])) for s in await get_sales("Incheon", 4)), Decimal("0"))
vat = (total * Decimal("0.1")).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
print(total, vat, total + vat)
