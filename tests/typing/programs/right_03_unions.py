from typing import Literal, TypedDict

from polycall import Agent


class Row(TypedDict):
    city: str
    degrees: float


class Cat:
    pass


either: int | str = Agent("a/m", output=int | str).run_sync("x").output
word: Literal["yes", "no"] = Agent("a/m", output=Literal["yes", "no"]).run_sync("x").output
row: Row = Agent("a/m", output=Row).run_sync("x").output
flag: bool = Agent("a/m", output=bool).run_sync("x").output
perhaps: int | None = Agent("a/m", output=int).run_sync("x").value
