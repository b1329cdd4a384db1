"""The configuration file, TOML, for the client and the gateway alike.

loading.py        the settings and how they are read      provider.py    `[providers.NAME]`
reader.py         tables to structs, every mistake with its line
secret_source.py  `env:`, `file:` and `cmd:` values       toml_lines.py  the line of a value
"""

from polycall.config.loading import (
    CONFIG_NAME,
    CONFIG_VARIABLE,
    KEY_NAME_RULE,
    NO_STORE,
    WORKERS_MAX,
    Alias,
    CacheSettings,
    ClientKey,
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
    is_key_name,
    is_store,
    load_config,
    load_store,
    moment,
    parse_config,
)

__all__ = [
    "CONFIG_NAME",
    "CONFIG_VARIABLE",
    "KEY_NAME_RULE",
    "NO_STORE",
    "WORKERS_MAX",
    "Alias",
    "CacheSettings",
    "ClientKey",
    "Config",
    "LimitSettings",
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
    "load_store",
    "moment",
    "parse_config",
]
