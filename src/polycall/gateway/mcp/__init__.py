"""MCP servers behind the gateway: one door for their tools, resources and prompts.

dispatch.py   the door, which loads the rest with the first request
endpoint.py   `/mcp` over HTTP: whose request it is, sessions, the protocol's own library
handlers.py   what answers the protocol's requests
subscriptions.py  changes that clients want to hear of; updates.py of resources, at their servers
listening.py  the stream on which newer clients hear them
log_messages.py  what servers log, for the clients whose calls it is of
offers.py     resources, prompts and completion of all servers
calls.py      one tool call: permission, limits, approval, bounds, ledger, spans
tasks.py      calls that outlive their request; task_requests.py the protocol's words for them
task_jobs.py  the call of a task in its process; task_records.py what is kept of it
task_names.py how that lies in the store
resuming.py   waiting for a server's task that another process began
pages.py      long lists on pages; long_answers.py long results, past the library
asking.py     what a call asks of its client in the middle: a person's word
sampling.py   what a server asks of a model
code.py       `search` and `run` for clients that want those
hub.py        the servers: opened once for the process, pinned, merged under names of their own
openapi_source.py  an OpenAPI document as a server
service.py    all of it, put together
pins.py       pins and tokens in the store
"""
