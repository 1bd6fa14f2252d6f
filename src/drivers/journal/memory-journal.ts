// A journal in memory, for one process that moves a guest between two QEMUs of its own: when it dies, its children's
// monitors are what is left, and there is nobody else to read a file.

import type { Journal, JournalRecord } from "../../effects/ports.js";

export function memoryJournal(): Journal & { readonly records: readonly JournalRecord[] } {
  const records: JournalRecord[] = [];
  return { records, append: async (record) => void records.push(record) };
}
