"""Cut what a good outcome depended on: `Lineage` proposes, `ways_of` reads a run."""

from __future__ import annotations

from chaosharness.search.lineage.planner import Lineage as Lineage
from chaosharness.search.lineage.ways import Ways as Ways
from chaosharness.search.lineage.ways import ways_of as ways_of
