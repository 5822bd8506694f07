// What the JavaScript clients share with common.py: the values that are sent, and the loop over the scenarios.
export const TEXT = "Gr\u00fc\u00dfe \u20ac \u{1d11e}";
export const BINARY = Uint8Array.from({ length: 256 }, (_, index) => index);
export const LARGE = Uint8Array.from({ length: 16 * 1024 * 1024 }, (_, index) => index % 251);
export const PIECES = ["one ", "", "tw\u00f6 ", "three"];
export const PING = "ping \u20ac";
export const CLOSE = [4002, "see you \u20ac"];

export async function main(scenarios) {
  const seen = {};
  for (const [name, scenario] of Object.entries(scenarios)) {
    let timer;
    const late = new Promise((_, reject) => timer = setTimeout(() => reject(new Error("not within 20 s")), 20000));
    try {
      seen[name] = await Promise.race([scenario(), late]);
    } catch (error) {
      seen[name] = { failed: String(error?.stack ?? error) };
    }
    clearTimeout(timer);
  }
  console.log(JSON.stringify(seen));
}
