// Chromium, whose pages have no say in compression: it is always offered, with every window and with context takeover.
// node deflate_chromium.mjs PORTS CHROMIUM (PORTS: one JSON object, name -> port)
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { lines, messages } from "./deflate_values.mjs";

const [, , argument, executablePath] = process.argv;
const ports = JSON.parse(argument);
const profile = mkdtempSync(join(tmpdir(), "lws-gevent-chromium-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server"],
});

try {
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${ports.any}/`);
  await page.addScriptTag({ type: "module", content: `
    const sent = (${messages})((${lines})());
    const hex = buffer => [...new Uint8Array(buffer)].map(byte => byte.toString(16).padStart(2, "0")).join("");
    window.echo = port => new Promise((resolve, reject) => {
      const socket = new WebSocket("ws://127.0.0.1:" + port + "/");
      socket.binaryType = "arraybuffer";
      const answers = [];
      setTimeout(() => reject(new Error("not within 20 s")), 20000);
      socket.onopen = () => socket.send(sent[0]);
      socket.onmessage = async ({ data }) => {
        const octets = typeof data === "string" ? new TextEncoder().encode(data) : data;
        const checksum = hex(await crypto.subtle.digest("SHA-256", octets));
        answers.push([typeof data === "string" ? "text" : "binary", octets.byteLength, checksum]);
        if (answers.length < sent.length) socket.send(sent[answers.length]);
        else socket.close();
      };
      socket.onclose = ({ code }) =>
        answers.length === sent.length ? resolve(answers) : reject(new Error("closed: " + code));
    });
    window.ready = true;` });
  await page.waitForFunction("window.ready");
  const seen = {};
  for (const [name, port] of Object.entries(ports)) {
    if (name === "any") continue;
    try {
      seen[name] = await page.evaluate(port => echo(port), port);
    } catch (error) {
      seen[name] = [String(error?.stack ?? error)];
    }
  }
  console.log(JSON.stringify(seen));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
