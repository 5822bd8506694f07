"""What lws_gevent costs beside its peers: `python -m benchmarks`, or `make bench`."""
