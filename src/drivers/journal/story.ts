// Reads the journal of one migration, and what each side must know to be taken up again.

import { readFile } from "node:fs/promises";
import type { JournalRecord, OpenedRecord, StateRecord } from "../../effects/ports.js";
import type { CoordinatorInput, CoordinatorMemory } from "../../machines/coordinator/machine.js";
import type { DestinationInput, DestinationMemory } from "../../machines/destination/machine.js";
import type { Woken } from "../../machines/shared/actions.js";
import { metaIn } from "../../machines/shared/states.js";
import type { SourceInput, SourceMemory } from "../../machines/source/machine.js";
import type { Side } from "../../protocol/steps.js";
import { entryOf, lineOf } from "../platform/checked-lines.js";
import { JournalError } from "./durable.js";
import { header, version } from "./records.js";
import { StoryReader, unreadableVersion } from "./story-reader.js";

export { JournalError } from "./durable.js";

/** What a journal file holds. */
export interface Story {
  readonly records: readonly JournalRecord[];
  /** A last line that was not written whole: the crash came before it was durable, so nothing rested on it. */
  readonly torn: string | null;
  /** How much of the file is whole. */
  readonly wholeBytes: number;
  /** The version of its last records. */
  readonly version: number;
}

/** @throws JournalError with the line; an error of the file system when the file cannot be read. */
export async function readStory(path: string): Promise<Story> {
  const lines = (await readFile(path, "utf8")).split("\n");
  const rest = lines.pop() ?? "";
  if (lines.length === 0 && lineOf({ kind: "journal", version }).startsWith(rest)) {
    return { records: [], torn: rest === "" ? null : rest, wholeBytes: 0, version };
  }
  const entries = lines.map((line, index) => entryAt(path, index + 1, line));
  // A torn line ends before its end: one that is whole but for its line feed was damaged later.
  if (entryOf(rest.slice(0, -1)) !== undefined) throw damaged(path, lines.length + 1);
  const [first, ...records] = entries;
  const head = header.safeParse(first);
  if (!head.success) throw new JournalError(`${path} is no journal of switchover`);
  const wrong = unreadableVersion(head.data.version);
  if (wrong !== null) throw new JournalError(`${path} ${wrong}`);
  const reader = new StoryReader(head.data.version);
  return {
    wholeBytes: lines.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0),
    torn: rest === "" ? null : rest,
    records: records.flatMap((entry, index) => {
      const record = reader.read(entry);
      if (record !== null && "wrong" in record)
        throw new JournalError(`${path}, line ${index + 2}: ${record.wrong}`);
      return record ?? [];
    }),
    version: reader.version,
  };
}

/** Every line that ends in a line feed was written whole: a wrong checksum is damage, also in the last one. */
function entryAt(path: string, line: number, text: string): unknown {
  const entry = entryOf(text);
  if (entry === undefined) throw damaged(path, line);
  return entry;
}

const damaged = (path: string, line: number): JournalError =>
  new JournalError(`${path}, line ${line}: the checksum does not fit; the journal is damaged`);

/** What one side was begun with, and what it knew at its last durable record. */
export interface Interrupted<S extends Side = Side> {
  readonly opened: Extract<OpenedRecord, { side: S }>;
  readonly woken: Woken & { readonly learned: StateRecord["learned"] };
}

/** Null when the side was never begun, or so lately that nothing can have been done yet. */
export function interrupted<S extends Side>(story: Story, side: S): Interrupted<S> | null {
  const own = story.records.filter((record) => record.side === side);
  const opened = own.find(
    (record): record is Extract<OpenedRecord, { side: S }> =>
      record.kind === "opened" && record.side === side,
  );
  const states = own.filter((record) => record.kind === "state");
  const last = states.at(-1);
  if (opened === undefined || last === undefined) return null;
  return {
    opened,
    woken: {
      state: last.state,
      failures: states.flatMap((state) => state.because),
      undone: states.flatMap((state) => state.undone),
      learned: Object.assign({}, ...states.map((state) => state.learned)),
    },
  };
}

/** Whether the guest had been taken in post-copy, and memory was still to come from its source. */
export const fetchesMemory = ({ woken }: Interrupted<"destination">): boolean =>
  metaIn("destination", woken.state).guest === "runs" && woken.learned["memory"] === "partly";

/** What the side knew at its last record, over what it knew at its first. */
function memoryOf<Memory extends object>({ woken }: Pick<Interrupted, "woken">, atFirst: Memory): Memory {
  const known = Object.keys(atFirst).filter((name) => name in woken.learned);
  return Object.assign(
    { ...atFirst },
    Object.fromEntries(known.map((name) => [name, woken.learned[name as keyof typeof woken.learned]])),
  );
}

/** What each side is begun with again after a crash. */
export const wokenSource = (side: Interrupted<"source">): SourceInput => {
  const unknown: SourceMemory = {
    guest: null,
    settings: null,
    earlier: null,
    prepared: null,
    limits: side.opened.input.limits,
    postcopy: "unannounced",
    measures: [],
  };
  return { ...side.opened.input, woken: { ...side.woken, memory: memoryOf(side, unknown) } };
};
export const wokenDestination = (side: Interrupted<"destination">): DestinationInput => {
  const unknown: DestinationMemory = { prepared: null, memory: "precopied", postcopy: "unannounced" };
  return { ...side.opened.input, woken: { ...side.woken, memory: memoryOf(side, unknown) } };
};
export const wokenCoordinator = (side: Interrupted<"coordinator">): CoordinatorInput => {
  const unknown: CoordinatorMemory = { guest: null, prepared: null, source: null, destination: null };
  return { ...side.opened.input, woken: { ...side.woken, memory: memoryOf(side, unknown) } };
};
