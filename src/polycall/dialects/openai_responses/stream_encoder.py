"""Events into the bytes of a streamed response.

The official SDK rebuilds the response from these events and raises where one is out of place:
`response.created` comes first, every item is added before and done after its deltas under one
id, text deltas follow their `content_part.added`, and the last event holds the whole `output`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from polycall import ir
from polycall._support import jsontext
from polycall.dialects.openai_responses.client_tools import client_call, client_tools
from polycall.dialects.openai_responses.errors import stream_error
from polycall.dialects.openai_responses.freeform import FreeformText
from polycall.dialects.openai_responses.names import NAME, own
from polycall.dialects.openai_responses.response import (
    REPEATED_BYTES_MAX,
    as_it_came,
    begins_message,
    completed,
    custom_tools,
    has_long_text,
    item_id,
    output_content,
    output_item,
    output_message,
    render_usage,
    request_echo,
    settle,
    skeleton,
    wire_id,
    with_short_echo,
)
from polycall.errors import PolycallError
from polycall.fold import finish_part
from polycall.ir import JSON
from polycall.translation.sse import encode_sse


class StreamEncoder:
    """One answer for a client of this dialect; `request` is what it asked, to be echoed."""

    def __init__(self, request: ir.Request | None = None) -> None:
        self._request = request
        self._custom = custom_tools(request)
        self._clients = client_tools(request)
        self._sequence = 0
        self._frames: deque[bytes | tuple[str, JSON]] = deque()  # what is not encoded yet, too
        self._repeated_bytes = 0  # of texts that later events say again
        self._response: JSON | None = None
        self._output: list[JSON] = []
        self._part: ir.Part | None = None
        self._texts: list[str] = []
        self._id = ""  # of the open item
        self._is_announced = False  # whether the open part has been shown to the client
        self._freeform: FreeformText | None = None  # of an open freeform call
        self._input: list[str] = []  # the reported part of its text
        self._message: list[ir.Text | ir.Refusal] = []  # finished parts of the open message item
        self._has_message = False
        self._has_refusal = False
        self._is_closed = False

    @property
    def response(self) -> JSON:
        """The whole response, once it has ended."""
        assert self._response is not None
        return {**self._response, "output": self._output}

    @property
    def repeated_bytes(self) -> int:
        """The bytes of texts that a later event may repeat."""
        return self._repeated_bytes

    def feed(self, event: ir.Event) -> bytes:
        """The bytes that tell this event; none where it waits for the next."""
        return b"".join(self.frames(event))

    def frames(self, event: ir.Event) -> Iterator[bytes]:
        """The same, an event of the wire at a time: several may say a long text again."""
        match event:
            case ir.PartDelta():
                self._repeated_bytes += len(event.text)
                self._delta(event.text)
            case ir.PartStart():
                self._start_part(event.part)
            case ir.PartEnd():
                self._end_part(event)
            case ir.ResponseStart():
                self._start(event)
            case ir.ResponseEnd():
                self._end(event)
        return self._taken()

    def close(self) -> bytes:
        """The rest of the end that was not taken yet: nothing follows the terminal event."""
        return b"".join(self._taken())

    def fail(self, error: PolycallError) -> bytes:
        """End a started stream as failed; what had been finished stays in its output."""
        if self._is_closed:
            return b""
        self._is_closed = True
        if self._response is None:
            self._start(ir.ResponseStart())
        assert self._response is not None
        body = {
            **self._response,
            "status": "failed",
            "error": stream_error(error),
            "output": self._output,
        }
        self._send("response.failed", {"response": body})
        return b"".join(self._taken())

    # -----------------------------------------------------------------------------------------
    # The response

    def _start(self, event: ir.ResponseStart) -> None:
        response_id = event.id
        if NAME not in event.metadata or not response_id:
            response_id = wire_id(response_id, event.model)
        echoed = request_echo(self._request)
        self._response = skeleton(response_id, event.model, event.created, echoed)
        if has_long_text(self._response):
            self._response = with_short_echo(self._response)
        created = self._encoded("response.created", {"response": self._response})
        if len(created) > REPEATED_BYTES_MAX:
            self._response = with_short_echo(self._response)
            created = self._encoded("response.created", {"response": self._response})
        self._frames.append(created)
        self._sequence += 1
        self._send("response.in_progress", {"response": self._response})

    def _end(self, event: ir.ResponseEnd) -> None:
        assert self._response is not None
        self._close_message()
        body = self._response
        if self._request is None:
            body = as_it_came(body, event.metadata)
        body = {
            **body,
            **own(event.metadata),
            "output": self._output,
            "usage": render_usage(event.usage),
        }
        raw = event.raw_finish_reason
        if event.finish_reason == "pause" and raw in ("queued", "in_progress"):
            raw = ""  # a stream that ends is not waiting any more
        settle(body, event.finish_reason, raw, has_refusal=self._has_refusal)
        body = completed(body, event.metadata)
        kind = "completed" if body["status"] == "completed" else "incomplete"
        if body["status"] in ("failed", "cancelled"):
            kind = "failed"
        self._response = body
        self._send(f"response.{kind}", {"response": body})
        self._is_closed = True

    def _send(self, kind: str, fields: JSON) -> None:
        self._frames.append((kind, {"type": kind, **fields, "sequence_number": self._sequence}))
        self._sequence += 1

    def _encoded(self, kind: str, fields: JSON) -> bytes:
        data = {"type": kind, **fields, "sequence_number": self._sequence}
        return encode_sse(jsontext.encode_bytes(data), kind)

    def _taken(self) -> Iterator[bytes]:
        while self._frames:
            frame = self._frames.popleft()
            if isinstance(frame, bytes):
                yield frame
            else:
                yield encode_sse(jsontext.encode_bytes(frame[1]), frame[0])

    # -----------------------------------------------------------------------------------------
    # Parts

    def _start_part(self, part: ir.Part) -> None:
        self._part, self._texts = part, []
        self._is_announced = False
        if isinstance(part, ir.Text | ir.Refusal):
            if begins_message(part):
                self._close_message()
                self._open_message(part)
            return  # an empty text of another dialect is never shown
        self._close_message()
        self._freeform = None
        if isinstance(part, ir.ToolCall) and self._is_custom(part):
            self._freeform, self._input = FreeformText(), []
        if self._is_clients(part):
            return  # an item of its own, which comes whole
        if isinstance(part, ir.Reasoning | ir.ToolCall):
            self._add_item(part)

    def _delta(self, text: str) -> None:
        part = self._part
        self._texts.append(text)
        match part:
            case ir.Text() | ir.Refusal():
                if not self._is_announced:
                    self._announce_text(part)
                if isinstance(part, ir.Text):
                    place = self._content_place()
                    self._send(
                        "response.output_text.delta", {**place, "delta": text, "logprobs": []}
                    )
                else:
                    self._send("response.refusal.delta", {**self._content_place(), "delta": text})
            case ir.Reasoning():
                if not self._is_announced:
                    self._is_announced = True
                    empty = {"type": "summary_text", "text": ""}
                    self._send(
                        "response.reasoning_summary_part.added",
                        {**self._summary_place(), "part": empty},
                    )
                self._send(
                    "response.reasoning_summary_text.delta",
                    {**self._summary_place(), "delta": text},
                )
            case ir.ToolCall() if self._is_clients(part):
                pass
            case ir.ToolCall() if self._freeform is not None:
                self._send_input(self._freeform.feed(text))
            case ir.ToolCall():
                self._send(
                    "response.function_call_arguments.delta",
                    {"item_id": self._id, "output_index": len(self._output), "delta": text},
                )
            case _:
                pass

    def _end_part(self, event: ir.PartEnd) -> None:
        assert self._part is not None
        part = finish_part(self._part, "".join(self._texts), event.metadata)
        self._part = None
        match part:
            case ir.Text() | ir.Refusal():
                self._end_text(part)
            case ir.Reasoning():
                self._end_reasoning(part)
            case ir.ToolCall() if not self._is_clients(part):
                self._end_call(part)
            case ir.ToolCall() if client_call(part, self._clients) is None:
                # What does not fit the item: the function call that the model wrote.
                self._texts = []
                self._add_item(part)
                self._end_call(part)
            case _:
                self._whole(part)

    # -----------------------------------------------------------------------------------------
    # Messages: several text parts may form one, so an item is done when the next part begins

    def _open_message(self, part: ir.Text | ir.Refusal) -> None:
        known: JSON = own(part.metadata).get("message", {})
        default_id = item_id("msg", self._response_id(), len(self._output))
        self._id = known.get("id") or default_id
        self._has_message = True
        item: JSON = {
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
            **known,
            "id": self._id,
        }
        self._send("response.output_item.added", {"output_index": len(self._output), "item": item})

    def _announce_text(self, part: ir.Text | ir.Refusal) -> None:
        if not self._has_message:
            self._open_message(part)
        self._is_announced = True
        empty: JSON = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        if isinstance(part, ir.Refusal):
            self._has_refusal = True
            empty = {"type": "refusal", "refusal": ""}
        self._send("response.content_part.added", {**self._content_place(), "part": empty})

    def _end_text(self, part: ir.Text | ir.Refusal) -> None:
        if not self._is_announced:
            if NAME not in part.metadata:
                return
            if own(part.metadata).get("empty"):
                self._message.append(part)
                return
            self._announce_text(part)
        place = self._content_place()
        content = output_content(part)
        if isinstance(part, ir.Text):
            annotations = content.get("annotations")
            if isinstance(annotations, list):
                for index, annotation in enumerate(annotations):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
                    self._send(
                        "response.output_text.annotation.added",
                        {**place, "annotation_index": index, "annotation": annotation},
                    )
            done: JSON = {"text": part.text, "logprobs": content.get("logprobs", [])}
            self._send("response.output_text.done", {**place, **done})
        else:
            self._send("response.refusal.done", {**place, "refusal": part.text})
        self._send("response.content_part.done", {**place, "part": content})
        self._message.append(part)

    def _close_message(self) -> None:
        if not self._has_message:
            return
        self._done({**output_message(self._message, self._id), "id": self._id})
        self._message = []
        self._has_message = False

    # -----------------------------------------------------------------------------------------
    # Other items

    def _add_item(self, part: ir.Reasoning | ir.ToolCall) -> None:
        item = self._item(part)
        assert item is not None
        self._id = item["id"]
        if isinstance(part, ir.Reasoning):
            item["summary"] = []
        elif item["type"] == "function_call":
            item["status"] = "in_progress"
            item["arguments"] = ""
        else:
            item["input"] = ""
        self._send("response.output_item.added", {"output_index": len(self._output), "item": item})

    def _end_reasoning(self, part: ir.Reasoning) -> None:
        if self._is_announced:
            place = self._summary_place()
            summary = {"type": "summary_text", "text": part.text}
            self._send("response.reasoning_summary_text.done", {**place, "text": part.text})
            self._send("response.reasoning_summary_part.done", {**place, "part": summary})
        item = self._item(part)
        assert item is not None
        self._done({**item, "id": self._id})

    def _end_call(self, call: ir.ToolCall) -> None:
        item = self._item(call)
        assert item is not None
        place = {"item_id": self._id, "output_index": len(self._output)}
        if self._freeform is not None:
            told, whole = "".join(self._input), item["input"]
            if whole.startswith(told):
                self._send_input(whole[len(told) :])
            self._send("response.custom_tool_call_input.done", {**place, "input": whole})
        else:
            whole = item["arguments"]
            if not self._texts:
                self._send("response.function_call_arguments.delta", {**place, "delta": whole})
            self._send("response.function_call_arguments.done", {**place, "arguments": whole})
        self._done({**item, "id": self._id})

    def _send_input(self, text: str) -> None:
        if text:
            self._input.append(text)
            place = {"item_id": self._id, "output_index": len(self._output)}
            self._send("response.custom_tool_call_input.delta", {**place, "delta": text})

    def _whole(self, part: ir.Part) -> None:
        item = self._item(part)
        if item is not None:
            position = len(self._output)
            self._send("response.output_item.added", {"output_index": position, "item": item})
            self._done(item)

    def _done(self, item: JSON) -> None:
        position = len(self._output)
        self._send("response.output_item.done", {"output_index": position, "item": item})
        self._output.append(item)

    def _item(self, part: ir.Part) -> JSON | None:
        return output_item(
            part, self._response_id(), len(self._output), self._custom, self._clients
        )

    def _is_clients(self, part: ir.Part | None) -> bool:
        if not isinstance(part, ir.ToolCall) or part.name not in self._clients:
            return False
        return not part.namespace and NAME not in part.metadata

    def _is_custom(self, call: ir.ToolCall) -> bool:
        return call.kind == "custom" or call.name in self._custom

    def _response_id(self) -> str:
        assert self._response is not None
        return self._response["id"]

    def _content_place(self) -> dict[str, Any]:
        return {
            "item_id": self._id,
            "output_index": len(self._output),
            "content_index": len(self._message),
        }

    def _summary_place(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": len(self._output), "summary_index": 0}
