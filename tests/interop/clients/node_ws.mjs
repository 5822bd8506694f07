// Node's ws.
import { createHash } from "node:crypto";
import { BINARY, CLOSE, LARGE, PIECES, PING, TEXT, main } from "./values.mjs";
import WebSocket from "ws";

const url = process.argv[2];

// A connection whose events can be awaited one by one, in order.
function connected(path = "/echo") {
  const socket = new WebSocket(url + path, { maxPayload: 2 * LARGE.length, perMessageDeflate: false });
  const events = [], waiting = [];
  const put = event => waiting.length ? waiting.shift()(event) : events.push(event);
  socket.on("message", (data, binary) => put({ message: data, binary }));
  socket.on("pong", data => put({ pong: data.toString() }));
  socket.on("close", (code, reason) => put({ code, reason: reason.toString() }));
  socket.on("error", error => put({ error: String(error) }));
  const next = () => events.length ? Promise.resolve(events.shift()) : new Promise(resolve => waiting.push(resolve));
  return new Promise((resolve, reject) => {
    socket.once("open", () => resolve({ socket, next }));
    socket.once("error", reject);
  });
}

const shown = ({ message, binary }) => binary ? { binary: message.toString("hex") } : { text: message.toString() };

async function echo(message) {
  const { socket, next } = await connected();
  socket.send(message);
  const answer = shown(await next());
  socket.close();
  return answer;
}

async function first(path, count) {
  const { socket, next } = await connected(path);
  const answers = [];
  for (let i = 0; i < count; i++) answers.push(await next());
  socket.close();
  return answers;
}

await main({
  text: () => echo(TEXT),
  binary: () => echo(BINARY),
  empty_text: () => echo(""),
  empty_binary: () => echo(Buffer.alloc(0)),
  async large() {
    const { socket, next } = await connected();
    socket.send(LARGE);
    const { message } = await next();
    socket.close();
    return [message.length, createHash("sha256").update(message).digest("hex")];
  },
  async fragments_sent() {
    const { socket, next } = await connected();
    PIECES.forEach((piece, index) => socket.send(piece, { fin: index === PIECES.length - 1 }));
    socket.send(Buffer.from([0]), { fin: false });
    socket.send(Buffer.from([255]), { fin: true });
    const answers = [shown(await next()), shown(await next())];
    socket.close();
    return answers;
  },
  fragments_received: async () => (await first("/fragments", 2)).map(shown),
  async ping() {
    const { socket, next } = await connected();
    socket.ping(PING);
    const { pong } = await next();
    socket.close();
    return pong;
  },
  pinged: async () => (await first("/pings", 1))[0].message.toString(),
  async closed() {
    const [{ code, reason }] = await first("/closes", 1);
    return [code, reason];
  },
  async close() {
    const { socket, next } = await connected("/closed-by-client");
    socket.close(...CLOSE);
    return (await next()).code;
  },
});
