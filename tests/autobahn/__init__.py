"""Conformance by the Autobahn test suite: ``make autobahn``, see ``python -m tests.autobahn --help``."""
