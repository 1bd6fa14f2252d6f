// An engine in its own process, for faults that kill it: moves a guest of its parent, or resumes the migration that an earlier
// engine left. Prints the injected faults and the outcome as lines of JSON.

import { writeSync } from "node:fs";
import { openFileJournal } from "../../../src/drivers/journal/file-journal.js";
import { migrateWith } from "../../../src/library/local/migrate.js";
import { recoverWith } from "../../../src/library/local/recover.js";
import type { Migration } from "../../../src/library/migration-handle.js";
import { messageOf } from "../../../src/protocol/effect-result.js";
import type { OutcomeKind } from "../../../src/protocol/outcomes.js";
import type { FaultCase } from "./cases.js";
import { type HandedGuest, takeGuest } from "./handed-guest.js";
import { type Injected, Injection } from "./injection.js";

export interface EngineOptions {
  readonly guest: HandedGuest;
  /** Resumes from the journal instead of moving the guest. */
  readonly recovers: boolean;
  readonly sideArgs: readonly string[];
  readonly journal: string;
  readonly injected: Injected;
}

export type EngineLine =
  | { readonly met: FaultCase }
  | { readonly killed: number }
  /** `kind` is null when there was no migration to resume: the guest is where it was. */
  | {
      readonly ended: {
        readonly kind: OutcomeKind | null;
        readonly guest: HandedGuest | null;
        readonly why: string;
      };
    };

const {
  guest,
  recovers,
  sideArgs,
  journal: path,
  injected,
} = JSON.parse(process.argv[2] ?? "") as EngineOptions;
const say = (line: EngineLine) => writeSync(1, `${JSON.stringify(line)}\n`);
const injection = new Injection(
  injected,
  (met) => say({ met }),
  (killed) => say({ killed }),
);
const journal = await openFileJournal(path);

async function begin(): Promise<Migration> {
  const options = { guest: await takeGuest(guest), journal, destination: { sideArgs } };
  const migration: Migration = migrateWith(
    { ...options, ...injection.options(() => migration) },
    injection.around,
  );
  return migration;
}

async function resumeFromJournal(): Promise<Migration | undefined> {
  const { fence, observe, around } = injection;
  const { migrations, failed } = await recoverWith({ journal, observe, ...(fence ? { fence } : {}) }, around);
  if (failed[0] !== undefined) throw failed[0];
  return migrations[0];
}

try {
  const outcome = await (recovers ? await resumeFromJournal() : await begin())?.outcome;
  if (outcome === undefined) say({ ended: { kind: null, guest, why: "" } });
  else {
    const { kind, guest: last, error } = outcome;
    const handed = last && { spec: last.spec, handle: last.process.handle };
    say({ ended: { kind, guest: handed, why: error?.message ?? "" } });
  }
} catch (error) {
  say({ ended: { kind: null, guest: null, why: messageOf(error) } });
}
process.exit(0);
