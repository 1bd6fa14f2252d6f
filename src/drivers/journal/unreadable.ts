// Reports a story that cannot be read, with everything that is still readable: the story counts neither as absent nor as
// ended. Upholds G1: no decision about its guest is made as if there had been no migration.

import { readFile } from "node:fs/promises";
import * as z from "zod/mini";
import { messageOf } from "../../protocol/effect-result.js";
import type { Side } from "../../protocol/steps.js";
import { entryOf } from "../platform/checked-lines.js";
import { JournalError } from "./durable.js";

/** The readable parts of a damaged story. */
interface Remains {
  /** Sides of the migration that have records on this host. */
  readonly sides: readonly Side[];
  /** The guest, as far as it is readable. */
  readonly guest: { readonly uuid: string | null; readonly name: string | null };
  /** Whether `guest` comes from a line with a matching checksum. Otherwise the uuid may be wrong. */
  readonly isCertain: boolean;
}

export class UnreadableStory extends JournalError implements Remains {
  override readonly name = "UnreadableStory";
  readonly kind = "unreadable";
  readonly migrationId: string;
  readonly path: string;
  readonly reason: string;
  readonly sides: Remains["sides"];
  readonly guest: Remains["guest"];
  readonly isCertain: boolean;

  constructor(migrationId: string, path: string, cause: unknown, remains: Remains) {
    super(messageOf(cause), { cause });
    this.migrationId = migrationId;
    this.path = path;
    this.reason = messageOf(cause);
    this.sides = remains.sides;
    this.guest = remains.guest;
    this.isCertain = remains.isCertain;
  }
}

/** Reads the remains of a story that `readStory` rejected with `cause`. */
export async function unreadableStory(
  migrationId: string,
  path: string,
  cause: unknown,
): Promise<UnreadableStory> {
  const text = await readFile(path, "utf8").catch(() => "");
  return new UnreadableStory(migrationId, path, cause, remainsIn(text));
}

const sided = z.object({ side: z.enum(["source", "destination", "coordinator"]) });
const opened = z.object({
  kind: z.literal("opened"),
  input: z.object({ identity: z.object({ uuid: z.string(), name: z.string() }) }),
});

function remainsIn(text: string): Remains {
  const whole = text.split("\n").flatMap((line) => wholeEntry(line) ?? []);
  const sides = whole.flatMap((entry) => sided.safeParse(entry).data?.side ?? []);
  const identities = whole.flatMap((entry) => opened.safeParse(entry).data?.input.identity ?? []);
  const [identity] = identities;
  const found = (pattern: RegExp) => pattern.exec(text)?.[1] ?? null;
  const doubtful = text.matchAll(/"side":"(source|destination|coordinator)"/g);
  return {
    sides: [
      ...new Set([
        ...sides,
        ...[...doubtful].flatMap(([, side]) => sided.safeParse({ side }).data?.side ?? []),
      ]),
    ],
    guest: identity ?? {
      uuid: found(/"uuid":"([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})"/),
      name: found(/"identity":\{[^{}]*"name":"([^"\\]*)"/),
    },
    isCertain: identity !== undefined,
  };
}

function wholeEntry(line: string): unknown {
  try {
    return entryOf(line);
  } catch {
    return undefined;
  }
}
