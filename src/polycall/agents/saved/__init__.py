"""A run as one file: HTML that opens anywhere, or JSON lines; and what is done with one.

trace.py    what is kept of a run, and its lines      page.py      the HTML file, written and read
replay.py   a run that continues from a step            viewer.html, viewer.css, viewer.js
summary.py  a few lines for a terminal; two runs side by side
"""

from polycall.agents.events import NestedStep
from polycall.agents.saved.page import load_trace, save_trace
from polycall.agents.saved.replay import Replayed, replay
from polycall.agents.saved.summary import diff_html, diff_lines, summary_lines
from polycall.agents.saved.trace import Trace, TraceStep, trace_of

__all__ = [
    "NestedStep",
    "Replayed",
    "Trace",
    "TraceStep",
    "diff_html",
    "diff_lines",
    "load_trace",
    "replay",
    "save_trace",
    "summary_lines",
    "trace_of",
]
