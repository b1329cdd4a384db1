"""Trees of tools: namespaces of which a model sees what it has looked for.

tree.py     the tree as a toolset, and its two tools
search.py   finding tools by words, along the tree, by vectors, by earlier use
ranking.py  words: BM25 over fields
openapi.py  OpenAPI 3.0 and Swagger 2.0 as OpenAPI 3.1
load.py     trees from packages, OpenAPI documents, folders of JSON files
"""

from polycall.agents.tree.load import Operation, RunNamed, Send
from polycall.agents.tree.search import ToolSearch
from polycall.agents.tree.tree import ToolTree

__all__ = ["Operation", "RunNamed", "Send", "ToolSearch", "ToolTree"]
