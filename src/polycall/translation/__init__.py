"""The tools that all dialects share for translation.  No IO.

wire.py          reading JSON with a path, naming tools, collecting losses
stream.py        the shared half of every stream decoder     sse.py  frames from bytes
restore.py       undoes in an answer what a rendering changed in the tools
quirks.py        how one provider's use of a dialect differs
continuation.py  answers that a provider gives in several rounds
portable.py      histories that move between models
caching.py       marks and keys that let vendors cache a prompt
nonces.py        lines that are new in each request
dropped_state.py  reasoning that a vendor left out of a request
tool_list_cache.py  tool lists that are sent again with each request
times.py         moments as text
tool_descriptions.py  grammars and examples in words
tool_tables.py   tools that the client runs, read from files
word_tables.py   words for ends and errors, read from files
"""
