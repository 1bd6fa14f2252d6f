// Formats one record of a migration for an operator: the time, the side, the event and its causes.

import type { JournalRecord } from "../effects/ports.js";
import { describeFailure } from "../protocol/failure.js";

/** Returns the lines for one record. Times are relative to `firstMs`, in milliseconds since 1970. */
export function tell(record: JournalRecord, firstMs: number): string[] {
  const at = `${record.atMs - firstMs}`.padStart(6);
  const line = (what: string) => `${at} ms  ${record.side.padEnd(11)}  ${what}`;
  if (record.kind === "state") {
    const because = record.because.map((failure) => line(`  because ${describeFailure(failure)}`));
    return [line(`${record.state}  (${record.event})`), ...because];
  }
  if (record.kind === "opened") return [line(`begins for ${record.input.identity.name}`)];
  if (record.kind === "tombstone")
    return [line("queried about a migration that had not arrived here: refused for good")];
  const { aside } = record;
  if (aside.type === "tuned")
    return [line(`new limits: ${aside.bandwidthMiBps} MiB/s, max downtime ${aside.maxDowntimeMs} ms`)];
  if (aside.type === "measure") return [line(`rule ${aside.rule} ${aside.does} because ${aside.why}`)];
  if (aside.type === "forecast") return [line(`forecast: ${aside.says}`)];
  return [line(`${aside.type} ${aside.event}: ${aside.why}`)];
}
