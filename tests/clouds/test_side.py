"""Beside the chat: embeddings between all wires, files and media passed on, whoever owns them."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import ollama
import openai
import pytest
from google import genai
from google.genai import types

from polycall import Client
from polycall.config import parse_config
from polycall.embeddings.calls import WIRES
from polycall.embeddings.types import EmbeddingRequest, as_base64
from polycall.errors import MalformedRequestError, RequestError
from polycall.gateway.forwarding.multipart import FormScanner, boundary_of
from polycall.translation.wire import Losses
from tests.gateway.harness import KEY, OTHER_KEY, Gateway
from tests.origins import Handler, serving

SIZE = 8


def vector_of(text: str, size: int = SIZE) -> list[float]:
    """A vector that only this text has, exact in 32 bits."""
    digest = hashlib.sha256(text.encode()).digest()
    return [digest[place] / 256 for place in range(size)]


LISTED: list[Any] = [
    {
        "id": "vendor/told",
        "context_length": 262_144,
        "architecture": {"input_modalities": ["text", "file"], "output_modalities": ["image"]},
        "pricing": {"prompt": "0.0000015", "completion": "0.00001", "input_cache_read": "0"},
        "top_provider": {"max_completion_tokens": 9000},
    },
    {"id": "router", "pricing": {"prompt": "-1", "completion": "-1"}, "context_length": "many"},
    {"id": "stated", "max_model_len": 8192},
    {"name": "models/gemini-told", "inputTokenLimit": 1000, "outputTokenLimit": 100},
    {"id": 3},
    "no object",
]


class Vendor(Handler):
    """OpenAI, Mistral, Google, Cohere and Ollama, as strict as their own pages."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, Any]]] = []
    files: ClassVar[dict[str, bytes]] = {}

    def read(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            pieces: list[bytes] = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return super().read()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/v1/files":
            items = [{"id": name, "object": "file"} for name in self.files]
            self.answer({"object": "list", "data": items, "has_more": False})
        elif path == "/v1/models":
            self.answer({"object": "list", "data": LISTED})
        elif path.endswith("/content"):
            self.answer(self.files[path.split("/")[3]], kind="application/octet-stream")
        elif path.startswith("/v1/files/"):
            self.answer({"id": path.rpartition("/")[2], "object": "file"})
        else:
            self.answer({"error": {"message": "no such path"}}, 404)

    def do_DELETE(self) -> None:
        name = self.path.rpartition("/")[2]
        self.files.pop(name, None)
        self.answer({"id": name, "object": "file", "deleted": True})

    def do_POST(self) -> None:
        data = self.read()
        path = self.path
        if path == "/v1/files":
            name = f"file-{len(self.files) + 1}"
            self.files[name] = data
            self.answer({"id": name, "object": "file", "purpose": "batch"})
            return
        if "multipart" in self.headers.get("content-type", ""):
            self.seen.append((path, data))
            self.answer({"text": "hello", "usage": {"input_tokens": 7, "output_tokens": 2}})
            return
        body = json.loads(data)
        self.seen.append((path, body))
        sizes = (body.get("dimensions"), body.get("output_dimension"))
        if 4096 in sizes or "refuse me" in (
            body.get("input"),
            body.get("prompt"),
            body.get("query"),
        ):
            error = {"message": "your words are not taken", "type": "invalid_request_error"}
            self.answer({"error": error}, 400)
            return
        answer = self.embeddings(path, body)
        if answer is not None:
            self.answer(answer)
        elif path == "/v1/audio/speech":
            self.answer(b"\x00\x01sound", kind="audio/mpeg")
        elif path == "/v1/moderations":
            self.answer({"id": "modr-1", "model": body["model"], "results": [{"flagged": False}]})
        elif path == "/v1/batches":
            self.answer({"id": "batch-1", "object": "batch", "status": "validating"})
        elif path in ("/v1/rerank", "/v2/rerank"):
            assert all(isinstance(each, str) for each in body["documents"])
            results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
            self.answer({"results": results, "meta": {"billed_units": {"search_units": 1}}})
        else:
            self.answer({"error": {"message": f"no such path: {path}"}}, 404)

    def embeddings(self, path: str, body: Any) -> Any:
        if path == "/v1/embeddings":
            given = body["input"] if isinstance(body["input"], list) else [body["input"]]
            size = body.get("dimensions", body.get("output_dimension", SIZE))
            vectors = [vector_of(str(text), size) for text in given]
            is_base64 = body.get("encoding_format") == "base64"
            data = [
                {"object": "embedding", "index": i, "embedding": as_base64(v) if is_base64 else v}
                for i, v in enumerate(vectors)
            ]
            data.reverse()  # the index says which is which
            usage = {"prompt_tokens": len(given), "total_tokens": len(given)}
            return {"object": "list", "data": data, "model": body["model"], "usage": usage}
        if path.endswith(":batchEmbedContents"):
            name = path.split("/models/")[1].partition(":")[0]
            assert len(body["requests"]) <= 100
            assert all(each["model"] == f"models/{name}" for each in body["requests"])
            texts = [each["content"]["parts"][0]["text"] for each in body["requests"]]
            size = body["requests"][0].get("outputDimensionality", SIZE)
            return {"embeddings": [{"values": vector_of(text, size)} for text in texts]}
        if path == "/v2/embed":
            assert body["input_type"]
            assert len(body["texts"]) <= 96
            vectors = [vector_of(t, body.get("output_dimension", SIZE)) for t in body["texts"]]
            meta = {"billed_units": {"input_tokens": len(vectors)}}
            return {"id": "1", "embeddings": {"float": vectors}, "texts": [], "meta": meta}
        if path == "/api/embed":
            vectors = [vector_of(text, body.get("dimensions", SIZE)) for text in body["input"]]
            return {"model": body["model"], "embeddings": vectors, "prompt_eval_count": 3}
        return None


@pytest.fixture(scope="module")
def vendor() -> Iterator[str]:
    with serving(Vendor) as url:
        yield url


def config(vendor: str) -> str:
    rows = (
        ("openai", f'base_url = "{vendor}/v1"'),
        ("mistral", f'base_url = "{vendor}/v1"'),
        ("google", f'base_url = "{vendor}"'),
        ("cohere", f'base_url = "{vendor}/v1"\nnative_url = "{vendor}"'),
        ("ollama-native", f'base_url = "{vendor}"'),
    )
    tables = [f'[providers.{name}]\napi_key = "sk-{name}-key"\n{more}\n' for name, more in rows]
    tables.append("[providers.openai.capabilities.stated]\ncontext_tokens = 4096\n")
    keys = (
        f'[[keys]]\nkey = "{KEY}"\nname = "first"\n'
        f'[[keys]]\nkey = "{OTHER_KEY}"\nname = "second"\nbudget_usd = 1.0\n'
    )
    return "\n".join([*tables, keys])


def test_the_list_of_models_has_what_providers_say_of_theirs(gateway: Gateway) -> None:
    found = {each["id"]: each for each in gateway.request("GET", "/v1/models").json()["data"]}
    told = found["openai/vendor/told"]
    assert told["context_length"] == 262_144
    assert told["top_provider"] == {"context_length": 262_144, "max_completion_tokens": 9000}
    assert told["architecture"]["input_modalities"] == ["text", "file"]
    assert told["architecture"]["modality"] == "text+file->image"
    assert Decimal(told["pricing"]["prompt"]) == Decimal("0.0000015")
    assert Decimal(told["pricing"]["input_cache_read"]) == 0
    assert "pricing" not in found["openai/router"]
    assert found["openai/router"]["context_length"] is None
    # The operator's word counts more.
    assert found["openai/stated"]["context_length"] == 4096
    assert found["mistral/gemini-told"]["context_length"] == 1000
    assert gateway.request("GET", "/v1/models/openai/vendor/told").json() == told


@pytest.fixture(scope="module")
def gateway(vendor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    served = Gateway(Path(tmp_path_factory.mktemp("side")), config(vendor)).start()
    yield served
    served.stop()


MODELS = (
    "openai/text-embedding-3-small",
    "mistral/mistral-embed",
    "google/gemini-embedding-001",
    "cohere/embed-v4.0",
    "ollama-native/nomic-embed-text",
)
TEXTS = ["안녕", "hello 🌍", "third"]


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY, max_retries=0) as made:
        yield made


@pytest.mark.parametrize("model", MODELS)
def test_an_openai_client_embeds_with_every_vendor(client: openai.OpenAI, model: str) -> None:
    # The SDK asks for base64 by itself, and decodes it.
    found = client.embeddings.create(model=model, input=TEXTS)
    assert [each.embedding for each in sorted(found.data, key=lambda e: e.index)] == [
        pytest.approx(vector_of(text)) for text in TEXTS
    ]
    few = client.embeddings.create(model=model, input="안녕", dimensions=4, encoding_format="float")
    assert few.data[0].embedding == pytest.approx(vector_of("안녕", 4))


@pytest.mark.parametrize("model", MODELS)
def test_a_google_client_embeds_with_every_vendor(gateway: Gateway, model: str) -> None:
    client = genai.Client(api_key=KEY, http_options={"base_url": gateway.url})
    config = types.EmbedContentConfig(output_dimensionality=5)
    found = client.models.embed_content(model=model, contents=TEXTS, config=config)  # pyright: ignore[reportArgumentType]
    client.close()
    vectors = [each.values for each in found.embeddings or []]
    assert vectors == [pytest.approx(vector_of(text, 5)) for text in TEXTS]


@pytest.mark.parametrize("model", MODELS)
def test_an_ollama_client_embeds_with_every_vendor(gateway: Gateway, model: str) -> None:
    client = ollama.Client(host=gateway.url, headers={"authorization": f"Bearer {KEY}"})
    found = client.embed(model=model, input=TEXTS)
    client._client.close()  # pyright: ignore[reportPrivateUsage]
    assert found.embeddings == [pytest.approx(vector_of(text)) for text in TEXTS]


def test_what_vectors_are_for_reaches_vendors_that_ask(client: openai.OpenAI) -> None:
    for said, sent in (("search_query", "search_query"), ("query", "search_query")):
        client.embeddings.create(
            model="cohere/embed-v4.0", input="x", extra_body={"input_type": said}
        )
        assert Vendor.seen[-1][1]["input_type"] == sent
    client.embeddings.create(model="cohere/embed-v4.0", input="x")
    assert Vendor.seen[-1][1]["input_type"] == "search_document"


def test_more_texts_than_a_vendor_takes_are_asked_in_batches(client: openai.OpenAI) -> None:
    texts = [f"text {number}" for number in range(250)]
    for model in ("google/gemini-embedding-001", "cohere/embed-v4.0"):
        found = client.embeddings.create(model=model, input=texts)
        assert [e.embedding for e in found.data] == [pytest.approx(vector_of(t)) for t in texts]


def test_tokens_are_refused_by_name_where_texts_are_needed(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="send text"):
        client.embeddings.create(model="google/gemini-embedding-001", input=[[1, 2, 3]])
    with pytest.raises(openai.BadRequestError, match="input"):
        client.embeddings.create(model="openai/text-embedding-3-small", input=[])
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nobody/none", input="x")


def test_the_ledger_and_the_price_of_embeddings(gateway: Gateway, client: openai.OpenAI) -> None:
    model = "openai/text-embedding-3-small"
    for _ in range(50):  # the price table is loaded in the background
        answer = client.embeddings.with_raw_response.create(model=model, input=TEXTS)
        if "polycall-cost-usd" in answer.headers:
            break
        time.sleep(0.1)
    assert float(answer.headers["polycall-cost-usd"]) == pytest.approx(3 * 0.02e-6)
    assert answer.headers["polycall-model"] == model


def test_a_reranking(gateway: Gateway) -> None:
    for path, model in (("/v2/rerank", "cohere/rerank-v3.5"), ("/v1/rerank", "openai/reranker")):
        body = {
            "model": model,
            "query": "capital",
            "documents": ["Seoul", {"text": "서울은 수도"}],
            "return_documents": True,
        }
        request = urllib.request.Request(
            gateway.url + path,
            json.dumps(body).encode(),
            {"content-type": "application/json", "authorization": f"Bearer {KEY}"},
        )
        with urllib.request.urlopen(request) as answer:
            found = json.load(answer)
        assert found["results"][0]["index"] == 1
        assert found["results"][0]["document"] == {"text": "서울은 수도"}


def test_sound_moderation_and_forms_pass_on(client: openai.OpenAI) -> None:
    speech = client.audio.speech.create(model="openai/tts-1", voice="alloy", input="hi")
    assert speech.content == b"\x00\x01sound"
    assert Vendor.seen[-1][1]["model"] == "tts-1"
    checked = client.moderations.create(model="openai/omni-moderation-latest", input="x")
    assert not checked.results[0].flagged
    heard = client.audio.transcriptions.create(
        model="openai/whisper-1", file=("소리.wav", b"RIFF\r\n--x\r\n" * 1000), language="ko"
    )
    assert heard.text == "hello"
    path, form = Vendor.seen[-1]
    assert path == "/v1/audio/transcriptions"
    assert b'name="model"\r\n\r\nwhisper-1\r\n' in form
    assert form.count(b"RIFF\r\n--x\r\n") == 1000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "openai/m", "input": "refuse me"}),
        ("/v1/embeddings", {"model": "mistral/m", "input": ["fine"] * 600, "dimensions": 4096}),
        ("/v1/rerank", {"model": "openai/m", "query": "refuse me", "documents": ["x"]}),
        ("/v1/moderations", {"model": "openai/m", "input": "refuse me"}),
        ("/v1/images/generations", {"model": "openai/m", "prompt": "refuse me"}),
    ],
)
def test_what_a_vendor_refuses_beside_the_chat_is_refused_in_its_words(
    gateway: Gateway, path: str, body: Any
) -> None:
    answer = gateway.post(path, body)
    assert answer.status == 400, answer.content
    assert b"not taken" in answer.content


def test_files_and_jobs_belong_to_the_key_that_made_them(gateway: Gateway) -> None:
    own = {"polycall-provider": "openai"}

    def opened(key: str) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=gateway.url + "/v1", api_key=key, default_headers=own, max_retries=0
        )

    with opened(KEY) as first, opened(OTHER_KEY) as second:
        made = first.files.create(file=("a.jsonl", b'{"x": 1}\n'), purpose="batch")
        assert [each.id for each in first.files.list()] == [made.id]
        assert b'{"x": 1}' in first.files.content(made.id).content
        assert list(second.files.list()) == []
        with pytest.raises(openai.NotFoundError):
            second.files.retrieve(made.id)
        job: Any = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        assert first.batches.create(input_file_id=made.id, **job).id == "batch-1"
        # What a job costs is not known before it is over: not for a key with a budget.
        with pytest.raises(openai.PermissionDeniedError):
            second.batches.create(input_file_id=made.id, **job)
        assert first.files.delete(made.id).deleted
    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY, max_retries=0) as unsaid,
        pytest.raises(openai.BadRequestError, match="polycall-provider"),
    ):
        unsaid.files.list()


def test_a_file_of_many_megabytes_is_not_held(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(96 * 1024 * 1024)
    before = gateway.resident_bytes
    peak = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], gateway.resident_bytes)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        own = {"polycall-provider": "openai"}
        with openai.OpenAI(
            base_url=gateway.url + "/v1", api_key=KEY, default_headers=own, max_retries=0
        ) as client:
            made = client.files.create(file=path, purpose="user_data")
    finally:
        done.set()
        watcher.join()
    assert len(Vendor.files[made.id]) > 96 * 1024 * 1024
    Vendor.files[made.id] = b""
    assert peak[0] - before < 24 * 1024 * 1024


# The form's scanner by itself


def form(*fields: tuple[str, bytes], boundary: str = "b") -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        + value
        + b"\r\n"
        for name, value in fields
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_the_model_of_a_form_is_renamed_however_it_is_cut(size: int) -> None:
    data = form(("language", b"ko"), ("model", b"openai/whisper"), ("file", b"\r\n--bx\r\n" * 50))
    scanner = FormScanner(b"b")
    out: list[bytes] = []
    for start in range(0, len(data), size):
        out.append(scanner.feed(data[start : start + size]))
        if scanner.waits:
            assert scanner.rename("w") == len("w") - len("openai/whisper")
            out.append(scanner.feed(b""))
    out.append(scanner.close())
    assert b"".join(out) == data.replace(b"openai/whisper", b"w")


def test_a_second_model_in_a_form_is_refused() -> None:
    scanner = FormScanner(b"b")
    scanner.feed(form(("model", b"a"), ("model", b"b")))
    scanner.rename("a")
    with pytest.raises(MalformedRequestError, match="twice"):
        scanner.feed(b"")
    with pytest.raises(MalformedRequestError, match="form"):
        boundary_of("application/json")


# The library


def test_the_library_embeds_and_knowledge_takes_a_models_name(
    vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "polycall.toml").write_text(config(vendor).partition("[[keys]]")[0])
    monkeypatch.chdir(tmp_path)
    with Client() as client:
        vectors = client.embed_sync("cohere/embed-v4.0", TEXTS)
        assert vectors == [pytest.approx(vector_of(text)) for text in TEXTS]
        with pytest.raises(RequestError, match="no embeddings"):
            client.embed_sync("anthropic/claude-sonnet-5", "x")
    from polycall.agents.knowledge import Knowledge

    (tmp_path / "a.md").write_text("# 서울\n\n서울은 수도다.")
    (tmp_path / "b.md").write_text("# Apples\n\nApples are red.")
    knowledge = Knowledge.from_paths(tmp_path / "a.md", embed="openai/text-embedding-3-small")
    assert knowledge.search("서울")[0].source.endswith("a.md")


@pytest.mark.parametrize("name", WIRES)
def test_every_wire_reads_what_it_writes(name: str) -> None:
    wire = WIRES[name]
    request = EmbeddingRequest("m", ["a", "b"][: wire.inputs_max], 4)
    if name == "vertex":
        return  # no client speaks it here
    _, body = wire.render_request(request, Losses(lossy=True))
    again = wire.parse_request(body, "m")
    assert (again.inputs, again.dimensions) == (request.inputs, request.dimensions)


def test_configuration_takes_the_address_beside_the_chat() -> None:
    text = '[providers.cohere]\napi_key = "k"\nnative_url = "http://127.0.0.1:1"\n'
    assert parse_config(text).providers["cohere"].native_url == "http://127.0.0.1:1"
