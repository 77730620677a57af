"""Whole applications, written as their teams write them, and run unmodified.

Each is a package whose modules know nothing of chaosharness, with one module beside them that says
what the world around it is made of: `system.py`.
"""
