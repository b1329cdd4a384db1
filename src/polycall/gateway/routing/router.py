"""Which providers a request may go to, in which order, and which of them rest for now.

A route is tried from its first target on; a target is one provider, model and key.  A target that
said `retry-after` rests until then, and one that keeps failing rests for a while (its circuit is
open).  Resting targets go last instead of away: where nothing else is left, trying is better than
refusing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import force_setattr

from polycall.config import Alias, Config
from polycall.config import RouteEntry as RouteTarget
from polycall.config.aliases import alias_for
from polycall.errors import NotFoundError, RequestError, UpstreamError
from polycall.exchange import environment_key
from polycall.profiles.corrections import Refused
from polycall.providers.provider import Provider

# A longer name is nobody's, and names are remembered.
NAME_LENGTH_MAX = 300
FAILURES_MAX = 5
OPEN_S = 15.0
_REST_S_MAX = 600.0


class Target(Struct, frozen=True):
    """One provider, model and key."""

    provider: Provider
    model: str
    key: str
    key_number: int = 0
    refused: Refused | None = None  # what the refusal of this request asked for
    name: str = ""  # as clients and headers say it

    def __post_init__(self) -> None:
        force_setattr(self, "name", f"{self.provider.name}/{self.model}")


class Circuit:
    """The recent past of one provider's key."""

    __slots__ = ("failures", "rests_until")

    def __init__(self) -> None:
        self.failures = 0
        self.rests_until = 0.0


class TargetRouter:
    """Turns the model a client asked for into targets.  One for the process."""

    def __init__(
        self,
        config: Config,
        *,
        before: TargetRouter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`before` is the router of an earlier configuration: what still holds of it is kept."""
        self._config = config
        self._clock = clock
        self._keys = dict(config.provider_keys)
        self._circuits = {} if before is None else before.kept_circuits(config)
        self._routes: dict[str, list[Target]] = {}
        self._turns: dict[str, int] = {}

    def route(self, requested: str) -> Iterator[Target]:
        """The targets for a model or alias, best first; `NotFoundError` for an unknown name."""
        targets = self._routes.get(requested)
        if targets is None:
            alias = self._alias(requested)
            if alias is not None and any(target.weight is not None for target in alias.route):
                return iter(self._in_order(self._weighted(alias)))
            targets = self._targets_of(requested, alias)
            if len(self._routes) < 10_000:
                self._routes[requested] = targets
        return iter(self._in_order(targets)) if len(targets) > 1 else iter(targets)

    def possible(self, requested: str) -> list[Target]:
        """All targets that the model or alias may lead to, in no order; no turn is used."""
        targets = self._routes.get(requested)
        return self._targets_of(requested, self._alias(requested)) if targets is None else targets

    def first_known(self, names: Sequence[str]) -> str:
        """The first of these names that leads somewhere; the first of all where none does."""
        for name in names:
            prefix, slash, model = name.partition("/")
            is_own = bool(slash) and prefix in self._config.named and is_model_name(model)
            if is_own or self._alias(name) is not None:
                return name
        return names[0]

    def openai_like(self) -> list[str]:
        """The providers that clients may name and that speak as OpenAI does."""
        providers = self._config.providers
        return [
            name
            for name in sorted(self._config.named)
            if providers[name].dialect.startswith("openai")
        ]

    def _alias(self, requested: str) -> Alias | None:
        # Names longer than any model's are nobody's, whatever a pattern says.
        if len(requested) > NAME_LENGTH_MAX:
            return None
        return alias_for(self._config.models, self._config.providers, requested)

    def _targets_of(self, requested: str, alias: Alias | None) -> list[Target]:
        if alias is not None and all(
            is_model_name(target.model.partition("/")[2]) for target in alias.route
        ):
            return [target for target in alias.route for target in self._expand(target.model)]
        prefix, slash, model = requested.partition("/")
        if not slash or not is_model_name(model) or prefix not in self._config.named:
            raise _unknown(requested, self._config)
        return self._expand(requested)

    def _expand(self, name: str) -> list[Target]:
        """A target for each key of the provider."""
        prefix, _, model = name.partition("/")
        provider = self._config.providers[prefix]
        model = provider.own_name(model)
        keys = self._keys.get(prefix)
        if keys is None:
            try:
                keys = (environment_key(provider),)
            except RequestError as error:
                raise NotFoundError(f"{name!r} cannot be used: {error}") from None
        return [Target(provider, model, key, number) for number, key in enumerate(keys)]

    def _weighted(self, alias: Alias) -> list[Target]:
        weights = [1 if target.weight is None else target.weight for target in alias.route]
        if not any(weights):
            weights = [1] * len(weights)
        (first,) = random.choices(alias.route, weights)  # noqa: S311 - not a secret
        rest: list[RouteTarget] = [target for target in alias.route if target is not first]
        return [target for target in (first, *rest) for target in self._expand(target.model)]

    def _in_order(self, targets: list[Target]) -> list[Target]:
        """Keys of one provider in turn, resting targets last (the first to wake before others)."""
        now = self._clock()
        rotated = self._rotated(targets)
        ready = [target for target in rotated if self._rests_until(target) <= now]
        if len(ready) == len(rotated):
            return rotated
        resting = [target for target in rotated if self._rests_until(target) > now]
        return [*ready, *sorted(resting, key=self._rests_until)]

    def _rotated(self, targets: list[Target]) -> list[Target]:
        groups: dict[str, list[Target]] = {}
        for target in targets:
            groups.setdefault(target.name, []).append(target)
        ordered: list[Target] = []
        for name, group in groups.items():
            if len(group) > 1:
                turn = self._turns.get(name, 0)
                self._turns[name] = (turn + 1) % len(group)
                group = [*group[turn:], *group[:turn]]  # noqa: PLW2901 - the same targets, turned
            ordered.extend(group)
        return ordered

    # What happened

    def succeeded(self, target: Target) -> None:
        """The target answered: its circuit closes."""
        circuit = self._circuits.get((target.provider.name, target.key_number))
        if circuit is not None:
            circuit.failures = 0

    def failed(self, target: Target, error: UpstreamError) -> None:
        """The target did not answer as it should: it may have to rest."""
        circuit = self._circuits.setdefault((target.provider.name, target.key_number), Circuit())
        now = self._clock()
        if error.retry_after_s is not None and error.should_retry:
            until = now + min(error.retry_after_s, _REST_S_MAX)
            circuit.rests_until = max(circuit.rests_until, until)
        if not error.should_retry:
            return
        circuit.failures += 1
        if circuit.failures >= FAILURES_MAX:
            circuit.failures = FAILURES_MAX - 1  # one more failure after the rest opens it again
            circuit.rests_until = max(circuit.rests_until, now + OPEN_S)

    def key(self, provider: str, number: int) -> str:
        """A provider's key, by its number."""
        return self._keys[provider][number]

    def set_key(self, provider: str, number: int, key: str) -> None:
        """Another key from now on."""
        keys = self._keys[provider]
        self._keys[provider] = (*keys[:number], key, *keys[number + 1 :])
        self._routes.clear()

    def kept_circuits(self, config: Config) -> dict[tuple[str, int], Circuit]:
        """The circuits of providers that are the same there, with the same keys."""
        own = self._config
        return {
            (name, number): circuit
            for (name, number), circuit in self._circuits.items()
            if config.providers.get(name) == own.providers.get(name)
            and config.provider_keys.get(name) == own.provider_keys.get(name)
        }

    def resting(self) -> dict[str, float]:
        """Seconds left, by provider and key number; for metrics."""
        now = self._clock()
        return {
            f"{name}#{number}": circuit.rests_until - now
            for (name, number), circuit in self._circuits.items()
            if circuit.rests_until > now
        }

    def _rests_until(self, target: Target) -> float:
        circuit = self._circuits.get((target.provider.name, target.key_number))
        return 0.0 if circuit is None else circuit.rests_until


def is_model_name(text: str) -> bool:
    """Whether a provider may be asked for a model of this name.

    It may stand in a path: one that leads out of the provider's models leads past what a client's
    key allows, too.
    """
    is_path = any(segment in (".", "..") for segment in text.split("/"))
    # JSON can hold half of a character, and nothing else can.
    is_text = not any("\ud800" <= letter <= "\udfff" for letter in text)
    return 0 < len(text) <= NAME_LENGTH_MAX and is_text and not is_path


def shown(name: str) -> str:
    """A model's name, which is the client's text, as an error may repeat it."""
    return repr(name) if len(name) <= NAME_LENGTH_MAX else f"{name[:NAME_LENGTH_MAX]!r}..."


def _unknown(requested: str, config: Config) -> NotFoundError:
    known = sorted({*config.models, *config.named})
    hint = f"configured here: {', '.join(known)}" if known else "no provider is configured"
    prefix = requested.partition("/")[0]
    if prefix in config.providers and prefix not in config.named:
        hint += f"; the operator can add [providers.{prefix}]"
    return NotFoundError(
        f"no model is called {shown(requested)}; write 'provider/model' or an alias; {hint}",
        code="model_not_found",
        param="model",
    )
