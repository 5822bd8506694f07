'use strict';
// Node's ws: an echo server, or one that sends every message to every connection.
//   node ws_server.js [--port N] [--broadcast] [--deflate] [--takeover] [--cert FILE --key FILE]

const fs = require('fs');
const http = require('http');
const https = require('https');
const { parseArgs } = require('util');
const { WebSocket, WebSocketServer } = require('ws');

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    broadcast: { type: 'boolean', default: false },
    deflate: { type: 'boolean', default: false },
    takeover: { type: 'boolean', default: false },
    cert: { type: 'string' },
    key: { type: 'string' }
  }
});

const server = values.cert
  ? https.createServer({ cert: fs.readFileSync(values.cert), key: fs.readFileSync(values.key) })
  : http.createServer();

const wss = new WebSocketServer({
  server,
  perMessageDeflate: values.deflate && {
    serverNoContextTakeover: !values.takeover,
    clientNoContextTakeover: !values.takeover,
    threshold: 0
  }
});

function echo(data, binary) {
  this.send(data, { binary });
}

function broadcast(data, binary) {
  for (const client of wss.clients) {
    if (client.readyState === WebSocket.OPEN) client.send(data, { binary });
  }
}

wss.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', values.broadcast ? broadcast : echo);
});

server.listen({ port: Number(values.port), host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(`listening on ${values.cert ? 'wss' : 'ws'}://127.0.0.1:${server.address().port}`);
});
