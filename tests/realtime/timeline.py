"""A talk as a picture: who spoke when, what was played, which calls ran."""

from __future__ import annotations

from polycall.loop import CallEnd, CallStart
from polycall.realtime.events import Audio, Digit, Heard, Interrupted, Said, TalkEvent
from tests.realtime.harness import Outcome

_LANES = {"caller": 30, "voice": 75, "calls": 120}
_PX_PER_S = 44.0


def timeline(outcome: Outcome, title: str) -> str:
    """SVG of a talk; the same talk gives the same picture."""
    began = outcome.record.received[0][0]
    speech = [at - 0.5 * (not is_start) for at, is_start in outcome.record.speech]
    spans = list(zip(speech[::2], speech[1::2], strict=False))
    return draw(title, outcome.moments, began, spans=spans, played=_played(outcome, began))


def draw(
    title: str,
    moments: list[tuple[float, TalkEvent]],
    began: float,
    *,
    spans: list[tuple[float, float]],
    played: list[tuple[float, float]],
) -> str:
    """The picture: `spans` are when the caller spoke, `played` (from `began`) when was heard."""
    whole = moments[-1][0] - began
    width = 90 + whole * _PX_PER_S + 20
    parts: list[str] = []

    def bar(lane: str, start: float, end: float, color: str, words: str = "") -> None:
        x, length = 90 + start * _PX_PER_S, max((end - start) * _PX_PER_S, 2)
        y = _LANES[lane]
        parts.append(
            f'<rect x="{x:.1f}" y="{y - 12}" width="{length:.1f}" height="18" rx="3" '
            f'fill="{color}"><title>{words}</title></rect>'
        )

    for lane, y in _LANES.items():
        parts.append(f'<text x="8" y="{y + 2}" font-weight="bold">{lane}</text>')
        parts.append(f'<path d="M90 {y + 9}H{width - 10:.0f}" stroke="#ddd"/>')
    for start, end in spans:
        bar("caller", start - began, end - began, "#4c78a8")
    for start, end in played:
        bar("voice", start, end, "#59a14f")
    open_calls: dict[str, float] = {}
    for at, event in moments:
        now = at - began
        match event:
            case CallStart(_, call):
                open_calls[call.id] = now
            case CallEnd(_, call, _):
                bar("calls", open_calls[call.id], now, "#e8a33d", call.name)
                x = 90 + open_calls[call.id] * _PX_PER_S
                parts.append(f'<text x="{x + 3:.1f}" y="{_LANES["calls"] + 2}">{call.name}</text>')
            case Interrupted(heard_ms):
                x = 90 + now * _PX_PER_S
                parts.append(f'<path d="M{x:.1f} 15V130" stroke="#c33" stroke-dasharray="3 2"/>')
                words = f"interrupted, {heard_ms:.0f} ms heard"
                parts.append(f'<text x="{x + 3:.1f}" y="100" fill="#c33">{words}</text>')
            case Digit(digit):
                x = 90 + now * _PX_PER_S
                parts.append(f'<circle cx="{x:.1f}" cy="27" r="8" fill="#e45756"/>')
                parts.append(f'<text x="{x - 3:.1f}" y="31" fill="#fff">{digit}</text>')
            case Heard(text) | Said(text):
                y = 14 if isinstance(event, Heard) else 59
                shown = text if len(text) < 34 else text[:32] + "…"
                x = 90 + max(now - 1.0, 0) * _PX_PER_S
                parts.append(f'<text x="{x:.1f}" y="{y}" fill="#555">{shown}</text>')
            case _:
                pass
    for second in range(0, int(whole) + 1, 2):
        x = 90 + second * _PX_PER_S
        parts.append(f'<text x="{x:.1f}" y="148" fill="#999">{second} s</text>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} 156" role="img" '
        'font-family="sans-serif" font-size="10">'
    )
    return "\n".join([head, f"<title>{title}</title>", *parts, "</svg>", ""])


def _played(outcome: Outcome, began: float) -> list[tuple[float, float]]:
    """When the voice was heard: sound is played after what waits, until it is cut off."""
    spans: list[list[float]] = []
    sound = outcome.talk.sound_out
    for at, event in outcome.moments:
        now = at - began
        match event:
            case Audio(data):
                ms = sound.ms(len(data)) / 1000
                if spans and spans[-1][1] >= now - 0.001:
                    spans[-1][1] += ms
                else:
                    spans.append([now, now + ms])
            case Interrupted() if spans:
                spans[-1][1] = min(spans[-1][1], now)
            case _:
                pass
    return [(start, end) for start, end in spans]
