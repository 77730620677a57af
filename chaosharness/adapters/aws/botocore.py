"""botocore: met below its retries, so that these, their backoff and its errors are its own.

A request is checked and written as ever; what is sent is not. A client that is made inside a run
needs neither a region nor credentials; one that is made at import needs a region, as in production.

Source:
    botocore 1.44, `client.py` (`_make_api_call`), `endpoint.py` (`_send_request`), `retries/`;
    AWS SDKs and Tools Reference Guide, "Retry behavior" (legacy, standard).

Not modelled:
    The mode `adaptive`; signatures; clocks that differ; presigned addresses; answers in pieces.
"""

from __future__ import annotations

from typing import Any, Final

from botocore.awsrequest import AWSResponse  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError  # type: ignore[import-untyped]
from botocore.retries.quota import RetryQuota  # type: ignore[import-untyped]

from chaosharness.adapters.aws.answers import Said, Unheard, parsed
from chaosharness.adapters.aws.asking import Request, ask, not_known
from chaosharness.adapters.aws.aws import OpenAWS, aws_of
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
    if (config.retries or {}).get("mode") == "adaptive":
        not_known(request, "the retry mode 'adaptive'")
    aws = aws_of(scope.world)
    if aws is None:
        call_off(
            InvalidDefinition(
                f"boto3: {service}.{request.method}{asked_at()} reaches nobody: this system has no "
                "AWS. Add one, with the parts behind it: system.add(AWS(bus))"
            )
        )
    return aws, request


def _do_get_response(
    real: Any, self: Any, request: Any, operation_model: Any, context: Any
) -> Ended:
    aws, asked = request_of(self, operation_model, context)
    try:
        answer = blocking(ask)(aws.speaker(asked), asked, "botocore")
    except (Said, Unheard) as ended:
        return ended_in(ended, asked)
    return answered(answer, asked)


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


def _quota(quota: RetryQuota) -> RetryQuota | None:
    """Return the retry quota of the running incarnation that stands for a client's own."""
    scope = SCOPE.get()
    assert scope is not None
    aws = aws_of(scope.world)
    if aws is None:
        return None
    key = (scope.incarnation, id(quota))
    if key not in aws.quotas:
        aws.quotas[key] = RetryQuota(quota._max_capacity), quota  # kept: its id is its name
    found: RetryQuota = aws.quotas[key][0]
    return found


def _acquire(real: Any, self: RetryQuota, capacity_amount: int) -> Any:
    return real(_quota(self) or self, capacity_amount)


def _release(real: Any, self: RetryQuota, capacity_amount: int) -> Any:
    return real(_quota(self) or self, capacity_amount)


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
    tested=">=1.34,<2",
    seams=(
        Seam("botocore.client:BaseClient._convert_to_request_dict", _CONVERT, _convert),
        Seam(
            "botocore.endpoint:Endpoint._do_get_response",
            ("self", "request", "operation_model", "context"),
            _do_get_response,
        ),
        Seam("botocore.loaders:create_loader", ("search_path_string",), _create_loader),
        Seam("botocore.signers:RequestSigner.sign", _SIGN, _sign),
        Seam("botocore.session:Session.get_credentials", ("self",), _get_credentials),
        Seam(
            "botocore.session:Session._resolve_region_name",
            ("self", "region_name", "config"),
            _resolve_region_name,
        ),
        Seam("botocore.retries.quota:RetryQuota.acquire", ("self", "capacity_amount"), _acquire),
        Seam("botocore.retries.quota:RetryQuota.release", ("self", "capacity_amount"), _release),
    ),
)
