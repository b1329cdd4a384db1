"""One HTTP request: what came, what goes back.

request.py  one HTTP request and its monitor   bodies.py  bounded reading
replies.py  headers, warnings, errors          header_words.py  what single headers say
json_array_encoder.py  Gemini's streams without server-sent events
"""
