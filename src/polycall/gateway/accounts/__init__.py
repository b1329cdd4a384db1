"""Clients' keys, what they may spend, and what it cost.

keys.py    who is asking           limits.py  requests, tokens and money     costs.py  prices
windows.py the periods of limits   redis_counters.py  counters in Redis
lease.py   the slice of a limit that one worker spends
key_refresher.py  providers' keys, read again when one is refused
"""
