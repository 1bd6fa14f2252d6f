// Makes text from other hosts, guests, stories and QEMU safe to print on a terminal or in a log: characters that move
// the cursor, start a line, change the direction of writing or are invisible are escaped. Upholds G7: an operator
// reads exactly the text that was sent, and no such text can pass for a line of ours.

/** C0, DEL and C1, line and paragraph separators, direction marks, zero-width characters and lone surrogates. */
const unprintable =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\u{e0001}|[\u{e0020}-\u{e007f}]/gu;

const short: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

const escaped = (character: string): string =>
  short[character] ??
  Array.from({ length: character.length }, (_, at) => character.charCodeAt(at))
    .map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`)
    .join("");

/** Returns `text` as one line that is safe to print. Safe text is returned unchanged. */
export const printable = (text: string): string => text.replace(unprintable, escaped);

/** Escapes text of several lines that this program composed itself, and keeps its line breaks. */
export const printableLines = (text: string): string => text.split("\n").map(printable).join("\n");

/** Returns one line of JSON that parses to the same value and is safe to print. */
export const printableJson = (value: unknown): string => safeJson(JSON.stringify(value));

/** Escapes serialized JSON: outside of its strings there is nothing to escape. */
export const safeJson = (json: string): string =>
  json.replace(unprintable, (character) => (character === "\n" ? character : escaped(character)));

/** Returns text from outside for use in one of our messages: in quotes, safe to print, and cut when it is long. */
export function quoted(text: string): string {
  const most = 120;
  const shown = text.length > most ? `${text.slice(0, most)}…` : text;
  return `"${printable(shown)}"`;
}
