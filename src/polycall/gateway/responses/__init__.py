"""The parts of OpenAI's Responses alongside a generation.

routes.py       `GET`, `DELETE`, `cancel`, `input_items`, `/v1/conversations`
background.py   answers that continue without their client, and streams that are read again
websocket.py    one connection for many answers
compaction.py   a conversation made short by the model itself
inner.py        a request that no connection brought: each of these serves some
"""
