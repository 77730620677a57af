"""Find, shrink, replay: the planner and its modes. Plain Python, except for the one adapter."""
