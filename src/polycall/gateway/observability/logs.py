"""JSON logs, one line an entry, without a key, token or signature in them."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterable
from urllib.parse import urlsplit

from polycall.config import Config
from polycall.transport.proxies import proxy_secrets

# Whatever looks like a credential goes, wherever it stands: keys of the vendors' forms, headers,
# queries, and the gateway's own sealed tokens.
_SECRETS = re.compile(
    r"(?i)(bearer\s+|(?:x-api-key|x-goog-api-key|api[_-]?key|authorization)[\"']?\s*[:=]\s*[\"']?"
    r"|[?&]key=)[^\s\"'&,;]{4,}"
    r"|\b(?:sk|pk|rk|gsk|xai|AIza|ya29)[-_A-Za-z0-9.]{8,}"
    r"|cG9seWNhbGwx[A-Za-z0-9+/_=-]+"
)

_LATEST_MAX = 128  # of one that brings others again and again


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without credentials: those that are known, and those that look like one.

    Of known ones that begin with each other the longest comes first.
    """
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    return _SECRETS.sub(lambda found: f"{found.group(1) or ''}[redacted]", text)


class JSONFormatter(logging.Formatter):
    """A log entry as one line of JSON.  `secrets` are taken out of it, and may grow."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: tuple[str, ...] = ()
        self._lasting: set[str] = set()
        self._latest: dict[str, deque[str]] = {}

    def hide(self, secrets: Iterable[str], *, of: str = "") -> None:
        """Take these out too, besides those that were known before.

        Of one that brings others again and again, named by `of`, the latest few stay known.
        """
        # Shorter ones would tear holes into ordinary words.
        found = [secret for secret in secrets if len(secret) >= 6]
        if of:
            latest = self._latest.setdefault(of, deque(maxlen=_LATEST_MAX))
            latest.extend(secret for secret in found if secret not in latest)
        else:
            self._lasting.update(found)
        known = self._lasting.union(*self._latest.values())
        self.secrets = tuple(sorted(known, key=len, reverse=True))

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "process": record.process,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage(), self.secrets),
        }
        details: dict[str, object] = getattr(record, "details", {})
        entry.update(
            (name, redact(value, self.secrets) if isinstance(value, str) else value)
            for name, value in details.items()
        )
        if record.exc_info:
            text = "".join(traceback.format_exception(*record.exc_info))
            entry["exception"] = redact(text, self.secrets)
        return json.dumps(entry, ensure_ascii=False)


_formatter = JSONFormatter()


def start_logging(config: Config) -> None:
    """Send all logs of the process to standard error as JSON; again after each change."""
    hide(key for keys in config.provider_keys.values() for key in keys)
    hide(key.key for key in config.keys)
    addresses = (config.store.url, config.store.counters)
    hide([config.store.secret, *(urlsplit(address).password or "" for address in addresses)])
    hide([] if config.admin.openid is None else [config.admin.openid.client_secret])
    hide({} if config.traces is None else config.traces.headers.values())
    hide(proxy_secrets())
    variables = {name for row in config.providers.values() for name in row.key_variables}
    hide(os.environ.get(name, "") for name in variables)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter)
    logging.basicConfig(level=config.server.log.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def redact_known(text: str) -> str:
    """The text without the credentials that this process hides in its logs."""
    return redact(text, _formatter.secrets)


def hide(secrets: Iterable[str], *, of: str = "") -> None:
    """Take these out of all logs from now on; of one that brings many, named `of`, the latest."""
    _formatter.hide(secrets, of=of)
