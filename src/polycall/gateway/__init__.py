"""The gateway: every client protocol in, every provider out.

Routes, keys, choice of provider, carried state, the ledger.  No translation: that is the
dialects' alone.
"""
