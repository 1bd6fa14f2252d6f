// `migrateBetween`: a migration between two hosts by libvirt's procedures, coordinated by this process (managed) or by the
// source host (peer-to-peer).

import type { MigrateFlag, MigrateParameters } from "../../drivers/libvirt/client/flags.js";
import { progressOf } from "../../drivers/libvirt/client/progress.js";
import { Redial } from "../../drivers/libvirt/client/reconnecting-client.js";
import { remote } from "../../drivers/libvirt/rpc/procedures.js";
import { systemClock, systemIds } from "../../drivers/platform/clock.js";
import type { EffectInterceptor } from "../../effects/bind.js";
import type { Clock, Ids, Journal } from "../../effects/ports.js";
import type { Inspect, Observe } from "../../effects/trace.js";
import type { Progress } from "../../protocol/convergence/limits.js";
import { messageOf } from "../../protocol/effect-result.js";
import type { Abort } from "../../protocol/messages.js";
import type { Tuned } from "../user-commands.js";
import { coordinateFromHere } from "./managed.js";
import { leadBySource } from "./peer-to-peer.js";
import type { RemoteOutcome } from "./types.js";

export type { RemoteOutcome } from "./types.js";

export interface MigrateBetweenOptions {
  /** libvirt connection URIs, such as `qemu+tls://host/system`. */
  readonly from: string;
  /** With `PEER2PEER` the source connects to this URI. */
  readonly to: string;
  /** The guest's name at the source. */
  readonly domain: string;
  /** libvirt's flags without the prefix `VIR_MIGRATE_`. Default: `LIVE`. */
  readonly flags?: readonly MigrateFlag[];
  readonly parameters?: MigrateParameters;
  /** Default: in memory. Unused with `PEER2PEER`, where the source host keeps one. */
  readonly journal?: Journal;
  readonly clock?: Clock;
  readonly ids?: Ids;
  /** Receives each record of the coordinator's story at once. Unused with `PEER2PEER`, where the source host coordinates. */
  readonly observe?: Observe;
  /** As in `migrate`, for the coordinator. Unused with `PEER2PEER`, where no machine runs in this process. */
  readonly inspect?: Inspect;
}

export interface RemoteMigration {
  readonly migrationId: string;
  /** Never rejects. The connections are closed by then. */
  readonly outcome: Promise<RemoteOutcome>;
  /** Returns the progress that the source host reports; null when it reports none. Never rejects. */
  progress(): Promise<Progress | null>;
  /** Aborts the migration. Accepted until the guest has been handed over, refused with a reason afterwards. */
  abort(): Promise<Abort>;
  /** Suspends the guest at the source, so that its memory stops changing; it resumes at the destination. Never rejects. */
  suspend(): Promise<Tuned>;
  /** Switches to post-copy, if the migration has the flag `POSTCOPY`. Never rejects. */
  startPostcopy(): Promise<Tuned>;
}

/**
 * Migrates a guest from one host to another; with `OFFLINE`, only its definition.
 * @throws RpcConnectError when a host cannot be reached; LibvirtError when the guest does not exist, or the hosts do not
 * support the request. In both cases nothing has been changed.
 */
export const migrateBetween = (options: MigrateBetweenOptions): Promise<RemoteMigration> =>
  migrateBetweenWith(options);

/**
 * `around` as in `migrateWith`.
 * @internal
 */
export async function migrateBetweenWith(
  options: MigrateBetweenOptions,
  around?: EffectInterceptor,
): Promise<RemoteMigration> {
  const {
    domain,
    parameters = {},
    clock = systemClock,
    ids = systemIds,
    journal,
    observe,
    inspect,
  } = options;
  const flags: ReadonlySet<MigrateFlag> = new Set(options.flags ?? (["LIVE"] as const));
  const [source, destination] = [new Redial(options.from, clock), new Redial(options.to, clock)];
  const close = () => Promise.all([source.close(), destination.close()]);
  try {
    const isPeerToPeer = flags.has("PEER2PEER");
    if (!isPeerToPeer) await destination.rpc();
    const { dom } = await source.call(remote.procedures.domainLookupByName, { name: domain });
    const migrationId = ids.next();
    const move = { source, destination, dom, asked: { flags, parameters }, clock, migrationId };
    const { outcome, abort } = isPeerToPeer
      ? await leadBySource(move)
      : await coordinateFromHere(move, { journal, observe, inspect, around });
    return {
      migrationId,
      outcome: outcome.finally(close),
      progress: async () => {
        try {
          return progressOf(await source.call(remote.procedures.domainGetJobStats, { dom, flags: 0 }));
        } catch {
          return null;
        }
      },
      abort,
      suspend: () =>
        tuned(
          source.call(remote.procedures.domainSuspend, { dom }),
          "the guest is suspended until it has arrived",
        ),
      startPostcopy: () =>
        tuned(
          source.call(remote.procedures.domainMigrateStartPostCopy, { dom, flags: 0 }),
          "QEMU switches to post-copy as soon as it can",
        ),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

const tuned = (asked: Promise<unknown>, why: string): Promise<Tuned> =>
  asked.then(
    () => ({ applied: true, why }),
    (error: unknown) => ({ applied: false, why: messageOf(error) }),
  );
