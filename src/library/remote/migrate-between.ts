// `migrateBetween`: a migration between two hosts by libvirt's procedures, coordinated from here (managed) or led by the
// source's host (peer-to-peer).

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
  /** libvirt's connection URIs, such as `qemu+tls://host/system`. */
  readonly from: string;
  /** With `PEER2PEER` it is the source that connects there. */
  readonly to: string;
  /** The guest's name at the source. */
  readonly domain: string;
  /** libvirt's, without `VIR_MIGRATE_`. Default: `LIVE`. */
  readonly flags?: readonly MigrateFlag[];
  readonly parameters?: MigrateParameters;
  /** Default: in memory. Unused with `PEER2PEER`: the source's host keeps one. */
  readonly journal?: Journal;
  readonly clock?: Clock;
  readonly ids?: Ids;
  /** Told each record of the coordinator's story at once; with `PEER2PEER` that is at the source's host. */
  readonly observe?: Observe;
  /** As of `migrate`, of the coordinator. Unused with `PEER2PEER`: there is no machine here. */
  readonly inspect?: Inspect;
}

export interface RemoteMigration {
  readonly migrationId: string;
  /** Never rejects. The connections are closed by then. */
  readonly outcome: Promise<RemoteOutcome>;
  /** As the source's host tells it now; null when it tells nothing. Never rejects. */
  progress(): Promise<Progress | null>;
  /** Obeyed until the guest has been handed over, and refused with a reason after it. */
  abort(): Promise<Abort>;
  /** Pauses the guest at the source, so that its memory does not change; it runs on at the destination. Never rejects. */
  suspend(): Promise<Tuned>;
  /** With `POSTCOPY`: has the guest run at the destination before its memory is there. Never rejects. */
  startPostcopy(): Promise<Tuned>;
}

/**
 * Moves a guest from one host to another; with `OFFLINE`, its definition.
 * @throws RpcConnectError when a host cannot be reached; LibvirtError when there is no such guest, or the hosts cannot do
 * what is asked. Nothing has been touched then.
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
          "the guest is paused until it has arrived",
        ),
      startPostcopy: () =>
        tuned(
          source.call(remote.procedures.domainMigrateStartPostCopy, { dom, flags: 0 }),
          "QEMU goes over to post-copy as soon as it can",
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
