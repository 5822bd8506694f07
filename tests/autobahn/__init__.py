"""Conformance by the Autobahn test suite: ``make autobahn SECTIONS="1 2 3"``, or ``python -m tests.autobahn --help``."""
