// Reads the journal of one migration, and what each side must know to be taken up again.

import { readFile } from "node:fs/promises";
import type { JournalRecord, OpenedRecord, StateRecord } from "../../effects/ports.js";
import type { CoordinatorInput, CoordinatorMemory } from "../../machines/coordinator/machine.js";
import type { DestinationInput, DestinationMemory } from "../../machines/destination/machine.js";
import type { Woken } from "../../machines/shared/actions.js";
import { hasTag, isFinal } from "../../machines/shared/states.js";
import type { SourceInput, SourceMemory } from "../../machines/source/machine.js";
import type { Decision } from "../../protocol/messages.js";
import type { Side } from "../../protocol/steps.js";
import { entryOf, lineOf } from "./lines.js";
import { header, parseRecord, version } from "./records.js";

/** What a journal file holds. */
export interface Story {
  readonly records: readonly JournalRecord[];
  /** A last line that was not written whole: the crash came before it was durable, so nothing rested on it. */
  readonly torn: string | null;
  /** How much of the file is whole. */
  readonly wholeBytes: number;
}

/** A journal that cannot be read: not ours, of another version, or damaged before its end. */
export class JournalError extends Error {
  override readonly name = "JournalError";
}

/** @throws JournalError with the line; an error of the file system when the file cannot be read. */
export async function readStory(path: string): Promise<Story> {
  const lines = (await readFile(path, "utf8")).split("\n");
  const rest = lines.pop() ?? "";
  if (lines.length === 0 && lineOf({ kind: "journal", version }).startsWith(rest)) {
    return { records: [], torn: rest === "" ? null : rest, wholeBytes: 0 };
  }
  const entries = lines.map((line) => entryOf(line));
  const damaged = entries.indexOf(undefined);
  const lastIsTorn = damaged !== -1 && damaged === lines.length - 1 && rest === "";
  if (damaged !== -1 && !lastIsTorn)
    throw new JournalError(`${path}, line ${damaged + 1}: the checksum does not fit; the journal is damaged`);
  const whole = lastIsTorn ? lines.slice(0, -1) : lines;
  const [first, ...records] = entries.filter((it) => it !== undefined);
  const head = header.safeParse(first);
  if (!head.success) throw new JournalError(`${path} is no journal of switchover`);
  if (head.data.version !== version) {
    throw new JournalError(
      `${path} is a journal of version ${head.data.version}; this switchover reads version ${version}`,
    );
  }
  return {
    wholeBytes: whole.reduce((sum, line) => sum + Buffer.byteLength(line) + 1, 0),
    torn: rest !== "" ? rest : lastIsTorn ? (lines[damaged] ?? "") : null,
    records: records.map((entry, index) => {
      const record = parseRecord(entry);
      if (!("wrong" in record)) return record;
      throw new JournalError(`${path}, line ${index + 2}: ${record.wrong}`);
    }),
  };
}

/** What one side was begun with, and what it knew at its last durable record. */
export interface Interrupted<S extends Side = Side> {
  readonly opened: Extract<OpenedRecord, { side: S }>;
  readonly woken: Woken & { readonly learned: StateRecord["learned"] };
}

/** Null when the side was never begun, or so lately that nothing can have been done yet. */
export function interrupted<S extends Side>(story: Story, side: S): Interrupted<S> | null {
  const own = story.records.filter((it) => it.side === side);
  const opened = own.find(
    (it): it is Extract<OpenedRecord, { side: S }> => it.kind === "opened" && it.side === side,
  );
  const states = own.filter((it) => it.kind === "state");
  const last = states.at(-1);
  if (opened === undefined || last === undefined) return null;
  return {
    opened,
    woken: {
      state: last.state,
      failures: states.flatMap((it) => it.because),
      undone: states.flatMap((it) => it.undone),
      learned: Object.assign({}, ...states.map((it) => it.learned)),
    },
  };
}

/** What a destination has said for good, and says to whoever asks again; null when it has not, or was none. */
export function decisionOf({ records }: Pick<Story, "records">): Decision | null {
  const tombstone = records.find((it) => it.kind === "tombstone");
  if (tombstone !== undefined) return tombstone.decision ?? "refused";
  const last = records.findLast((it) => it.kind === "state" && it.side === "destination");
  if (last?.kind !== "state") return null;
  const says = (tag: Decision) => hasTag("destination", last.state, tag);
  return says("taken") ? "taken" : says("refused") ? "refused" : null;
}

/** What the side knew at its last record, over what it knew at its first. */
function memoryOf<Memory extends object>({ woken }: Pick<Interrupted, "woken">, atFirst: Memory): Memory {
  const known = Object.keys(atFirst).filter((name) => name in woken.learned);
  return Object.assign(
    { ...atFirst },
    Object.fromEntries(known.map((name) => [name, woken.learned[name as keyof typeof woken.learned]])),
  );
}

/** What each side is begun with again after a crash. */
export const wokenSource = (it: Interrupted<"source">): SourceInput => {
  const unknown: SourceMemory = {
    guest: null,
    settings: null,
    earlier: null,
    prepared: null,
    limits: it.opened.input.limits,
    postcopy: "unannounced",
    measures: [],
  };
  return { ...it.opened.input, woken: { ...it.woken, memory: memoryOf(it, unknown) } };
};
export const wokenDestination = (it: Interrupted<"destination">): DestinationInput => {
  const unknown: DestinationMemory = { prepared: null, memory: "precopied", postcopy: "unannounced" };
  return { ...it.opened.input, woken: { ...it.woken, memory: memoryOf(it, unknown) } };
};
export const wokenCoordinator = (it: Interrupted<"coordinator">): CoordinatorInput => {
  const unknown: CoordinatorMemory = { guest: null, prepared: null, source: null, destination: null };
  return { ...it.opened.input, woken: { ...it.woken, memory: memoryOf(it, unknown) } };
};

/** Whether every side is at its end, and needs nobody. One without a state had not done anything. */
export function hasEnded(story: Story): boolean {
  const last = new Map<Side, string>();
  for (const it of story.records) if (it.kind === "state") last.set(it.side, it.state);
  return [...last].every(([side, state]) => isFinal(side, state) && !hasTag(side, state, "needsOperator"));
}
