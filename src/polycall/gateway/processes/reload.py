"""Reading the configuration again while serving: what may change, and what takes a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec.structs import replace

from polycall.config import Config
from polycall.errors import ConfigError, RequestError
from polycall.gateway.observability.logs import start_logging
from polycall.gateway.processes.binding import check_binding

logger = logging.getLogger("polycall.reload")

# What the process was built upon.
_FIXED = (
    "host",
    "port",
    "workers",
    "connections_max",
    "memory_mib_max",
    "headers_s",
    "headers_bytes_max",
    "drain_s",
    "fetch_private_addresses",
    "fetch_bytes_max",
)


def reread(current: Config, load: Callable[[], Config]) -> Config | None:
    """The changed configuration; `None` where it has mistakes, which are logged."""
    try:
        changed = load()
        check_binding(changed, current.server.host)
    except ConfigError as error:
        for mistake in error.mistakes:
            logger.error("%s", mistake)  # noqa: TRY400 - where it stands is what matters
        logger.error("the configuration has mistakes; the old one stays")  # noqa: TRY400
        return None
    except RequestError as error:
        logger.error("%s; the old configuration stays", error)  # noqa: TRY400
        return None
    kept = _with_fixed(current, changed)
    start_logging(kept)
    logger.info("the configuration was read again")
    return kept


def _with_fixed(current: Config, changed: Config) -> Config:
    fixed = {name: getattr(current.server, name) for name in _FIXED}
    for name, value in fixed.items():
        if getattr(changed.server, name) != value:
            logger.warning("server.%s has changed; that takes a restart", name)
    if changed.store != current.store:
        logger.warning("store has changed; that takes a restart")
    for name in ("cache", "traces"):
        if getattr(changed, name) != getattr(current, name):
            logger.warning("%s has changed; that takes a restart", name)
    return replace(
        changed,
        server=replace(changed.server, **fixed),
        store=current.store,
        cache=current.cache,
        traces=current.traces,
    )
