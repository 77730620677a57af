"""Airflow's configuration, as far as something here depends on it."""

from typing import Final

import attrs

__all__ = ["DEFAULTS", "Settings"]


@attrs.frozen
class Settings:
    """Airflow's configuration, with its defaults, in milliseconds.

    *Source*: `config_templates/config.yml` of apache-airflow-core 3.3.2.
    """

    heartbeat_timeout_ms: int = 300_000
    """`[scheduler] task_instance_heartbeat_timeout`"""
    detection_ms: int = 10_000
    """`[scheduler] task_instance_heartbeat_timeout_detection_interval`"""
    queued_timeout_ms: int = 600_000
    """`[scheduler] task_queued_timeout`"""
    queued_check_ms: int = 120_000
    """`[scheduler] task_queued_timeout_check_interval`"""
    stuck_retries: int = 2
    """`[scheduler] num_stuck_in_queued_retries`"""
    orphans_check_ms: int = 300_000
    """`[scheduler] orphaned_tasks_check_interval`"""
    health_ms: int = 30_000
    """`[scheduler] scheduler_health_check_threshold`"""
    beat_ms: int = 5_000
    """`[workers] min_heartbeat_interval`"""
    max_map_length: int = 1024
    """`[core] max_map_length`"""
    trigger_check_ms: int = 15_000
    """`[scheduler] trigger_timeout_check_interval`"""
    triggerer_ms: int = 1_000
    """How often a triggerer looks for triggers: once a round of its loop."""
    triggerer_health_ms: int = 30_000
    """`[triggerer] triggerer_health_check_threshold`"""
    loop_ms: int = 1_000
    """`[scheduler] scheduler_idle_sleep_time`"""


DEFAULTS: Final = Settings()
