// The client of Socket.IO: two at once, over WebSockets alone or from polling upwards.
import { io } from "socket.io-client";

const [url, ...transports] = process.argv.slice(2);

async function connected() {
  const socket = io(url, { transports, reconnection: false, forceNew: true });
  await new Promise((resolve, reject) =>
    socket.once("connect", resolve).once("connect_error", error => reject(new Error(error.message))));  // it is vast
  const engine = socket.io.engine;
  if (engine.transport.name !== transports.at(-1)) await new Promise(resolve => engine.once("upgrade", resolve));
  return socket;
}

async function echoed(socket, message) {
  socket.emit("message", message);
  const answer = await new Promise(resolve => socket.once("message", resolve));
  return typeof message === "string" ? answer === message : answer.equals(message);
}

const both = [await connected(), await connected()];
const messages = [];
for (const message of ["Gr\u00fc\u00dfe \u20ac", Buffer.from([0, 255, 128]), "x".repeat(70000)])
  for (const socket of both) messages.push(await echoed(socket, message));
const ended = new Promise(resolve => both[0].once("disconnect", resolve));
both[0].emit("bye");
const reason = await ended;
messages.push(await echoed(both[1], "still here"));
const transport = both[1].io.engine.transport.name;
both[1].disconnect();
console.log(JSON.stringify({ messages, reason, transport }));
