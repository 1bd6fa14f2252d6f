// The public library.

export {
  type FileJournal,
  JournalError,
  openFileJournal,
  readStory,
  type Story,
} from "./drivers/file-journal.js";
export type { Launcher, LaunchRequest } from "./drivers/qemu/destination-guest.js";
export type { DialogueLine } from "./drivers/qemu/monitor/errors.js";
export type { QemuHandle, QemuProcess, QemuSpec } from "./drivers/qemu/process.js";
export type { Clock, Ids, Journal, JournalRecord } from "./effects/ports.js";
export {
  type ContinuityFault,
  type ContinuityReport,
  checkContinuity,
  describeContinuity,
} from "./guest/continuity.js";
export { buildFirmware, type ProofGuestOptions, proofGuestOptions } from "./guest/firmware.js";
export {
  type AdoptedGuest,
  adoptGuest,
  type LaunchOptions,
  launchGuest,
  type RunningGuest,
} from "./guests.js";
export {
  type MigrateOptions,
  type Migration,
  type MigrationSnapshot,
  migrate,
  type Outcome,
  type Tuned,
} from "./migrate.js";
export { launchProofGuest, type ProofGuest } from "./proof-guest.js";
export { defaultLimits, type Limits, type Progress } from "./protocol/convergence.js";
export { type Deadlines, defaultDeadlines } from "./protocol/deadlines.js";
export { MigrationError } from "./protocol/errors.js";
export type { Failure } from "./protocol/failures.js";
export type { OutcomeKind, Runner } from "./protocol/outcomes.js";
