"""The check is checked: each of these defects is caught by the forty cases or the fault runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from polycall.realtime.answers import Answers
from polycall.realtime.calls import Calls
from polycall.realtime.connection_state import ConnectionState
from polycall.realtime.machine import TalkMachine
from polycall.realtime.played import MarkedPlayed
from polycall.realtime.replies import Replies
from polycall.realtime.speech import Speech
from polycall.realtime.talk_state import Spending
from polycall.realtime.transcript import Transcript
from polycall.voices import capabilities, protocol
from polycall.voices.codecs import openai_realtime
from polycall.voices.codecs.gemini_live import GeminiLiveCodec
from tests.realtime import test_forty_cases as cases
from tests.realtime import test_money as money
from tests.realtime.faulty_talks import violations
from tests.realtime.harness import GEMINI, LIVE, OPENAI

Patch = pytest.MonkeyPatch


@contextmanager
def patched() -> Iterator[Patch]:
    patch = pytest.MonkeyPatch()
    try:
        yield patch
    finally:
        patch.undo()


def runs_calls_at_their_item(patch: Patch) -> None:
    patch.setattr(Answers, "_call_ready", lambda self, ready: self._start(ready))


def runs_incomplete_items(patch: Patch) -> None:
    whole = openai_realtime._item_signals

    def signals(item: Any, reply_id: str) -> Any:
        return whole({**item, "status": "completed"}, reply_id)

    patch.setattr(openai_realtime, "_item_signals", signals)


def runs_an_id_twice(patch: Patch) -> None:
    patch.setattr(Calls, "is_known", lambda self, call_id: False)


def forgets_what_was_refused(patch: Patch) -> None:
    patch.setattr(Replies, "refused", lambda self, event_id: True)


def speaks_over_the_caller(patch: Patch) -> None:
    patch.setattr(Replies, "may_speak", lambda self: self.current is None)


def has_no_queue(patch: Patch) -> None:
    patch.setattr(Replies, "may_speak", lambda self: True)


def asks_for_each_result(patch: Patch) -> None:
    whole = Calls.end

    def end(self: Calls, opened: Any, **options: Any) -> list[str]:
        whole(self, opened, **options)
        return [opened.call.id]

    patch.setattr(Calls, "end", end)


def asks_again_after_a_reply_that_used_it(patch: Patch) -> None:
    whole = Replies.started

    def started(self: Replies, reply_id: str, request_id: str) -> None:
        wanted = dict(self.wanted)
        whole(self, reply_id, request_id)
        self.wanted = wanted if not request_id else self.wanted

    patch.setattr(Replies, "started", started)


def truncates_at_sent(patch: Patch) -> None:
    patch.setattr(MarkedPlayed, "heard_ms", MarkedPlayed.added_ms)
    whole = Speech._interrupt

    def interrupt(self: Any, *, truncates: bool) -> None:
        self.played.heard_ms = self.played.added_ms
        whole(self, truncates=truncates)

    patch.setattr(Speech, "_interrupt", interrupt)


def truncates_beyond_what_came(patch: Patch) -> None:
    whole = protocol.Truncate
    from polycall.realtime import speech

    beyond = dataclasses.make_dataclass("Beyond", [])  # a namespace of the module's own
    for name in dir(protocol):
        setattr(beyond, name, getattr(protocol, name))
    beyond.Truncate = lambda item_id, ms: whole(item_id, 10 * ms + 100_000)
    patch.setattr(speech, "protocol", beyond)


def drops_an_output_while_reconnecting(patch: Patch) -> None:
    whole = Answers._answer

    def answer(self: Any, opened: Any, result: Any, tell: Any) -> None:
        if opened.connection == self.connection.number:
            whole(self, opened, result, tell)

    patch.setattr(Answers, "_answer", answer)


def answers_a_call_of_before_by_its_id(patch: Patch) -> None:
    whole = Answers._answer

    def answer(self: Any, opened: Any, result: Any, tell: Any) -> None:
        opened.connection = self.connection.number
        whole(self, opened, result, tell)

    patch.setattr(Answers, "_answer", answer)


def sums_cumulative_seconds(patch: Patch) -> None:
    whole = Spending.add

    def add(self: Spending, usage: Any, *, is_cumulative: bool = False) -> None:
        whole(self, usage)

    patch.setattr(Spending, "add", add)


def counts_no_cancelled_reply(patch: Patch) -> None:
    whole = openai_realtime._usage
    patch.setattr(
        openai_realtime, "_usage", lambda usage: replace(whole(usage), output_audio_tokens=0)
    )


def bills_cached_sound_in_full(patch: Patch) -> None:
    whole = openai_realtime._usage
    patch.setattr(
        openai_realtime, "_usage", lambda usage: replace(whole(usage), cached_audio_tokens=0)
    )


def counts_marks_of_a_clear(patch: Patch) -> None:
    whole = MarkedPlayed.clear

    def clear(self: MarkedPlayed) -> None:
        marks = dict(self._marks)
        whole(self)
        self._marks, self._generation = marks, self._generation - 1

    patch.setattr(MarkedPlayed, "clear", clear)


def keeps_silence_forever(patch: Patch) -> None:
    patch.setattr(Answers, "_silent", lambda self, opened, result: result)


def speaks_about_silence(patch: Patch) -> None:
    whole = Answers._silent

    def silent(self: Any, opened: Any, result: Any) -> Any:
        whole(self, opened, result)
        self._replies.prompt()
        return result

    patch.setattr(Answers, "_silent", silent)


def does_not_cancel_what_the_vendor_cancels(patch: Patch) -> None:
    patch.setattr(Answers, "_cancelled", lambda self, call_id: None)


def keeps_the_whole_text_of_what_was_cut(patch: Patch) -> None:
    patch.setattr(Transcript, "cut", lambda self, item_id, heard_ms, whole_ms: None)


def says_when_where_nothing_may_be_said(patch: Patch) -> None:
    whole = GeminiLiveCodec.__init__

    def init(self: Any, **options: Any) -> None:
        whole(self, **{**options, "schedules": True})

    patch.setattr(GeminiLiveCodec, "__init__", init)


def tries_forever(patch: Patch) -> None:
    def back_off_s(self: ConnectionState) -> float:
        return 0.25

    patch.setattr(ConnectionState, "back_off_s", back_off_s)


def tries_again_without_money(patch: Patch) -> None:
    patch.setattr(openai_realtime, "_FATAL", frozenset[str]())


def waits_forever_for_a_dead_line(patch: Patch) -> None:
    patch.setattr(ConnectionState, "is_dead", lambda self, now_s: False)


def never_renews(patch: Patch) -> None:
    patch.setattr(ConnectionState, "is_renewal_due", lambda self, now_s, is_idle: False)
    rows = tuple(replace(row, renew_s=None) for row in capabilities.VOICES)
    patch.setattr(capabilities, "VOICES", rows)


def speaks_before_playback_is_over(patch: Patch) -> None:
    whole = Replies.next_request
    patch.setattr(
        Replies, "next_request", lambda self, playback_is_over: whole(self, playback_is_over=True)
    )


def runs_the_same_twice(patch: Patch) -> None:
    patch.setattr(Calls, "twin", lambda self, call: None)


def does_not_stop_for_an_interrupt(patch: Patch) -> None:
    patch.setattr(Answers, "_stop_speaking", lambda self: None)


def says_nothing_of_the_end(patch: Patch) -> None:
    patch.setattr(TalkMachine, "_reply_done", lambda self, done: self._replies.done(done.reply_id))


def mutes_a_stream_that_was_cut(patch: Patch) -> None:
    whole = Speech._interrupt_stream

    def interrupt(self: Any) -> None:
        whole(self)
        self._dropped_items.add("stream")

    patch.setattr(Speech, "_interrupt_stream", interrupt)


def answers_a_delegation_of_before_by_its_id(patch: Patch) -> None:
    whole = TalkMachine.delegated

    def delegated(self: Any, delegation_id: str, text: str, **options: Any) -> None:
        self._delegated_on[delegation_id] = self.connection.number
        whole(self, delegation_id, text, **options)

    patch.setattr(TalkMachine, "delegated", delegated)


def answers_a_delegation_twice(patch: Patch) -> None:
    whole = TalkMachine.delegated

    def delegated(self: Any, delegation_id: str, text: str, *, is_silent: bool = False) -> None:
        whole(self, delegation_id, text, is_silent=is_silent)
        whole(self, delegation_id, text, is_silent=False)

    patch.setattr(TalkMachine, "delegated", delegated)


def answers_no_delegation(patch: Patch) -> None:
    patch.setattr(TalkMachine, "delegated", lambda self, delegation_id, text, **options: None)


def keeps_words_of_a_stream_that_was_cut(patch: Patch) -> None:
    patch.setattr(
        Transcript, "cut_at", lambda self, item_id, at_ms: self.cut(item_id, at_ms, at_ms)
    )


def cost(number: int) -> Callable[[], None]:
    return lambda: money.test_conversations_cost_what_they_cost_by_hand(
        *money.CONVERSATIONS[number]
    )


def broken_laws(voice: str, *seeds: int) -> Callable[[], None]:
    """The laws of talks under the faults of these seeds."""

    def check() -> None:
        for seed in seeds:
            assert violations(voice, seed) == []

    return check


DEFECTS: list[tuple[Callable[[Patch], None], Callable[[], Any]]] = [
    (
        runs_calls_at_their_item,
        cases.test_case_08_arguments_that_are_done_in_a_reply_that_is_cancelled_afterwards,
    ),
    (runs_incomplete_items, cases.test_case_09_a_call_whose_item_is_incomplete_is_an_event),
    (runs_an_id_twice, lambda: cases.test_case_10_an_id_that_comes_twice_runs_once(OPENAI)),
    (
        forgets_what_was_refused,
        lambda: (
            cases.test_case_01_and_02_a_reply_that_was_refused_is_asked_for_again_and_spoken_once(
                True
            )
        ),
    ),
    (
        speaks_over_the_caller,
        cases.test_case_13_a_result_after_barge_in_is_no_reply_until_the_turn_is_over,
    ),
    (
        has_no_queue,
        cases.test_case_03_a_reply_of_the_server_that_uses_the_result_needs_no_other,
    ),
    (has_no_queue, broken_laws(OPENAI, 0)),
    (
        asks_for_each_result,
        lambda: cases.test_case_04_three_parallel_calls_are_one_reply(OPENAI),
    ),
    (
        asks_again_after_a_reply_that_used_it,
        cases.test_case_03_a_reply_of_the_server_that_uses_the_result_needs_no_other,
    ),
    (truncates_at_sent, cases.test_barge_in_is_heard_as_far_as_it_was_played),
    (truncates_beyond_what_came, cases.test_barge_in_is_heard_as_far_as_it_was_played),
    (
        drops_an_output_while_reconnecting,
        cases.test_case_24_after_an_hour_the_conversation_goes_on_in_a_new_session,
    ),
    (
        answers_a_call_of_before_by_its_id,
        cases.test_case_27_a_call_that_a_resume_loses_is_answered_by_a_text_once,
    ),
    (sums_cumulative_seconds, cost(6)),
    (counts_no_cancelled_reply, cost(1)),
    (bills_cached_sound_in_full, cost(1)),
    (counts_marks_of_a_clear, cases.test_case_33_marks_that_a_clear_brings_back_were_not_heard),
    (
        keeps_silence_forever,
        cases.test_case_39_a_voice_that_is_always_silent_is_told_to_answer,
    ),
    (
        speaks_about_silence,
        lambda: cases.test_case_39_speech_in_the_wait_cancels_the_prompt(OPENAI),
    ),
    (
        does_not_cancel_what_the_vendor_cancels,
        cases.test_case_19_a_call_that_the_vendor_cancels_is_stopped_and_not_answered,
    ),
    (
        keeps_the_whole_text_of_what_was_cut,
        cases.test_barge_in_is_heard_as_far_as_it_was_played,
    ),
    (
        says_when_where_nothing_may_be_said,
        lambda: (
            cases.test_case_18_scheduling_where_there_is_none_is_warned_about_once_and_never_sent(
                cases.THINKING
            )
        ),
    ),
    (tries_forever, cases.test_case_28_after_so_many_tries_the_talk_ends),
    (
        tries_again_without_money,
        cases.test_case_29_a_spent_quota_ends_the_talk_without_another_try,
    ),
    (
        waits_forever_for_a_dead_line,
        lambda: cases.test_case_30_a_connection_that_says_nothing_under_speech_is_left(OPENAI),
    ),
    (never_renews, cases.test_case_24_a_session_is_renewed_before_its_end_and_nobody_notices),
    (
        speaks_before_playback_is_over,
        lambda: cases.test_case_14_when_idle_waits_for_the_end_of_playback(OPENAI),
    ),
    (
        runs_the_same_twice,
        lambda: cases.test_case_11_the_same_work_twice_in_the_background_is_refused_with_words(
            GEMINI
        ),
    ),
    (
        does_not_stop_for_an_interrupt,
        lambda: cases.test_case_15_interrupt_stops_and_speaks_at_once(OPENAI),
    ),
    (mutes_a_stream_that_was_cut, broken_laws(LIVE, 2, 11)),
    (answers_a_delegation_of_before_by_its_id, broken_laws(LIVE, 45)),
    (answers_a_delegation_twice, broken_laws(LIVE, 2, 11)),
    (answers_no_delegation, broken_laws(LIVE, 2, 11)),
    (keeps_words_of_a_stream_that_was_cut, broken_laws(LIVE, 2, 11)),
    (
        says_nothing_of_the_end,
        lambda: cases.test_case_04_three_parallel_calls_are_one_reply(OPENAI),
    ),
]


@pytest.mark.parametrize(("plant", "check"), DEFECTS, ids=[each.__name__ for each, _ in DEFECTS])
def test_a_planted_defect_is_caught(
    plant: Callable[[Patch], None], check: Callable[[], Any]
) -> None:
    with patched() as patch:
        plant(patch)
        try:
            check()
        except Exception:
            return
    pytest.fail(f"nobody noticed that it {plant.__name__.replace('_', ' ')}")
