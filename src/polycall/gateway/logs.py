"""JSON logs, one line an entry, without a key, token or signature in them."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback

# Whatever looks like a credential goes, wherever it stands: keys of the vendors' forms, headers,
# queries, and the gateway's own sealed tokens.
_SECRETS = re.compile(
    r"(?i)(bearer\s+|(?:x-api-key|x-goog-api-key|api[_-]?key|authorization)[\"']?\s*[:=]\s*[\"']?"
    r"|[?&]key=)[^\s\"'&,;]{4,}"
    r"|\b(?:sk|pk|rk|gsk|xai|AIza|ya29)[-_A-Za-z0-9.]{8,}"
    r"|cG9seWNhbGwx[A-Za-z0-9+/_=-]+"
)


def redact(text: str, secrets: frozenset[str] = frozenset()) -> str:
    """The text without credentials: those that are known, and those that look like one."""
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    return _SECRETS.sub(lambda found: f"{found.group(1) or ''}[redacted]", text)


class JSONFormatter(logging.Formatter):
    """A log entry as one line of JSON."""

    def __init__(self, secrets: frozenset[str]) -> None:
        super().__init__()
        # Shorter ones would tear holes into ordinary words.
        self._secrets = frozenset(secret for secret in secrets if len(secret) >= 6)

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage(), self._secrets),
        }
        if record.exc_info:
            text = "".join(traceback.format_exception(*record.exc_info))
            entry["exception"] = redact(text, self._secrets)
        return json.dumps(entry, ensure_ascii=False)


def start_logging(level: str, secrets: frozenset[str]) -> None:
    """Send all logs of the process to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter(secrets))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
