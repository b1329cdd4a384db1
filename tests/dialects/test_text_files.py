"""A file that is text reaches models that take no files: as text, with its name and a warning."""

from __future__ import annotations

import base64

import pytest

from polycall.dialects import bedrock_converse, openai_chat
from polycall.errors import UnsupportedError
from polycall.ir import Media, Message, Request, Text
from polycall.translation.quirks import Quirks

NOTHING_SHOWN = Quirks(media_parts=frozenset({"image_url"}))


@pytest.mark.parametrize(
    ("format_", "said"), [("txt", "안녕"), ("md", "# a"), ("csv", "a,b\n1,2"), ("html", "<p>x</p>")]
)
def test_a_converse_document_of_text_is_sent_as_text(format_: str, said: str) -> None:
    document = {
        "format": format_,
        "name": "notes",
        "source": {"bytes": base64.b64encode(said.encode()).decode()},
    }
    body = {"messages": [{"role": "user", "content": [{"text": "?"}, {"document": document}]}]}
    request = bedrock_converse.parse_request(body, path="/model/m/converse")
    wire = openai_chat.render_request(request, quirks=NOTHING_SHOWN)
    parts = wire.body["messages"][0]["content"]
    assert parts[1] == {"type": "text", "text": f"notes\n\n{said}"}
    assert [w.kind for w in wire.warnings if w.feature == "document"] == ["emulated"]


@pytest.mark.parametrize("media_type", ["application/pdf", "application/zip", "text/plain"])
def test_what_is_no_text_is_refused(media_type: str) -> None:
    data = base64.b64encode(b"\xff\xfe%PDF").decode()
    asked = [Text("?"), Media("document", media_type, data=data)]
    with pytest.raises(UnsupportedError, match="document"):
        openai_chat.render_request(Request("m", [Message("user", asked)]), quirks=NOTHING_SHOWN)
