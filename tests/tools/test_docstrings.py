"""Docstrings in three styles, and what is left of odd ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.tools.docstrings import Docstring, parse_docstring


@pytest.mark.parametrize("text", [None, "", "  \n  "])
def test_none_at_all(text: str | None) -> None:
    assert parse_docstring(text) == Docstring()


GOOGLE = """Find a flight.

    Looks at all airlines.

    Slow on Mondays.

    Args:
        origin (str): Where from,
            as an airport code: ICN.
        days: How many.

            Counted from today.
        nothing:

    Returns:
        list[str]: Flight numbers,
            cheapest first.

    Raises:
        ValueError: Where there is none.
    """

NUMPY = """Find a flight.

    Looks at all airlines.

    Slow on Mondays.

    Parameters
    ----------
    origin : str
        Where from,
        as an airport code: ICN.
    days : int, optional
        How many.

        Counted from today.

    Returns
    -------
    list of str
        Flight numbers,
        cheapest first.
    """

SPHINX = """Find a flight.

    Looks at all airlines.

    Slow on Mondays.

    :param str origin: Where from,
        as an airport code: ICN.
    :param days: How many.

        Counted from today.
    :type days: int
    :returns: Flight numbers,
        cheapest first.
    :raises ValueError: Where there is none.
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_three_styles_say_the_same(text: str) -> None:
    assert parse_docstring(text) == Docstring(
        description="Find a flight.\n\nLooks at all airlines.\n\nSlow on Mondays.",
        parameters={
            "origin": "Where from, as an airport code: ICN.",
            "days": "How many. Counted from today.",
        },
        returns="Flight numbers, cheapest first.",
    )


def test_several_parameters_in_one_line() -> None:
    docs = parse_docstring(
        """Move.

        Parameters
        ----------
        x, y : float
            Where to.
        *rest
            More.
        """
    )
    assert docs.parameters == {"x": "Where to.", "y": "Where to.", "rest": "More."}


def test_plain_text_is_all_description() -> None:
    text = "Say hello: politely.\n\n- to friends\n- to strangers"
    assert parse_docstring(text).description == text
    assert parse_docstring(text).parameters == {}


def test_what_cannot_be_taken_apart_is_description() -> None:
    broken = "Do it.\n\nArgs:\n    no colon here\n"
    assert parse_docstring(broken) == Docstring("Do it.\n\nArgs:\n    no colon here")


LINES = (
    "Args:|    x: y|Returns:|----|Parameters|x : int|:param x|:type:|::| :|:returns|  a (b): c"
    "|@param x: y|.. note:: z|Example::|"
)


@given(st.lists(st.sampled_from(LINES.split("|")), max_size=9).map("\n".join))
def test_no_docstring_is_too_odd(text: str) -> None:
    assert isinstance(parse_docstring(text), Docstring)
