"""botocore: met below its retries, so that these, their backoff and its errors are its own.

A request is checked and written as ever; what is sent is not. A client that is made inside a run
needs neither a region nor credentials; one that is made at import needs a region, as in production.

Source:
    botocore 1.44, `client.py` (`_make_api_call`), `endpoint.py` (`_send_request`), `retries/`;
    AWS SDKs and Tools Reference Guide, "Retry behavior" (legacy, standard, adaptive).

Not modelled:
    Signatures; clocks that differ; what becomes of presigned addresses; answers in pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from botocore.awsrequest import AWSResponse  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError  # type: ignore[import-untyped]
from botocore.retries import adaptive, bucket, throttling  # type: ignore[import-untyped]
from botocore.retries.quota import RetryQuota  # type: ignore[import-untyped]

from chaosharness.adapters.aws.answers import Said, Unheard, parsed
from chaosharness.adapters.aws.asking import Request, ask
from chaosharness.adapters.aws.aws import OpenAWS, aws_of, memory_of, regions_of
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off
from chaosharness.kernel.scope import SCOPE

REGION: Final = "eu-central-1"
GIVEN: Final = "chaosharness_given"
"""Where the parameters of a call are kept, in the context of its request."""

Ended = tuple[Any, BaseException | None]


def _convert(
    real: Any,
    self: Any,
    api_params: Any,
    operation_model: Any,
    endpoint_url: Any,
    context: Any = None,
    headers: Any = None,
    set_user_agent_header: bool = True,
) -> Any:
    """Have a request written, which checks its parameters; and keep these."""
    written = real(
        self, api_params, operation_model, endpoint_url, context, headers, set_user_agent_header
    )
    if context is not None:
        context[GIVEN] = dict(api_params)
    return written


def request_of(endpoint: Any, operation_model: Any, context: Any) -> tuple[OpenAWS, Request]:
    """Return a request, and the AWS that answers it.

    Raises:
        InvalidDefinition: There is none, or the client does what is not modelled.
    """
    scope = SCOPE.get()
    assert scope is not None
    config = context["client_config"]
    service = operation_model.service_model.service_name
    request = Request(
        service,
        operation_model.name,
        context.get(GIVEN, {}),
        config.connect_timeout,
        config.read_timeout,
        endpoint.host,
    )
    aws = aws_of(scope.world, config.region_name)
    if aws is not None:
        return aws, request
    regions = regions_of(scope.world)
    there = f"AWS is in {', '.join(regions)} only" if regions else "this system has no AWS"
    add = f', region="{config.region_name}"' if regions else ""
    call_off(
        InvalidDefinition(
            f"boto3: {service}.{request.method}{asked_at()} reaches nobody in "
            f"{config.region_name}: {there}. Add one, with the parts behind it: "
            f"system.add(AWS(bus{add}))"
        )
    )


def _do_get_response(
    real: Any, self: Any, request: Any, operation_model: Any, context: Any
) -> Ended:
    aws, asked = request_of(self, operation_model, context)
    about_to_send(self, request, operation_model)
    try:
        answer = blocking(ask)(aws.speaker(asked), asked, "botocore")
    except (Said, Unheard) as ended:
        return ended_in(ended, asked)
    return ended_in(answer, asked) if isinstance(answer, Said) else answered(answer, asked)


def about_to_send(endpoint: Any, request: Any, operation_model: Any) -> None:
    """Tell those who want to know: the mode `adaptive`, tracing. What they answer is not used."""
    service = operation_model.service_model.service_id.hyphenize()
    endpoint._event_emitter.emit(f"before-send.{service}.{operation_model.name}", request=request)


def answered(answer: dict[str, Any], asked: Request, status: int = 200) -> Ended:
    """Return what the code above makes an answer of."""
    response = AWSResponse(asked.address, status, {}, None)
    response._content = b""
    return (response, parsed(answer, status)), None


def ended_in(ended: Said | Unheard, asked: Request) -> Ended:
    """Return what the code above meets in the place of an answer."""
    if isinstance(ended, Said):
        return answered({"Error": ended.error, **ended.more}, asked, ended.status)
    if ended.connected:
        return None, ReadTimeoutError(endpoint_url=asked.address)
    return None, ConnectTimeoutError(endpoint_url=asked.address)


# ---- what no client needs inside a run


def _sign(real: Any, self: Any, *arguments: Any, **options: Any) -> None:
    """Sign nothing: nobody looks."""


def _get_credentials(real: Any, self: Any) -> Credentials:
    return Credentials("chaosharness", "chaosharness")


_LOADERS: Final[dict[Any, Any]] = {}


def _create_loader(real: Any, search_path_string: Any = None) -> Any:
    """Share what was read of the descriptions of services: a session of its own reads them anew."""
    if search_path_string not in _LOADERS:
        _LOADERS[search_path_string] = real(search_path_string)
    return _LOADERS[search_path_string]


def _resolve_region_name(real: Any, self: Any, region_name: Any, config: Any) -> Any:
    if region_name is None and not (config and config.region_name):
        region_name = self.get_config_variable("region") or REGION
    return real(self, region_name, config)


# ---- what a client remembers of failures belongs to one process of one run


def _own(shared: Any, make: Callable[[], Any]) -> Any:
    """Return what the running incarnation has in the place of what a client was made with."""
    scope = SCOPE.get()
    assert scope is not None
    memory = memory_of(scope.world)
    if memory is None:
        return shared
    key = (scope.incarnation, id(shared))
    if key not in memory:
        memory[key] = make(), shared  # kept: its id is its name
    return memory[key][0]


def _quota(quota: RetryQuota) -> RetryQuota:
    made: RetryQuota = _own(quota, lambda: RetryQuota(quota._max_capacity))
    return made


def _acquire(real: Any, self: RetryQuota, capacity_amount: int) -> Any:
    return real(_quota(self), capacity_amount)


def _release(real: Any, self: RetryQuota, capacity_amount: int) -> Any:
    return real(_quota(self), capacity_amount)


def _limiter(limiter: Any) -> Any:
    """Return the limiter of a client in the mode `adaptive`, with clocks and waits of this run."""

    def make() -> Any:
        clock = bucket.Clock()
        return adaptive.ClientRateLimiter(
            throttling.CubicCalculator(starting_max_rate=0, start_time=clock.current_time()),
            adaptive.RateClocker(clock),
            bucket.TokenBucket(max_rate=1, clock=clock),
            limiter._throttling_detector,
            clock,
        )

    return _own(limiter, make)


def _on_sending_request(real: Any, self: Any, request: Any, **options: Any) -> None:
    real(_limiter(self), request, **options)


def _on_receiving_response(real: Any, self: Any, **options: Any) -> None:
    real(_limiter(self), **options)


_CONVERT: Final = (
    *("self", "api_params", "operation_model", "endpoint_url", "context", "headers"),
    "set_user_agent_header",
)
_SIGN: Final = (
    *("self", "operation_name", "request", "region_name", "signing_type", "expires_in"),
    "signing_name",
)

LIBRARY: Final = Library(
    "botocore",
    tested=">=1.35,<2",
    seams=(
        Seam("botocore.client:BaseClient._convert_to_request_dict", _CONVERT, _convert),
        Seam(
            "botocore.endpoint:Endpoint._do_get_response",
            ("self", "request", "operation_model", "context"),
            _do_get_response,
        ),
        Seam("botocore.session:create_loader", ("search_path_string",), _create_loader),
        Seam("botocore.signers:RequestSigner.sign", _SIGN, _sign),
        Seam("botocore.session:Session.get_credentials", ("self",), _get_credentials),
        Seam(
            "botocore.session:Session._resolve_region_name",
            ("self", "region_name", "config"),
            _resolve_region_name,
        ),
        Seam("botocore.retries.quota:RetryQuota.acquire", ("self", "capacity_amount"), _acquire),
        Seam("botocore.retries.quota:RetryQuota.release", ("self", "capacity_amount"), _release),
        Seam(
            "botocore.retries.adaptive:ClientRateLimiter.on_sending_request",
            ("self", "request", "kwargs"),
            _on_sending_request,
        ),
        Seam(
            "botocore.retries.adaptive:ClientRateLimiter.on_receiving_response",
            ("self", "kwargs"),
            _on_receiving_response,
        ),
    ),
)
