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
        '{"type":"input_audio_buffer.append","audio":"AAAA"}',
        '{"type": "input_text", "text": "\\u0000"}',
        "no JSON \\u0000",
        '[1, "models"]',
    ],
)
def test_other_frames_stay_as_they_are(frame: str) -> None:
    assert OPENAI.to_provider(frame.encode(), ASKED, MODEL) == frame.encode()


def test_what_is_said_of_models_stays_what_it_is() -> None:
    frame = '{"type":"input_text","text":"\\u0061 model","item":{"text":{"model":"dear"}}}'
    assert json.loads(OPENAI.to_provider(frame.encode(), ASKED, MODEL)) == json.loads(frame)
    again = b'{"setup":{"model":"models/up/cheap"}}'
    assert GEMINI.to_provider(again, ASKED, MODEL) == b'{"setup":{"model":"models/cheap"}}'


# Frames that some reader takes for one that names another model: it matches names in any case,
# takes the first of two fields, reads more than JSON, or finds out the encoding.
FRAMES = [
    b'{"type":"session.update","session":{"voice":"v"},"Session":{"model":"dear"}}',
    b'{"TYPE":"session.update","session":{"model":"dear"}}',
    b'{"type":"session.update","session":{"model":"dear"},"type":"x"}',
    b'{"type":"transcription_session.update","session":{"model":"dear"}}',
    b'{"type":"session.start","session":{"model":"dear"}}',
    b'{"type":"response.create","response":{"model":"dear"}}',
    b'{"type":"session.update","model":"dear","session":{}}',
    b'{"setup":{"model":"models/dear"}}',
    b'{"setup":{"mo_del":"models/dear"}}',
    b'{"setup":{"mod\\u0065l":"models/dear"}}',
    b'{"Setup":{"MODEL":"models/dear"}}',
    b'{"type":"session.update","session":{"model":"dear","speed":NaN}}',
    b'{"type":"session.update","session":{"model":"dear",},}',
    b'{"type":"session.update","session":{"model":"dear"}} // more',
    b'{"type":"session.update","session":{"model":"dear","voice":"\xff"}}',
    b'\xef\xbb\xbf{"type":"session.update","session":{"model":"dear","x":NaN}}',
    b" " * 20 + b'{"type":"session.update","session":{"model":"dear"},"x":"\xff"}',
    b"\r\n" * 20 + b'{"type":"session.update","session":{"model":"dear"},}',
    b"\x0c" * 17 + b'{"type":"session.update","session":{"model":"dear"},}',
    (" " * 9 + '{"type":"session.update","session":{"model":"dear"}}').encode("utf-16-le"),
    ("\t" * 40 + '{"type":"session.update","session":{"model":"dear"}}').encode("utf-32-be"),
    *(
        '{"type":"session.update","session":{"model":"dear"}}'.encode(encoding)
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
    ),
]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("route", [OPENAI, LIVE, GEMINI])
def test_a06_no_reader_finds_another_model_in_a_frame(route: ClientRoute, frame: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        route.to_provider(frame, ASKED, MODEL)


@pytest.mark.parametrize(
    "frame",
    [
        b'{"type":"session.update","session":{"model":"dear"},"session":{}}',
        b'{"type":"session.update","session":{"model":"dear"},"session":7}',
        b'{"type":"session.update","session":{"model":"dear","model":"up/cheap"}}',
        b'{"setup":{"model":"dear"},"setup":{"model":"cheap"}}',
        b'{"setup":{"\\u004Dodel":"dear"},"setup":{}}',
    ],
)
def test_a06_of_a_field_that_stands_twice_one_is_sent(frame: bytes) -> None:
    assert b"dear" not in OPENAI.to_provider(frame, ASKED, MODEL)


def test_only_escapes_of_ascii_may_hide_that_a_reply_is_asked_for() -> None:
    marks = OPENAI.ask_marks
    hidden = b'{"type":"response\\u002ecreate"}', b'{"type":"\\u0072esponse.create"}'
    assert all(any(mark in frame for mark in marks) for frame in hidden)
    french = b'{"type":"input_text","text":"d\\u00e9j\\u00e0 vu \\u0000 \\uac00"}'
    assert not any(mark in french for mark in marks)


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
