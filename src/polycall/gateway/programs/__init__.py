"""Programs through the gateway: the model writes one, the client runs the tools that it awaits.

service.py    one request, from what the client asked to what it gets
manners.py    how a client asks for programs, and what it is shown of them
records.py    what is kept between two requests of a client, and the ids that name it
history.py    the client's history as the model has to see it
model.py      the providers behind the router, as the loop wants a model
shown.py      the events of all steps as one answer

Loaded with the first request that wants it: most gateways never run a program.
"""
