import csv, io
out = io.StringIO()
writer = csv.writer(out)
writer.writerow(["id", "amount"])
for sale in (await get_sales("Seoul"))[:3]:
    writer.writerow([sale["id"], sale["amount"]])
print(out.getvalue(), end="")
