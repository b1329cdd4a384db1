"""The Model Context Protocol, both ways: servers' tools as ours, our tools as a server.

servers.py     which servers there are, and where: by hand, or from an `mcpServers` file
connection.py  one connection to one server, owned by a task; process.py a server's program
http_transport.py  the way to one over HTTP, whose streams are read on; messages.py one message
pieces.py      long answers, read in pieces; blocks.py the parts of a result
answer_body.py  what a server answers over HTTP, bounded; comebacks.py how soon streams come back
outputs.py     what its tools promise of their results
toolset.py     a server's tools as a toolset; several.py several servers at once (`connect`)
cooldown.py    pauses before a server that fails is started anew
inspection.py  what in a definition somebody should look at
looking.py     what servers offer, alongside what was pinned
pins.py        what each definition was when somebody last looked at it
comparing.py   what differs from it, and is held
open_requests.py  how much a server may ask before it takes our answers
request_ids.py  a client's requests under ids that are open; watched_streams.py for both
others.py      prompts, templates and instructions; listing.py lists on pages
tasks.py       a call of a server whose result comes later
content.py     results and definitions between the protocol and the middle language
asking.py      what servers ask in a call: a person, a model
logs.py        what servers log, and the calls to which it belongs
oauth.py       signing in to servers; guard.py where that may lead
sign_in.py     the way to tokens; token_requests.py what is sent for them; kept_tokens.py the tokens
serving.py     any toolset as an MCP server, over stdio or HTTP

Needs the extra `polycall[mcp]`; nothing else imports this package.
"""

from importlib.util import find_spec

if find_spec("mcp") is None:
    raise ModuleNotFoundError("MCP needs its SDK; install 'polycall[mcp]'", name="mcp")

from polycall.mcp.asking import (
    Elicitation,
    ElicitationAnswer,
    SamplingRequest,
    sampling_by,
)
from polycall.mcp.looking import SeenServer, SeenTool, look
from polycall.mcp.oauth import MemoryTokens, OAuth, TokenFile, TokenStore, authorize_here
from polycall.mcp.pins import Notice, PinFile, PinStore
from polycall.mcp.servers import HttpServer, StdioServer, load_servers
from polycall.mcp.serving import mcp_server, serve_http, serve_stdio
from polycall.mcp.several import McpTools, connect
from polycall.mcp.toolset import McpTool, McpToolset

__all__ = [
    "Elicitation",
    "ElicitationAnswer",
    "HttpServer",
    "McpTool",
    "McpTools",
    "McpToolset",
    "MemoryTokens",
    "Notice",
    "OAuth",
    "PinFile",
    "PinStore",
    "SamplingRequest",
    "SeenServer",
    "SeenTool",
    "StdioServer",
    "TokenFile",
    "TokenStore",
    "authorize_here",
    "connect",
    "load_servers",
    "look",
    "mcp_server",
    "sampling_by",
    "serve_http",
    "serve_stdio",
]
