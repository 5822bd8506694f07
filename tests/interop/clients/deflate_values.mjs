// What the compressing JavaScript clients share with deflate_common.py: the messages, and what is asked for.
export const WINDOWS = [9, 10, 11, 12, 13, 14, 15];
export const lines = () => {
  let text = "";
  for (let number = 0; number < 2000; number++) text += `line ${number} of the Gr\u00fc\u00dfe \u20ac text\n`;
  return text;
};
export const messages = text => [
  "Gr\u00fc\u00dfe \u20ac \u{1d11e}",
  text.slice(0, 1500),
  "",
  new Uint8Array(0),
  Uint8Array.from({ length: 70000 }, (_, index) => index * index % 251),
  text.slice(0, 1500),
  text,
  Uint8Array.from({ length: 256 }, (_, index) => index),
  new Uint8Array(100000),
  text.slice(0, 1500),
];
