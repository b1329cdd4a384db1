"""The gateway: every client protocol in, every provider out.

Start with `app.py`, then `generation/`.  docs/architecture.md follows one request through them.

app.py          the ASGI application: finds the route of a request
services.py     what requests share: router, transport, carrier, costs
http/           one HTTP request: bounded reading, headers, errors, heartbeats
accounts/       clients' keys, what they may spend, and what requests cost
generation/     one generation: the client's request, the attempts, the answer, the ledger row
routing/        the targets of a model's name, in order, and which of them cool down
forwarding/     embeddings, ranking, and what is passed on: files, media, batches
passthrough/    bodies that need no translation: what is changed in them and read from them
sessions/       WebSockets of realtime voices, passed through
mcp/            MCP servers and OpenAPI documents behind one door
programs/       programs that call the client's tools
hosted/         tools that a client's vendor would run: MCP servers, searches
responses/      stored answers, background, WebSocket, compaction, conversations
state/          what is kept between two requests of a client
media/          media by URL, fetched for providers that need the bytes
catalogue/      models, token counts, the OpenAPI document
store/          the database: SQLite or Postgres
observability/  logs, metrics, traces
processes/      the server, its workers, reloading, maintenance

Translation is the dialects' task alone; no room here knows a field of a wire format that it could
leave to a dialect.
"""
