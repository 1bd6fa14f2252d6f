// Reads and writes stories as text: the journal of one migration, a story file (a journal with everything else that was
// observed), a counterexample of the simulated world. Validates each line, in a browser too; an invalid line is never skipped.

import * as z from "zod/mini";
import { header, parseRecord } from "../../drivers/journal/records.js";
import { StoryReader, unreadableVersion } from "../../drivers/journal/story-reader.js";
import { entryOf } from "../../drivers/platform/checked-lines.js";
import { isRecord } from "../../effects/trace.js";
import { type Counterexample, parseCounterexample } from "../../simulator/counterexample.js";
import type { Entry } from "./moment.js";

/** The version of the format of the entries below. */
export const storyVersion = 1;
const storyHeader = z.object({ kind: z.literal("story"), version: z.number() });
export const storyHead = { kind: "story", version: storyVersion };

const common = {
  migrationId: z.string(),
  side: z.enum(["source", "destination", "coordinator"]),
  atMs: z.number(),
};
const place = z.string() as z.ZodMiniType<Extract<Entry, { kind: "call" }>["place"]>;
const identity = z.object({ migrationId: z.string(), uuid: z.string(), name: z.string() });
const seen = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("woken"), ...common, identity }),
  z.object({ kind: z.literal("call"), ...common, call: z.number(), place }),
  z.object({
    kind: z.literal("answer"),
    ...common,
    call: z.number(),
    place,
    answer: z.enum(["done", "failed", "unknown", "given up"]),
    says: z.string(),
  }),
  z.object({
    kind: z.literal("line"),
    ...common,
    monitor: z.enum(["main", "rescue"]),
    direction: z.enum(["sent", "received"]),
    text: z.string(),
  }),
  z.object({
    kind: z.literal("progress"),
    ...common,
    forecast: z.string(),
    progress: z.object({
      transferredBytes: z.number(),
      remainingBytes: z.number(),
      totalBytes: z.number(),
      dirtyBytesPerSecond: z.number(),
      bandwidthBytesPerSecond: z.number(),
      pass: z.number(),
      expectedDowntimeMs: z.nullable(z.number()),
      elapsedMs: z.number(),
      disks: z.nullable(z.object({ copiedBytes: z.number(), totalBytes: z.number() })),
    }),
  }),
  z.object({ kind: z.literal("move"), ...common, fault: z.boolean(), says: z.string() }),
]);

/** The text is not a valid story; the message names the place and the reason. */
export class StoryTextError extends Error {
  override readonly name = "StoryTextError";
}

export type StoryText =
  | {
      readonly kind: "story";
      readonly entries: readonly Entry[];
      /** Remarks on the text itself, such as a torn last line. */
      readonly remarks: readonly string[];
    }
  | { readonly kind: "counterexample"; readonly counterexample: Counterexample };

/** Parses the text of a story. Errors refer to it as `name`. @throws StoryTextError. */
export function readStoryText(name: string, text: string): StoryText {
  const [first = "", ...rest] = text.split("\n");
  const wrong = (line: number, why: string) => new StoryTextError(`${name}, line ${line}: ${why}`);
  const opening = parsed(first) ?? parsed(first.slice(9)) ?? parsed(text);
  if (isCounterexample(opening)) {
    const counterexample = parseCounterexample(opening);
    if ("wrong" in counterexample) throw new StoryTextError(`${name}: ${counterexample.wrong}`);
    return { kind: "counterexample", counterexample };
  }
  const isJournal = header.safeParse(opening).success;
  const head = (isJournal ? header : storyHeader).safeParse(opening);
  if (!head.success)
    throw new StoryTextError(
      `${name} is not a story: expected a journal, a story file or a counterexample written by switchover`,
    );
  const wrongVersion = isJournal ? unreadableVersion(head.data.version) : unreadableStory(head.data.version);
  if (wrongVersion !== null) throw new StoryTextError(`${name} ${wrongVersion}`);
  const reader = new StoryReader(head.data.version);
  const torn = rest.pop() ?? "";
  const entries = rest.flatMap((line, index) => {
    const json = isJournal ? entryOf(line) : parsed(line);
    if (isJournal && json === undefined) throw wrong(index + 2, "checksum mismatch: the journal is damaged");
    const entry = isJournal ? reader.read(json) : parseEntry(json);
    if (entry !== null && "wrong" in entry) throw wrong(index + 2, entry.wrong);
    return entry ?? [];
  });
  const remarks =
    torn === ""
      ? []
      : [`${name}: the last line is torn and is ignored; no effect that depends on it had started`];
  return { kind: "story", entries, remarks };
}

const unreadableStory = (found: number): string | null =>
  found === storyVersion ? null : `has version ${found}; this page reads version ${storyVersion}`;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const isCounterexample = (json: unknown): boolean =>
  typeof json === "object" && json !== null && "kind" in json && json.kind === "counterexample";

/** Returns the entry, or the reason why it is not valid. */
export function parseEntry(json: unknown): Entry | { readonly wrong: string } {
  if (typeof json !== "object" || json === null) return { wrong: "not a JSON object" };
  const kind = "kind" in json ? json.kind : undefined;
  if (typeof kind !== "string") return { wrong: "the kind is missing" };
  if (isRecord({ kind })) return parseRecord(json);
  const entry = seen.safeParse(json);
  return entry.success ? entry.data : { wrong: z.prettifyError(entry.error) };
}

/** Returns the text of a story file. */
export const storyTextOf = (entries: readonly Entry[]): string =>
  [storyHead, ...entries].map((entry) => `${JSON.stringify(entry)}\n`).join("");
