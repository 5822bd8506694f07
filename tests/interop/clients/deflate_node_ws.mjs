// Node's ws, compressing.
// node deflate_node_ws.mjs PORTS (one JSON object, name -> port)
import { createHash } from "node:crypto";
import { WINDOWS, lines, messages } from "./deflate_values.mjs";
import WebSocket from "ws";

const ports = JSON.parse(process.argv[2]);
const sent = messages(lines());

function echo(port, asked) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: { threshold: 0, ...asked } });
    const timer = setTimeout(() => reject(new Error("not within 20 s")), 20000);
    const answers = [];
    socket.on("open", () => socket.send(sent[0]));
    socket.on("message", (data, binary) => {
      answers.push([binary ? "binary" : "text", data.length, createHash("sha256").update(data).digest("hex")]);
      if (answers.length < sent.length) socket.send(sent[answers.length]);
      else socket.close();
    });
    socket.on("error", reject);
    socket.on("close", (code, reason) => {
      clearTimeout(timer);
      answers.length === sent.length ? resolve(answers) : reject(new Error(`closed: ${code} ${reason}`));
    });
  });
}

const todo = Object.entries(ports).filter(([name]) => name !== "any").map(([name, port]) => [name, port, {}]);
for (const bits of WINDOWS) for (const none of [false, true]) {
  const asked = { serverNoContextTakeover: none, clientNoContextTakeover: none, serverMaxWindowBits: bits, clientMaxWindowBits: bits };
  todo.push([JSON.stringify(asked), ports.any, asked]);
}
const seen = {};
for (const [name, port, asked] of todo) {
  try {
    seen[name] = await echo(port, asked);
  } catch (error) {
    seen[name] = [String(error?.stack ?? error)];
  }
}
console.log(JSON.stringify(seen));
