"""Print which engine `auto` chose."""

from common import echo_server

server = echo_server("auto")
print(server.engine_name if hasattr(server, "engine_name") else server._engine.name)
server.stop()
