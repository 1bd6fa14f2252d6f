// The public API of the library.

export type { Incompatibility, IncompatibilityCode } from "./drivers/domain-xml/checks/incompatibility.js";
export { type EtcdFenceOptions, etcdFence, fenceByProof } from "./drivers/fencing/etcd.js";
export { JournalWriteError } from "./drivers/journal/durable.js";
export { openFileJournal } from "./drivers/journal/file-journal.js";
export { JournalError, readStory, type Story } from "./drivers/journal/story.js";
export type { Summary } from "./drivers/journal/summary.js";
export type { FileJournal, Found, OpenStory } from "./drivers/journal/types.js";
export type { UnreadableStory } from "./drivers/journal/unreadable.js";
export type { Launcher, LaunchRequest, SyncTime } from "./drivers/qemu/guest/destination-guest.js";
export type { GraphicsOptions } from "./drivers/qemu/guest/graphics.js";
export { type DirtyRate, measureDirtyRate } from "./drivers/qemu/migration/dirty-rate.js";
export type { DialogueLine } from "./drivers/qemu/monitor/errors.js";
export type { QemuProcess } from "./drivers/qemu/process/process.js";
export type { QemuHandle, QemuSpec } from "./drivers/qemu/process/spec.js";
export type { Clock, Fence, Ids, Journal, JournalRecord } from "./effects/ports.js";
export type { Inspect, Observation, Observe } from "./effects/trace.js";
export { type MigrateOptions, migrate } from "./library/local/migrate.js";
export { GuestUnavailableError } from "./library/local/one-migration.js";
export { type Recovered, recoverMigrations } from "./library/local/recover.js";
export {
  type AdoptedGuest,
  adoptGuest,
  type LaunchOptions,
  launchGuest,
  type RunningGuest,
} from "./library/local/running-guest.js";
export type { Migration, MigrationSnapshot, Outcome } from "./library/migration-handle.js";
export { type Checked, type CheckOptions, checkBetween } from "./library/preflight.js";
export {
  type MigrateBetweenOptions,
  migrateBetween,
  type RemoteMigration,
  type RemoteOutcome,
} from "./library/remote/migrate-between.js";
export type { Tuned } from "./library/user-commands.js";
export {
  describeForecast,
  type Forecast,
  forecastBefore,
  type PreMigrationEstimate,
} from "./protocol/convergence/forecast.js";
export { defaultLimits, type Limits, type Progress } from "./protocol/convergence/limits.js";
export {
  autoConvergePolicy,
  type Condition,
  type ConvergenceAction,
  type ConvergencePolicy,
  postcopyAfterPrecopyPolicy,
  type Ramp,
  type Rule,
  timeoutPolicy,
} from "./protocol/convergence/policy.js";
export { checkConvergencePolicy } from "./protocol/convergence/validate.js";
export { type Deadlines, defaultDeadlines } from "./protocol/deadlines.js";
export type { Failure } from "./protocol/failure.js";
export { MigrationError } from "./protocol/migration-error.js";
export type { OutcomeKind, RunningSide } from "./protocol/outcomes.js";
export type { Compression, Dropped, OptionalOption, StreamOptions, TlsOptions } from "./protocol/stream.js";
export { defaultPolicy, type Policy, type WhenUnreachable } from "./protocol/unreachable-policy.js";
