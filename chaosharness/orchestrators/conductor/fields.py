"""The fields that definitions have. What else stands in one the server leaves out, in silence.

So it is told as a warning, with the field that was meant, where one is near: a mistyped
`retyCount` has a task tried again as often as the default says.

*Source*: conductor-oss/conductor, `common/.../WorkflowDef.java`, `WorkflowTask.java`,
`TaskDef.java`, `SubWorkflowParams.java`, `ObjectMapperProvider.java` (it is configured not to fail
on unknown properties); conductor-python 2.0, `client/http/models`.
"""

import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final

from chaosharness.kernel.allowed import spelled

__all__ = [
    "OF_STARTS",
    "OF_STEPS",
    "OF_SUB_WORKFLOWS",
    "OF_TASK_DEFS",
    "OF_WORKFLOWS",
    "near",
    "tell_unknown",
]

AUDITED: Final = ("createTime", "createdBy", "ownerApp", "updateTime", "updatedBy")
SCHEMAS: Final = ("enforceSchema", "inputSchema", "outputSchema")

OF_WORKFLOWS: Final = frozenset(
    {
        *AUDITED, *SCHEMAS, "cacheConfig", "description", "failureWorkflow",
        "failureWorkflowVersion", "inputParameters", "inputTemplate", "maskedFields", "metadata",
        "name", "outputParameters", "overwriteTags", "ownerEmail", "rateLimitConfig",
        "restartable", "schemaVersion", "tags", "tasks", "timeoutPolicy", "timeoutSeconds",
        "variables", "version", "workflowStatusListenerEnabled", "workflowStatusListenerSink",
    }
)  # fmt: skip
OF_STEPS: Final = frozenset(
    {
        "asyncComplete", "cacheConfig", "caseExpression", "caseValueParam", "decisionCases",
        "defaultCase", "defaultExclusiveJoinTask", "description", "dynamicForkJoinTasksParam",
        "dynamicForkTasksInputParamName", "dynamicForkTasksParam", "dynamicTaskNameParam",
        "evaluatorType", "expression", "forkTasks", "inputParameters", "items", "joinOn",
        "joinStatus", "loopCondition", "loopOver", "name", "onStateChange", "optional",
        "permissive", "rateLimited", "retryCount", "scriptExpression", "sink", "startDelay",
        "subWorkflowParam", "taskDefinition", "taskReferenceName", "type", "workflowTaskType",
    }
)  # fmt: skip
OF_TASK_DEFS: Final = frozenset(
    {
        *AUDITED, *SCHEMAS, "backoffScaleFactor", "baseType", "concurrentExecLimit", "description",
        "executionNameSpace", "inputKeys", "inputTemplate", "isolationGroupId",
        "maxRetryDelaySeconds", "name", "outputKeys", "overwriteTags", "ownerEmail",
        "pollTimeoutSeconds", "rateLimitFrequencyInSeconds", "rateLimitPerFrequency",
        "responseTimeoutSeconds", "retryCount", "retryDelaySeconds", "retryLogic",
        "runtimeMetadata", "tags", "timeoutPolicy", "timeoutSeconds", "totalTimeoutSeconds",
    }
)  # fmt: skip
OF_SUB_WORKFLOWS: Final = frozenset(
    {
        "idempotencyKey", "idempotencyStrategy", "name", "priority", "taskToDomain", "version",
        "workflowDefinition",
    }
)  # fmt: skip
OF_STARTS: Final = frozenset(
    {
        "correlationId", "createdBy", "externalInputPayloadStoragePath", "idempotencyKey",
        "idempotencyStrategy", "input", "name", "priority", "taskToDomain", "version",
        "workflowDef",
    }
)  # fmt: skip


def near(field: str, known: frozenset[str]) -> str:
    """Return what was meant by a field that there is not, as the end of a sentence."""
    plain = {one.lower(): one for one in sorted(known)}
    found = get_close_matches(field.lower().replace("_", ""), plain, n=1, cutoff=0.75)
    return f": is {plain[found[0]]!r} meant?" if found else ""


def tell_unknown(where: str, given: Mapping[str, Any], known: frozenset[str]) -> None:
    """Warn of each field that the server leaves out in silence."""
    for field in given:
        if field not in known:
            meant = near(field, known) if isinstance(field, str) else ""
            words = f"{where}: Conductor knows no field {spelled(field)} and leaves it out{meant}"
            warnings.warn(words, stacklevel=2)
