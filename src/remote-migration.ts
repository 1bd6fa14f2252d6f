// A migration between two hosts, coordinated from here by libvirt's procedures (managed): the coordinator's machine over
// two remote sides.

import { waitFor } from "xstate";
import type { MigrateFlag, MigrateParameters } from "./drivers/libvirt/flags.js";
import { remoteDestination, remoteSource, type Travelling } from "./drivers/libvirt/peers.js";
import type { Redial } from "./drivers/libvirt/redial.js";
import type { Domain } from "./drivers/libvirt-rpc/libvirt-types.js";
import { openCoordinator, type Surroundings } from "./effects/open.js";
import type { DestinationPeer, Ids, SettlingPeer, SourcePeer } from "./effects/ports.js";
import type { CoordinatorOutput } from "./machines/coordinator.js";
import { unknown } from "./protocol/answer.js";
import type { Deadlines } from "./protocol/deadlines.js";
import type { Identity } from "./protocol/messages.js";

export interface RemoteMigrationOptions {
  readonly source: Redial;
  readonly destination: Redial;
  readonly dom: Domain;
  readonly flags: ReadonlySet<MigrateFlag>;
  readonly parameters: MigrateParameters;
  readonly deadlines: Deadlines;
  readonly ids: Ids;
  readonly surroundings: Surroundings;
}

export interface RemoteMigration {
  readonly migrationId: string;
  readonly outcome: Promise<CoordinatorOutput>;
  abort(): void;
}

export function beginRemoteMigration(options: RemoteMigrationOptions): RemoteMigration {
  const { source, destination, dom, flags, parameters, deadlines, ids, surroundings } = options;
  const migrationId = ids.next();
  const identity = { migrationId, uuid: dom.uuid, name: parameters.name ?? dom.name };
  const steps = { flags, parameters, clock: surroundings.clock };
  const travelling: Travelling = { cookies: {}, xml: "", flags };
  const [here, there] = settlingFirst(
    remoteSource(source, dom, steps, travelling),
    remoteDestination(destination, identity, steps, travelling),
    identity,
  );
  const actor = openCoordinator(surroundings, { identity, deadlines }, here, there);
  actor.start();
  const outcome = waitFor(actor, (it) => it.status !== "active").then(({ output }) => {
    if (output === undefined) throw new Error("the coordinator ended without an outcome");
    return output;
  });
  return { migrationId, outcome, abort: () => actor.send({ type: "person.aborted" }) };
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
