// A QEMU command line as it comes together: what is the guest's hardware, what is the host's affair, which files it
// needs, and everything that stands against it.

import { isOfPerson } from "../schema/address.js";
import type { Refusal } from "../xml/errors.js";
import { placeIn, type Why } from "../xml/read.js";

type Json = string | number | boolean | null | undefined | { readonly [key: string]: Json };

/** A file that has to be there before QEMU is started. */
export interface NeededFile {
  readonly path: string;
  readonly kind: "disk" | "firmware" | "kernel";
  /** Of a disk. */
  readonly target?: string;
  /** The part of the model that names it. */
  readonly in: object;
  readonly key: string;
}

/** QEMU splits at commas; one that belongs to a value is doubled. */
export const escaped = (value: string): string => value.replaceAll(",", ",,");

/** `first,key=value,…`; what is undefined is left out. */
export const options = (first: string, rest: Readonly<Record<string, string | number | undefined>>): string =>
  [
    first,
    ...Object.entries(rest).flatMap(([key, it]) => (it === undefined ? [] : [`${key}=${escaped(`${it}`)}`])),
  ].join(",");

export const onOff = (value: boolean | undefined): "on" | "off" | undefined =>
  value === undefined ? undefined : value ? "on" : "off";

export class CommandLine {
  readonly hardwareArgs: string[] = [];
  readonly hostArgs: string[] = [];
  readonly refusals: Refusal[] = [];
  readonly files: NeededFile[] = [];
  /** The devices that QEMU must know, by the part of the model that wants them. */
  readonly drivers: { readonly driver: string; readonly in: object }[] = [];

  /** That persons have given. */
  readonly #ids = new Set<string>();

  /** The same on both sides. */
  hardware(...args: string[]): void {
    this.hardwareArgs.push(...args);
  }

  /** May differ from side to side. */
  host(...args: string[]): void {
    this.hostArgs.push(...args);
  }

  /** @param properties what is undefined is left out. */
  device(of: object, driver: string, properties: Readonly<Record<string, Json>>): void {
    this.drivers.push({ driver, in: of });
    this.hardware("-device", JSON.stringify({ driver, ...properties }));
    const { id } = properties;
    if (typeof id !== "string" || !isOfPerson(id)) return;
    if (this.#ids.has(id)) this.conflict(of, "alias", `another device is ${id}`, "give each its own name");
    this.#ids.add(id);
  }

  blockNode(node: Readonly<Record<string, Json>>): void {
    this.host("-blockdev", JSON.stringify(node));
  }

  needs(file: NeededFile): void {
    this.files.push(file);
  }

  refuse(part: object, key: string | undefined, why: Why): void {
    this.refusals.push({ ...why, ...placeIn(part, key) });
  }

  unsupported(part: object, key: string | undefined, what: string, next: string): void {
    this.refuse(part, key, { code: "unsupported", what, next });
  }

  conflict(part: object, key: string | undefined, what: string, next: string): void {
    this.refuse(part, key, { code: "conflict", what, next });
  }

  missing(part: object, key: string, next: string): void {
    this.refuse(part, key, { code: "missing", what: "it is not given", next });
  }
}
