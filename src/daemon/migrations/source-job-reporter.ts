// Reports a source's migration to observers: each pass, the suspension for the switchover, and the statistics when the memory
// has been transferred. It never changes the migration.

import type { SnapshotFrom } from "xstate";
import type { SourceActor } from "../../effects/in-process-peers.js";
import type { Clock } from "../../effects/ports.js";
import { topState } from "../../machines/shared/state-name.js";
import { metaIn } from "../../machines/shared/states.js";
import { stateName } from "../../machines/shared/walk.js";
import type { Progress } from "../../protocol/convergence/limits.js";
import type { Failure } from "../../protocol/failure.js";
import { describeFailure } from "../../protocol/failure.js";
import type { SourceReport } from "../../protocol/messages.js";
import { elapsedMs, type FinishedJob, figuresOf, type Job, memoryFigures } from "../domains/job.js";
import { type ManagedDomain, reasons } from "../domains/managed-domain.js";
import type { Host } from "../host.js";

export interface FollowedSource {
  /** The last reported statistics, by libvirt's names. QEMU is not queried during the downtime. */
  figures(): Readonly<Record<string, number>>;
  /** Must be called when the domain is idle again or gone. */
  ended(report: SourceReport): Promise<void>;
}

type Standing = "migration" | "postcopy" | "postcopyFailed";

/** Returns the guest's state in the migration; null while the migration does not affect it. */
function standingOf(snapshot: SnapshotFrom<SourceActor>): Standing | null {
  const { libvirt = null } = metaIn("source", stateName(snapshot));
  if (libvirt !== "migration") return libvirt;
  // Until QEMU reports it, it is open whether this becomes a switchover or post-copy.
  const isOpen = snapshot.context.postcopy === "announced" && !snapshot.hasTag("performed");
  return isOpen ? null : "migration";
}

/** Emits libvirt's event for the state, unless it was emitted before. */
export function tellStanding({ domains }: Host, entry: ManagedDomain, standing: Standing): void {
  const { name, reason } = entry.state;
  const wanted = reasons.paused[standing];
  // A guest that was suspended before, or that was in post-copy, has not stopped because of this.
  if (name === "paused" && (reason === wanted || standing === "migration")) return;
  entry.state = { name: "paused", reason: wanted };
  domains.tell(entry, "suspended", standing === "migration" ? "migrated" : standing);
}

export function followSource(host: Host, entry: ManagedDomain, actor: SourceActor, job: Job): FollowedSource {
  const { jobs, clock } = host;
  let last: Progress | null = null;
  let completed: Promise<Readonly<Record<string, number>> | null> | undefined;
  const doubts = followDoubts(entry);
  const unsubscribe = entry.live?.guest.process.main.onEvent((event) => {
    if (event.name === "MIGRATION_PASS") jobs.iterated(entry, event.data.pass);
  });
  actor.subscribe({
    next: (snapshot) => {
      last = snapshot.context.progress;
      const standing = standingOf(snapshot);
      if (standing !== null && entry.live !== null) tellStanding(host, entry, standing);
      if (snapshot.matches({ handover: "handedOver" })) completed ??= completedFigures(entry);
      doubts(snapshot);
    },
    error: () => {},
  });
  const figures = () => ({
    time_elapsed: elapsedMs(job, clock.now()),
    ...(last === null ? {} : figuresOf(last)),
  });
  return {
    figures,
    ended: async ({ outcome, failures }) => {
      unsubscribe?.();
      if (outcome === "stuck") return;
      const how = howEnded(outcome, failures);
      // The mirrors were in sync at the switchover; the last report is older, or from before they began.
      if (how === "completed" && last?.disks) {
        const { guest } = actor.getSnapshot().context;
        const capacities = guest?.disks.map((disk) => disk.capacityBytes) ?? [];
        const totalBytes = last.disks.totalBytes || capacities.reduce((sum, capacity) => sum + capacity, 0);
        last = { ...last, disks: { totalBytes, copiedBytes: totalBytes } };
      }
      const errmsg = how === "failed" ? failures.map(describeFailure).join("; ") : undefined;
      const fromQemu = await Promise.race([completed, tooLong(clock)]);
      jobs.ended(entry, { how, operation: job.what, figures: { ...figures(), ...fromQemu }, errmsg });
    },
  };
}

/** Quarantines the guest while the destination host cannot report who runs it. */
function followDoubts({ authority, name }: ManagedDomain) {
  let undecidedIn: string | null = null;
  return (snapshot: SnapshotFrom<SourceActor>): void => {
    const state = topState(stateName(snapshot));
    const { identity, prepared } = snapshot.context;
    if (snapshot.status === "active" && snapshot.hasTag("needsOperator")) {
      if (undecidedIn === null) {
        const there = prepared?.peer?.hostname || "the destination host";
        const why = `${there} cannot report who runs the guest after migration ${identity.migrationId}: its records are lost or unreadable, or its QEMU does not answer (run switchover standing on that host); decide with: switchover adopt ${name} (this copy is the guest) or switchover release ${name} (it is not)`;
        authority.send({ type: "migration.undecided", why });
      }
      undecidedIn = state;
    } else if (undecidedIn !== null && undecidedIn !== state) {
      undecidedIn = null;
      authority.send({ type: "migration.decided" });
    }
  };
}

// Limits the query, because a QEMU that is being ended may not answer.
const figuresMs = 50;
const tooLong = (clock: Clock) =>
  new Promise<null>((resolve) => clock.setTimeout(() => resolve(null), figuresMs));

function howEnded(outcome: SourceReport["outcome"], [first]: readonly Failure[]): FinishedJob["how"] {
  if (outcome === "left") return "completed";
  return first === undefined || first.code === "aborted" ? "cancelled" : "failed";
}

/** Queries QEMU in a later turn, so that the reply to Perform is sent first. */
async function completedFigures({ live }: ManagedDomain): Promise<Record<string, number> | null> {
  await new Promise((resolve) => setImmediate(resolve));
  const info = await live?.guest.process.main.execute("query-migrate", {}).catch(() => undefined);
  if (info?.status !== "completed") return null;
  const { ram } = info;
  return {
    ...(info["total-time"] !== undefined && { time_elapsed: info["total-time"] }),
    ...(info.downtime !== undefined && { downtime: info.downtime }),
    ...(info["setup-time"] !== undefined && { setup_time: info["setup-time"] }),
    ...(ram !== undefined &&
      memoryFigures({
        totalBytes: ram.total,
        transferredBytes: ram.transferred,
        remainingBytes: ram.remaining,
        bandwidthBytesPerSecond: (ram.mbps * 1_000_000) / 8,
        pass: ram["dirty-sync-count"],
      })),
  };
}
