"""Orchestrators: engines that run real workflow definitions in virtual time, as pure machines."""
