"""The state machine of a talk: signals of the voice and results of tools in, actions out.  No IO.

It knows voices by their row in the table of capabilities alone.  Its driver (`talk.py`)
reports what came and what the clock says, and carries out the actions in their order.  What is
heard and said is in `speech.py`, calls are in `answers.py`; here are signals, time and connections.
"""

from __future__ import annotations

from msgspec.structs import replace

from polycall.realtime import events
from polycall.realtime.answers import Answers
from polycall.realtime.calls import NUDGE
from polycall.realtime.connection_state import TRIES_MAX
from polycall.realtime.events import TalkEnd
from polycall.realtime.replies import TURN_S
from polycall.realtime.talk_state import Connect, Finish, StopCall
from polycall.realtime.transcript import last_of
from polycall.voices import protocol
from polycall.voices.protocol import OpenSession, Signal

_INPUT_HELD_MS = 10_000.0
# A delegation has no text: so long its words are waited for.
_DELEGATION_WAIT_S = 2.0
# What is due, and waits until nothing continues, is looked at again so often.
_LOOK_S = 0.1


class TalkMachine(Answers):
    """One talk, over all its connections.  Every method adds to `actions`."""

    def connected(self) -> None:
        """The socket is open."""
        connection = self.connection
        connection.opening(self._now_s())
        connection.was_resumed = bool(connection.handle)
        history = self.transcript.messages()
        if self.voice.history_max is not None:
            whole, history = len(history), last_of(history, *self.voice.history_max)
            if len(history) < whole:
                self.warn("history", "this voice begins with the last of what was said before")
        self._send(replace(self.session, history=history, handle=connection.handle))

    def lost(self, reason: str, *, refused: bool = False) -> None:
        """The connection is closed, or could not be opened; `refused`: by the vendor's will."""
        connection = self.connection
        if connection.state in ("closing", "ended"):
            self.finish("hang_up")
            return
        was_opening = connection.state != "ready"
        self._break_off()
        if self._fatal:
            self.finish("refused", self._fatal)
        elif refused and was_opening and not connection.handle:
            self.finish("refused", reason)
        elif connection.tries >= TRIES_MAX:
            self.finish("connection", reason)
        else:
            if refused and was_opening:
                connection.handle = ""  # what it names is gone; the conversation is sent instead
            connection.reason = reason
            self.actions.append(Connect(connection.back_off_s()))

    def listen(self, data: bytes) -> None:
        """Sound of the caller, in the input format."""
        if self.connection.state == "ready" and not self._is_deaf():
            if self.session.input_format.is_loud(data):
                self.connection.owes(self._now_s())
            self._send(protocol.SendAudio(data))
        elif self.connection.state in ("connecting", "opening", "ready"):
            self._held.append(data)
            self._held_ms += self.session.input_format.ms(len(data))
            while self._held_ms > _INPUT_HELD_MS:
                ms = self.session.input_format.ms(len(self._held.pop(0)))
                self._held_ms -= ms
                self._emit(events.Dropped("input", ms))

    def say(self, text: str, *, waits: bool = True) -> None:
        """The voice is to say this."""
        if self.voice.replies == "continuous":
            self._send(protocol.Comment(text))
        else:
            self._replies.prompt(f"Say this to the caller, word for word: {text}", waits=waits)
            self._speak()

    def write(self, text: str) -> None:
        """The caller has typed this."""
        self.transcript.note(text)
        self._send(protocol.AddText(text, speaks=True))
        if self.voice.replies == "client":
            self._replies.prompt()
            self._speak()

    def delegated(self, delegation_id: str, text: str, *, is_silent: bool = False) -> None:
        """Give the voice the agent's words on a delegation, or its progress."""
        if self._delegated_on.get(delegation_id) != self.connection.number:
            delegation_id = ""  # a new session does not know what an earlier one delegated
        if self.connection.state == "ready":
            self._send(protocol.Comment(text, delegation_id, is_silent))
        elif self.connection.state in ("connecting", "opening") and not is_silent:
            self._notes.append((text, True))
        elif not is_silent:
            self._emit(events.CallDiscarded(delegation_id, "delegation", "the talk is over"))

    def reconfigure(self, instructions: str, session: OpenSession) -> None:
        """Another agent holds the conversation."""
        self.session = session
        if self.voice.handoff == "update":
            self._send(protocol.Reconfigure(instructions, session.tools))
        else:
            self.connection.renew_at_s = self._now_s()
            self.connection.handle = ""

    def tick(self) -> None:
        """The clock has come to `due_s`."""
        now_s = self._now_s()
        if self._ends_at_s is not None and now_s >= self._ends_at_s:
            self.end("time")
            return
        if self._silence_until_s is not None and now_s >= self._silence_until_s:
            self._silence_until_s = None
            self._silences = 0
            self._replies.prompt(NUDGE)
        if self.connection.is_dead(now_s):
            self._reconnect("the vendor said nothing for too long", planned=False)
            return
        self._replies.give_up()
        self._start_delegations()
        self._speak()
        self._renew()

    def due_s(self) -> float | None:
        """When `tick` is wanted, by the clock of the talk."""
        moments = [self._ends_at_s, self._silence_until_s, self._replies.due_s()]
        moments += [at_s for _, at_s in self._delegations]
        if self.connection.state in ("ready", "opening"):
            at_s = self.connection.due_s()
            is_past = at_s is not None and at_s <= self._now_s()
            moments.append(self._now_s() + _LOOK_S if is_past else at_s)
        waits = self._replies.wanted or self._replies.prompts or self._notes
        if waits and self._replies.may_speak():
            moments.append(self._now_s() + max(self.played.left_ms() / 1000, 0.02))
        return min((each for each in moments if each is not None), default=None)

    def hang_up(self) -> None:
        """The caller has gone, or the application wants no more."""
        self.end("hang_up")

    def end(self, reason: TalkEnd, detail: str = "") -> None:
        """End in order, where there is a session to end."""
        if self.connection.state in ("closing", "ended"):
            return
        was_ready = self.connection.state == "ready"
        self.connection.state = "closing"
        for call_id in list(self.calls.open):
            self.actions.append(StopCall(call_id))
        self._close_texts()
        if was_ready:
            current = self._replies.current
            if current is not None and self.voice.cancels:
                self._send(protocol.CancelReply(current.id))  # it says what it used
            self._send(protocol.CloseSession())
        self.actions.append(Finish(reason, detail))

    @property
    def is_owed(self) -> bool:
        """Whether the vendor has yet to say what was used, and can."""
        if self.voice.billing == "seconds":
            return self.connection.state != "ended"
        return self.voice.cancels and self._replies.current is not None

    def finish(self, reason: TalkEnd, detail: str = "") -> None:
        """The talk is over, and there is nothing to end."""
        if self.connection.state == "ended":
            return
        was_closing = self.connection.state == "closing"
        self.connection.state = "ended"
        for call_id in list(self.calls.open):
            self.actions.append(StopCall(call_id))
        if not was_closing:
            self.actions.append(Finish(reason, detail))

    def signal(self, signal: Signal) -> None:
        """Something came from the voice."""
        self.connection.heard_from()
        if self.connection.state in ("closing", "ended"):
            self._last_words(signal)
            return
        match signal:
            case protocol.Ready(_, ends_in_s):
                self._ready(ends_in_s)
            case protocol.AudioDelta():
                self._sound(signal)
            case protocol.SpeechStarted():
                self._speech_started()
            case protocol.SpeechStopped():
                self.owes_words = True
                self._replies.caller_speaks = False
                self._replies.turn_until_s = self._now_s() + TURN_S
            case protocol.TurnInterrupted():
                self._interrupt(truncates=False)
            case protocol.ItemPlaced(item_id, previous_id):
                self.transcript.place(item_id, previous_id)
            case protocol.HeardText():
                self._heard(signal)
            case protocol.SaidText():
                self._said(signal)
            case protocol.ReplyStarted(reply_id, request_id):
                self._replies.started(reply_id, request_id)
                self._unconfirmed.clear()
            case protocol.ReplyDone():
                self._reply_done(signal)
            case protocol.CallReady():
                self._call_ready(signal)
            case protocol.CallDropped(call_id, name, reason):
                self._emit(events.CallDiscarded(call_id, name, f"its item is {reason}"))
            case protocol.ResultTaken(call_id):
                self._replies.untaken.discard(call_id)
            case protocol.CallsCancelled(call_ids):
                for call_id in call_ids:
                    self._cancelled(call_id)
            case protocol.Delegated(delegation_id):
                self._delegations.append((delegation_id, self._now_s() + _DELEGATION_WAIT_S))
                self._start_delegations()
            case protocol.UsageReport(usage, is_cumulative):
                self.spending.add(usage, is_cumulative=is_cumulative)
            case protocol.GoingAway(left_s):
                self.connection.going_away(self._now_s(), left_s)
            case protocol.ResumeHandle(handle):
                self.connection.handle = handle or self.connection.handle
            case protocol.VendorError():
                self._vendor_error(signal)
            case protocol.SessionClosed(reason, can_renew):
                if can_renew:
                    self._reconnect(reason, planned=False)
                else:
                    self.finish("closed", reason)
            case protocol.DigitPressed(digit):
                self._emit(events.Digit(digit))
            case protocol.UnknownFrame(kind):
                self._unknown += 1
                self._emit(events.UnknownFrames(kind, self._unknown))
        if self.spending.is_over:
            self.end("cost")
            return
        if self._replies.current is not None and not self.calls.in_time():
            self.connection.owes(self._now_s())
        self._speak()
        self._renew()

    def _last_words(self, signal: Signal) -> None:
        """Read the signals that still count when the talk is over: the usage."""
        match signal:
            case protocol.UsageReport(usage, is_cumulative):
                self.spending.add(usage, is_cumulative=is_cumulative)
            case protocol.ReplyDone(reply_id, usage=usage):
                if self._replies.done(reply_id) and usage is not None:
                    self.spending.add(usage)
            case protocol.VendorError("nothing_active"):
                self._replies.done("")
            case protocol.SessionClosed():
                self.finish("closed")
            case _:
                pass

    def _ready(self, ends_in_s: float | None) -> None:
        connection = self.connection
        session_s = self.voice.session_s if ends_in_s is None else ends_in_s
        connection.ready(self._now_s(), self.voice.renew_s, session_s)
        if connection.number > 1:
            resumed = connection.was_resumed
            self._emit(events.Reconnected(resumed, connection.reason))
            if resumed:
                self._notes = [*self._unconfirmed, *self._notes]
            elif self.transcript.is_unanswered():
                self._replies.prompt()
        self._unconfirmed.clear()
        self._send_held()

    def _reply_done(self, done: protocol.ReplyDone) -> None:
        if not self._replies.done(done.reply_id):
            return
        if done.usage is not None:
            self.spending.add(done.usage)
        if done.status == "completed":
            self.connection.tries = 0
        for ready in self.calls.release(done.reply_id):
            if done.status == "completed":
                self._start(ready)
            else:
                reason = f"its reply was {done.status}"
                self._emit(events.CallDiscarded(ready.call.id, ready.call.name, reason))

    def _vendor_error(self, error: protocol.VendorError) -> None:
        if self.connection.state == "opening" and error.kind != "expired":
            # The session that was asked for is refused: there is no other to continue with.
            self._fatal = error.message or error.code
            self.end("refused", self._fatal)
            return
        match error.kind:
            case "reply_active":
                self._replies.refused(error.event_id)
            case "nothing_active":
                pass
            case "fatal":
                self._fatal = error.code or error.message
                self.end("refused", self._fatal)
            case _:
                self._emit(events.VendorNotice(error.code, error.message))

    def _renew(self) -> None:
        is_idle = (
            self._replies.may_speak()
            and self.played.left_ms() <= 0
            and not self.calls.in_time()
            and self._silence_until_s is None
        )
        if self.connection.is_renewal_due(self._now_s(), is_idle=is_idle):
            self._reconnect("the session was about to end", planned=True)

    def _reconnect(self, reason: str, *, planned: bool) -> None:
        self._break_off()
        connection = self.connection
        connection.reason = reason
        if not planned and connection.tries >= TRIES_MAX:
            self.finish("connection", reason)
            return
        self.actions.append(Connect(0.0 if planned else connection.back_off_s()))

    def _break_off(self) -> None:
        """The connection is gone: what was played stays, and what was not is forgotten."""
        self.warn_of_usage()
        self.owes_words = False
        self.connection.state = "connecting"
        self.connection.opens_by_s = self.connection.waits_since_s = None
        self._interrupt(truncates=False)
        self._replies.broken_off()
        self.spending.session_ended()
        for ready in self.calls.release_all():
            self._emit(events.CallDiscarded(ready.call.id, ready.call.name, "connection lost"))
        self._close_texts()
        self._stream_ms = self._said_until_ms = 0.0
        self._said_item = ""

    def _close_texts(self) -> None:
        """Close the open texts: they are as final as they will ever be."""
        for item_id in self.transcript.open_texts():
            if text := self.transcript.heard(item_id, "", is_final=True, is_whole=False):
                is_heard = self.transcript.role_of(item_id) == "user"
                made = events.Heard(text, item_id) if is_heard else events.Said(text, item_id)
                self._emit(made)
