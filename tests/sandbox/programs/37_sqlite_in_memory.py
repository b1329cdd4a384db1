import sqlite3
db = sqlite3.connect(":memory:")
db.execute("create table sale (id text, item text, amount real)")
db.executemany("insert into sale values (:id, :item, :amount)", await get_sales("Gwangju"))
for row in db.execute("select item, count(*), round(sum(amount), 2) from sale group by item order by item"):
    print(*row)
