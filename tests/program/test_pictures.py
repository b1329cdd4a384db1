"""L12: a picture that a tool gives a program stays a picture for the model."""

from __future__ import annotations

import base64
import os

import pytest

from polycall import Agent, tool
from polycall.ir import Media, Text
from polycall.program.report import SHOWN_MAX
from polycall.testing import ScriptedModel

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
BIG = b"\x89PNG\r\n\x1a\n" + os.urandom(200_000)


@tool(allowed_callers=["code"])
async def draw(what: str) -> bytes:
    """Draw a picture."""
    return BIG if what == "big" else PNG + what.encode()


@tool(allowed_callers=["code"])
async def page(number: int) -> list[Text | Media]:
    """A page: words and its picture."""
    return [Text(f"page {number}"), Media("image", "image/png", data=encoded(PNG))]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def shown(code: str) -> tuple[str, list[Media]]:
    """What the model reads of a program: its text, and its media."""
    with ScriptedModel([{"run_code": {"code": code}}, "done"]) as model:
        run = await Agent("a/m", tools=[draw, page], calling="code", client=model).run("go")
    content = run.steps[0].results[0].content
    assert isinstance(content[0], Text)
    return content[0].text, [each for each in content[1:] if isinstance(each, Media)]


@pytest.mark.parametrize(
    "code",
    [
        "await draw(what='cat')",
        "print(await draw(what='cat'))",
        "x = await draw(what='cat')\n{'answer': [x]}",
        "import json\nprint(json.dumps(await draw(what='cat')))",
    ],
)
async def test_l12_a_picture_that_a_program_shows_is_a_picture(code: str) -> None:
    text, pictures = await shown(code)
    assert pictures == [Media("image", "image/png", data=encoded(PNG + b"cat"))]
    assert "(image 1, attached)" in text
    assert len(text) < 300


async def test_l12_what_a_program_does_not_show_is_not_shown() -> None:
    text, pictures = await shown("x = await draw(what='cat')\nlen(x[0]['data'])")
    assert pictures == []
    assert text == str(len(encoded(PNG + b"cat")))


async def test_l12_a_picture_larger_than_what_may_be_printed_is_whole() -> None:
    text, pictures = await shown("print(await draw(what='big'))")
    assert [each.data for each in pictures] == [encoded(BIG)]
    assert len(text) < 300


async def test_l12_words_beside_pictures_stay_and_the_number_is_bounded() -> None:
    text, pictures = await shown("for n in (1, 2):\n    print(await page(number=n))")
    # The same picture twice is one.
    assert (len(pictures), "page 1" in text, "page 2" in text) == (1, True, True)
    code = "import asyncio\nawait asyncio.gather(*[draw(what=str(n)) for n in range(14)])"
    _, pictures = await shown(code)
    assert len(pictures) <= SHOWN_MAX
