"""aiobotocore: met below its retries, as botocore is, on asyncio; aioboto3 stands on it.

Source:
    aiobotocore 3.10, `client.py`, `endpoint.py` (`_do_get_response`), `session.py`.

Not modelled:
    What `botocore` leaves out; the retry mode `adaptive` (its limiter waits on a lock of its own).
"""

from __future__ import annotations

from typing import Any, Final

from aiobotocore.awsrequest import AioAWSResponse  # type: ignore[import-not-found]
from aiobotocore.credentials import AioCredentials  # type: ignore[import-not-found]

from chaosharness.adapters.aws.answers import Said, Unheard
from chaosharness.adapters.aws.asking import ask, not_known
from chaosharness.adapters.aws.botocore import (
    GIVEN,
    Ended,
    answered,
    ended_in,
    request_of,
)
from chaosharness.adapters.dispatch import Library, Seam


async def _convert(
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
    written = await real(
        self, api_params, operation_model, endpoint_url, context, headers, set_user_agent_header
    )
    if context is not None:
        context[GIVEN] = dict(api_params)
    return written


async def _do_get_response(
    real: Any, self: Any, request: Any, operation_model: Any, context: Any
) -> Ended:
    aws, asked = request_of(self, operation_model, context)
    if (context["client_config"].retries or {}).get("mode") == "adaptive":
        not_known(asked, "the retry mode 'adaptive' of aiobotocore")
    service = operation_model.service_model.service_id.hyphenize()
    event = f"before-send.{service}.{operation_model.name}"
    await self._event_emitter.emit(event, request=request)
    try:
        answer = await ask(aws.speaker(asked), asked, "aiobotocore")
    except (Said, Unheard) as ended:
        return _awaited(ended_in(ended, asked))
    said = isinstance(answer, Said)
    return _awaited(ended_in(answer, asked) if said else answered(answer, asked))


def _awaited(ended: Ended) -> Ended:
    """Return what a request ended in, with a response whose content is awaited."""
    found, error = ended
    if found is None:
        return None, error
    response, parsed = found
    own = AioAWSResponse(response.url, response.status_code, {}, None)
    own._content = b""
    return (own, parsed), None


async def _sign(real: Any, self: Any, *arguments: Any, **options: Any) -> None:
    """Sign nothing: nobody looks."""


async def _get_credentials(real: Any, self: Any) -> AioCredentials:
    return AioCredentials("chaosharness", "chaosharness")


_CONVERT: Final = (
    *("self", "api_params", "operation_model", "endpoint_url", "context", "headers"),
    "set_user_agent_header",
)
_SIGN: Final = (
    *("self", "operation_name", "request", "region_name", "signing_type", "expires_in"),
    "signing_name",
)
_ENDPOINT: Final = "aiobotocore.endpoint:AioEndpoint"

LIBRARY: Final = Library(
    "aiobotocore",
    tested=">=3.10,<4",
    seams=(
        Seam("aiobotocore.client:AioBaseClient._convert_to_request_dict", _CONVERT, _convert),
        Seam(
            f"{_ENDPOINT}._do_get_response",
            ("self", "request", "operation_model", "context"),
            _do_get_response,
        ),
        Seam("aiobotocore.signers:AioRequestSigner.sign", _SIGN, _sign),
        Seam("aiobotocore.session:AioSession.get_credentials", ("self",), _get_credentials),
    ),
)
