"""Bodies that pass as they came: what is changed in them, and what is read from them.

request.py  the request's fields     stream.py  a stream's usage, end and errors
body.py     a whole answer's usage   call_counter.py  tool calls, counted without decoding
slow_reading.py  text that the fast parser refuses
"""
