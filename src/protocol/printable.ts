// Makes text from other hosts, guests, stories and QEMU safe to print on a terminal or in a log: what would move the cursor,
// start a line, turn the direction of writing or hide itself is written as an escape. Upholds G7: what an operator reads is
// what was said, and nothing that was said looks like a line of ours.

/** C0, DEL and C1, line and paragraph separators, marks of direction, what has no width, and lone surrogates. */
const unprintable =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\u{e0001}|[\u{e0020}-\u{e007f}]/gu;

const short: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

const escaped = (character: string): string =>
  short[character] ??
  Array.from({ length: character.length }, (_, at) => character.charCodeAt(at))
    .map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`)
    .join("");

/** Returns `text` in one line that is safe to print. Text that is safe already is returned as it is. */
export const printable = (text: string): string => text.replace(unprintable, escaped);

/** The same of text of several lines that this program has put together itself. */
export const printableLines = (text: string): string => text.split("\n").map(printable).join("\n");

/** Returns one line of JSON that parses to the same value, and is safe to print. */
export const printableJson = (value: unknown): string => safeJson(JSON.stringify(value));

/** The same of JSON that has been written already: outside of its strings there is nothing to escape. */
export const safeJson = (json: string): string =>
  json.replace(unprintable, (character) => (character === "\n" ? character : escaped(character)));

/** `text` from outside as it stands in a sentence of ours: in quotes, safe to print, and cut when it is long. */
export function quoted(text: string): string {
  const most = 120;
  const shown = text.length > most ? `${text.slice(0, most)}…` : text;
  return `"${printable(shown)}"`;
}
