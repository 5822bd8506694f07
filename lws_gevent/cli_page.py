"""The page that the servers of the command line answer to ``GET /``: type, and see what comes back."""

import html
import json

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>lws-gevent {title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40em; margin: 2em auto; padding: 0 1em; }}
form {{ display: flex; gap: .5em; }}
input {{ flex: 1; font: inherit; padding: .3em; }}
button {{ font: inherit; }}
#log {{ white-space: pre-wrap; overflow-wrap: anywhere; padding: 0; list-style: none; }}
.sent {{ color: #666; }} .sent::before {{ content: "\\2192  "; }} .received::before {{ content: "\\2190  "; }}
</style>
</head>
<body>
<h1>lws-gevent {title}</h1>
<p id="state" role="status">connecting</p>
<form id="form"><input id="message" aria-label="message" autocomplete="off" autofocus placeholder="Type a message">
<button>Send</button></form>
<ul id="log" aria-live="polite"></ul>
<script>
const scheme = location.protocol === "https:" ? "wss://" : "ws://";
const socket = new WebSocket(scheme + location.host + {path});
const element = id => document.getElementById(id);
function log(kind, text) {{
  const line = document.createElement("li");
  line.className = kind;
  line.textContent = text;
  element("log").append(line);
}}
socket.onopen = () => element("state").textContent = "open";
socket.onclose = event => element("state").textContent = "closed, code " + event.code;
socket.onmessage = ({{data}}) => log("received", typeof data === "string" ? data : "(" + data.size + " bytes)");
element("form").onsubmit = event => {{
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;
  log("sent", element("message").value);
  socket.send(element("message").value);
  element("message").value = "";
}};
</script>
</body>
</html>
"""


def page(title: str, path: str) -> str:
    """The page, as HTML in UTF-8; its script opens a WebSocket to ``path`` on the server that the page came from."""
    # "</" would end the script element, and json leaves it as it is.
    return _PAGE.format(title=html.escape(title), path=json.dumps(path).replace("</", "<\\/"))
