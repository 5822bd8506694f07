"""lws_gevent as it is where the package isal is not installed: the standard library's zlib compresses."""

from __future__ import annotations

import sys

sys.modules["isal"] = None  # type: ignore[assignment]

from lws_gevent.cli import main  # noqa: E402

sys.exit(main())
