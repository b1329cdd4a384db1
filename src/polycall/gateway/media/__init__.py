"""Media by URL, for providers that need the bytes.

request_media.py  which media, and the bytes in place      lazy_fetch.py  loads the next
fetch.py          fetches, guarded: clients choose the addresses
"""
