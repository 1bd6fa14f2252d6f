// Reads the story of one migration, and derives the input with which each side is resumed after a crash.

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

/** Contents of a story file. */
export interface Story {
  readonly records: readonly JournalRecord[];
  /** An incomplete last line: the crash came before it was durable, so that nothing depends on it. */
  readonly torn: string | null;
  /** Length of the intact part of the file, in bytes. */
  readonly wholeBytes: number;
  /** Version of the last records. */
  readonly version: number;
}

/** @throws JournalError with the line number; the file system's error when the file cannot be read. */
export async function readStory(path: string): Promise<Story> {
  const lines = (await readFile(path, "utf8")).split("\n");
  const rest = lines.pop() ?? "";
  if (lines.length === 0 && lineOf({ kind: "journal", version }).startsWith(rest)) {
    return { records: [], torn: rest === "" ? null : rest, wholeBytes: 0, version };
  }
  const entries = lines.map((line, index) => entryAt(path, index + 1, line));
  // A torn line lacks more than its line feed: a line that lacks only the line feed was damaged later.
  if (entryOf(rest.slice(0, -1)) !== undefined) throw damaged(path, lines.length + 1);
  const [first, ...records] = entries;
  const head = header.safeParse(first);
  if (!head.success) throw new JournalError(`${path} is not a journal of switchover`);
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

/** Every line that ends in a line feed was written completely: a wrong checksum is damage, even in the last line. */
function entryAt(path: string, line: number, text: string): unknown {
  const entry = entryOf(text);
  if (entry === undefined) throw damaged(path, line);
  return entry;
}

const damaged = (path: string, line: number): JournalError =>
  new JournalError(`${path}, line ${line}: the checksum does not match; the journal is damaged`);

/** The input with which a side was started, and its state and data at its last durable record. */
export interface Interrupted<S extends Side = Side> {
  readonly opened: Extract<OpenedRecord, { side: S }>;
  readonly woken: Woken & { readonly learned: StateRecord["learned"] };
}

/** Returns null when the side was never started, or has recorded no state: then it has done nothing yet. */
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

/** Whether the guest was taken in post-copy, and memory is still missing from its source. */
export const fetchesMemory = ({ woken }: Interrupted<"destination">): boolean =>
  metaIn("destination", woken.state).guest === "runs" && woken.learned["memory"] === "partly";

/** Merges the data recorded later over the initial data. */
function memoryOf<Memory extends object>({ woken }: Pick<Interrupted, "woken">, atFirst: Memory): Memory {
  const known = Object.keys(atFirst).filter((name) => name in woken.learned);
  return Object.assign(
    { ...atFirst },
    Object.fromEntries(known.map((name) => [name, woken.learned[name as keyof typeof woken.learned]])),
  );
}

/** The input with which the source is resumed after a crash; the next two do the same for the other sides. */
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
