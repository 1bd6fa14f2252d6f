// Keeps the journal within its limits: at the start and every minute it removes stories of ended migrations that exceed the
// configured number or age. Their decisions are kept.

import { messageOf } from "../protocol/effect-result.js";
import type { Host } from "./host.js";

const everyMs = 60_000;
const dayMs = 86_400_000;

/** Returns a function that stops the compaction and resolves when no removal is running. */
export function compacting({
  config,
  journal,
  clock,
  warn,
}: Pick<Host, "journal" | "clock" | "warn"> & {
  readonly config: Pick<Host["config"], "journal">;
}): () => Promise<void> {
  const { keepStories, keepDays } = config.journal;
  let isStopped = false;
  let timer: unknown;
  let running: Promise<void> = Promise.resolve();
  const compact = async () => {
    try {
      await journal.compact(keepStories, clock.now() - keepDays * dayMs);
    } catch (error) {
      warn(`the journal in ${journal.directory} cannot be compacted: ${messageOf(error)}`);
    }
    if (!isStopped) timer = clock.setTimeout(start, everyMs);
  };
  const start = () => {
    running = compact();
  };
  start();
  return async () => {
    isStopped = true;
    clock.clearTimeout(timer);
    await running;
  };
}
