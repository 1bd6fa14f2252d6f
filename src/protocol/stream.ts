// The options of the memory stream except its limits, as the library takes them. Their rows are in options/memory.ts;
// the driver finds out which of them a QEMU supports (drivers/qemu/migration/negotiate.ts).

import { askedByStream } from "./options/asked.js";
import { libraryNames } from "./options/names.js";
import { refusalsOf } from "./options/rules.js";
import { formError } from "./options/schema.js";
import type { MemoryStream, OptionalOption } from "./options/table.js";

export type { OptionalOption } from "./options/table.js";

/** An absent option is off; `{}` turns it on with QEMU's defaults. */
export interface StreamOptions extends MemoryStream {
  /**
   * Options that may be left out where a QEMU does not support them; the outcome reports it. Any other unsupported
   * option is refused.
   */
  readonly optional?: readonly OptionalOption[];
}

/** Every method that is present is used. `zlib` or `zstd` with `parallel`, `xbzrle` and `mt` without. */
export type Compression = NonNullable<StreamOptions["compression"]>;

/**
 * TLS for the memory stream and the disk mirrors. Certificates follow libvirt's conventions for QEMU; each side reads
 * them from a directory of its own host.
 */
export type TlsOptions = NonNullable<StreamOptions["tls"]>;

/** A requested option that was left out, and why. */
export interface Dropped {
  readonly option: string;
  readonly why: string;
}

/** @throws RangeError whose message gives the conflict, its reason and the remedy. */
export function checkStream(stream: StreamOptions, transport: "unix" | "tcp"): void {
  const wrong = formError(stream);
  if (wrong !== undefined) throw new RangeError(wrong);
  const [refused] = refusalsOf(askedByStream(stream, transport), libraryNames);
  if (refused !== undefined) throw new RangeError(refused.message);
}

/** Checks the form of the options only, not whether they are compatible with each other. */
export const isStreamOptions = (value: unknown): boolean => formError(value) === undefined;
