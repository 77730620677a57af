"""Answers recorded from AWS, where they lie beside the checkout, and ours held against them.

Recorded are answers only. Which requests led to them is written in `sqs_requests.py` and its like,
in our words.
"""

import json
import re
from pathlib import Path

from chaosharness.machines.machine import Refusal

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "aws-recorded"
HERE = RECORDED.is_dir()
ABSENT = f"answers recorded from AWS are not here: {RECORDED} is missing"

PLACEHOLDER = re.compile(r"(<[a-z0-9-]+(?::\d+)?>|111111111111)")
UNHEARD = frozenset({"ResponseMetadata", "QueryErrorCode", "Detail", "_normalized", "message"})
"""Protocol, not product: headers, and the names of the older protocol."""


def entries(path):
    """Return what AWS answered, by entry: those that were validated against AWS."""
    if not HERE:
        return {}
    read = {
        kind: json.loads((RECORDED / f"{path}.{kind}.json").read_text("utf-8"))
        for kind in ("snapshot", "validation")
    }
    return {
        name.rpartition("::")[2]: one["recorded-content"] or {}
        for name, one in read["snapshot"].items()
        if name in read["validation"]
    }


def plain(value):
    """Return an answer of ours as it would have been recorded."""
    if isinstance(value, Refusal):
        return {"Error": {"Code": value.code, "Message": value.text, "Type": "Sender"}}
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return repr(value) if isinstance(value, bytes) else value


class Comparison:
    """Compares answers; what was masked must be masked alike: the same for the same."""

    def __init__(self, loose=()):
        self.names = {}
        self.loose = loose

    def differences(self, recorded, ours, where="answer"):
        """Yield what differs."""
        if isinstance(recorded, dict | list) and isinstance(ours, str):
            ours = json.loads(ours)  # the recorder has read bodies that are JSON
        if isinstance(recorded, dict) and isinstance(ours, dict):
            theirs = {name: one for name, one in recorded.items() if name not in UNHEARD}
            if theirs.keys() != ours.keys():
                yield f"{where}: keys {sorted(theirs)} recorded, {sorted(ours)} here"
                return
            for name, one in theirs.items():
                if name not in self.loose:
                    yield from self.differences(one, ours[name], f"{where}.{name}")
        elif isinstance(recorded, list) and isinstance(ours, list):
            if len(recorded) != len(ours):
                yield f"{where}: {len(recorded)} recorded, {len(ours)} here"
                return
            for index, pair in enumerate(zip(recorded, ours, strict=True)):
                yield from self.differences(*pair, f"{where}[{index}]")
        elif recorded == "timestamp" or (isinstance(recorded, str) and self._fits(recorded, ours)):
            return
        elif recorded != ours:
            yield f"{where}: {recorded!r} recorded, {ours!r} here"

    def _fits(self, recorded, ours):
        parts = PLACEHOLDER.split(recorded)
        if len(parts) == 1 or not isinstance(ours, str):
            return False
        pattern = "".join("(.+?)" if at % 2 else re.escape(one) for at, one in enumerate(parts))
        found = re.fullmatch(pattern, ours, re.DOTALL)
        if found is None:
            return False
        masks = [mask for mask in parts[1::2]]
        return all(
            self.names.setdefault(mask, text) == text or ":" not in mask
            for mask, text in zip(masks, found.groups(), strict=True)
        )
