"""Requests alongside the chat: embeddings and rerankings, translated; all else passed on.

routes.py   which paths        side_requests.py  what is asked, for limits and ledger
embed.py    embeddings and rerankings             forward.py  bodies and answers passed on
multipart.py  the model in a form, and bodies as they come
"""
