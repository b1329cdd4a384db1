"""What passes to a provider beside the chat: files of other keys, keys in addresses, odd forms."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from polycall.errors import MalformedRequestError
from polycall.gateway.forwarding.multipart import FormScanner
from tests.clouds.test_side import Vendor, config
from tests.gateway.harness import KEY, OTHER_KEY, Gateway


class Listing(Vendor):
    """Lists as OpenAI does: the ends of a page are named beside it."""

    targets: ClassVar[list[str]] = []
    seen: ClassVar[list[tuple[str, Any]]] = []
    files: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        self.targets.append(self.path)
        if self.path.partition("?")[0] == "/v1/files":
            items = [{"id": name, "object": "file"} for name in self.files]
            ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {}
            self.answer({"object": "list", "data": items, "has_more": False, **ends})
        else:
            super().do_GET()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listing)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    text = config(f"http://127.0.0.1:{server.server_address[1]}")
    served = Gateway(Path(tmp_path_factory.mktemp("forwarded")), text).start()
    yield served
    served.stop()
    server.shutdown()
    thread.join()
    server.server_close()


OPENAI = {"polycall-provider": "openai"}
FILE = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n'


def test_a10_a_clients_key_in_the_address_is_not_passed_on(gateway: Gateway) -> None:
    for query in (f"key={KEY}", f"limit=2&key={KEY}", f"key={KEY}&order=asc&k%65y={KEY}"):
        answer = gateway.request("GET", f"/v1/files?{query}", key=None, headers=OPENAI)
        assert answer.status == 200, answer.content
        assert KEY not in Listing.targets[-1]
    assert Listing.targets[-2:] == ["/v1/files?limit=2", "/v1/files?order=asc"]


def test_a_list_names_nothing_of_another_key(gateway: Gateway) -> None:
    kind = {"content-type": "multipart/form-data; boundary=b", **OPENAI}
    made = [
        gateway.request("POST", "/v1/files", FILE, key=key, headers=kind).json()["id"]
        for key in (KEY, OTHER_KEY, OTHER_KEY, KEY, OTHER_KEY)
    ]
    mine = gateway.request("GET", "/v1/files", headers=OPENAI).json()
    assert [each["id"] for each in mine["data"]] == [made[0], made[3]]
    assert (mine["first_id"], mine["last_id"]) == (made[0], made[3])
    for path in (f"/v1/files/{made[1]}", f"/v1/files/{made[1]}/content"):
        assert gateway.request("GET", path, headers=OPENAI).status == 404
    assert gateway.request("DELETE", f"/v1/files/{made[4]}", headers=OPENAI).status == 404
    job = {"input_file_id": made[2], "endpoint": "/v1/responses", "completion_window": "24h"}
    assert gateway.request("POST", "/v1/batches", job, headers=OPENAI).status == 404


HEADS = {
    "twice": b'form-data; name="x"; name="model"',
    "twice, the other way": b'form-data; name="model"; name="x"',
    "extended": b"form-data; name=\"x\"; name*=UTF-8''model",
    "extended alone": b"form-data; name*=UTF-8''model",
    "continued": b'form-data; name*0="mod"; name*1="el"',
    "space before the sign": b'form-data; name="x"; name ="model"',
    "an escaped quote": b'form-data; name="x"; filename="a\\"; name=\\"model"',
    "two heads": b'form-data; name="x"\r\ncontent-disposition: form-data; name="model"',
    "a folded line": b'form-data; name="x";\r\n\tNAME="model"',
}


@pytest.mark.parametrize("case", HEADS)
def test_a06_no_part_of_a_form_has_two_names(case: str) -> None:
    scanner = FormScanner(b"b")
    with pytest.raises(MalformedRequestError, match="more than one way"):
        scanner.feed(b"--b\r\ncontent-disposition: " + HEADS[case] + b"\r\n\r\ndear\r\n--b--\r\n")


@pytest.mark.parametrize(
    "head",
    [
        b'form-data; name="file"; filename="my name=x.txt"',
        b'form-data; name="file"; filename="a.txt"; filename*=UTF-8\'\'a.txt',
    ],
)
def test_a_form_with_an_odd_file_passes(head: bytes) -> None:
    scanner = FormScanner(b"b")
    part = b"--b\r\ncontent-disposition: " + head + b"\r\n\r\nx\r\n"
    model = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n'
    out = scanner.feed(part + model)
    assert scanner.model == "m"
    scanner.rename("other")
    out += scanner.feed(b"") + scanner.close()
    assert out == part + model.replace(b"\r\nm\r\n", b"\r\nother\r\n")


class Serving(Listing):
    """Takes jobs and generations, too; each answer has an id of its own."""

    seen: ClassVar[list[tuple[str, Any]]] = []

    def do_GET(self) -> None:
        if "/events" in self.path:
            events = [{"id": f"ftevent-{n}"} for n in (1, 2)]
            self.answer({"object": "list", "data": events})
        else:
            super().do_GET()

    def do_POST(self) -> None:
        if self.path == "/v1/files":
            super().do_POST()
            return
        self.seen.append((self.path, json.loads(self.read())))
        if self.path == "/v1/responses":
            self.answer({**RESPONSE, "id": f"resp_{len(self.seen)}"})
        else:
            self.answer({"id": f"batch_{len(self.seen)}", "object": "batch"})

    def do_DELETE(self) -> None:
        self.seen.append((self.path, None))
        super().do_DELETE()


RESPONSE: Any = {
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "m",
    "output": [],
    "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Serving)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    text = config(f"http://127.0.0.1:{server.server_address[1]}").replace("budget_usd = 1.0", "")
    served = Gateway(Path(tmp_path_factory.mktemp("serving")), text).start()
    yield served
    served.stop()
    server.shutdown()
    thread.join()
    server.server_close()


def files_of(gateway: Gateway) -> tuple[str, str]:
    """A file of this key, and one of another."""
    kind = {"content-type": "multipart/form-data; boundary=b", **OPENAI}
    mine, theirs = (
        gateway.request("POST", "/v1/files", FILE, key=key, headers=kind).json()["id"]
        for key in (KEY, OTHER_KEY)
    )
    return mine, theirs


JOBS: dict[str, Any] = {
    "another's": {"input_file_id": "THEIRS"},
    "in another case": {"input_file_id": "MINE", "Input_File_Id": "THEIRS"},
    "in another style": {"input_file_id": "MINE", "inputFileId": "THEIRS"},
    "in a list": {"input_file_id": ["THEIRS"]},
    "in an object": {"input_file_id": {"id": "THEIRS"}},
    "for training": {"model": "m", "training_file": "MINE", "TRAINING_FILE": "THEIRS"},
    "for validation": {"model": "m", "training_file": "MINE", "validation_file": "THEIRS"},
}


@pytest.mark.parametrize("case", JOBS)
def test_a06_a_job_reads_no_file_of_another_key(serving: Gateway, case: str) -> None:
    mine, theirs = files_of(serving)
    job = json.loads(json.dumps(JOBS[case]).replace("MINE", mine).replace("THEIRS", theirs))
    path = "/v1/fine_tuning/jobs" if "model" in job else "/v1/batches"
    Serving.seen.clear()
    answer = serving.request("POST", path, job, headers=OPENAI)
    assert answer.status in (400, 404), answer.content
    assert Serving.seen == []


def test_a_job_may_have_a_profile(serving: Gateway) -> None:
    mine, _ = files_of(serving)
    job = {"model": "m", "training_file": mine, "profile": {"a": 1}}
    assert serving.request("POST", "/v1/fine_tuning/jobs", job, headers=OPENAI).status == 200


def test_what_is_passed_on_beside_the_chat_names_no_file_of_another_key(serving: Gateway) -> None:
    mine, theirs = files_of(serving)
    for name, status in ((theirs, 404), (mine, 200)):
        body = {"model": "openai/m", "prompt": "x", "parts": [{"file_id": name}]}
        answer = serving.request("POST", "/v1/completions", body)
        assert answer.status == status, answer.content


def test_nobody_deletes_what_is_of_all_keys(serving: Gateway) -> None:
    Serving.seen.clear()
    for path in ("/v1/files", "/v1/batches", "/v1/fine_tuning/jobs"):
        assert serving.request("DELETE", path, headers=OPENAI).status in (404, 405)
    assert Serving.seen == []


NAMING: dict[str, Any] = {
    "a file": [{"role": "user", "content": [{"type": "input_file", "file_id": "FILE"}]}],
    "a picture": [{"role": "user", "content": [{"type": "input_image", "file_id": "FILE"}]}],
    "in another case": [{"role": "user", "content": [{"type": "input_file", "FILE_ID": "FILE"}]}],
}


@pytest.mark.parametrize("case", NAMING)
def test_a_model_reads_no_file_of_another_key(serving: Gateway, case: str) -> None:
    """The provider has one account, and would show it."""
    mine, theirs = files_of(serving)
    for name, status in ((theirs, 404), (mine, 200), ("file-made-elsewhere", 200)):
        said = json.loads(json.dumps(NAMING[case]).replace('FILE"}', f'{name}"}}'))
        Serving.seen.clear()
        body = {"model": "openai/m", "input": said}
        answer = serving.request("POST", "/v1/responses", body)
        assert (answer.status, len(Serving.seen)) == (status, int(status == 200)), answer.content


def test_no_file_of_another_key_hides_behind_the_same_name(serving: Gateway) -> None:
    mine, theirs = files_of(serving)
    for first, last in ((theirs, mine), (mine, theirs)):
        part = f'{{"type":"input_file","file_id":"{first}","file_id":"{last}"}}'
        body = f'{{"model":"openai/m","input":[{{"role":"user","content":[{part}]}}]}}'
        answer = serving.request("POST", "/v1/responses", body.encode())
        assert answer.status == 404, answer.content


def test_no_tool_gets_a_file_of_another_key(serving: Gateway) -> None:
    mine, theirs = files_of(serving)
    for names, status in (([mine], 200), ([mine, theirs], 404)):
        tool = {"type": "code_interpreter", "container": {"type": "auto", "file_ids": names}}
        body = {"model": "openai/m", "input": "x", "tools": [tool]}
        assert serving.request("POST", "/v1/responses", body).status == status


def test_an_answer_at_the_provider_is_continued_by_its_own_key(serving: Gateway) -> None:
    first = serving.request("POST", "/v1/responses", {"model": "openai/m", "input": "my secret"})
    body = {"model": "openai/m", "input": "go on", "previous_response_id": first.json()["id"]}
    Serving.seen.clear()
    assert serving.request("POST", "/v1/responses", body, key=OTHER_KEY).status == 404
    assert Serving.seen == []
    assert serving.request("POST", "/v1/responses", body).status == 200
    body["previous_response_id"] = "resp_made_elsewhere"
    assert serving.request("POST", "/v1/responses", body, key=OTHER_KEY).status == 200


def test_the_events_of_a_job_are_its_makers(serving: Gateway) -> None:
    mine, _ = files_of(serving)
    body = {"model": "m", "training_file": mine}
    job = serving.request("POST", "/v1/fine_tuning/jobs", body, headers=OPENAI).json()["id"]
    path = f"/v1/fine_tuning/jobs/{job}/events?limit=2"
    events = serving.request("GET", path, headers=OPENAI).json()["data"]
    assert [event["id"] for event in events] == ["ftevent-1", "ftevent-2"]
    assert serving.request("GET", path, key=OTHER_KEY, headers=OPENAI).status == 404


def test_a_file_is_its_makers_until_it_is_deleted(serving: Gateway) -> None:
    """However old it is: what nobody made would be everybody's."""
    mine, _ = files_of(serving)
    with closing(sqlite3.connect(serving.folder / "polycall.db")) as database:
        (created,) = database.execute(
            "SELECT created FROM states WHERE id = ?", (f"owned:openai:{mine}",)
        ).fetchone()
        assert created > time.time() + 10**9
        assert serving.request("DELETE", f"/v1/files/{mine}", headers=OPENAI).status == 200
        left = database.execute("SELECT 1 FROM states WHERE id = ?", (f"owned:openai:{mine}",))
        assert left.fetchall() == []


def test_a_key_in_the_address_goes_to_no_keeper_of_an_answer(serving: Gateway) -> None:
    body = {"model": "openai/m", "input": "x"}
    name = serving.request("POST", "/v1/responses", body).json()["id"]
    Listing.targets.clear()
    path = f"/v1/responses/{name}/input_items?limit=2&key={KEY}"
    serving.request("GET", path, key=None)
    assert Listing.targets == [f"/v1/responses/{name}/input_items?limit=2"]
