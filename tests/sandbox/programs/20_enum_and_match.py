from enum import Enum
class Level(Enum):
    LOW = "low"
    HIGH = "high"
def level(ms):
    match ms:
        case None:
            return None
        case int() if ms > 50:
            return Level.HIGH
        case _:
            return Level.LOW
print([level((await probe(f"h{n}"))["ms"]).name for n in (1, 2, 3, 4)])
