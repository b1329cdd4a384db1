import functools
@functools.lru_cache(maxsize=None)
def ways(n):
    return 1 if n < 2 else ways(n - 1) + ways(n - 2)
print(ways(60), functools.reduce(lambda a, b: a * b, range(1, 8)))
print(functools.partial(round, ndigits=1)(await convert(3.333, "EUR")))
