"""HTTP to a provider, behind one method: `Transport.open`.

base.py               requests, answers, deadlines, retry hints
aiohttp_transport.py  the library's client          http1.py  the gateway's client
proxies.py            the environment's proxies
"""
