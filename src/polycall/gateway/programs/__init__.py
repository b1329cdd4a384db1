"""Programs through the gateway: the model writes one, the client runs the tools that it awaits.

service.py    who may run how many, in which sandbox; tokens of a request are counted here too
exchange.py   one request, from what the client asked to what it gets
manners.py    how a client asks for programs, and what it is shown of them
offered.py    the client's tools as programs have them
records.py    what is kept between two requests of a client, and the ids that name it
answers.py    what a client sends back to programs, and what it makes up
history.py    the client's history as the model has to see it
model.py      the providers behind the router, as the loop wants a model
shown.py      the events of all steps as one answer; sender.py sends them

Loaded with the first request that wants it: most gateways never run a program.
"""
