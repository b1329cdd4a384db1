from datetime import date, timedelta
from itertools import groupby
days = sorted(date.fromisoformat(s["day"]) for s in await get_sales("Seoul", 2))
for week, group in groupby(days, key=lambda d: d.isocalendar().week):
    print(week, len(list(group)))
print((days[-1] - days[0]) // timedelta(days=1), f"{days[0]:%A %d %B}")
