from pydantic import BaseModel

from polycall import Agent


class Person(BaseModel):
    name: str


number: int = Agent("a/m").run_sync("x").output  # wrong
text: str = Agent("a/m", output=list[int]).run_sync("x").output  # wrong
person = Agent("a/m", output=Person).run_sync("x").output
print(person.age)  # wrong
value: Person = Agent("a/m", output=Person).run_sync("x").value  # wrong
