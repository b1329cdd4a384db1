"""The sound and texts of both sides, and the effect of barge-in on them."""

from __future__ import annotations

from polycall.realtime import events
from polycall.realtime.talk_state import TalkState
from polycall.voices import protocol


class Speech(TalkState):
    """The part of the machine for what is heard and said."""

    def _sound(self, delta: protocol.AudioDelta) -> None:
        if delta.item_id in self._dropped_items:
            return
        if delta.reply_id in self._dropped_replies:
            self._dropped_items.add(delta.item_id)
            return
        self.connection.tries = 0
        ms = self.session.output_format.ms(len(delta.data))
        if self.voice.replies == "continuous":
            self._stream_ms += ms
        else:
            self._silence_until_s = None
            self._silences = 0
        if self._replies.current is not None:
            self._replies.current.has_sound = True
        self.played.add(delta.item_id, ms)
        self._emit(events.Audio(delta.data, delta.item_id))

    def _speech_started(self) -> None:
        self._silence_until_s = None
        self.calls.failures = 0
        self._replies.caller_speaks = True
        current = self._replies.current
        if not self.played.unheard() and current is None:
            return
        if current is not None and current.state == "active":
            if not self.voice.stops_itself and self.voice.cancels:
                self._send(protocol.CancelReply(current.id))
            current.state = "cancelling"
        self._interrupt(truncates=self.voice.truncates)

    def _interrupt(self, *, truncates: bool) -> None:
        """Stop playback; say what was heard of what was cut off."""
        if self.voice.replies == "continuous":
            # Its sound is one item without an end, which continues after this.
            self._interrupt_stream()
            return
        current = self._replies.current
        if current is not None and current.id:
            self._dropped_replies.add(current.id)
        waiting = self.played.unheard()
        if not waiting:
            return
        for item_id in waiting:
            heard_ms, added_ms = self.played.heard_ms(item_id), self.played.added_ms(item_id)
            self.transcript.cut(item_id, heard_ms, added_ms)
            self._dropped_items.add(item_id)
            if truncates:
                # Rounded down: never beyond what was received.
                whole_ms = int(min(heard_ms, added_ms))
                cut = protocol.Truncate(item_id, whole_ms)
                self._send(cut if whole_ms > 0 else protocol.DeleteItem(item_id))
        first = waiting[0]
        heard_ms = self.played.heard_ms(first)
        self.played.clear()
        self._emit(events.Interrupted(heard_ms, first))

    def _heard(self, heard: protocol.HeardText) -> None:
        self.owes_words &= not (heard.text or heard.is_final)
        if self.voice.replies == "continuous" and heard.text:
            self._interrupt_stream()
        text = self.transcript.heard(
            heard.item_id, heard.text, is_final=heard.is_final, is_whole=heard.is_whole
        )
        if text:
            self._emit(events.Heard(text, heard.item_id))

    def _interrupt_stream(self) -> None:
        """The caller speaks while words of the voice are still to be played."""
        position_ms = self._stream_ms - self.played.left_ms()
        if not self._said_item or self._said_until_ms <= position_ms:
            return
        heard_ms = self.played.heard_ms("stream")
        self.transcript.cut_at(self._said_item, position_ms)
        self._said_item = ""
        self.played.clear()
        self._emit(events.Interrupted(heard_ms, "stream"))

    def _said(self, said: protocol.SaidText) -> None:
        if said.end_ms is not None and not said.is_final:
            self._said_item, self._said_until_ms = said.item_id, said.end_ms
        text = self.transcript.said(
            said.item_id, said.text, is_final=said.is_final, end_ms=said.end_ms
        )
        if text:
            self._emit(events.Said(text, said.item_id))
