amount = await convert(1234.5, "KRW")
print(f"{amount:,.1f} {amount:.3e} {int(amount):#x} {amount!r:>15} {'x':^5}|")
print("%-8s|%05.1f|%s" % ("krw", 3.14159, {"k": 1}), "{0[a]} {b.real}".format({"a": 1}, b=3))
