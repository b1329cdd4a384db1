"""The interface of a vendor for the server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from polycall.sim.dated import Refusal
from polycall.sim.script import Answer, Failure, ModelSpec, Prompt, Refused
from polycall.sim.shape import JSON

Models: TypeAlias = Callable[[str], ModelSpec]  # raises `Refused` for an unknown name
Headers: TypeAlias = Mapping[str, str]


class Route(Struct, frozen=True):
    """The meaning of a path.  Gemini's paths hold the model and whether to stream."""

    operation: Literal["generate", "count", "models", "model"]
    model: str = ""
    stream: bool = False
    sse: bool = True


class Vendor(ABC):
    """One vendor's wire: routes, checks, answers and errors.  Its programs are the desk's."""

    name: str
    base_path: str
    wire: str  # the name of its rules in `polycall.sim.dated`
    stream_type = "text/event-stream"

    @abstractmethod
    def route(self, method: str, path: str, query: Mapping[str, str]) -> Route:
        """The route of a request below the vendor's prefix.

        Raises `Refused` for an unknown path.
        """

    def check_key(self, headers: Headers, query: Mapping[str, str]) -> None:
        """Raise `Refused` where the key is missing or not valid; here none is asked for."""
        del headers, query

    @abstractmethod
    def check_request(
        self, route: Route, body: Any, models: Models, headers: Headers | None = None
    ) -> Prompt:
        """Refuse all that the vendor refuses, and say what is left in neutral words.

        The dated rules are not asked here: they are applied to the body of the prompt.
        """

    @abstractmethod
    def render_body(self, prompt: Prompt, answer: Answer) -> JSON:
        """A whole answer."""

    @abstractmethod
    def render_stream(self, prompt: Prompt, answer: Answer) -> Iterator[bytes]:
        """The events of an answer, one by one."""

    def render_count(self, prompt: Prompt, tokens: int) -> JSON:
        """The answer to a request to count tokens, where `route` knows such requests."""
        raise NotImplementedError

    @abstractmethod
    def render_models(self, models: list[ModelSpec], *, one: bool) -> JSON:
        """The list of models, or one of them."""

    @abstractmethod
    def render_failure(self, failure: Failure) -> Refused:
        """A failure as the vendor answers it."""

    @abstractmethod
    def render_stream_failure(self, failure: Failure) -> bytes:
        """A failure inside a stream that has begun."""

    @abstractmethod
    def invalid(self, message: str) -> Refused:
        """A request that is not a JSON object, in the vendor's shape."""

    @abstractmethod
    def unknown_model(self, name: str) -> Refused:
        """The vendor's answer to a name that none of its models has."""

    def retired_model(self, name: str) -> Refused:
        """The vendor's answer to the name of a model that it had: as to one that it never had."""
        return self.unknown_model(name)

    @abstractmethod
    def refuse_by(self, refusal: Refusal) -> Refused:
        """A dated rule's refusal in the vendor's shape."""

    def answer_headers(self, nonce: str) -> dict[str, str]:
        """Headers of every answer: the request's id, where the vendor says it."""
        del nonce
        return {}
