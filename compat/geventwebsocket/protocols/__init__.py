"""Protocols on top of WebSocket applications."""
