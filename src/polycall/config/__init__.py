"""The configuration file, TOML, for the client and the gateway alike.

loading.py        the settings and how they are read      provider.py    `[providers.NAME]`
admin.py          `[admin]`
reader.py         tables to structs, every mistake with its line
client_keys.py    `[[keys]]`                               mcp.py         `[mcp.NAME]`
secret_source.py  `env:`, `file:` and `cmd:` values       toml_lines.py  the line of a value
"""

from polycall.config.admin import AdminSettings
from polycall.config.client_keys import KEY_NAME_RULE, ClientKey, is_key_name, moment
from polycall.config.loading import (
    CONFIG_NAME,
    CONFIG_VARIABLE,
    NO_STORE,
    WORKERS_MAX,
    Alias,
    CacheSettings,
    Config,
    LimitSettings,
    ProgramSettings,
    RouteEntry,
    Server,
    Store,
    TraceSettings,
    asking_usage,
    default_path,
    environment_config,
    is_store,
    load_config,
    load_console_url,
    load_server,
    load_store,
    parse_config,
)
from polycall.config.mcp import McpServer

__all__ = [
    "CONFIG_NAME",
    "CONFIG_VARIABLE",
    "KEY_NAME_RULE",
    "NO_STORE",
    "WORKERS_MAX",
    "AdminSettings",
    "Alias",
    "CacheSettings",
    "ClientKey",
    "Config",
    "LimitSettings",
    "McpServer",
    "ProgramSettings",
    "RouteEntry",
    "Server",
    "Store",
    "TraceSettings",
    "asking_usage",
    "default_path",
    "environment_config",
    "is_key_name",
    "is_store",
    "load_config",
    "load_console_url",
    "load_server",
    "load_store",
    "moment",
    "parse_config",
]
