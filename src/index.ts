// The public library.

export { type Checked, type CheckOptions, checkBetween } from "./check.js";
export type { Incompatibility, IncompatibilityCode } from "./drivers/domain-xml/checks/incompatibility.js";
export { type EtcdFenceOptions, etcdFence, fenceByProof } from "./drivers/fencing/etcd.js";
export { JournalWriteError } from "./drivers/journal/durable.js";
export {
  type FileJournal,
  type Found,
  type OpenStory,
  openFileJournal,
} from "./drivers/journal/file-journal.js";
export { JournalError, readStory, type Story } from "./drivers/journal/story.js";
export type { Summary } from "./drivers/journal/summary.js";
export type { UnreadableStory } from "./drivers/journal/unreadable.js";
export type { Launcher, LaunchRequest, SyncTime } from "./drivers/qemu/guest/destination-guest.js";
export type { GraphicsWish } from "./drivers/qemu/guest/graphics.js";
export { type DirtyRate, measureDirtyRate } from "./drivers/qemu/migration/dirty-rate.js";
export type { DialogueLine } from "./drivers/qemu/monitor/errors.js";
export type { QemuHandle, QemuProcess, QemuSpec } from "./drivers/qemu/process/process.js";
export type { Inspect, Observation, Observe } from "./effects/observe.js";
export type { Clock, Fence, Ids, Journal, JournalRecord } from "./effects/ports.js";
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
export { type MigrateOptions, migrate } from "./migrate.js";
export type { Migration, MigrationSnapshot, Outcome } from "./migration.js";
export { GuestUnavailableError } from "./one-migration.js";
export type { Tuned } from "./person.js";
export { launchProofGuest, type ProofGuest } from "./proof-guest.js";
export { defaultLimits, type Limits, type Progress } from "./protocol/convergence.js";
export { checkConvergencePolicy } from "./protocol/convergence-check.js";
export {
  autoConvergePolicy,
  type Condition,
  type ConvergencePolicy,
  type Measure,
  postcopyAfterPrecopyPolicy,
  type Rule,
  type Steps,
  timeoutPolicy,
} from "./protocol/convergence-policy.js";
export { type Deadlines, defaultDeadlines } from "./protocol/deadlines.js";
export { MigrationError } from "./protocol/errors.js";
export type { Failure } from "./protocol/failures.js";
export { type Beforehand, describeForecast, type Forecast, forecastBefore } from "./protocol/forecast.js";
export type { OutcomeKind, Runner } from "./protocol/outcomes.js";
export { defaultPolicy, type Policy, type WhenUnreachable } from "./protocol/policy.js";
export type { Compression, Dropped, OptionalOption, StreamWish, TlsWish } from "./protocol/stream.js";
export { type Recovered, recoverMigrations } from "./recover.js";
export {
  type MigrateBetweenOptions,
  migrateBetween,
  type RemoteMigration,
  type RemoteOutcome,
} from "./remote-migration.js";
