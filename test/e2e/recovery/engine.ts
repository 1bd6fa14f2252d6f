// An engine in its own process that moves a guest of its parent, and kills itself without notice at one record of its story:
// when that record is written, or as soon as it is durable.

import { openFileJournal } from "../../../src/drivers/journal/file-journal.js";
import type { Journal, JournalRecord } from "../../../src/effects/ports.js";
import { isRecord } from "../../../src/effects/trace.js";
import { migrate } from "../../../src/library/local/migrate.js";
import { type AdoptedGuest, adoptGuest } from "../../../src/library/local/running-guest.js";
import type { StreamOptions } from "../../../src/protocol/stream.js";

export interface EngineOptions {
  readonly guest: AdoptedGuest;
  readonly sideArgs: readonly string[];
  readonly journal: string;
  /** The number of the record at which the engine dies; 0 is the first. */
  readonly diesAt: number;
  readonly when: "made" | "durable";
  readonly aborts: boolean;
  readonly stream?: StreamOptions;
  /** Switches to post-copy, breaks the connection, and dies before it reconnects. */
  readonly breaksPostcopy?: boolean;
}

const words = JSON.parse(process.argv[2] ?? "") as EngineOptions;
const { diesAt, when, aborts, stream = {}, breaksPostcopy = false } = words;
const journal = await openFileJournal(words.journal);
let made = -1;
let durable = -1;
const die = (record: JournalRecord) => {
  const what = record.kind === "state" ? record.state : record.kind;
  process.stdout.write(`${record.side} ${what}\n`);
  process.kill(process.pid, "SIGKILL");
};
const watched: Journal = {
  append: async (record) => {
    await journal.append(record);
    durable += 1;
    if (when === "durable" && durable === diesAt) die(record);
  },
};
const guest = await adoptGuest(words.guest);
const limits = aborts || breaksPostcopy ? { bandwidthMiBps: 24, maxDowntimeMs: 20 } : {};
const migration = migrate({
  guest,
  limits,
  stream,
  journal: watched,
  destination: { sideArgs: words.sideArgs },
  observe: (record) => {
    if (!isRecord(record)) return;
    made += 1;
    if (when === "made" && made === diesAt) die(record);
    if (breaksPostcopy && record.kind === "state" && record.side === "source") {
      if (record.state.startsWith("precopying")) setTimeout(() => void migration.startPostcopy(), 300);
      if (record.state === "serving.watching")
        void guest.process.rescue.execute("migrate-pause", {}, { oob: true });
      if (record.state.startsWith("reconnecting")) die(record);
    }
    if (aborts && record.kind === "state" && record.state.startsWith("precopying"))
      setTimeout(() => void migration.abort(), 20);
  },
});
const { kind } = await migration.outcome;
process.stdout.write(`ended ${kind}\n`);
process.exit(0);
