"""What of a history must be equal: kinds and attributes, but for what a clock or chance chose."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final

_WORDS: Final = """
eventTime taskId identity requestId runId originalExecutionRunId firstExecutionRunId
newExecutionRunId continuedExecutionRunId sdkMetadata
meteringMetadata workerVersion historySizeBytes version links
userMetadata priority parentWorkflowNamespaceId workflowExecutionExpirationTime stackTrace
firstWorkflowTaskBackoff rootWorkflowExecution eventGroupMarkers header useWorkflowBuildId
namespaceId initiatedEventNamespaceId workflowIdReusePolicy workflowTaskTimeout control
workflowRunTimeout workflowExecutionTimeout source encodedAttributes namespace
parentWorkflowNamespace workflowTaskCompletedMetadata lastHeartbeatTime
complete_time original_schedule_time suggestContinueAsNewReasons prevAutoResetPoints inheritBuildId
"""
UNTOLD: Final = frozenset(_WORDS.split())
"""Left out: times, ids of the deployment, sizes, and what only the real server has."""


def normal(history: Mapping[str, Any], name: str) -> list[Any]:
    """The events of a history, comparable. `name` is the script's, which ids begin with."""
    return [_told(event, name) for event in history["events"]]


def _told(value: Any, name: str) -> Any:
    if isinstance(value, Mapping) and set(value) == {"data", "metadata"}:
        return _told(json.loads(base64.b64decode(value["data"])), name)
    if isinstance(value, Mapping):
        if "normalName" in value or str(value.get("kind", "")).endswith("STICKY"):
            return "a worker's own queue"
        if value.get("markerName") == "core_local_activity":
            data = base64.b64decode(value["details"]["data"]["payloads"][0]["data"])
            value = {**value, "details": {**value["details"], "data": {"told": json.loads(data)}}}
        kept = {key: _told(each, name) for key, each in value.items() if key not in UNTOLD}
        return {key: each for key, each in kept.items() if each not in ({}, None, "", "0s", 0)}
    if isinstance(value, list):
        return [_told(each, name) for each in value]
    if isinstance(value, str):
        value = re.sub(r"run id \S+", "run id its own", value)
        return re.sub(rf"{re.escape(name)}-[0-9a-f]{{6}}", name, value)
    return value
