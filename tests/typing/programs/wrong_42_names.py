import polycall
from polycall import Agnet  # wrong
from polycall.agents import Sesions  # wrong
from polycall.realtime import Tlak  # wrong

__all__ = ["Agnet", "Sesions", "Tlak"]


def main() -> None:
    print(polycall.Clinet)  # wrong
