"""Tools as a server has them: OpenAPI documents, and any number of tools behind two.

openapi_tools.py  the operations of an OpenAPI document as tools that send requests
code_mode.py      `search` and `run`: programs with everything behind them as typed functions
described.py      the functions as a model reads them: signatures, results, namespaces
"""

from polycall.tool_server.code_mode import CodeMode, CodeToolset
from polycall.tool_server.openapi_tools import OpenAPITools, load_document

__all__ = ["CodeMode", "CodeToolset", "OpenAPITools", "load_document"]
