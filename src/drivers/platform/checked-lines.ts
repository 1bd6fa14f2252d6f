// One line of a journal file: a checksum and a JSON object.

import { crc32 } from "node:zlib";

export function lineOf(entry: object): string {
  const text = JSON.stringify(entry);
  return `${checksum(text)} ${text}\n`;
}

/** Undefined when the checksum does not fit. @throws SyntaxError when it does, and the rest is no JSON. */
export function entryOf(line: string): unknown {
  const text = line.slice(9);
  return line[8] === " " && line.slice(0, 8) === checksum(text) ? JSON.parse(text) : undefined;
}

const checksum = (text: string): string => crc32(text).toString(16).padStart(8, "0");
