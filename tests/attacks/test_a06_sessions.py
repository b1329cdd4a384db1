"""A06: the model of a realtime session is the one that was checked, in every frame."""

from __future__ import annotations

import json

import pytest

from polycall._support import jsontext
from polycall.errors import InvalidRequestError
from polycall.voices.routes import ROUTES, ClientRoute

OPENAI, LIVE = ROUTES["/v1/realtime"], ROUTES["/v1/live/sessions"]
GEMINI = next(route for path, route in ROUTES.items() if path.startswith("/ws/"))
ASKED, MODEL = "up/cheap", "cheap"


@pytest.mark.parametrize(
    "session",
    [
        '{"model":"dear"}',
        '{"model":"up/cheap","Model":"dear"}',
        '{"MODEL":"dear"}',
        '{"mod\\u0065l":"dear"}',
        '{"model":["dear"]}',
        '{"model":"up/cheap","model":"dear"}',
    ],
)
@pytest.mark.parametrize("kind", ["session.update", "session\\u002eupdate"])
@pytest.mark.parametrize("route", [OPENAI, LIVE])
def test_a06_no_later_frame_names_another_model(
    route: ClientRoute, kind: str, session: str
) -> None:
    frame = f'{{"type":"{kind}","session":{session}}}'
    with pytest.raises(InvalidRequestError, match="open another for another model"):
        route.to_provider(frame.encode(), ASKED, MODEL)  # a text, or bytes that a server may read


@pytest.mark.parametrize("named", [ASKED, MODEL])
def test_a06_the_model_that_was_asked_for_may_be_repeated(named: str) -> None:
    frame = jsontext.encode_bytes(
        {"type": "session.update", "session": {"model": named, "voice": "v"}}
    )
    sent = OPENAI.to_provider(frame, ASKED, MODEL)
    assert json.loads(sent)["session"] == {"voice": "v", "model": MODEL}


@pytest.mark.parametrize(
    "frame",
    [
        '{"type":"session.update","session":{"voice":"v"}}',
        '{"type":"session.update","session":7}',
        '{"type":"input_text","text":"\\u0061 \\"session.update\\""}',
        '{"type":"input_audio_buffer.append","audio":"AAAA"}',
        "no JSON \\u0000",
    ],
)
def test_other_frames_stay_as_they_are(frame: str) -> None:
    assert OPENAI.to_provider(frame.encode(), ASKED, MODEL) == frame.encode()


def test_sound_in_bytes_stays_as_it_is() -> None:
    frame = b'\xff\xd8\\u00 "session.update" \x00'
    assert OPENAI.to_provider(frame, ASKED, MODEL) == frame


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ({"setup": {"model": "models/up/cheap"}}, ""),
        ({"setup": {"model": "models/up/cheap", "Model": "dear"}}, "Model"),
        ({"setup": {"model": "models/up/cheap"}, "SETUP": {"model": "dear"}}, "SETUP"),
        ({"Setup": {"model": "dear"}}, "Setup"),
        ({"setup": {"model": "models/up/cheap", "mod_el": "dear"}}, "mod_el"),
    ],
)
def test_a06_a_first_frame_says_its_model_once(first: dict[str, object], name: str) -> None:
    assert GEMINI.misspelt(first) == name
