from dataclasses import dataclass

from pydantic import BaseModel

from polycall import Agent


class Person(BaseModel):
    name: str
    age: int | None = None


@dataclass
class Place:
    city: str


person: Person = Agent("a/m", output=Person).run_sync("Who?").output
place: Place = Agent("a/m", output=Place).run_sync("Where?").output
many: list[Person] = Agent("a/m", output=list[Person]).run_sync("All?").output
numbers: dict[str, int] = Agent("a/m", output=dict[str, int]).run_sync("How many?").output
