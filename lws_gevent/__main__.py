"""``python -m lws_gevent`` is the command ``lws-gevent``."""

import sys

from lws_gevent.cli import main

if __name__ == "__main__":
    sys.exit(main())
