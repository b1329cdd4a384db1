"""A labelled set of tools and questions, made here: 5,000 tools, and 300 questions for any size.

A tool is a department, a field, a thing and a deed: `finance.billing.create_invoice`.  There are 5
departments, 20 fields, 5 things in each and 10 deeds.  Every part has its own name and another way
to say it, with no word of the name in it.  A question is in one of three manners:

plain   the tool's own words                      "create an invoice for finance"
half    the thing is in other words                "create a request for payment for finance"
hard    thing, deed and department are in other    "draw up a request for payment for the money
        words                                      people"

The label is the one tool that the question was made from.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Manner = Literal["plain", "half", "hard"]
MANNERS: tuple[Manner, ...] = ("plain", "half", "hard")

DEPARTMENTS = {
    "finance": "the money people",
    "support": "those who help customers",
    "sales": "those who win customers",
    "people": "the staff office",
    "research": "the laboratory",
}
DEEDS = {
    "create": "draw up",
    "list": "show me all",
    "get": "look up",
    "update": "change something in",
    "delete": "throw away",
    "share": "give others access to",
    "export": "save to a file",
    "archive": "put out of sight",
    "approve": "say yes to",
    "assign": "hand to a colleague",
}
# Fields, and the things in each with another way to say them.
FIELDS: dict[str, dict[str, str]] = {
    "billing": {
        "invoice": "request for payment",
        "receipt": "proof of purchase",
        "refund": "money back",
        "discount": "price cut",
        "subscription": "monthly plan",
    },
    "mail": {
        "message": "letter",
        "draft": "unfinished text",
        "attachment": "enclosed file",
        "mailbox": "place where post arrives",
        "signature": "closing lines",
    },
    "calendar": {
        "meeting": "get-together",
        "reminder": "nudge",
        "holiday": "day off",
        "room": "place to sit together",
        "invitation": "call to join",
    },
    "storage": {
        "folder": "directory",
        "document": "paper",
        "photo": "picture",
        "backup": "safety copy",
        "link": "address to click",
    },
    "shipping": {
        "parcel": "box on its way",
        "label": "sticker with the address",
        "courier": "person who delivers",
        "warehouse": "building full of goods",
        "customs_form": "border paperwork",
    },
    "catalog": {
        "product": "thing we offer",
        "category": "group of goods",
        "review": "opinion of a buyer",
        "price": "what it costs",
        "bundle": "several sold as one",
    },
    "contacts": {
        "person": "somebody",
        "company": "firm",
        "phone_number": "digits to dial",
        "birthday": "date of birth",
        "note": "remark",
    },
    "projects": {
        "task": "piece of work",
        "milestone": "stage to reach",
        "board": "wall of cards",
        "estimate": "guess of effort",
        "blocker": "obstacle",
    },
    "accounts": {
        "user": "someone who signs in",
        "password": "secret word",
        "role": "set of rights",
        "login_session": "time being signed in",
        "api_key": "token for programs",
    },
    "analytics": {
        "report": "summary of figures",
        "chart": "graph",
        "dashboard": "overview screen",
        "metric": "number we watch",
        "forecast": "outlook",
    },
    "travel": {
        "flight": "plane trip",
        "hotel": "place to sleep",
        "rental_car": "hired vehicle",
        "visa": "permit to enter",
        "itinerary": "plan of the journey",
    },
    "hiring": {
        "candidate": "applicant",
        "interview": "talk with an applicant",
        "offer": "proposed contract",
        "vacancy": "open position",
        "reference": "word from a former boss",
    },
    "payroll": {
        "salary": "monthly wage",
        "bonus": "extra reward",
        "payslip": "statement of wages",
        "tax_form": "paper for the authorities",
        "pension": "old-age money",
    },
    "training": {
        "course": "series of lessons",
        "quiz": "short test",
        "certificate": "proof of skill",
        "lesson": "hour of teaching",
        "trainer": "teacher",
    },
    "network": {
        "server": "machine in the rack",
        "domain": "web address",
        "firewall_rule": "traffic filter",
        "outage": "time of being down",
        "certificate_file": "proof for encryption",
    },
    "social": {
        "post": "public entry",
        "comment": "reply below",
        "follower": "fan",
        "campaign": "series of ads",
        "hashtag": "topic word",
    },
    "legal": {
        "contract": "signed agreement",
        "clause": "paragraph of a deal",
        "dispute": "quarrel",
        "license": "right to use",
        "patent": "protected invention",
    },
    "facilities": {
        "desk": "place to work at",
        "badge": "card for the door",
        "repair": "fix of something broken",
        "visitor": "guest",
        "locker": "small cupboard",
    },
    "tickets": {
        "incident": "thing that went wrong",
        "complaint": "angry word of a buyer",
        "escalation": "call for a higher level",
        "queue": "waiting line",
        "survey": "list of questions",
    },
    "experiments": {
        "sample": "probe",
        "protocol": "recipe of steps",
        "dataset": "collection of measurements",
        "hypothesis": "idea to be proven",
        "instrument": "measuring device",
    },
}


@dataclass(frozen=True)
class Entry:
    """One tool, by its parts."""

    department: str
    field: str
    thing: str
    deed: str

    @property
    def name(self) -> str:
        """Its full name in the tree."""
        return f"{self.department}.{self.field}.{self.deed}_{self.thing}"

    @property
    def description(self) -> str:
        """What a model is told of it."""
        thing = self.thing.replace("_", " ")
        return f"{self.deed.capitalize()} a {thing} in {self.field}, for {self.department}."

    def question(self, manner: Manner) -> str:
        """Words of somebody who needs it."""
        thing = self.thing.replace("_", " ")
        deed, department = self.deed, self.department
        if manner != "plain":
            thing = FIELDS[self.field][self.thing]
        if manner == "hard":
            deed, department = DEEDS[deed], DEPARTMENTS[department]
        return f"{deed} a {thing} for {department}"


def entries(count: int, *, seed: int = 1) -> list[Entry]:
    """So many tools, drawn from all 5,000 and the same for the same seed."""
    everything = list(_all())
    return random.Random(seed).sample(everything, count)


def questions(found: list[Entry], count: int = 300, *, seed: int = 2) -> list[tuple[Manner, Entry]]:
    """Questions with their labels, as many in each manner."""
    chance = random.Random(seed)
    return [(MANNERS[number % 3], chance.choice(found)) for number in range(count)]


def _all() -> Iterator[Entry]:
    for department in DEPARTMENTS:
        for field, things in FIELDS.items():
            for thing in things:
                for deed in DEEDS:
                    yield Entry(department, field, thing, deed)
