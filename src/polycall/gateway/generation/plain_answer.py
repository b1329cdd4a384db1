"""A whole answer on its way to the client: passed, or made in the client's protocol."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from polycall._support import jsontext
from polycall.gateway.generation.attempt import Attempt
from polycall.gateway.generation.attempts import WholeAnswer
from polycall.gateway.generation.client_request import ClientRequest
from polycall.gateway.generation.request_usage import RequestUsage
from polycall.gateway.http.replies import base_headers, dated, send_json, upstream_headers
from polycall.gateway.http.request import GatewayRequest, Reshape
from polycall.gateway.passthrough.call_counter import in_parts
from polycall.gateway.passthrough.made_resources import MadeResources
from polycall.gateway.passthrough.model_name import named_as_asked
from polycall.gateway.services import GatewayServices
from polycall.gateway.state.carried import Origin
from polycall.gateway.state.carrier import marks_calls
from polycall.gateway.state.embedder import Embedder
from polycall.ir import JSON, Reasoning, Request, Response, ToolCall


async def send_plain(
    client_request: ClientRequest,
    gateway_request: GatewayRequest,
    services: GatewayServices,
    account: RequestUsage,
    plain: WholeAnswer,
) -> None:
    """Send a whole answer: passed as it came, or in the client's protocol."""
    attempt, response = plain.attempt, plain.response
    reshape, gateway_request.reshape = gateway_request.reshape, None
    warnings = attempt.warnings
    if response is not None:
        warnings = [*warnings, *[each for each in response.warnings if each not in warnings]]
    headers = base_headers(gateway_request, attempt.target.name, warnings)
    if response is None:
        body = plain.body
        account.calls = plain.calls
        headers.extend(upstream_headers(plain.http.headers))
        if client_request.earlier.may_be_noted(attempt, body):
            await _note_made(body, client_request, attempt, services, body)
        if attempt.asked and (mark := attempt.dialect.FACTS.model_mark):
            body = named_as_asked(body, mark, attempt.asked)
        if reshape is not None:
            cleaned, owner_id = gateway_request.clean(body), client_request.owner_id
            body = await services.heavy.run(owner_id, len(body), reshape.whole, cleaned)
    else:
        account.calls = in_parts(response.message.parts)
        # What takes long for a long answer is done away from the loop.
        run = partial(services.heavy.run, f"provider {attempt.target.provider.name}")
        if attempt.carries and _may_be_marked(client_request, attempt, response):
            embedder = embedder_for(client_request, attempt, services)
            response = await run(plain.size_bytes, partial(embedder.response, response))
            await embedder.finish()
        is_kept = client_request.earlier.is_kept_by(attempt, services)
        if is_kept:
            name = client_request.dialect.NAME
            response = replace(response, id=own_id(gateway_request, name))
        echoed = client_request.earlier.echoed(client_request.request, is_kept=is_kept)
        # What was asked for can be asked for again; the header says what answered.
        named = replace(dated(response), model=client_request.model)
        size_bytes = (
            plain.size_bytes if echoed else max(plain.size_bytes, client_request.size_bytes)
        )
        rendered, body = await run(size_bytes, _rendered, client_request, named, echoed, reshape)
        if is_kept:
            await client_request.earlier.keep(services, rendered)
        elif client_request.earlier.may_be_noted(attempt, body):
            await _note_made(response.id, client_request, attempt, services, body)
    usage = attempt.priced(account.usage)
    account.cost = services.costs.known(attempt.target.provider, attempt.target.model, usage)
    account.reckoned = account.usage
    if account.cost is not None:
        headers.append((b"polycall-cost-usd", f"{account.cost:f}".encode()))
    await send_json(gateway_request, 200, body, headers)


def _rendered(
    client_request: ClientRequest,
    response: Response,
    echoed: Request | None,
    reshape: Reshape | None,
) -> tuple[JSON, bytes]:
    """The answer in the client's protocol, and as it is sent."""
    if echoed is None:  # passed, and mended: calls are spelt as the client's tools are
        echoed = client_request.dialect.parse_request(client_request.body())
    rendered = client_request.dialect.render_response(response, echoed)
    response.message.parts.clear()  # what is long in them goes before it is written
    rendered = rendered if reshape is None else reshape.reshaped(rendered)
    return rendered, jsontext.encode_bytes(rendered)


async def _note_made(
    named: str | bytes,
    client_request: ClientRequest,
    attempt: Attempt,
    services: GatewayServices,
    body: bytes,
) -> None:
    """Note whose a whole answer is, and what it says that its provider keeps."""
    made = MadeResources(client_request.dialect)
    await services.heavy.run(client_request.owner_id, len(body), made.in_body, body)
    await client_request.earlier.note_made(attempt, services, named, made.ids)


def _may_be_marked(client_request: ClientRequest, attempt: Attempt, response: Response) -> bool:
    """Whether some part says more than its words, or is one that a client's vendor would refuse."""
    client = client_request.dialect.NAME
    is_foreign = client != attempt.dialect.NAME
    for part in response.message.parts:
        if part.metadata or (is_foreign and type(part) is Reasoning):
            return True
        if is_foreign and type(part) is ToolCall and marks_calls(client):
            return True
    return False


def embedder_for(
    client_request: ClientRequest, attempt: Attempt, services: GatewayServices
) -> Embedder:
    """The embedder that puts the answer's state where the client brings it back from."""
    target = attempt.target
    origin = Origin(attempt.dialect.NAME, target.provider.name, target.model)
    client, request = client_request.dialect.NAME, client_request.request
    # Clients of Anthropic's own wire bring all thinking back.
    kept = request if client != origin.dialect and _is_bound(attempt) else None
    return Embedder(
        services.carrier,
        origin,
        client_request.owner.id,
        client,
        None if kept is None else kept.messages,
        tools=[] if kept is None else [tool.name for tool in kept.tools],
    )


def _is_bound(attempt: Attempt) -> bool:
    target = attempt.target
    return target.provider.quirks_for(target.model, attempt.dialect.NAME).prefix_bound


def own_id(gateway_request: GatewayRequest, dialect: str = "openai-responses") -> str:
    """An answer's id that no other answer has, whatever its provider calls it."""
    head = "v1_" if dialect == "gemini-interactions" else "resp_"
    return head + gateway_request.id.removeprefix("req_")
