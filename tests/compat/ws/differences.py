"""The test cases of ws that lws_gevent.compat.ws answers differently: (file, title) -> why."""

DIFFERENT: dict[tuple[str, str], str] = {}
