// Node's ws, as the matrix of servers and frameworks has it: echoes, and the close codes that come.
import WebSocket from "ws";

const url = process.argv[2];

async function talk(end) {
  const socket = new WebSocket(url);
  const messages = [];
  const closed = new Promise((resolve, reject) => {
    socket.on("close", (code, reason) => resolve([code, reason.toString()]));
    socket.on("error", reject);
  });
  await new Promise(resolve => socket.once("open", resolve));
  for (const message of ["Gr\u00fc\u00dfe \u20ac", Buffer.from([0, 255, 128]), "x".repeat(70000)]) {
    socket.send(message);
    const [data, binary] = await new Promise(resolve => socket.once("message", (...both) => resolve(both)));
    messages.push(data.equals(Buffer.from(message)) && binary === (typeof message !== "string"));
  }
  end(socket);
  return { messages, closed: await closed };
}

console.log(JSON.stringify({
  byServer: await talk(socket => socket.send("bye")),
  byClient: await talk(socket => socket.close(4001, "enough")),
  withoutCode: await talk(socket => socket.close()),
}));
