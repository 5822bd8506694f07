"""Interfaces of other WebSocket libraries on top of lws_gevent, one module each.

Import them by their full name (``from lws_gevent.compat import ...``); they stand on the public names of
lws_gevent only.
"""
