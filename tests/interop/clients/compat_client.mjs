// A client made with ws for the tests of lws_gevent.compat.ws. Argument: the address of a server that echoes, and more.
// Prints as JSON what it has seen.
import { once } from 'node:events';
import { WebSocket } from 'ws';

const base = process.argv[2];
const seen = {};

function open(path, options) {
  return new WebSocket(base + path, { rejectUnauthorized: false, ...options });
}

async function message(ws) {
  const [data, isBinary] = await once(ws, 'message');
  return isBinary ? { binary: data.toString('hex') } : { text: data.toString() };
}

async function finish(ws) {
  ws.close(1000, 'done');
  const [code, reason] = await once(ws, 'close');
  return [code, reason.toString()];
}

for (const perMessageDeflate of [false, { threshold: 0 }]) {
  const ws = open('/echo', { perMessageDeflate });
  await once(ws, 'open');
  const kind = perMessageDeflate ? 'compressed' : 'plain';
  seen[`${kind} extensions`] = ws.extensions;
  ws.send('Grüße € 𝄞');
  seen[`${kind} text`] = await message(ws);
  ws.send(Buffer.from([0, 255, 128]));
  seen[`${kind} binary`] = await message(ws);
  ws.send('x'.repeat(300000));
  seen[`${kind} large`] = (await message(ws)).text.length;
  ws.send('one ', { fin: false });
  ws.send('two', { fin: true });
  seen[`${kind} fragments`] = await message(ws);
  ws.ping('are you there');
  seen[`${kind} pong`] = (await once(ws, 'pong'))[0].toString();
  seen[`${kind} close`] = await finish(ws);
}

let ws = open('/close');
const [code, reason] = await once(ws, 'close');
seen.closed = [code, reason.toString()];

ws = open('/terminate');
seen.terminated = (await once(ws, 'close'))[0];

ws = open('/protocol', { protocols: ['foo', 'bar'] });
await once(ws, 'open');
seen.protocol = ws.protocol;
ws.terminate();

ws = open('/redirect', { followRedirects: true });
await once(ws, 'open');
seen.redirected = new URL(ws.url).pathname;
await finish(ws);

ws = open('/echo');
await once(ws, 'open');
ws.on('error', () => {});
ws._socket.write(Buffer.from([0x85, 0x80, 0, 0, 0, 0]));
seen.broken = (await once(ws, 'close'))[0];

console.log(JSON.stringify(seen));
