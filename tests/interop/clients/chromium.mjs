// Chromium: the WebSocket of a page, and the page of `lws-gevent echo` used as a person would. A page can neither send
// fragments nor pings.
// node chromium.mjs ws://HOST:PORT http://HOST:PORT/ CHROMIUM
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { main } from "./values.mjs";

const [, , url, pageUrl, executablePath] = process.argv;
const profile = mkdtempSync(join(tmpdir(), "lws-gevent-chromium-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  ignoreHTTPSErrors: true,  // it has an authority of its own, which knows nothing of the tests'
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server"],
});

try {
  const page = await context.newPage();
  await page.goto(pageUrl);
  await page.addScriptTag({ type: "module", content: `
    window.connected = path => new Promise((resolve, reject) => {
      const socket = new WebSocket(${JSON.stringify(url)} + path);
      socket.binaryType = "arraybuffer";
      const events = [], waiting = [];
      const put = event => waiting.length ? waiting.shift()(event) : events.push(event);
      socket.onmessage = event => put(event.data);
      socket.onclose = ({code, reason, wasClean}) => put({code, reason, wasClean});
      socket.onopen = () => resolve({socket, next: () => events.length ? Promise.resolve(events.shift()) : new Promise(f => waiting.push(f))});
      socket.onerror = () => reject(new Error("the connection failed"));
    });
    window.hex = buffer => [...new Uint8Array(buffer)].map(byte => byte.toString(16).padStart(2, "0")).join("");
    window.shown = data => typeof data === "string" ? {text: data} : {binary: hex(data)};
    window.ready = true;` });
  await page.waitForFunction("window.ready");

  const values = await import("./values.mjs");
  const echo = message => page.evaluate(async message => {
    const { socket, next } = await connected("/echo");
    socket.send(Array.isArray(message) ? Uint8Array.from(message) : message);
    const answer = shown(await next());
    socket.close();
    return answer;
  }, message);
  const first = (path, count) => page.evaluate(async ([path, count]) => {
    const { socket, next } = await connected(path);
    const answers = [];
    for (let i = 0; i < count; i++) answers.push(await next());
    socket.close();
    return answers.map(answer => answer instanceof ArrayBuffer ? { binary: hex(answer) } : answer);
  }, [path, count]);

  await main({
    text: () => echo(values.TEXT),
    binary: () => echo([...values.BINARY]),
    empty_text: () => echo(""),
    empty_binary: () => echo([]),
    large: () => page.evaluate(async size => {
      const { socket, next } = await connected("/echo");
      socket.send(Uint8Array.from({ length: size }, (_, index) => index % 251));
      const answer = await next();
      socket.close();
      return [answer.byteLength, hex(await crypto.subtle.digest("SHA-256", answer))];
    }, values.LARGE.length),
    fragments_received: async () =>
      (await first("/fragments", 2)).map(answer => typeof answer === "string" ? { text: answer } : answer),
    pinged: async () => (await first("/pings", 1))[0],
    closed: async () => {
      const [{ code, reason }] = await first("/closes", 1);
      return [code, reason];
    },
    close: () => page.evaluate(async close => {
      const { socket, next } = await connected("/closed-by-client");
      socket.close(...close);
      return (await next()).code;
    }, values.CLOSE),
    page: async () => {
      await page.waitForFunction("document.getElementById('state').textContent === 'open'");
      for (const line of ["hello", "<b>caf\u00e9</b>"]) {
        await page.fill("#message", line);
        await page.keyboard.press("Enter");
        await page.waitForFunction(line => document.querySelector("#log")?.lastElementChild?.className === "received"
          && document.querySelector("#log").lastElementChild.textContent === line, line);
      }
      return page.locator("#log li").evaluateAll(lines => lines.map(line => [line.className, line.textContent]));
    },
  });
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
