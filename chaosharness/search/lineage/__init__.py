"""Cut what a good outcome depended on: `planner` proposes; `ways`, `goals` and `cuts` know why."""
