"""A6: what is checked, reserved and priced of a passed body is what any provider reads of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycall.errors import MalformedRequestError
from polycall.gateway.passthrough.control_fields import says_each_once, without_needless_escapes
from polycall.gateway.passthrough.request import Fields
from tests.origins import Handler, started

from ..gateway.harness import KEY, Gateway, provider_table

DIALECTS = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/up-gemini/cheap:generateContent",
}
CONTENT = {
    "openai-chat": '"messages":[{"role":"user","content":"hi"}]',
    "openai-responses": '"input":"hi"',
    "anthropic": '"messages":[{"role":"user","content":"hi"}]',
    "gemini": '"contents":[{"role":"user","parts":[{"text":"hi"}]}]',
}


class Upstream:
    """A provider that keeps what it is sent, and refuses it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Refusing(Handler):
            def do_POST(self) -> None:
                bodies.append(self.read())
                self.answer({"error": {"message": "no", "type": "invalid_request_error"}}, 400)

        self.server = started(Refusing)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def running_upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    try:
        yield upstream
    finally:
        upstream.server.shutdown()
        upstream.server.server_close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as made:
        yield made


@pytest.fixture(scope="module")
def served(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    tables = [
        provider_table(f"up-{name}", upstream.url, dialect)
        for name, dialect in (
            ("chat", "openai-chat"),
            ("responses", "openai-responses"),
            ("anthropic", "anthropic"),
            ("gemini", "gemini"),
        )
    ]
    key = f'[[keys]]\nkey = "{KEY}"\nname = "first"\nmodels = ["up-*/cheap"]\n'
    gateway = Gateway(tmp_path_factory.mktemp("a06"), "\n".join([*tables, key])).start()
    yield gateway
    gateway.stop()


TRICKS = [
    '{%s,"model":"@cheap","Model":"@dear"}',
    '{%s,"MODEL":"@dear","model":"@cheap"}',
    '{%s,"model":"@dear","model":"@cheap"}',
    '{%s,"model":"@cheap","model":"@dear"}',
    '{%s,"mod\\u0065l":"@dear","model":"@cheap"}',
    '{%s,"model":"@cheap","mod\\u0065l":"@dear"}',
    '{%s,"metadata":{"model":"@cheap"},"mod\\u0065l":"@dear"}',
    '{%s,"\\u006dodel":"@cheap","\\u006Dodel":"@dear"}',
    '{%s,"mode\u006c":"@cheap","MODE\u004c":"@dear"}',
    '{%s,"models":["@dear"],"model":"@cheap"}',
    '{%s,"fallbacks":[{"model":"@dear"}],"model":"@cheap"}',
    '{"x":{"model":"@dear"},%s, "model" :"@dear" , "model":"@cheap"}',
    '{%s,"model":"@cheap","ſtream":true,"max_toKens":100000,"max_tokens":5}',
    '{%s,"model":"@cheap","max_tokens":100000,"max_tokens":5}',
    '{%s,"model":"@cheap","max_tokens":5,"MAX_TOKENS":100000}',
    '{%s,"model":"@cheap","max_tokens":5,"m\\u0061x_tokens":100000}',
    '{%s,"model":"@cheap","service_tier":"flex","Service_Tier":"priority"}',
    '{%s,"model":"@cheap","stream":false,"STREAM":true}',
]


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic"])
@pytest.mark.parametrize("trick", TRICKS, ids=lambda text: ascii(text)[:70])
def test_a06_no_provider_reads_another_model_or_bound_than_was_checked(
    dialect: str, trick: str, served: Gateway, upstream: Upstream
) -> None:
    upstream.bodies.clear()
    name = {"openai-chat": "up-chat", "openai-responses": "up-responses"}.get(
        dialect, "up-anthropic"
    )
    text = trick.replace("%s", CONTENT[dialect]).replace("@", f"{name}/")
    if dialect == "openai-responses":
        text = text.replace("max_tokens", "max_output_tokens").replace("x_toK", "x_output_toK")
    answer = served.request("POST", DIALECTS[dialect], text.encode())
    assert answer.status in (400, 403, 404), answer
    for body in upstream.bodies:
        top = json.loads(body, object_pairs_hook=list)
        folded = [key.casefold() for key, _ in top]
        assert len(set(folded)) == len(folded)
        assert dict(top)["model"] == "cheap"
        assert not dict(top).keys() & {"models", "fallbacks"}


@pytest.mark.parametrize(
    "settings",
    [
        '"generationConfig":{"maxOutputTokens":5,"maxOutputTokens":100000}',
        '"generationConfig":{"maxOutputTokens":5,"max_output_tokens":100000}',
        '"generationConfig":{"maxOutputTokens":5,"MaxOutputTokens":100000}',
        '"generationConfig":{"maxOutputTokens":5},"generation_config":{"maxOutputTokens":100000}',
        '"generationConfig":{"maxOutputTokens":5},"GenerationConfig":{"maxOutputTokens":100000}',
        '"generationConfig":{"maxOutputTokens":5,"m\\u0061xOutputTokens":100000}',
        '"generationConfig":{"candidateCount":1,"candidatecount":8}',
        '"model":"models/dear"',
        '"Model":"dear","model":"cheap"',
    ],
)
def test_a06_gemini_says_each_bound_once(
    settings: str, served: Gateway, upstream: Upstream
) -> None:
    upstream.bodies.clear()
    text = f"{{{CONTENT['gemini']},{settings}}}"
    answer = served.request("POST", DIALECTS["gemini"], text.encode())
    assert answer.status == 400
    for body in upstream.bodies:
        top = json.loads(body, object_pairs_hook=list)
        assert len({key.casefold().replace("_", "") for key, _ in top}) == len(top)
        config = dict(dict(top).get("generationConfig", []))
        assert len(config) == 1
        assert config in ({"maxOutputTokens": 100000}, {"maxOutputTokens": 5})


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"b":[1, 2]}',
        '{ "a" : 1 ,\r\n\t"b" : {"a":1} }\n',
        "{}",
        ' {"model":"m", "x":"{\\"model\\":1}"} ',
        '{"서울":"맑음","é":null}',
    ],
)
def test_a06_an_honest_body_stays_as_it_is(text: str) -> None:
    assert Fields(text.encode(), "openai-chat").body == text.encode()


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":1}', '{"a":1,"\\u0061":2}', '{"a":1,}', '{"a":1}{}', '{"a":1,"a":1 ', '["a"]'],
)
def test_a06_what_says_a_name_twice_is_not_as_written(text: str) -> None:
    assert not says_each_once(text.encode(), {"a": msgspec.Raw(b"1")})


names = st.text(max_size=4) | st.sampled_from(["model", "Model", "n", "max_tokens", "a"])


@given(st.lists(st.tuples(names, st.integers(0, 9), st.booleans()), max_size=6), st.booleans())
def test_a06_law_readers_of_the_first_and_of_the_last_find_the_same(
    entries: list[tuple[str, int, bool]], is_spaced: bool
) -> None:
    comma = " , " if is_spaced else ","
    parts = [
        f"{json.dumps(name, ensure_ascii=escapes)}:{value}" for name, value, escapes in entries
    ]
    text = "{" + comma.join(parts) + "}"
    try:
        body = Fields(text.encode("utf-8", "surrogatepass"), "openai-chat").body
    except (MalformedRequestError, UnicodeEncodeError):
        return
    found = json.loads(body, object_pairs_hook=list)
    keys = [name for name, _ in found]
    assert len(set(keys)) == len(keys)
    assert dict(found) == {name: value for name, value, _ in entries}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"x":"1\\u0068"}', '{"x":"1h"}'),
        ('{"x":{"sp\\u0065ed":"f\\u0061st"}}', '{"x":{"speed":"fast"}}'),
        ('{"x":"\\\\\\u0061"}', '{"x":"\\\\a"}'),
        ('{"x":"\\\\u0061"}', '{"x":"\\\\u0061"}'),
        ('{"x":"\\u003cb\\u003e\\u0026\\u0001"}', '{"x":"\\u003cb\\u003e\\u0026\\u0001"}'),
    ],
)
def test_a06_letters_that_are_escaped_are_written_out_and_nothing_else(
    text: str, expected: str
) -> None:
    assert without_needless_escapes(text.encode()).decode() == expected
    assert json.loads(text) == json.loads(expected)


def test_a06_a_bound_as_text_is_a_bound(tmp_path: Path) -> None:
    from polycall.gateway.passthrough.control_fields import number_of

    assert [number_of(value) for value in ("100000", 7, 7.5, "x", True, None, "1e999", [])] == [
        100000.0, 7, 7.5, None, None, None, None, None
    ]  # fmt: skip
