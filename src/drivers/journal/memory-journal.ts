// A journal in memory, for one process that migrates a guest between two QEMUs of its own: after it dies, only the monitors
// of its children are left, and no other process would read a journal file.

import type { Journal, JournalRecord } from "../../effects/ports.js";

export function memoryJournal(): Journal & { readonly records: readonly JournalRecord[] } {
  const records: JournalRecord[] = [];
  return { records, append: async (record) => void records.push(record) };
}
