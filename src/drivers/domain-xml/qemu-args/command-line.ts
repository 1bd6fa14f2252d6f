// A QEMU command line under construction: the guest's hardware, the host's side of it, the files that it needs, and every
// reason why it cannot be used.

import { isOfPerson } from "../schema/address.js";
import type { Refusal } from "../xml/errors.js";
import { placeIn, type Why } from "../xml/read.js";

type Json = string | number | boolean | null | undefined | { readonly [key: string]: Json };

/** A file that must exist before QEMU is started. */
export interface NeededFile {
  readonly path: string;
  readonly kind: "disk" | "firmware" | "kernel";
  /** Target of the disk, when the file is a disk image. */
  readonly target?: string;
  /** The part of the model that names the file. */
  readonly in: object;
  readonly key: string;
}

/** Doubles the commas in a value, since QEMU splits options at commas. */
export const escaped = (value: string): string => value.replaceAll(",", ",,");

/** Returns `first,key=value,…`; omits undefined values. */
export const options = (first: string, rest: Readonly<Record<string, string | number | undefined>>): string =>
  [
    first,
    ...Object.entries(rest).flatMap(([key, value]) =>
      value === undefined ? [] : [`${key}=${escaped(`${value}`)}`],
    ),
  ].join(",");

export const onOff = (value: boolean | undefined): "on" | "off" | undefined =>
  value === undefined ? undefined : value ? "on" : "off";

export class CommandLine {
  readonly hardwareArgs: string[] = [];
  readonly hostArgs: string[] = [];
  readonly refusals: Refusal[] = [];
  readonly files: NeededFile[] = [];
  /** Devices that QEMU must support, with the part of the model that requires each. */
  readonly drivers: { readonly driver: string; readonly in: object }[] = [];

  /** Device ids in use. */
  readonly #ids = new Set<string>();

  /** Adds arguments that must be the same on both sides. */
  hardware(...args: string[]): void {
    this.hardwareArgs.push(...args);
  }

  /** Adds arguments that may differ between the sides. */
  host(...args: string[]): void {
    this.hostArgs.push(...args);
  }

  /** Adds a device; omits properties whose value is undefined. */
  device(of: object, driver: string, properties: Readonly<Record<string, Json>>): void {
    this.drivers.push({ driver, in: of });
    this.hardware("-device", JSON.stringify({ driver, ...properties }));
    const { id } = properties;
    if (typeof id !== "string" || !isOfPerson(id)) return;
    if (this.#ids.has(id))
      this.conflict(of, "alias", `another device has the name ${id}`, "give each device its own name");
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
