"""A generation: what a client asked, the attempts, the answer, the row in the ledger.

client_request.py  the request, and how each target gets it
attempts.py        attempts, waits, fallback        answer.py  the answer to the client
generations.py     from the key to the ledger row   plain_answer.py  a whole one
named_resources.py what is another's
"""
