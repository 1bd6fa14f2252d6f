// `migrateBetween`: a migration between two hosts, coordinated from here by libvirt's procedures (managed): the
// coordinator's machine over two remote sides, each a switchoverd or a libvirtd.

import { waitFor } from "xstate";
import { memoryJournal } from "./drivers/journal/memory-journal.js";
import type { MigrateFlag, MigrateParameters } from "./drivers/libvirt/flags.js";
import { type Asked, featuresOf, negotiateManaged } from "./drivers/libvirt/negotiation.js";
import { remoteDestination, remoteSource, type Travelling } from "./drivers/libvirt/peers.js";
import { progressOf } from "./drivers/libvirt/progress.js";
import { Redial } from "./drivers/libvirt/redial.js";
import { stepCalls } from "./drivers/libvirt/step-calls.js";
import { RpcConnectError } from "./drivers/libvirt-rpc/errors.js";
import { remote } from "./drivers/libvirt-rpc/procedures.js";
import { systemClock, systemIds } from "./drivers/system.js";
import type { Around } from "./effects/bind.js";
import { openCoordinator } from "./effects/open.js";
import type {
  Clock,
  DestinationPeer,
  Ids,
  Journal,
  JournalRecord,
  SettlingPeer,
  SourcePeer,
} from "./effects/ports.js";
import type { Aside } from "./machines/habits.js";
import { errorOf } from "./migration.js";
import { unknown } from "./protocol/answer.js";
import type { Progress } from "./protocol/convergence.js";
import { defaultDeadlines } from "./protocol/deadlines.js";
import type { MigrationError } from "./protocol/errors.js";
import type { Abort, Identity } from "./protocol/messages.js";
import { type OutcomeKind, outcomes, type Runner } from "./protocol/outcomes.js";

export interface MigrateBetweenOptions {
  /** libvirt's connection URIs, such as `qemu+tls://host/system`. */
  readonly from: string;
  readonly to: string;
  /** The guest's name at the source. */
  readonly domain: string;
  /** libvirt's, without `VIR_MIGRATE_`. Default: `LIVE`. */
  readonly flags?: readonly MigrateFlag[];
  readonly parameters?: MigrateParameters;
  /** Default: in memory. */
  readonly journal?: Journal;
  readonly clock?: Clock;
  readonly ids?: Ids;
  /** Told each record of the coordinator's story at once. */
  readonly onRecord?: (record: JournalRecord) => void;
}

export interface RemoteOutcome {
  readonly kind: OutcomeKind;
  readonly runs: Runner;
  /** Null exactly when the guest arrived. */
  readonly error: MigrationError | null;
}

export interface RemoteMigration {
  readonly migrationId: string;
  /** Never rejects. The connections are closed by then. */
  readonly outcome: Promise<RemoteOutcome>;
  /** As the source's host tells it now; null when it tells nothing. Never rejects. */
  progress(): Promise<Progress | null>;
  /** Obeyed until the guest has been handed over, and refused with a reason after it. */
  abort(): Promise<Abort>;
}

/**
 * Moves a guest from one host to another.
 * @throws RpcConnectError when a host cannot be reached; LibvirtError when there is no such guest. Nothing has been
 * touched then.
 */
export const migrateBetween = (options: MigrateBetweenOptions): Promise<RemoteMigration> =>
  migrateBetweenWith(options);

/**
 * `around` as in `migrateWith`.
 * @internal
 */
export async function migrateBetweenWith(
  options: MigrateBetweenOptions,
  around?: Around,
): Promise<RemoteMigration> {
  const {
    domain,
    parameters = {},
    clock = systemClock,
    ids = systemIds,
    journal = memoryJournal(),
  } = options;
  const flags: ReadonlySet<MigrateFlag> = new Set(options.flags ?? (["LIVE"] as const));
  const [source, destination] = [new Redial(options.from, clock), new Redial(options.to, clock)];
  const close = () => Promise.all([source.close(), destination.close()]);
  try {
    await destination.rpc();
    const rpc = await source.rpc();
    const { dom } = await rpc.call(remote.procedures.domainLookupByName, { name: domain });
    const migrationId = ids.next();
    const identity = { migrationId, uuid: dom.uuid, name: parameters.name ?? dom.name };
    const { calls, protects } = await negotiated(source, destination, { flags, parameters });
    const steps = { flags, parameters, protects, calls: async () => calls };
    const travelling: Travelling = { cookies: {}, xml: "", flags };
    const [here, there] = settlingFirst(
      remoteSource(source, dom, steps, travelling),
      remoteDestination(destination, identity, steps, travelling),
      identity,
    );
    const surroundings = { journal, clock, around, onRecord: options.onRecord };
    const actor = openCoordinator(surroundings, { identity, deadlines: defaultDeadlines }, here, there);
    actor.start();
    const outcome = waitFor(actor, (it) => it.status !== "active").then(async ({ output }) => {
      await close();
      if (output === undefined) throw new Error("the coordinator ended without an outcome");
      const { kind } = output;
      return { kind, runs: outcomes[kind].runs, error: kind === "arrived" ? null : errorOf(kind, output) };
    });
    return {
      migrationId,
      outcome,
      progress: async () => {
        try {
          return progressOf(await source.call(remote.procedures.domainGetJobStats, { dom, flags: 0 }));
        } catch {
          return null;
        }
      },
      abort: () =>
        new Promise((resolve) => {
          const said = (aside: Aside) => {
            if (aside.type === "refused") resolve({ accepted: false, why: aside.why });
          };
          actor.on("*", said);
          if (actor.getSnapshot().status !== "active")
            resolve({ accepted: false, why: "the migration has ended" });
          else actor.send({ type: "person.aborted" });
          void waitFor(actor, (it) => it.status !== "active" || it.matches({ performing: "aborted" })).then(
            () => resolve({ accepted: true, why: "the migration is being undone" }),
          );
        }),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** @throws LibvirtError when the hosts have no protocol in common that is wanted here. */
async function negotiated(source: Redial, destination: Redial, asked: Asked) {
  const featuresAt = async (host: Redial) => featuresOf(await host.rpc());
  const [here, there] = await Promise.all([featuresAt(source), featuresAt(destination)]);
  const protocol = negotiateManaged(here, there, asked);
  if (protocol === "version 1")
    throw new RpcConnectError(
      `${source.uri} and ${destination.uri} share only version 1 of the migration protocol, which no libvirt has had for QEMU`,
    );
  return {
    calls: stepCalls(protocol, { xmlMigratable: here.has("xmlMigratable") }),
    protects: here.has("migrateChangeProtection"),
  };
}

/**
 * A libvirtd resumes its guest at a Confirm with cancelled, whatever the destination does: once that was asked to run the
 * guest, it has to answer first whether it does. Upholds G1. A switchoverd asks it itself.
 */
function settlingFirst(
  here: SourcePeer,
  there: DestinationPeer & Pick<SettlingPeer, "settle">,
  identity: Identity,
): [SourcePeer, DestinationPeer] {
  let mayRunThere = false;
  const finish: DestinationPeer["finish"] = (words, signal) => {
    mayRunThere ||= !words.cancelled;
    return there.finish(words, signal);
  };
  const confirm: SourcePeer["confirm"] = async ({ cancelled }, signal) => {
    if (!cancelled || !mayRunThere) return here.confirm({ cancelled }, signal);
    const decision = await there.settle(identity, signal);
    if (decision.kind !== "done") return unknown(decision.cause.message);
    return here.confirm({ cancelled: decision.value === "refused" }, signal);
  };
  return [
    { ...here, confirm },
    { ...there, finish },
  ];
}
