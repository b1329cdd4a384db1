from fractions import Fraction
import math
scores = [i["score"] for i in (await list_pages(1))["items"]]
print(Fraction(sum(scores), len(scores)), math.gcd(12, 18), round(math.sqrt(sum(scores)), 4))
