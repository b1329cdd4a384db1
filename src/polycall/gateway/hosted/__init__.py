"""Tools that a client expects its vendor to run, run here for another vendor's model.

dispatch.py     whether a request is about them
protocols.py    how each client's protocol declares and shows them
turn.py         one such request: the model's turns, the calls, the answer
mcp_servers.py  connections to the MCP servers that a request names, under the allow-list
approvals.py    calls that wait for the client's consent
compaction.py   a conversation made short before it is answered
web_search.py   a search at the operator's address
"""
