"""Wiring: services, brokers, stores and workload into a world that runs."""

from chaosharness.system.env import Env as Env
from chaosharness.system.parts import CLIENT as CLIENT
from chaosharness.system.parts import OUTSIDE as OUTSIDE
from chaosharness.system.parts import Resource as Resource
from chaosharness.system.parts import describe as describe
from chaosharness.system.run import OBSERVERS as OBSERVERS
from chaosharness.system.run import Run as Run
from chaosharness.system.system import System as System
