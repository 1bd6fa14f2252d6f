// Encodes and decodes a line of a journal file: a checksum and a JSON object.

import { crc32 } from "node:zlib";

export function lineOf(entry: object): string {
  const text = JSON.stringify(entry);
  return `${checksum(text)} ${text}\n`;
}

/** Returns undefined when the checksum does not match. @throws SyntaxError when it matches, but the text is not valid JSON. */
export function entryOf(line: string): unknown {
  const text = line.slice(9);
  return line[8] === " " && line.slice(0, 8) === checksum(text) ? JSON.parse(text) : undefined;
}

const checksum = (text: string): string => crc32(text).toString(16).padStart(8, "0");
