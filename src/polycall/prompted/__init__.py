"""Tools for models that know none: described in the prompt, and read out of what the model writes.

request.py   a request whose tools and calls have become text
calls.py     text into calls: lenient about how they are written, strict about what they ask
reader.py    the events of such an answer, with calls where the model wrote some

The same reader serves models that know tools, behind a server that lets calls slip into the text.
"""

from polycall.prompted.calls import Offer
from polycall.prompted.reader import PromptReader
from polycall.prompted.request import ask_again, callable_tools, prompted

__all__ = ["Offer", "PromptReader", "ask_again", "callable_tools", "prompted"]
