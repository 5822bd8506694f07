// A server made with ws for the tests of lws_gevent.compat.ws. Arguments: certificate and key of the TLS server.
// Prints the ports of the plain and of the TLS server.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { WebSocketServer } from 'ws';

const wss = new WebSocketServer({ noServer: true, perMessageDeflate: { threshold: 0 } });

function upgrade(request, socket, head) {
  if (request.url === '/redirect') {
    socket.end('HTTP/1.1 302 Found\r\nLocation: /echo\r\n\r\n');
    return;
  }
  wss.handleUpgrade(request, socket, head, (ws) => {
    if (request.url === '/close') ws.close(4001, 'goodbye €');
    if (request.url === '/terminate') ws.terminate();
    if (request.url === '/ping') {
      ws.ping('hey');
      ws.on('pong', (data) => ws.send(`pong: ${data}`));
    }
    if (request.url === '/fragments') {
      ws.send('frä', { fin: false });
      ws.send('gments', { fin: true });
    }
    if (request.url === '/broken') ws._socket.write(Buffer.from([0x85, 0x00]));
    ws.on('close', (code, reason) => console.log(`closed ${code} ${reason}`));
    ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
  });
}

const plain = http.createServer().on('upgrade', upgrade);
const [cert, key] = process.argv.slice(2).map((path) => readFileSync(path));
const secure = https.createServer({ cert, key }).on('upgrade', upgrade);
plain.listen(0, '127.0.0.1', () => {
  secure.listen(0, '127.0.0.1', () => console.log(`ports ${plain.address().port} ${secure.address().port}`));
});
process.stdin.on('close', () => process.exit(0)).resume();
