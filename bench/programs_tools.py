"""Tools of the ten tasks in `programs_tasks.jsonl`: small worlds that are the same every time."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict


class Flight(TypedDict):
    code: str
    price: int
    stops: int
    seats: int


class Hotel(TypedDict):
    name: str
    price: int
    rating: float


class Order(TypedDict):
    id: str
    customer: str
    amount: float
    status: Literal["paid", "open", "returned"]


class Page(TypedDict):
    url: str
    text: str
    links: list[str]


_FLIGHTS = {
    ("Seoul", "Tokyo"): [
        Flight(code="KE1", price=310, stops=0, seats=4),
        Flight(code="OZ2", price=240, stops=1, seats=9),
        Flight(code="JL3", price=290, stops=0, seats=1),
    ],
    ("Tokyo", "Paris"): [
        Flight(code="AF9", price=820, stops=0, seats=3),
        Flight(code="JL7", price=760, stops=1, seats=0),
    ],
    ("Seoul", "Paris"): [Flight(code="KE5", price=1150, stops=0, seats=2)],
}
_HOTELS = {
    "Paris": [
        Hotel(name="Lutece", price=140, rating=4.1),
        Hotel(name="Seine", price=95, rating=3.2),
        Hotel(name="Odeon", price=120, rating=4.4),
    ],
    "Tokyo": [
        Hotel(name="Ueno", price=70, rating=3.9),
        Hotel(name="Ginza", price=210, rating=4.8),
    ],
}
_ORDERS = [
    Order(
        id=f"N{number:02d}",
        customer=["Kim", "Lee", "Park", "Choi"][number % 4],
        amount=float(number * 37 % 100 + 10),
        status=("paid", "open", "paid", "returned", "paid")[number % 5],
    )
    for number in range(24)
]
_PAGES = {
    "/": Page(url="/", text="Welcome", links=["/team", "/prices"]),
    "/team": Page(url="/team", text="We are five", links=["/team/hana", "/"]),
    "/team/hana": Page(url="/team/hana", text="Hana, room 417", links=["/team"]),
    "/prices": Page(url="/prices", text="Basic 12, Pro 30", links=["/"]),
}
_RATES = {"USD": 1.0, "EUR": 0.9, "KRW": 1400.0, "JPY": 150.0}


async def find_flights(origin: str, destination: str) -> list[Flight]:
    """Flights between two cities."""
    return _FLIGHTS.get((origin, destination), [])


async def find_hotels(city: str) -> list[Hotel]:
    """Hotels of a city, price for a night."""
    return _HOTELS.get(city, [])


async def list_orders(page: int = 1) -> list[Order]:
    """Orders, ten to a page; an empty page is after the last."""
    return _ORDERS[(page - 1) * 10 : page * 10]


async def open_page(url: str) -> Page:
    """A page of the site, from its root `/`."""
    if url not in _PAGES:
        raise LookupError(f"404: {url}")
    return _PAGES[url]


async def convert(amount: float, source: str, target: str) -> float:
    """Money from one currency to another."""
    return round(amount / _RATES[source] * _RATES[target], 2)


async def shift_letters(text: str, by: int) -> str:
    """Each letter moved along the alphabet."""
    moved = [
        chr((ord(letter) - 97 + by) % 26 + 97) if letter.islower() else letter for letter in text
    ]
    return "".join(moved)


async def reverse_text(text: str) -> str:
    """The text from its end."""
    return text[::-1]
