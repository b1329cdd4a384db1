"""Programs through the gateway: the model writes one, the client runs the tools that it awaits.

dispatch.py      decides whether a request is about programs
service.py       limits and sandboxes of programs; counts the tokens of a request, too
turn.py          one request, from the client's body to its answer
protocols.py     how a client asks for programs, and which of their parts it sees
client_tools.py  the client's tools as functions of a program, and the results that it returns
records.py       records between two requests of a client, and the ids that name them
history.py       the client's history as the model must see it
model.py         the providers behind the router, as a model for the loop
merged_answer.py  the events of all steps as one answer; sender.py sends them

Loaded with the first request that needs it: most gateways never run a program.
"""
