// Follows a source's machine for those who look on from outside: each pass, the pause of the switchover, and the figures
// when the memory is over there. It changes nothing about the migration.

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
  /** By libvirt's names, as they were heard last: nobody is asked while the guest stands still. */
  figures(): Readonly<Record<string, number>>;
  /** Once the domain is idle again, or gone. */
  ended(report: SourceReport): Promise<void>;
}

type Standing = "migration" | "postcopy" | "postcopyFailed";

/** How the guest stands here; null while it is its own. */
function standingOf(snapshot: SnapshotFrom<SourceActor>): Standing | null {
  const { libvirt = null } = metaIn("source", stateName(snapshot));
  if (libvirt !== "migration") return libvirt;
  // Which of both it becomes is known as soon as QEMU has said so.
  const isOpen = snapshot.context.postcopy === "announced" && !snapshot.hasTag("performed");
  return isOpen ? null : "migration";
}

/** In libvirt's words, unless they have been said already. */
export function tellStanding({ domains }: Host, entry: ManagedDomain, standing: Standing): void {
  const { name, reason } = entry.state;
  const wanted = reasons.paused[standing];
  // A guest that somebody has paused before, or that was in post-copy, has not stopped for it now.
  if (name === "paused" && (reason === wanted || standing === "migration")) return;
  entry.state = { name: "paused", reason: wanted };
  domains.tell(entry, "suspended", standing === "migration" ? "migrated" : standing);
}

export function followSource(host: Host, entry: ManagedDomain, actor: SourceActor, job: Job): FollowedSource {
  const { jobs, clock } = host;
  let last: Progress | null = null;
  let completed: Promise<Readonly<Record<string, number>> | null> | undefined;
  const doubts = followDoubts(entry);
  const stopHearing = entry.live?.guest.process.main.onEvent((event) => {
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
      stopHearing?.();
      if (outcome === "stuck") return;
      const how = howEnded(outcome, failures);
      // The copies were equal when they were let go of; the last report is from before that, or from before they began.
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

/** Quarantines the guest while the destination's host cannot say who runs it. */
function followDoubts({ authority, name }: ManagedDomain) {
  let undecidedIn: string | null = null;
  return (snapshot: SnapshotFrom<SourceActor>): void => {
    const state = topState(stateName(snapshot));
    const { identity, prepared } = snapshot.context;
    if (snapshot.status === "active" && snapshot.hasTag("needsOperator")) {
      if (undecidedIn === null) {
        const there = prepared?.peer?.hostname || "the destination's host";
        const why = `${there} cannot say who runs the guest after the migration ${identity.migrationId}: what it recorded is lost or cannot be read, or its QEMU does not answer (switchover standing says which, there); say who has it: switchover adopt ${name} (this copy is the guest) or switchover release ${name} (it is not)`;
        authority.send({ type: "migration.undecided", why });
      }
      undecidedIn = state;
    } else if (undecidedIn !== null && undecidedIn !== state) {
      undecidedIn = null;
      authority.send({ type: "migration.decided" });
    }
  };
}

/** A QEMU that has just been ended does not answer any more. */
const figuresMs = 50;
const tooLong = (clock: Clock) =>
  new Promise<null>((resolve) => clock.setTimeout(() => resolve(null), figuresMs));

function howEnded(outcome: SourceReport["outcome"], [first]: readonly Failure[]): FinishedJob["how"] {
  if (outcome === "left") return "completed";
  return first === undefined || first.code === "aborted" ? "cancelled" : "failed";
}

/** In a later turn: whoever answers Perform comes first. */
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
