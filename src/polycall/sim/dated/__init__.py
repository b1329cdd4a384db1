"""The refusals of each vendor, from which day on and for which models: data, and its reader.

The rules are written from the vendors' pages and from recorded refusals, each with its source.
They are independent of what the library sends: `polycall.sim` reads nothing of the library's own
knowledge of models.
"""

from polycall.sim.dated.book import READ_ON, Model, Refusal, Rulebook, load

__all__ = ["READ_ON", "Model", "Refusal", "Rulebook", "load"]
