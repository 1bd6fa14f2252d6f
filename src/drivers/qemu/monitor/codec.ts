// Decodes bytes into QMP messages: lines of JSON, as docs/interop/qmp-spec describes them. It knows no commands.

import { StringDecoder } from "node:string_decoder";
import { QmpProtocolError } from "./errors.js";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

export type Message =
  | { readonly kind: "greeting"; readonly oob: boolean }
  | { readonly kind: "return"; readonly id: Json | undefined; readonly value: Json }
  | {
      readonly kind: "error";
      readonly id: Json | undefined;
      readonly errorClass: string;
      readonly description: string;
    }
  | { readonly kind: "event"; readonly event: string; readonly data: JsonObject; readonly atMicros: number };

const maxLineLength = 64 * 1024 * 1024;

/** Splits a byte stream into lines, however it was fragmented; a line over `limit` characters is an error. */
export class LineSplitter {
  readonly #decoder = new StringDecoder("utf8");
  readonly #limit: number;
  #parts: string[] = [];
  #length = 0;

  constructor(limit = maxLineLength) {
    this.#limit = limit;
  }

  push(bytes: Uint8Array): string[] {
    const lines: string[] = [];
    const pieces = this.#decoder
      .write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
      .split("\n");
    for (const [index, piece] of pieces.entries()) {
      if (index > 0) {
        const line = this.#parts.join("").trim();
        if (line !== "") lines.push(line);
        this.#parts = [];
        this.#length = 0;
      }
      this.#length += piece.length;
      if (this.#length > this.#limit) {
        throw new QmpProtocolError(`a monitor line is longer than ${this.#limit} characters`);
      }
      this.#parts.push(piece);
    }
    return lines;
  }
}

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Decodes one line. @throws QmpProtocolError with an excerpt when it is not a QMP message. */
export function decode(line: string): Message {
  let json: Json;
  try {
    json = JSON.parse(line) as Json;
  } catch (error) {
    throw new QmpProtocolError(`the monitor sent a line that is not valid JSON: ${excerpt(line)}`, [], {
      cause: error,
    });
  }
  const message = isObject(json) ? classify(json) : undefined;
  if (message === undefined)
    throw new QmpProtocolError(`the monitor sent a line that is not a QMP message: ${excerpt(line)}`);
  return message;
}

function classify(json: JsonObject): Message | undefined {
  if (isObject(json["QMP"])) {
    const { capabilities } = json["QMP"];
    return { kind: "greeting", oob: Array.isArray(capabilities) && capabilities.includes("oob") };
  }
  if (json["return"] !== undefined) return { kind: "return", id: json["id"], value: json["return"] };
  if (isObject(json["error"])) {
    const { class: errorClass, desc } = json["error"];
    if (typeof errorClass !== "string" || typeof desc !== "string") return undefined;
    return { kind: "error", id: json["id"], errorClass, description: desc };
  }
  if (typeof json["event"] === "string" && isObject(json["timestamp"])) {
    const { seconds, microseconds } = json["timestamp"];
    if (typeof seconds !== "number" || typeof microseconds !== "number") return undefined;
    const data = isObject(json["data"]) ? json["data"] : {};
    return { kind: "event", event: json["event"], data, atMicros: seconds * 1_000_000 + microseconds };
  }
  return undefined;
}

export const excerpt = (text: string): string => (text.length > 500 ? `${text.slice(0, 500)}…` : text);
