"""A simulated caller behind Twilio's ConversationRelay: words come and go as text.

Written from twilio.com/docs/voice/conversationrelay/websocket-messages (read on 2026-11-29).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from polycall.sim.realtime.link import Link, LinkClosedError
from polycall.sim.telephone.caller import Caller
from polycall.sim.telephone.frames import read_twiml
from polycall.sim.telephone.line import Line

MS_PER_CHARACTER = 60.0
# The messages that Twilio takes, and the fields of each.
_TAKEN = {
    "text": {"token", "last", "lang", "interruptible", "preemptible"},
    "play": {"source", "loop", "preemptible", "interruptible"},
    "sendDigits": {"digits"},
    "language": {"ttsLanguage", "transcriptionLanguage"},
    "end": {"handoffData"},
}


@dataclass
class RelayRecord:
    """The record of a call: `heard` are the utterances as far as they were spoken."""

    status: int = 0
    heard: list[str] = field(default_factory=list[str])
    interrupts: list[str] = field(default_factory=list[str])
    wrong_messages: list[str] = field(default_factory=list[str])
    was_ended: bool = False
    texts: int = 0


class RelayCaller(Caller):
    """A caller with a script of words: `tell`, `pause`, `press`, `interrupt`, `hang_up`."""

    def __init__(self, line: Line, *, voice_url: str, auth_token: str) -> None:
        super().__init__(line, voice_url=voice_url, auth_token=auth_token)
        self.relayed = RelayRecord()
        self._acts: list[tuple[str, str, float]] = []
        self._text = ""  # of the utterance that is being spoken
        self._is_whole = False
        self._began_s = 0.0

    def tell(self, words: str) -> RelayCaller:
        """Say this; who is speaking is interrupted."""
        self._acts.append(("tell", words, 0.0))
        return self

    def wait(self, seconds: float) -> RelayCaller:
        """Listen for so long."""
        self._acts.append(("wait", "", seconds))
        return self

    def key(self, digit: str) -> RelayCaller:
        """Press a key."""
        self._acts.append(("key", digit, 0.0))
        return self

    def leave(self) -> RelayCaller:
        """Hang up."""
        self._acts.append(("leave", "", 0.0))
        return self

    async def relay(self) -> RelayRecord:
        """Call, and act by the script; without `leave`, until the telephone ends the call."""
        record = self.relayed
        record.status, twiml = await self.post()
        url, parameters = read_twiml(twiml) if record.status == 200 else ("", {})
        if not url:
            return record
        link = await self.open(url)
        setup = {"type": "setup", "sessionId": "VX" + "0" * 32, "callSid": self.call_id}
        setup |= {"accountSid": "AC" + "0" * 32, "parentCallSid": "", "forwardedFrom": ""}
        setup |= {"from": self.number, "to": "+15005550001", "direction": "inbound"}
        setup |= {"callType": "PSTN", "callerName": "", "callStatus": "RINGING"}
        await link.send(json.dumps({**setup, "customParameters": parameters}))
        listening = asyncio.create_task(self._hear(link))
        acting = asyncio.create_task(self._act_out(link))
        await asyncio.wait([listening, acting], return_when=asyncio.FIRST_COMPLETED)
        if not listening.done() and not any(act[0] == "leave" for act in self._acts):
            await asyncio.wait([listening])
        for task in (listening, acting):
            task.cancel()
        await asyncio.gather(listening, acting, return_exceptions=True)
        self._utter()
        await link.close()
        return record

    async def _act_out(self, link: Link) -> None:
        for kind, words, seconds in self._acts:
            match kind:
                case "tell":
                    await self._tell(link, words)
                case "key":
                    await link.send(json.dumps({"type": "dtmf", "digit": words}))
                case "leave":
                    return
                case _:
                    await asyncio.sleep(seconds)

    async def _tell(self, link: Link, words: str) -> None:
        heard_ms = (asyncio.get_running_loop().time() - self._began_s) * 1000
        spoken = self._text[: int(heard_ms / MS_PER_CHARACTER)]
        if self._text and len(spoken) < len(self._text):
            self._text = spoken
            self.relayed.interrupts.append(spoken)
            body = {"type": "interrupt", "utteranceUntilInterrupt": spoken}
            await link.send(json.dumps({**body, "durationUntilInterruptMs": int(heard_ms)}))
        self._utter()
        await asyncio.sleep(len(words) * MS_PER_CHARACTER / 1000)
        body = {"type": "prompt", "voicePrompt": words, "lang": "en-US", "last": True}
        await link.send(json.dumps(body))

    def _utter(self) -> None:
        if self._text:
            self.relayed.heard.append(self._text)
        self._text, self._is_whole = "", False

    async def _hear(self, link: Link) -> None:
        record = self.relayed
        while True:
            try:
                body: Any = json.loads(await link.receive())
            except LinkClosedError:
                return
            kind = body.get("type")
            if kind not in _TAKEN or set(body) - _TAKEN[kind] - {"type"}:
                record.wrong_messages.append(str(body)[:200])
            elif kind == "end":
                record.was_ended = True
            elif kind == "text":
                record.texts += 1
                if self._is_whole:
                    self._utter()
                if not self._text:
                    self._began_s = asyncio.get_running_loop().time()
                self._text += str(body["token"])
                self._is_whole = bool(body["last"])
