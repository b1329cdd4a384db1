"""Calls and what they are answered with: in time, late, silently, or as texts of before."""

from __future__ import annotations

from typing import Literal

from polycall.ir import ToolResult
from polycall.realtime import events
from polycall.realtime.calls import Manners, OpenCall
from polycall.realtime.speech import Speech
from polycall.realtime.talk_state import RunCall, RunDelegation, StopCall, refused
from polycall.tools.function_tool import Tell
from polycall.voices import protocol


class Answers(Speech):
    """The part of the machine for calls, delegations, and the replies that they want."""

    def result(self, call_id: str, result: ToolResult) -> None:
        """A call has ended."""
        opened = self.calls.open.get(call_id)
        if opened is None:
            return
        silence = opened.manners.silence
        if silence is not None and not result.is_error:
            result = self._silent(opened, result)
        is_silent = silence is not None and not result.is_error
        tell: Tell = opened.manners.tell if opened.is_late else "when_idle"
        tell = "silent" if is_silent else tell
        self.transcript.result(opened.reply_id, result)
        spoken = self.calls.end(opened, speaks=tell != "silent", failed=result.is_error)
        self._answer(opened, result, tell)
        if self.voice.replies == "client" and opened.connection == self.connection.number:
            if opened.is_late and tell != "silent":
                self._replies.want(call_id, waits=tell == "when_idle")
            for each in spoken:
                self._replies.want(each, waits=False)
        self._send_held()
        self._speak()

    def note(self, call_id: str, text: str, *, speaks: bool = False) -> None:
        """A call continues: how far it is, or what it waits for."""
        opened = self.calls.open.get(call_id)
        if opened is None or self.connection.state in ("closing", "ended"):
            return
        name, is_ready = opened.call.name, self.connection.state == "ready"
        is_here = is_ready and opened.connection == self.connection.number
        if self.voice.replies == "client":
            if is_ready:
                self._send(protocol.AddText(f"[{name}: {text}]", role="system"))
            if speaks:
                self._replies.prompt(f"{name}: {text}. Tell the caller.")
        elif self.voice.progress == "continued" and is_here:
            schedule: Tell = "when_idle" if speaks else "silent"
            self._send(protocol.SendResult(call_id, name, text, False, schedule, True))
        elif speaks and self.voice.late != "waits":
            self._notes.append((f"[{name}: {text}. Tell the caller.]", True))
        self._speak()

    def _call_ready(self, ready: protocol.CallReady) -> None:
        if self.voice.replies == "client":
            self.calls.hold(ready)
        else:
            self._start(ready)

    def _is_deaf(self) -> bool:
        """Whether the voice takes no sound: it waits for a call."""
        return self.voice.late == "waits" and bool(self.calls.open)

    def _send_held(self) -> None:
        """The sound that waited for a voice that took none."""
        if self.connection.state == "ready" and not self._is_deaf():
            held, self._held, self._held_ms = self._held, [], 0.0
            for data in held:
                self._send(protocol.SendAudio(data))

    def _start(self, ready: protocol.CallReady) -> None:
        call = ready.call
        if self.calls.is_known(call.id):
            self._emit(events.CallDiscarded(call.id, call.name, "its id was called before"))
            return
        manners = self.manners.get(call.name, Manners())
        asked = manners.is_optional and (call.arguments or {}).get("run_in_background") is True
        is_late = manners.background or asked
        opened = OpenCall(call, ready.reply_id, self.connection.number, is_late, manners)
        twin = self.calls.twin(call) if is_late else None
        self.calls.begin(opened)
        self.transcript.call(ready.reply_id, call)
        if twin is not None:
            words = f"the same call runs already ({twin.call.id}); its result comes later"
            self.result(call.id, refused(call, words))
            return
        self.actions.append(RunCall(opened))

    def _answer(self, opened: OpenCall, result: ToolResult, tell: Tell) -> None:
        """Give a result to the vendor: to its call, or as a text where that is of before."""
        call, state = opened.call, self.connection.state
        output = result.text or ("" if tell == "silent" else "done")
        if state in ("closing", "ended"):
            self._emit(events.CallDiscarded(call.id, call.name, "the talk is over"))
            return
        if state != "ready" or opened.connection != self.connection.number:
            if result.text or tell != "silent":
                self._notes.append((f"[{call.name} gave: {output}]", tell != "silent"))
            return
        schedule: Tell | Literal[""] = ""
        if self.voice.replies == "server":
            schedule = tell if tell in self.voice.schedules else ""
            if tell != "when_idle" and not schedule:
                self.warn("tell", f"{tell!r} cannot be said to this voice; it decides by itself")
            if output:
                self._unconfirmed.append((f"[{call.name} gave: {output}]", tell != "silent"))
        elif tell == "interrupt":
            self._stop_speaking()
        sent = protocol.SendResult(
            call.id, call.name, output, result.is_error, schedule, is_background=opened.is_late
        )
        self._send(sent)
        if self.voice.replies == "client":
            self._replies.untaken.add(call.id)

    def _stop_speaking(self) -> None:
        """Stop the reply that continues, so that there may be another."""
        current = self._replies.current
        if current is not None and current.state == "active":
            current.state = "cancelling"
            self._send(protocol.CancelReply(current.id))
        self._interrupt(truncates=self.voice.truncates)

    def _cancelled(self, call_id: str) -> None:
        """The vendor wants no result any more: nothing is sent."""
        opened = self.calls.open.get(call_id)
        if opened is None:
            self._emit(events.CallDiscarded(call_id, "", "cancelled by the vendor, after its end"))
            return
        gone = refused(opened.call, "cancelled: the caller spoke before it was done")
        self.transcript.result(opened.reply_id, gone)
        self.calls.end(opened, speaks=False, failed=False)
        self.actions.append(StopCall(call_id))
        self._emit(events.CallDiscarded(call_id, opened.call.name, "cancelled by the vendor"))
        self._send_held()

    def _silent(self, opened: OpenCall, result: ToolResult) -> ToolResult:
        """The voice wants to be silent: for a bounded time, and so many times in a row."""
        silence = opened.manners.silence
        assert silence is not None
        self._silences += 1
        if self._silences > silence.silences_max:
            self._silences = 0
            words = f"you were silent {silence.silences_max} times; answer the caller now"
            return refused(opened.call, words)
        if not self._replies.caller_speaks:
            self._silence_until_s = self._now_s() + silence.wait_s
        if self.voice.silence == "warned":
            self.warn("stay_silent", "this voice may speak about the result of stay_silent")
        return result

    def _start_delegations(self) -> None:
        text = self.transcript.last_heard
        waiting, self._delegations = self._delegations, []
        for delegation_id, until_s in waiting:
            if text or self._now_s() >= until_s:
                self._delegated_on[delegation_id] = self.connection.number
                self.actions.append(RunDelegation(delegation_id, text))
            else:
                self._delegations.append((delegation_id, until_s))

    def _speak(self) -> None:
        """Ask for a reply, where one is wanted and may be."""
        if self.connection.state != "ready":
            return
        self._send_notes()
        asked = self._replies.next_request(playback_is_over=self.played.left_ms() <= 0)
        if asked is None:
            return
        request_id, instructions = asked
        self._send(protocol.CreateReply(request_id, instructions))
        if self.voice.replies == "continuous":
            self._replies.done("")

    def _send_notes(self) -> None:
        """Results of calls from an earlier connection, as texts."""
        if not self._notes:
            return
        if self.voice.replies == "server" and not self._replies.may_speak():
            return  # a text sent to it cuts off the speaker
        notes, self._notes = self._notes, []
        for text, speaks in notes:
            match self.voice.replies:
                case "client":
                    self._send(protocol.AddText(text, role="system"))
                    if speaks:
                        self._replies.prompt(waits=True)
                case "server":
                    self._send(protocol.AddText(text, speaks=speaks))
                case "continuous":
                    self._send(protocol.Comment(text, is_silent=not speaks))
