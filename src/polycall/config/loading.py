"""The configuration file: TOML, for the client and the gateway alike.

Everything is checked before anything starts, and every mistake is reported with its line, not
only the first.  What comes out is plain values; nothing here opens a socket or a database.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from polycall.config.admin import AdminSettings, read_admin
from polycall.config.client_keys import ClientKey, read_client_keys
from polycall.config.hosted import HostedToolSettings, read_hosted_tools
from polycall.config.mcp import McpServer, read_mcp
from polycall.config.provider import ProviderTable, make_provider, read_provider
from polycall.config.reader import Reader
from polycall.errors import ConfigError
from polycall.providers.catalogue import CATALOGUE
from polycall.providers.provider import Provider
from polycall.providers.refresh import PriceSettings

CONFIG_NAME = "polycall.toml"
CONFIG_VARIABLE = "POLYCALL_CONFIG"
MEBIBYTE = 1024 * 1024
WORKERS_MAX = 64
NO_STORE = "{!r} is not a kind of store; write sqlite:///FILE or postgresql://USER@HOST/NAME"


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """`[server]`: where to listen, and the bounds of one request."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    body_bytes_max: int = 32 * MEBIBYTE
    body_s: float = 60.0  # to receive a request's body, and to take one write of an answer
    upload_bytes_max: int = 1024 * MEBIBYTE  # of a file that is passed on as it comes
    upload_s: float = 900.0
    headers_s: float = 15.0  # to receive a request's headers
    headers_bytes_max: int = 64 * 1024
    connections_max: int = 4096
    memory_mib_max: int | None = None  # of one process; else a share of what the machine has
    drain_s: float = 30.0
    heartbeat_s: float = 15.0
    connect_s: float = 10.0
    read_s: float = 300.0
    total_s: float = 900.0
    attempts: int = 4  # over all providers of a route
    attempts_s: float = 60.0  # no new attempt after this long
    wait_s_max: float = 5.0  # a longer `retry-after` is passed on to the client
    fetch_media: bool = True  # media by URL, for providers that need the bytes
    fetch_private_addresses: bool = False
    fetch_bytes_max: int = 20 * MEBIBYTE
    background_max: int = 64  # answers in the background that one process works on
    background_s: float = 3600.0  # such an answer takes at most
    websocket_s: float = 3600.0  # a connection of many answers lives at most
    keep_answers: bool = True  # for clients that refer to them (`previous_response_id`)
    cache: bool = True  # ask providers to cache long prompts
    mcp_processes: bool = False  # whether `[mcp.NAME]` may start programs
    corrections: bool = True  # mend a request once whose field a provider refuses by name
    lossy: bool = False  # for all clients, what the header `polycall-lossy` says for one request
    log: str = "info"

    @property
    def local_url(self) -> str:
        """The address by which this machine reaches it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


class Store(Struct, frozen=True, forbid_unknown_fields=True):
    """`[store]`: where carried state and the ledger live.  Relative to the file's folder.

    `when_down` says what becomes of requests while the store does not answer: `refuse` them, or
    `serve` them and write down afterwards.  State is locked with `secret`; without one, with a
    secret that lies in the store itself.
    """

    url: str = "sqlite:///polycall.db"
    secret: str = ""
    counters: str = ""  # redis://..., for limits; else they are in the store
    when_down: Literal["refuse", "serve"] = "refuse"
    ledger_days: int | None = None  # rows older than this are removed
    kept_bytes_max: int = 1_073_741_824  # for each key; beyond it, its oldest values are removed
    spool: str = ""  # where rows wait while the store is unreachable; else the file's folder


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: how keys with limits are counted.

    `output_tokens` is set aside for a request that does not say its most, where the model's own
    is not known.  `unpriced` says whether a key with a budget may use a model without a price.
    """

    output_tokens: int = 8192
    unpriced: Literal["refuse", "allow"] = "refuse"


class ProgramSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[programs]`: programs that models write, with the clients' tools as functions.

    `at_once` is for each key, `steps` are the model's turns for one answer.  A program that waits
    for its client's results is given up after `expiry_s`.
    """

    enabled: bool = True
    runtime: Literal["auto", "jail", "monty"] = "auto"
    wall_s: float = 30.0
    memory_mib: int = 256
    stdout_bytes: int = 64_000
    calls: int = 1000
    steps: int = 20
    at_once: int = 8
    expiry_s: float = 1800.0


class CacheSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[cache]`: answers given again for the same request, where it asks for that.

    `all` is for requests that do not say; `tool_calls` keeps answers that call tools, too.
    """

    ttl_s: float = 300.0
    size_bytes_max: int = 64 * MEBIBYTE
    file: str = ""  # a SQLite file for all workers; else each has its own in memory
    tool_calls: bool = False
    all: bool = False


class TraceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[traces]`: where OpenTelemetry spans go, by OTLP over HTTP."""

    endpoint: str  # http://HOST:4318/v1/traces
    headers: dict[str, str] = {}  # values may be `env:NAME`, ...
    sample: float = 1.0  # the share of requests, where the client has not decided
    service: str = "polycall"


class RouteEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One target of a route."""

    model: str  # provider/model
    weight: int | None = None


class Alias(Struct, frozen=True):
    """`[models.NAME]`: a name of one's own for one or more models, tried in order.

    Where targets have weights, the first is drawn by weight and the others follow in order.
    """

    name: str
    route: tuple[RouteEntry, ...]


class Config(Struct, frozen=True):
    """A whole configuration.  `provider_keys` may hold several keys for one provider."""

    server: Server = Server()
    store: Store = Store()
    cache: CacheSettings | None = None
    traces: TraceSettings | None = None
    limits: LimitSettings = LimitSettings()
    prices: PriceSettings = PriceSettings()
    programs: ProgramSettings = ProgramSettings()
    hosted_tools: HostedToolSettings = HostedToolSettings()
    admin: AdminSettings = AdminSettings()
    providers: dict[str, Provider] = {}
    provider_keys: dict[str, tuple[str, ...]] = {}
    key_sources: dict[str, tuple[str, ...]] = {}  # as written, for those that may change
    provider_models: dict[str, tuple[str, ...]] = {}
    unquirked: frozenset[str] = frozenset()  # providers whose differences nobody stated
    named: frozenset[str] = frozenset()  # providers that clients may name, as the file does
    models: dict[str, Alias] = {}
    mcp: dict[str, McpServer] = {}
    keys: tuple[ClientKey, ...] = ()
    folder: Path = Path()


def asking_usage(config: Config) -> Config:
    """The configuration with streams of plain servers asked for their usage.

    For a caller that notices a server that refuses the question and then asks no more; unreported
    tokens cannot be priced.
    """
    asking = {
        name: replace(provider, quirks=replace(provider.quirks, stream_usage="always"))
        for name, provider in config.providers.items()
        if name in config.unquirked and provider.dialect == "openai-chat"
    }
    return replace(config, providers={**config.providers, **asking})


class ModelTable(Struct, frozen=True, forbid_unknown_fields=True):
    route: list[str | dict[str, Any]]  # a dict is a `RouteEntry`


# Each section, and the struct that its table (or each of its tables) is read as.
SECTIONS: dict[str, type[Struct]] = {
    "server": Server,
    "store": Store,
    "cache": CacheSettings,
    "traces": TraceSettings,
    "limits": LimitSettings,
    "prices": PriceSettings,
    "programs": ProgramSettings,
    "hosted_tools": HostedToolSettings,
    "admin": AdminSettings,
    "providers": ProviderTable,
    "models": ModelTable,
    "mcp": McpServer,
    "keys": ClientKey,
}
LOG_LEVELS = ("debug", "info", "warning", "error")
Table: TypeAlias = dict[str, Any]


def default_path() -> Path | None:
    """The file where none is named: `POLYCALL_CONFIG`, or `polycall.toml` in this folder."""
    named = os.environ.get(CONFIG_VARIABLE)
    path = Path(named or CONFIG_NAME)
    return path if named or path.is_file() else None


def load_config(path: Path, *, environment: Mapping[str, str] | None = None) -> Config:
    """Read a file; raises `ConfigError` with every mistake and its line."""
    text = _text(path)
    return parse_config(text, name=str(path), folder=path.parent, environment=environment)


def environment_config() -> Config:
    """Without a file: the built-in providers whose keys are in the environment."""
    found = {
        name: variable
        for name, provider in CATALOGUE.items()
        for variable in provider.key_variables
        if os.environ.get(variable)
    }
    if not found:
        raise ConfigError(
            [
                f"there is no {CONFIG_NAME} here, and no provider's key in the environment "
                "(OPENAI_API_KEY, ANTHROPIC_API_KEY, ...); write one, set one, or try it on "
                "simulated providers: polycall sim polycall serve"
            ]
        )
    tables = [f'[providers.{name}]\napi_key = "env:{found[name]}"\n' for name in found]
    return parse_config("".join(tables), name="the environment")


def parse_config(
    text: str,
    *,
    name: str = "polycall.toml",
    folder: Path = Path(),
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read TOML text; `name` stands before each mistake."""
    tables = _tables(text, name)
    reader = Reader(text, name, os.environ if environment is None else environment, folder)
    for section in tables:
        if section not in SECTIONS:
            reader.unknown((section,), SECTIONS, "section")
    server = reader.table(Server, tables.get("server", {}), ("server",)) or Server()
    _check_server(reader, server)
    store = _read_store(reader, tables)
    limits = reader.table(LimitSettings, tables.get("limits", {}), ("limits",)) or LimitSettings()
    reader.check_numbers(limits, ("limits",))
    prices = reader.table(PriceSettings, tables.get("prices", {}), ("prices",)) or PriceSettings()
    reader.check_numbers(prices, ("prices",))
    path = ("programs",)
    programs = reader.table(ProgramSettings, tables.get("programs", {}), path) or ProgramSettings()
    reader.check_numbers(programs, path)
    cache = _read_cache(reader, tables)
    provider_tables = _read_providers(reader, tables.get("providers", {}))
    providers = {**CATALOGUE}
    for provider_name, table in provider_tables.items():
        provider = make_provider(reader, provider_name, table)
        if provider is not None:
            providers[provider_name] = provider
    keys = {name: _keys_of(reader, table, name) for name, table in provider_tables.items()}
    config = Config(
        server=server,
        store=store,
        cache=cache,
        traces=_read_traces(reader, tables),
        limits=limits,
        prices=prices,
        programs=programs,
        hosted_tools=read_hosted_tools(reader, tables),
        admin=read_admin(reader, tables),
        providers=providers,
        provider_keys={name: own for name, own in keys.items() if own},
        key_sources={name: _written_keys(table) for name, table in provider_tables.items()},
        provider_models={name: tuple(t.models) for name, t in provider_tables.items() if t.models},
        unquirked=frozenset(
            name
            for name, table in provider_tables.items()
            if table.quirks is None and name not in CATALOGUE
        ),
        named=frozenset(provider_tables),
        models=_read_models(reader, tables.get("models", {}), providers),
        mcp=read_mcp(reader, tables.get("mcp", {}), allows_processes=server.mcp_processes),
        keys=read_client_keys(reader, tables.get("keys", [])),
        folder=folder,
    )
    reader.raise_mistakes()
    return config


def load_store(path: Path, *, environment: Mapping[str, str] | None = None) -> Store:
    """Only `[store]` of a file, for commands on the store: the providers' keys may be elsewhere."""
    text = _text(path)
    tables = _tables(text, str(path))
    known = os.environ if environment is None else environment
    reader = Reader(text, str(path), known, path.parent)
    store = _read_store(reader, tables)
    reader.raise_mistakes()
    return store


def load_server(path: Path | None) -> Server:
    """Only `[server]` of a file, or what stands without one."""
    tables = {} if path is None else _tables(_text(path), str(path))
    reader = Reader("", str(path), {}, Path())
    return reader.table(Server, tables.get("server", {}), ("server",)) or Server()


def load_console_url(path: Path | None) -> str:
    """Only the address that `[admin]` gives to browsers; empty where it gives none."""
    tables = {} if path is None else _tables(_text(path), str(path))
    url: Any = tables.get("admin", {}).get("url", "")
    return AdminSettings(url=f"{url}").origin


def is_store(url: str) -> bool:
    """Whether the address is of a kind that can be opened."""
    return url.startswith(("sqlite:", "postgresql://", "postgres://"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from None


def _tables(text: str, name: str) -> Table:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # of TOML, or of a number that is too long to be read
        raise ConfigError([f"{name}: not TOML: {error}"]) from None
    except RecursionError:
        raise ConfigError([f"{name}: not TOML that can be read: nested too deeply"]) from None


def _read_store(reader: Reader, tables: Table) -> Store:
    store = reader.table(Store, tables.get("store", {}), ("store",)) or Store()
    url = reader.value(store.url, ("store", "url"))
    if url and not is_store(url):
        reader.note(("store", "url"), NO_STORE.format(url.partition(":")[0]))
    counters = reader.secret(store.counters, ("store", "counters")) if store.counters else ""
    if counters and not counters.startswith(("redis://", "rediss://", "unix://")):
        reader.note(("store", "counters"), "is not an address of Redis; write redis://HOST:6379/0")
    secret = reader.secret(store.secret, ("store", "secret")) if store.secret else ""
    if secret and len(secret) < 16:
        reader.note(("store", "secret"), "is too short; give it 16 characters or more")
    reader.check_numbers(store, ("store",))
    return replace(store, url=url, counters=counters, secret=secret)


def _read_cache(reader: Reader, tables: Table) -> CacheSettings | None:
    if "cache" not in tables:
        return None
    settings = reader.table(CacheSettings, tables["cache"], ("cache",)) or CacheSettings()
    reader.check_numbers(settings, ("cache",))
    return settings


def _read_traces(reader: Reader, tables: Table) -> TraceSettings | None:
    path = ("traces",)
    if "traces" not in tables:
        return None
    settings = reader.table(TraceSettings, tables["traces"], path)
    if settings is None:
        return None
    if not settings.endpoint.startswith(("http://", "https://")):
        reader.note((*path, "endpoint"), "is not an address; write http://HOST:4318/v1/traces")
    if not 0 <= settings.sample <= 1:
        reader.note((*path, "sample"), f"must be from 0 to 1, got {settings.sample}")
    place = (*path, "headers")
    headers = {name: reader.secret(text, place) for name, text in settings.headers.items()}
    return replace(settings, headers=headers)


def _check_server(reader: Reader, server: Server) -> None:
    if not 0 <= server.port <= 65535:
        reader.note(("server", "port"), f"{server.port} is not a port; 0 to 65535")
    if server.workers > WORKERS_MAX:
        reader.note(("server", "workers"), f"at most {WORKERS_MAX}, got {server.workers}")
    reader.check_numbers(replace(server, port=1), ("server",))  # 0 is any port
    if server.log not in LOG_LEVELS:
        reader.note(("server", "log"), "must be debug, info, warning or error")


def _read_providers(reader: Reader, tables: Any) -> dict[str, ProviderTable]:
    found: dict[str, ProviderTable] = {}
    for name, table in reader.tables(tables, ("providers",)).items():
        if "/" in name or not name:
            reader.note(("providers", name), f"{name!r} cannot be a provider's name: it has a '/'")
            continue
        provider = read_provider(reader, name, table)
        if provider is not None:
            found[name] = provider
    return found


def _keys_of(reader: Reader, table: ProviderTable, name: str) -> tuple[str, ...]:
    path = ("providers", name, "api_key")
    return tuple(key for text in _written_keys(table) if (key := reader.secret(text, path)))


def _written_keys(table: ProviderTable) -> tuple[str, ...]:
    if table.api_key is None:
        return ()
    return (table.api_key,) if isinstance(table.api_key, str) else tuple(table.api_key)


def _read_models(reader: Reader, tables: Any, providers: dict[str, Provider]) -> dict[str, Alias]:
    aliases: dict[str, Alias] = {}
    for name, value in reader.tables(tables, ("models",)).items():
        path = ("models", name)
        table = reader.table(ModelTable, value, path)
        if table is None:
            continue
        if not table.route:
            reader.note((*path, "route"), "is empty; name at least one 'provider/model'")
        targets = [
            target
            for item in table.route
            if (target := _read_target(reader, item, path, providers)) is not None
        ]
        aliases[name] = Alias(name, tuple(targets))
    return aliases


def _read_target(
    reader: Reader, item: str | Table, path: tuple[str, ...], providers: dict[str, Provider]
) -> RouteEntry | None:
    place = (*path, "route")
    try:
        target = RouteEntry(item) if isinstance(item, str) else msgspec.convert(item, RouteEntry)
    except msgspec.ValidationError as error:
        reader.note(place, f"{error}; write 'provider/model' or {{model = ..., weight = ...}}")
        return None
    prefix, slash, model = target.model.partition("/")
    if not slash or not model:
        reader.note(place, f"{target.model!r} does not say its provider; write 'provider/model'")
        return None
    if prefix not in providers:
        reader.unknown((*place, prefix), tuple(providers), "provider")
        return None
    if target.weight is not None and target.weight < 0:
        reader.note(place, f"the weight of {target.model!r} is below 0")
        return None
    return target
