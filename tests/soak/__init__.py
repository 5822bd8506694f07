"""Connections opened and ended in every way by the thousand, after which nothing may be left."""
