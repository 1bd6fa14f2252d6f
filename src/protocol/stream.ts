// The options of the memory stream beside its limits, as the library takes them. Their rows are options/memory.ts; what a
// QEMU can do of them is found out by the driver (drivers/qemu/migration/negotiate.ts).

import { askedByStream } from "./options/asked.js";
import { libraryNames } from "./options/names.js";
import { refusalsOf } from "./options/rules.js";
import { formError } from "./options/schema.js";
import type { MemoryStream, OptionalOption } from "./options/table.js";

export type { OptionalOption } from "./options/table.js";

/** An option that is absent is off; `{}` is on, with QEMU's own values. */
export interface StreamOptions extends MemoryStream {
  /** What may be left out where a QEMU does not know it; the outcome tells. Anything else is refused then. */
  readonly optional?: readonly OptionalOption[];
}

/** Each method that is there is used. `zlib` or `zstd` with `parallel`, `xbzrle` and `mt` without. */
export type Compression = NonNullable<StreamOptions["compression"]>;

/** Of the memory stream and of the disks'. Certificates by libvirt's conventions for QEMU, each side from a directory of its own host. */
export type TlsOptions = NonNullable<StreamOptions["tls"]>;

/** A wish that was left out, and why. */
export interface Dropped {
  readonly option: string;
  readonly why: string;
}

/**
 * @throws RangeError with a sentence: what does not fit, why, and what to do.
 */
export function checkStream(stream: StreamOptions, transport: "unix" | "tcp"): void {
  const wrong = formError(stream);
  if (wrong !== undefined) throw new RangeError(wrong);
  const [refused] = refusalsOf(askedByStream(stream, transport), libraryNames);
  if (refused !== undefined) throw new RangeError(refused.message);
}

/** Whether it has the form of a wish; whether its parts go together is not asked. */
export const isStreamOptions = (value: unknown): boolean => formError(value) === undefined;
